"""
The agent's composition root: settings in, exit code out.

    register ─▶ adopt what an earlier process of this name had claimed ─▶ poll ─▶ retire

Exit codes: 0 drained, 1 refused or misconfigured, 3 another process has this agent's name. In
every case but the first, workloads go on: the next process of the name adopts them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog

from runyard import __version__
from runyard.agent import reporting
from runyard.agent.archives import CodeCache
from runyard.agent.attempt import Attempt
from runyard.agent.bench import Bench
from runyard.agent.caches import TeamCaches
from runyard.agent.chosen_images import ChosenImages, find_builder
from runyard.agent.config import AgentConfig
from runyard.agent.courier import Courier
from runyard.agent.environments import Environments
from runyard.agent.fetching import Fetcher
from runyard.agent.git import GitAccess
from runyard.agent.gpus import GpuRack, discover
from runyard.agent.health import Host
from runyard.agent.image_garbage import EVERY as DELETE_EVERY
from runyard.agent.image_garbage import delete_doomed
from runyard.agent.leftovers import clear_leftovers
from runyard.agent.logs import LogCourier
from runyard.agent.outage import Line
from runyard.agent.prefetch import Prefetch
from runyard.agent.recovery import Recovery
from runyard.agent.registries import Registries
from runyard.agent.registry import Drivers
from runyard.agent.rendering import Grants
from runyard.agent.session import Session
from runyard.agent.volumes import Volumes
from runyard.agent.workspace import Workspaces
from runyard.client import credentials
from runyard.client.agent_api import AgentApi
from runyard.client.artifact_links import ArtifactLinks
from runyard.clouds.finding import identity_for, registry_for
from runyard.domain.errors import RunyardError, StaleEpoch, Unavailable
from runyard.drivers.base import Driver
from runyard.wire.agent import Held, Register, Registered

logger = structlog.get_logger(__name__)

OK, REFUSED, REPLACED = 0, 1, 3  # exit codes
PRUNE_EVERY: Final = 3600.0  # seconds
FAREWELL: Final = 3.0  # seconds for the last moves and for saying goodbye


def main(config: AgentConfig) -> int:
    """Be an agent until it is time to go; return the exit code. For the command line."""
    import uvloop

    reporting.configure(config)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_with_signals(config))


async def _with_signals(config: AgentConfig) -> int:
    stop, leave = asyncio.Event(), asyncio.Event()

    def asked() -> None:
        (leave if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    return await run_agent(config, stop=stop, leave=leave)


async def run_agent(
    config: AgentConfig,
    *,
    stop: asyncio.Event | None = None,
    leave: asyncio.Event | None = None,
    ready: Callable[[Registered], None] | None = None,
    environ: Mapping[str, str] | None = None,
    connect: Callable[[credentials.Credentials], AgentApi] | None = None,
) -> int:
    """Serve queues until drained, and return an exit code.

    `stop` drains: nothing new is taken and what runs is finished. `leave` goes at once and
    leaves workloads running. `ready` is called when the agent is registered. `connect` makes
    the line to the server, in place of HTTP to its address.
    """
    environ = os.environ if environ is None else environ
    try:
        key = config.api_key.get_secret_value() if config.api_key else None
        server = credentials.find(environ, base_url=config.base_url, key=key)
        api = connect(server) if connect else AgentApi(server.base_url, server.key)
        agent = Agent(config, api, server.base_url, environ)
        return await agent.run(stop or asyncio.Event(), leave or asyncio.Event(), ready)
    except StaleEpoch as error:
        logger.error("this agent's name was taken over; workloads go on", why=_said(error))  # noqa: TRY400
        return REPLACED
    except RunyardError as error:
        logger.error("agent cannot go on; workloads go on", why=_said(error))  # noqa: TRY400
        return REFUSED


class Agent:
    """All parts of one agent process, put together."""

    def __init__(
        self, config: AgentConfig, api: AgentApi, base_url: str, environ: Mapping[str, str]
    ) -> None:
        self._config, self._api = config, api
        root = config.root
        self._line = Line(base_url)
        self._drivers = Drivers(root, _driver_settings(config))
        self._workspaces = Workspaces(root / "attempts")
        self._code = CodeCache(root / "code")
        self._environments = Environments(root / "environments", host_env=environ)
        gpus = discover(config.gpus)
        caches = TeamCaches(config.cache, root / "caches")
        self._volumes = Volumes(config.volumes, root / "volumes", caches=caches)
        self._images = _images(config, environ)
        self._host = Host(root, self._drivers.in_use, lambda: discover(config.gpus), gpus)
        self._bench = Bench(
            courier=Courier(self._api, self._line),
            logs=LogCourier(self._api, self._line),
            drivers=self._drivers,
            sources=Fetcher(
                self._api,
                self._code,
                self._environments,
                self._workspaces,
                GitAccess(
                    credentials=config.git.credentials,
                    known_hosts=config.git.known_hosts,
                    insecure_hosts=frozenset(config.git.insecure_hosts),
                ),
                environ,
            ),
            workspaces=self._workspaces,
            gpus=GpuRack(gpus, config.gpus_shared),
            volumes=self._volumes,
            ahead=Prefetch(config.cache.shared_mb, partial(ArtifactLinks, base_url)),
            grants=Grants(
                environ,
                frozenset(config.macros),
                config.labels,
                _passed(config),
                self._volumes.table,
                config.secure_mode,
                caches.shared,
            ),
            base_url=base_url,
            images=self._images,
            live=set(),
            stop_grace=config.stopped_run_timeout,
        )

    async def run(
        self,
        stop: asyncio.Event,
        leave: asyncio.Event,
        ready: Callable[[Registered], None] | None,
    ) -> int:
        """As `run_agent`.

        Raises:
            RunyardError: the agent cannot go on.
        """
        try:
            registered = await self._register(stop)
            if registered is None:
                return OK
            reporting.greet(registered)
            async with asyncio.TaskGroup() as group:
                await self._work(registered, group, stop, leave, ready)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        else:
            return OK
        finally:
            await self._drivers.close()
            await self._images.close()
            await self._api.close()

    async def _register(self, stop: asyncio.Event) -> Registered | None:
        """Return who we are; None if it was time to go before the server could be asked."""
        config = self._config
        request = Register(
            entity=config.entity,
            name=config.name,
            hostname=socket.gethostname(),
            version=self._bench.grants.environment.get("WANDB_AGENT_VERSION") or __version__,
            queues=config.queues,
            max_jobs=config.max_jobs,
            config=config.shown(),
        )
        asking = asyncio.create_task(self._line.insist(lambda: self._api.register(request)))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if asking.done():
            return asking.result()
        asking.cancel()
        return None

    async def _work(
        self,
        registered: Registered,
        group: asyncio.TaskGroup,
        stop: asyncio.Event,
        leave: asyncio.Event,
        ready: Callable[[Registered], None] | None,
    ) -> None:
        queues = reporting.QueueNotes(registered.entity)
        resources = queues.look(registered.queues)
        recovery = Recovery(self._host.look, self._api.check)
        session = Session(
            self._api,
            self._line,
            self._begin,
            queues,
            max_jobs=self._config.max_jobs,
            exit_when_idle=self._config.exit_when_idle,
            on_aside=recovery.heed,
        )
        background = [
            group.create_task(self._bench.courier.carry()),
            group.create_task(self._bench.logs.carry()),
            group.create_task(self._prune()),
            group.create_task(recovery.carry()),
            group.create_task(_when(stop, lambda: session.drain("asked by a signal"))),
            group.create_task(_when(leave, session.leave)),
        ]
        try:
            drivers = await self._check_drivers(resources, registered.held)
            await self._check_identity()
            if any(driver.capabilities.needs_image for driver in drivers):
                await self._images.check()
            for held in registered.held:
                session.take(held, group)
            background.append(group.create_task(self._say_how_it_goes(session)))
            background.append(group.create_task(_surviving(self._clear_leftovers(drivers))))
            background.append(group.create_task(self._delete_images()))
            await self._host.look()  # warns; whether it matters, starts will show
            if ready is not None:
                ready(registered)
            await session.run(group)
            await self._say_goodbye()
        finally:
            for task in background:
                task.cancel()

    def _begin(self, held: Held) -> Attempt:
        return Attempt(held, self._bench)

    async def _check_drivers(self, resources: list[str], held: list[Held]) -> list[Driver]:
        """Return the drivers of what is served and held.

        Raises:
            Rejected: the host lacks what a served queue needs; the message says what.
        """
        names = dict.fromkeys([*resources, *(str(one.spec["resource"]) for one in held)])
        drivers = [self._drivers.get(name) for name in names]
        for driver in drivers:
            try:
                await driver.check()
            except Unavailable as error:
                logger.warning("not there yet", resource=driver.name, why=error.message)
        return drivers

    async def _check_identity(self) -> None:
        """Say as whom this agent acts in its cloud.

        Raises:
            Rejected: nobody, or somebody whose credentials have expired.
        """
        surroundings = self._config.environment
        # Importing a vendor's library takes a while.
        identity = await asyncio.to_thread(identity_for, surroundings.type, surroundings.region)
        if identity is None:
            return
        try:
            principal = await identity.principal()
            logger.info("acts as", principal=principal, environment=surroundings.type)
        except Unavailable as error:
            logger.warning("not there yet", environment=surroundings.type, why=error.message)

    async def _delete_images(self) -> None:
        while True:
            await asyncio.sleep(DELETE_EVERY)
            await _surviving(self._delete_images_once())

    async def _delete_images_once(self) -> None:
        if (shop := self._images.workshop) is not None:
            try:
                await delete_doomed(self._api, shop)
            except RunyardError as error:
                logger.debug("images are not deleted now", why=error.message)

    async def _clear_leftovers(self, drivers: list[Driver]) -> None:
        clear = [await clear_leftovers(driver, self._bench.live) for driver in drivers]
        if not all(clear):
            return
        if swept := await self._workspaces.sweep(self._bench.live):
            logger.info("removed files of attempts that have ended", attempts=swept)
        await self._volumes.carry()  # now that nothing runs that nobody knows of

    async def _say_how_it_goes(self, session: Session) -> None:
        config = self._config
        every = reporting.STATUS_EVERY_VERBOSE if config.verbosity else reporting.STATUS_EVERY
        while True:
            running = sum(attempt.holds for attempt in session.attempts)
            logger.info(reporting.status_line(config.name, config.queues, running, config.max_jobs))
            await asyncio.sleep(every)

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_EVERY)
            await _surviving(self._prune_once(datetime.now(UTC)))

    async def _prune_once(self, now: datetime) -> None:
        cache = self._config.cache
        await self._code.prune(cache.code_mb << 20, now=now)
        unused_since = now - timedelta(days=cache.environments_days)
        await self._environments.prune(unused_since=unused_since)

    async def _say_goodbye(self) -> None:
        with suppress(RunyardError, TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await self._bench.courier.settled()
                await self._api.retire()
        logger.info("left", agent=self._config.name)


async def _surviving(work: Coroutine[Any, Any, None]) -> None:
    """Do what is no reason for the agent to end if it fails."""
    try:
        await work
    except Exception:
        logger.exception("housekeeping failed; the agent goes on")


async def _when(event: asyncio.Event, act: Callable[[], None]) -> None:
    await event.wait()
    act()


def _images(config: AgentConfig, environ: Mapping[str, str]) -> ChosenImages:
    """Return the agent's images. Its builder uses the engine that its containers run on."""
    settings, container = config.builder, config.resources.get("local-container", {})
    host = container.get("host")
    registry = partial(
        registry_for,
        environment=config.environment.type,
        env=environ,
        insecure=frozenset(settings.insecure_registries),
    )
    return ChosenImages(
        settings,
        partial(find_builder, settings.type, host=str(host) if host else None, env=environ),
        Registries(registry),
        environ,
    )


def _driver_settings(config: AgentConfig) -> dict[str, dict[str, object]]:
    """Return each resource's settings; what is granted for all is granted for each."""
    if not config.env_passthrough:
        return config.resources
    names = {"local-process", "local-container", *config.resources}
    return {
        name: {"env_passthrough": config.env_passthrough, **config.resources.get(name, {})}
        for name in names
    }


def _passed(config: AgentConfig) -> dict[str, frozenset[str]]:
    """Return, by resource, the variables of the agent's own that jobs may have."""
    settings = _driver_settings(config)
    found = {name: each.get("env_passthrough", ()) for name, each in settings.items()}
    return {name: frozenset(n) for name, n in found.items() if isinstance(n, list | tuple)}


def _said(error: RunyardError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message
