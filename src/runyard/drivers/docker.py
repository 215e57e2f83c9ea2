"""
Workloads as containers of a Docker engine, or of podman through its Docker-compatible socket.

The workload's key is the container's name, so the engine itself sees to it that a key is used
once. A container is kept until its end has been recorded and `discard` is called; the engine
then is the only record, and any process that reaches it can read exit code and output.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from runyard.domain.errors import Rejected, Unavailable
from runyard.domain.workloads import Handle, Observation, Phase, Workload
from runyard.drivers.base import Capabilities, Unreached
from runyard.drivers.docker_engine import CONFLICT, FOREVER, NOT_FOUND, REFUSALS, Engine
from runyard.drivers.docker_images import Images
from runyard.drivers.docker_request import (
    KEY_LABEL,
    ROOT_LABEL,
    EngineHost,
    container_request,
    shown_request,
)
from runyard.drivers.docker_secrets import (
    PLACE,
    SHELL,
    archive,
    warnings,
    with_files,
    with_shell,
    without_mount,
)
from runyard.drivers.docker_settings import DockerSettings, parse_docker_settings
from runyard.drivers.docker_state import observed
from runyard.drivers.docker_stream import Frames
from runyard.drivers.roots import check_key, key_of, root_id
from runyard.drivers.vault import Vault, places

_LOG_PAUSE: Final = 0.2  # seconds
_MOMENT: Final = 1.0  # seconds between two things that belong together
_LOOK: Final = 0.05  # seconds

_Request = Mapping[str, Any]


class DockerDriver:
    name = "local-container"
    capabilities = Capabilities(takes_gpus=True, takes_volumes=True)

    def __init__(
        self,
        root: Path,
        settings: DockerSettings | None = None,
        *,
        host_env: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = settings or DockerSettings()
        self._host_env = dict(os.environ if host_env is None else host_env)
        self._root, self._id = root, ""
        self._engine = Engine(self._settings.host, self._host_env)
        self._images = Images(self._engine, self._settings.pull, self._host_env)
        self._shells: dict[str, bool] = {}  # by image: whether it has one
        self._copies = not self._engine.is_here
        self._submitting: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], root: Path) -> DockerDriver:
        """Make a driver from the agent's file; see `DockerSettings`.

        Raises:
            Invalid: a setting is unknown or of the wrong kind.
        """
        return cls(root, parse_docker_settings(settings))

    async def check(self) -> None:
        try:
            with self._engine.asking("version"):
                await self._engine.client().version()
        except Unavailable as error:
            raise Rejected(
                error.message,
                hint="start the engine, or set `host` in the agent's file; "
                "docker --host ADDRESS info shows whether an address answers",
            ) from error

    async def disks(self) -> Collection[Path]:
        """Return where a local engine keeps images and containers, if this process sees it."""
        if not self._engine.is_here:
            return ()
        with self._engine.asking("info"):
            root = Path(
                (await self._engine.client().system.info()).get("DockerRootDir") or "/nowhere"
            )
        return [root] if await asyncio.to_thread(root.is_dir) else []

    def render(self, workload: Workload, /) -> Mapping[str, Any]:
        return shown_request(workload, self._host("(made by the agent)"))

    async def submit(self, workload: Workload, /) -> Handle:
        key = check_key(workload.key)
        files = str(self._vault().directory(key)) if workload.secrets else ""
        request = container_request(workload, self._host(files))
        platform = request.pop("Platform", None)
        with _nothing_begun():
            is_podman = await self._engine.is_podman()
        if is_podman:
            request["HostConfig"].pop("Init")  # needs a program that podman does not bring
        try:
            async with self._submitting[key]:
                found = await self._bring_up(key, request, platform, workload)
        finally:
            self._submitting.pop(key, None)
        return replace(self._handle(key), warnings=warnings(found))

    async def watch(self, handle: Handle, /) -> AsyncGenerator[Observation, None]:
        key, last = self._key(handle), None
        while True:
            seen = observed(await self._engine.inspect(key))
            if seen != last:
                yield seen
                last = seen
            if seen.phase.is_final:
                return
            if seen.phase is Phase.RUNNING:
                await self._engine.wait(key)
            else:
                await asyncio.sleep(_LOOK)

    async def stop(self, handle: Handle, /, *, grace: timedelta) -> None:
        key = self._key(handle)
        seen = observed(await self._engine.inspect(key))
        if seen.phase is Phase.QUEUED:
            await self._delete(key)  # created, and now it can never be started
        elif not seen.phase.is_final:
            with self._engine.asking(key, unless=(NOT_FOUND,)):
                await self._engine.container(key).stop(t=math.ceil(grace.total_seconds()))
            if not observed(await self._engine.inspect(key)).phase.is_final:
                raise Unavailable(f"the engine has not ended container {key} yet")

    async def logs(self, handle: Handle, /, *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield output from byte `offset` on, as every driver does.

        The last look is without following: Docker loses the last line of what it lets be
        followed. podman loses and reorders lines all along, so there the whole log is read
        again and again, the more rarely the longer it is.
        """
        key, follows = self._key(handle), not await self._engine.is_podman()
        clock = asyncio.get_running_loop().time
        while True:
            ended = observed(await self._engine.inspect(key)).phase.is_final
            began, skip = clock(), offset
            async with aclosing(self._read(key, follow=follows and not ended, skip=skip)) as output:
                async for piece in output:
                    yield piece
                    offset += len(piece)
            if ended:
                return
            if not follows:
                await self._ends_within(key, _LOG_PAUSE + 10 * (clock() - began))
            elif not await self._ends_within(key, _MOMENT):
                raise Unavailable(f"the engine stopped sending the output of {key}")

    async def _read(self, key: str, *, follow: bool, skip: int) -> AsyncGenerator[bytes, None]:
        """Yield output after `skip` bytes, as far as the engine sends it."""
        found = await self._engine.inspect(key)
        if found is None:
            return
        frames = Frames(skip=skip, is_raw=bool(found["Config"].get("Tty")))
        engine = self._engine.client()
        address = f"{engine.docker_host}/{engine.api_version}/containers/{key}/logs"
        ask = {"stdout": "1", "stderr": "1", "follow": str(int(follow))}
        with self._engine.asking(f"the output of {key}"):
            async with engine.session.get(address, params=ask, timeout=FOREVER) as answer:
                if answer.status == NOT_FOUND:
                    return
                answer.raise_for_status()
                async for piece in answer.content.iter_any():
                    if output := frames.feed(piece):
                        yield output

    async def _ends_within(self, key: str, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._engine.wait(key)
        return observed(await self._engine.inspect(key)).phase.is_final

    async def discard(self, handle: Handle, /) -> None:
        await self._delete(self._key(handle))

    async def leftovers(self, keep: Collection[str], /) -> Collection[Handle]:
        filters = {"label": [f"{ROOT_LABEL}={self._root_id()}"]}
        with self._engine.asking("the list of containers"):
            found = await self._engine.client().containers.list(all=True, filters=filters)
        keys = {container["Labels"][KEY_LABEL] for container in found}
        keys |= set(await asyncio.to_thread(self._vault().workloads))
        return [self._handle(key) for key in sorted(keys) if key not in keep]

    async def close(self) -> None:
        await self._engine.close()

    async def _bring_up(
        self, key: str, request: _Request, platform: str | None, workload: Workload
    ) -> dict[str, Any] | None:
        """Create and start the container, if nobody has before; return it as it was then."""
        secrets = workload.secrets
        with _nothing_begun():
            found = await self._engine.inspect(key)
            if found is None:
                await self._images.provide(request["Image"], platform, login=workload.login)
        if found is not None:
            found = await self._started_by_another(key, found)
        elif secrets:
            found = await self._create_for(key, request, secrets)
        else:
            found = await self._create(key, request)
        if found and observed(found).phase is Phase.QUEUED:
            if secrets:
                await self._hand_over(key, found, secrets)
            await self._start(key)
        return found

    async def _create_for(
        self, key: str, request: _Request, secrets: Mapping[str, str]
    ) -> dict[str, Any] | None:
        """Create a container that gets secrets: as mounted files, and by a shell if it has one."""
        there = await asyncio.to_thread(self._vault().write, key, secrets)
        image = await self._engine.image(request["Image"])
        asked = without_mount(request) if self._copies else request
        try:
            if self._shells.get(image["Id"], True):
                found = await self._create(key, with_shell(asked, image["Config"] or {}))
                if image["Id"] in self._shells or await self._engine.has_file(key, SHELL):
                    self._shells[image["Id"]] = True
                    return found
                self._shells[image["Id"]] = False
                await self._delete(key)
                await asyncio.to_thread(self._vault().write, key, secrets)
            return await self._create(key, with_files(asked, secrets))
        except REFUSALS as error:
            if self._copies or str(there) not in error.message:
                await asyncio.to_thread(self._vault().remove, key)
                raise
        self._copies = True  # the engine is somewhere else, and sees no file of ours
        return await self._create_for(key, request, secrets)

    async def _hand_over(
        self, key: str, container: Mapping[str, Any], secrets: Mapping[str, str]
    ) -> None:
        """Put the files in their place, before a start; repeatable."""
        if any(mount["Destination"] == PLACE for mount in container["Mounts"]):
            await asyncio.to_thread(self._vault().write, key, secrets)
        else:
            await asyncio.to_thread(self._vault().remove, key)
            await self._engine.copy_in(key, archive(secrets))

    async def _create(self, key: str, request: _Request) -> dict[str, Any] | None:
        try:
            with self._engine.asking(key):
                await self._engine.client().containers.create(dict(request), name=key)
                return await self._engine.inspect(key)
        except REFUSALS:  # is the name taken? Docker's and podman's answers to that differ
            found = await self._engine.inspect(key)
            for _ in range(round(_MOMENT / _LOOK)):
                if found is not None:
                    return await self._started_by_another(key, found)
                await asyncio.sleep(_LOOK)  # podman reserves a name before it knows it
                found = await self._engine.inspect(key)
            raise

    async def _started_by_another(
        self, key: str, found: dict[str, Any] | None
    ) -> dict[str, Any] | None:
        """Return a container that we did not create, giving its creator time to start it.

        The engine starts an ended container again when told to, so two who both start may
        run a short job twice.
        """
        ours = {KEY_LABEL: key, ROOT_LABEL: self._root_id()}
        if found is not None and not ours.items() <= (found["Config"]["Labels"] or {}).items():
            raise Rejected(
                f"the engine has a container named {key} that this agent did not make",
                hint=f"docker inspect {key}",
            )
        for _ in range(round(_MOMENT / _LOOK)):
            if observed(found).phase is not Phase.QUEUED:
                break
            await asyncio.sleep(_LOOK)
            found = await self._engine.inspect(key)
        return found

    async def _start(self, key: str) -> None:
        try:
            with self._engine.asking(key):
                await self._engine.container(key).start()
        except REFUSALS:
            await self._delete(key)  # it would be in the way of the next attempt's inspection
            raise

    async def _delete(self, key: str) -> None:
        """Delete the container and its secrets, and wait until it is gone.

        Another may be deleting it too.
        """
        while await self._engine.inspect(key) is not None:
            with self._engine.asking(key, unless=(NOT_FOUND, CONFLICT)):
                await self._engine.container(key).delete(force=True, v=True)
                continue
            await asyncio.sleep(_LOOK)
        await asyncio.to_thread(self._vault().remove, key)

    def _host(self, secrets: str) -> EngineHost:
        is_linux = sys.platform == "linux"
        return EngineHost(self._settings, self._host_env, self._root_id(), is_linux, secrets)

    def _vault(self) -> Vault:
        return Vault(places(self._root, self._host_env), self._root_id())

    def _root_id(self) -> str:
        if not self._id:
            self._id = root_id(self._root)
        return self._id

    def _key(self, handle: Handle) -> str:
        return key_of(handle, driver=self.name, root=self._root_id())

    def _handle(self, key: str) -> Handle:
        return Handle(self.name, 1, {"key": key, "root": self._root_id()})


@contextmanager
def _nothing_begun() -> Iterator[None]:
    """Say of an engine that cannot be asked that no workload was begun by it."""
    try:
        yield
    except Unavailable as error:
        raise Unreached(error.message, retry_after=error.retry_after) from error
