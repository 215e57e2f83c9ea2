"""
One item from lease to end. Everything that can go wrong ends in one place, `Attempt.run`.

    lease ─▶ claim ─▶ fetch ─▶ submit ─▶ keep ─▶ watch ─────────────▶ report ─▶ discard
                └▶ image ──┘                      └ logs, all sent ──┘

Cancelling the task that runs an attempt (the agent leaves) leaves the workload running, for the
next process to adopt; every step can be repeated, because submitting, keeping, reporting,
stopping and discarding all are. `stop` and `lose` are the two wishes that reach it from outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import structlog

from runyard.agent.bench import Bench, Fetched
from runyard.agent.build_log import BuildLog
from runyard.agent.building import Way
from runyard.agent.faults import Fault, fault_of
from runyard.agent.logs import Log, ship
from runyard.agent.masking import Mask, spellings
from runyard.agent.patience import Patience
from runyard.agent.rendering import Draft, Image, completed, draft
from runyard.agent.telling import MAX_DETAIL, Teller
from runyard.agent.workspace import Note
from runyard.builders.none import NeedsBuilder
from runyard.domain.errors import RunyardError, StaleLease, Unavailable
from runyard.domain.items import Stage
from runyard.domain.workloads import Handle, Observation, Phase, Workload
from runyard.drivers.base import Driver, Unreached
from runyard.wire.agent import Held, Moved

logger = structlog.get_logger(__name__)
T = TypeVar("T")

GPU_PATIENCE: Final = 20.0  # seconds to wait for GPUs before another agent may have the item


class _Stopped(Exception):
    """Its owner asked for the end before there was anything to stop."""


class _GivenBack(Exception):
    """The item was leased and not begun, and goes back to its queue."""


class Attempt:
    def __init__(self, held: Held, bench: Bench) -> None:
        self.held, self._bench = held, bench
        self.holds = True  # until its end has been told: the server may still speak of it
        self.phase: Phase | None = None
        self._is_closing = False  # cleaning up: nothing interrupts that
        self._task: asyncio.Task[None] | None = None
        self._interruption: Exception | None = None
        self._stop_asked = asyncio.Event()
        self._grace = timedelta(seconds=held.stop_grace_s)
        self._stage = Stage.AGENT
        self._claimed = held.claimed
        self._driver: Driver | None = None
        self._handle = _handle(held)
        self._submitting = held.claimed and held.handle is None
        self._server = Teller(held, bench.courier, self._interrupt)
        self._said = bytearray()  # progress of fetching, for the failure's detail
        self._patience = Patience(held, self._wait_told)
        self._build_log: BuildLog | None = None
        self._log = logger.bind(
            item=held.item_id,
            run=held.spec.get("run_id"),
            attempt=held.attempt,
        )
        bench.live.add(held.key)
        if held.stop:
            self.stop(held.stop_grace_s)

    @property
    def is_stopping(self) -> bool:
        return self._stop_asked.is_set()

    # -- wishes --------------------------------------------------------------------------

    def stop(self, grace_s: int) -> None:
        """End the workload, with that many seconds to leave by itself. Repeatable."""
        if self._stop_asked.is_set():
            return
        if self._bench.stop_grace is not None:
            grace_s = self._bench.stop_grace
        self._log.info("stop asked", grace_s=grace_s)
        self._grace = timedelta(seconds=grace_s)
        self._stop_asked.set()
        if self._handle is None:
            self._interrupt(_Stopped())

    def lose(self) -> None:
        """The item is not ours any more: end the workload and report nothing. Repeatable."""
        self._interrupt(StaleLease(f"item {self.held.item_id} is no longer this agent's"))

    def give_back(self) -> None:
        """Return the item to its queue unless it has been claimed."""
        if not self._claimed:
            self._interrupt(_GivenBack())

    def _interrupt(self, why: Exception) -> None:
        if self._interruption is None and not self._is_closing:
            self._interruption = why
            if self._task is not None:
                self._task.cancel()

    # -- the way of an item --------------------------------------------------------------

    async def run(self) -> None:
        """Work until the item is off our hands. Raises nothing but cancellation."""
        self._task = asyncio.current_task()
        assert self._task is not None
        try:
            try:
                await self._to_the_end()
            except asyncio.CancelledError:
                if self._interruption is None or self._task.uncancel() > 0:
                    self._server.tell_news()  # the next process should know what this one knew
                    raise
                raise self._interruption from None
        except _GivenBack:
            await self._give_back()
        except StaleLease as error:
            self._log.warning("item lost; its workload is ended", why=error.message)
            await self._ended()
        except _Stopped:
            self._stage = Stage.RUN
            await self._fail(Fault("stopped before it started", is_hosts=False, detail=""))
        except Exception as error:
            if isinstance(error, NeedsBuilder):
                self._stage = Stage.BUILD
            elif not isinstance(error, RunyardError):
                self._log.exception("attempt failed", stage=self._stage)
            await self._fail(fault_of(error))
        finally:
            self.holds = False
            if self._build_log is not None:
                self._build_log.close()
            self._bench.live.discard(self.held.key)
            self._bench.gpus.free(self.held.key)

    async def _to_the_end(self) -> None:
        driver = self._driver = self._bench.drivers.get(self.held.spec["resource"])
        if self._interruption is not None:  # before this task had begun
            raise self._interruption
        if self._handle is not None:
            self._recall()
            await self._patience.within(None, self._follow(driver, self._handle))
        else:
            drafted = await self._draft(driver)
            driver.render(drafted.workload)
            gpus = await self._take_gpus(drafted)
            start = self._start(driver, drafted, gpus, await self._claim())
            await self._patience.within(self.held.start_timeout_s or None, start)
        await self._ended()

    async def _draft(self, driver: Driver, image: Image | None = None) -> Draft:
        bench, able = self._bench, driver.capabilities
        builds = await bench.images.builds() if able.needs_image else None
        return draft(
            self.held, able, bench.grants, base_url=bench.base_url, builds=builds, image=image
        )

    async def _take_gpus(self, drafted: Draft) -> tuple[str, ...]:
        rack, key = self._bench.gpus, self.held.key
        if self._claimed and (noted := self._bench.workspaces.read_note(key).gpus):
            rack.hold(key, noted)
            return tuple(noted)
        rack.check(drafted.gpus)
        try:
            async with asyncio.timeout(None if self._claimed else GPU_PATIENCE):
                return await rack.take(key, drafted.gpus)
        except TimeoutError:
            raise _GivenBack from None

    async def _claim(self) -> Moved:
        """Return what a claim brings: token and secrets. From here on the item is ours alone."""
        if self._claimed:
            return Moved(run_token=self.held.run_token, secrets=self.held.secrets)
        self._claimed = True  # from the asking on: it may not be given back now
        return await self._server.claim()

    async def _start(
        self, driver: Driver, drafted: Draft, gpus: tuple[str, ...], claim: Moved
    ) -> None:
        self._stage = Stage.FETCH
        await self._bench.volumes.hold(
            self.held.key, [mount.name for mount in drafted.workload.mounts]
        )
        if drafted.wish is not None:
            drafted = await self._draft(driver, await self._image(drafted, claim))
            fetched = Fetched()
            await self._bench.workspaces.clear(self.held.key)
        else:
            fetched = await self._insist(partial(self._fetch, drafted))
        await self._fetch_artifacts(drafted, claim.run_token)
        self._stage = Stage.RUN
        workload = completed(
            drafted,
            directory=fetched.directory,
            env=fetched.env,
            requirements=fetched.requirements,
            run_token=claim.run_token,
            given=claim.secrets,
            gpus=gpus,
        )
        self._note(workload)
        handle = await self._insist(partial(self._submit, driver, workload))
        self._handle = handle
        self._server.keep(handle, len(workload.gpus))
        for warning in handle.warnings:
            self._server.warn(Stage.RUN, warning)
        self._log.info("started", resource=driver.name)
        await self._follow(driver, handle)

    async def _fetch_artifacts(self, drafted: Draft, run_token: str | None) -> None:
        """Fill the team's cache, if it has one; what fails there is no reason to fail the job."""
        mounts = drafted.workload.mounts
        for warning in await self._bench.ahead.prepare(self.held.spec, mounts, run_token):
            self._server.warn(Stage.FETCH, warning)

    async def _fetch(self, drafted: Draft) -> Fetched:
        return await self._bench.sources.fetch(self.held, drafted, log=self._hear)

    async def _image(self, drafted: Draft, claim: Moved) -> Image:
        """Return the image that was wished for. What its build prints goes to a log of its own."""
        assert drafted.wish is not None
        lent = await asyncio.to_thread(self._bench.images.secrets)
        lent = {**lent, **drafted.find_for_build(claim.secrets or {})}
        given = [claim.run_token or "", *(claim.secrets or {}).values(), *lent.values()]
        self._server.secrets = spellings(filter(None, given))
        self._build_log = BuildLog(
            self._bench.logs, self.held, secrets=self._server.secrets, on_stale=self._interrupt
        )

        async def fetch() -> Path:
            return Path((await self._fetch(drafted)).directory or "")

        way = Way(
            wish=drafted.wish,
            server=self._server,
            log=self._build_log,
            fetch=fetch,
            scratch=partial(self._bench.workspaces.scratch, self.held.key),
            enter=self._enter,
            insist=self._insist,
            secrets=lent,
        )
        return await self._bench.images.provide(way)

    async def _submit(self, driver: Driver, workload: Workload) -> Handle:
        before, self._submitting = self._submitting, True
        try:
            return await driver.submit(workload)
        except Unreached:  # nothing more was begun than before
            self._submitting = before
            raise

    async def _follow(self, driver: Driver, handle: Handle) -> None:
        """Report what is seen of the workload, and its end only after all of its output."""
        self._stage = Stage.RUN
        log = self._bench.logs.open(self.held.item_id, self.held.token, self.held.log_size)
        try:
            async with asyncio.TaskGroup() as group:
                shipping = group.create_task(self._ship(driver, handle, log))
                stopping = group.create_task(self._stop_when_asked(driver, handle))
                final = await self._watch(driver, handle)
                await shipping
                stopping.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            log.close()
        await self._tell_of_build()
        self._is_closing, self.holds = True, False
        await self._server.end(final)
        self._log.info("ended", phase=final.phase, exit_code=final.exit_code, why=final.reason)

    async def _watch(self, driver: Driver, handle: Handle) -> Observation:
        """Report the workload's phases through any number of outages; return the last one."""
        last: Observation | None = None
        while True:
            try:
                async with aclosing(driver.watch(handle)) as observations:
                    async for seen in observations:
                        self.phase = seen.phase
                        self._patience.saw(seen.phase)
                        if seen.phase.is_final:
                            return seen
                        # That it waits is known from the claim; why it waits is news.
                        if seen != last and (seen.phase is not Phase.QUEUED or seen.reason):
                            self._server.saw(seen)
                        last = seen
            except Unavailable as error:
                self._patience.is_away(Stage.RUN, error)
                await asyncio.sleep(error.retry_after.total_seconds())
            else:
                raise RuntimeError(f"{driver.name} ended its watch without a final observation")

    async def _ship(self, driver: Driver, handle: Handle, log: Log) -> None:
        """Send the output. Losing it is no reason to lose the run, losing the item is."""
        try:
            await ship(driver, handle, log, lambda: Mask(self._server.secrets))
        except StaleLease:
            raise
        except RunyardError as error:
            self._server.warn(Stage.RUN, f"the rest of the output is not kept: {error.message}")

    async def _stop_when_asked(self, driver: Driver, handle: Handle) -> None:
        await self._stop_asked.wait()
        await self._insist(partial(driver.stop, handle, grace=self._grace))
        self._log.info("stopped")

    # -- ends ----------------------------------------------------------------------------

    async def _give_back(self) -> None:
        self._is_closing = True
        self._log.info("given back to its queue")
        with suppress(RunyardError):
            await self._server.release()

    async def _fail(self, fault: Fault) -> None:
        """Make an end of what there is, then say why: a failed item has nothing running."""
        await self._ended()
        await self._tell_of_build()
        text = self._said.decode(errors="replace") if fault.detail is None else fault.detail
        self.holds = False
        # What has run is never run again for a fault of its host, nor what may have.
        host = fault.is_hosts and not self._may_have_run
        self._log.warning("item failed", stage=self._stage, why=fault.message, host=host)
        try:
            await self._server.fail(self._stage, fault.message, text, host=host)
        except RunyardError as error:
            self._log.warning("the failure was not taken", why=error.message)

    async def _ended(self) -> None:
        """Leave nothing behind: no workload, no files. Whatever goes wrong here is logged."""
        self._is_closing = True
        self._server.drop_news()
        try:
            for handle in await self._handles():
                assert self._driver is not None
                if self.phase is None or not self.phase.is_final:
                    await self._insist(partial(self._driver.stop, handle, grace=self._grace))
                await self._insist(partial(self._driver.discard, handle))
            await self._bench.workspaces.remove(self.held.key)
            self._bench.volumes.free(self.held.key)  # not if it may be running still
        except Exception:
            self._log.exception("could not clean up; the next start of this agent will")

    async def _handles(self) -> Collection[Handle]:
        if self._handle is not None:
            return [self._handle]
        if not self._submitting or self._driver is None:
            return []
        # A submission was cut short: ask the backend whether it got there.
        others = self._bench.live - {self.held.key}
        return await self._insist(partial(self._driver.leftovers, others))

    @property
    def _may_have_run(self) -> bool:
        return self.held.handle is not None or self.phase not in (None, Phase.QUEUED)

    # -- small things --------------------------------------------------------------------

    def _note(self, workload: Workload) -> None:
        self._server.secrets = spellings(workload.secrets.values())
        note = Note(
            secrets=list(workload.secrets.values()),
            gpus=list(workload.gpus),
            volumes=[mount.name for mount in workload.mounts],
        )
        self._bench.workspaces.write_note(self.held.key, note)

    def _recall(self) -> None:
        """Take over from the process that had started the workload."""
        note = self._bench.workspaces.read_note(self.held.key)
        self._server.secrets = spellings(note.secrets)
        self._bench.gpus.hold(self.held.key, note.gpus)
        self._bench.volumes.recall(self.held.key, note.volumes)
        self._log.info("adopted", log_size=self.held.log_size)

    async def _tell_of_build(self) -> None:
        """Wait until the server has all that was printed by a build: no more is taken later."""
        if self._build_log is not None:
            await self._build_log.flush()

    def _enter(self, stage: Stage) -> None:
        self._stage = stage

    def _hear(self, progress: bytes) -> None:
        self._said += progress
        del self._said[:-MAX_DETAIL]

    def _wait_told(self, stage: Stage, why: str) -> None:
        """Tell the run's owner what is waited for, there too where who follows a build looks."""
        is_new = self._server.warn(stage, why)
        if is_new and self._build_log is not None and stage is not Stage.RUN:
            self._build_log.say(f"{why}; asked again until there is an answer")

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        return await self._patience.insist(call, self._stage)


def _handle(held: Held) -> Handle | None:
    if held.handle is None:
        return None
    return Handle(held.handle.driver, held.handle.version, held.handle.data)
