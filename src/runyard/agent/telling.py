"""
What an attempt tells the server of its item: every move with the lease token, secrets masked.

What decides something is waited for. What is only news (the handle, the phases on the way) is
told a moment later and together, and not at all if the end has come by then: a short job costs
the server a claim and an end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from runyard.agent.courier import Courier
from runyard.agent.masking import Mask
from runyard.domain.errors import RunyardError, StaleLease
from runyard.domain.items import Stage
from runyard.domain.workloads import Handle, Observation
from runyard.wire.agent import (
    AnyMove,
    Build,
    Built,
    Claim,
    Fail,
    HandleData,
    Held,
    Keep,
    MayBuild,
    Moved,
    Observe,
    Release,
    Use,
    Warn,
)

logger = structlog.get_logger(__name__)

TELL_AFTER: Final = 0.02  # seconds
MAX_DETAIL: Final = 64 << 10  # characters of a failure's traceback or log


@dataclass(frozen=True, slots=True)
class Slot:
    """Where an image is or will be; the fields are those of `wire.agent.Build`."""

    place: str
    repository: str
    tag: str
    about: dict[str, str] = field(default_factory=dict)


class Teller:
    """`on_stale` is called when news is refused because the item is not ours any more."""

    def __init__(
        self, held: Held, courier: Courier, on_stale: Callable[[StaleLease], None]
    ) -> None:
        self.secrets: list[str] = []
        self._item_id, self._token = held.item_id, held.token
        self._courier, self._on_stale = courier, on_stale
        self._news: list[AnyMove] = []
        self._timer: asyncio.TimerHandle | None = None
        self._warned: set[str] = set()
        self._builds: Slot | None = None  # the image whose build others may be waiting for

    async def claim(self) -> Moved:
        """Make the item ours; return the run's token and the secrets.

        Raises:
            StaleLease: the lease has run out.
            RunyardError: it is ours, but its secrets cannot be had.
        """
        return await self._courier.move(Claim(item_id=self._item_id, token=self._token))

    async def release(self) -> None:
        """Give the item back."""
        await self._courier.move(Release(item_id=self._item_id, token=self._token))

    async def may_build(self, slot: Slot, *, missing: bool, waits: bool) -> MayBuild:
        """Ask whether this item is to build an image; see `MayBuild` for the answers.

        Raises:
            StaleLease: the item is not ours.
        """
        move = Build(**self._of(slot), missing=missing, waits=waits, about=slot.about)
        answer = (await self._courier.move(move)).may_build
        if answer is None:
            raise RunyardError("the server did not say whether the image may be built")
        if answer.do == "build":
            self._builds = slot
        return answer

    async def built(self, slot: Slot, *, digest: str = "", size: int = 0, error: str = "") -> None:
        """Tell how a build has ended that was allowed; it is no matter if that is known already.

        With neither digest nor error nothing was built, and the next who asks may.

        Raises:
            StaleLease: the item is not ours.
        """
        self._builds = None
        told = self.masked(error)
        move = Built(**self._of(slot), digest=digest, size=size, error=told)
        try:
            await self._courier.move(move)
        except StaleLease:
            raise
        except RunyardError as refusal:
            logger.warning("the end of a build was not taken", why=refusal.message)

    async def use(self, slot: Slot, digest: str) -> None:
        """Tell which image is about to run.

        Raises:
            StaleLease: the item is not ours.
            Conflict: it may not be used any more.
        """
        await self._courier.move(Use(**self._of(slot), digest=digest, about=slot.about))

    async def end(self, final: Observation) -> None:
        """Report the last observation, in place of all news before it.

        Raises:
            StaleLease: the item is not ours.
        """
        self.drop_news()
        await self._courier.move(self._observe(final))

    async def fail(self, stage: Stage, message: str, detail: str, *, host: bool = False) -> None:
        """Fail the item; `detail` is cut to its end. `host`: it may go to another host.

        If it was to build an image, those who wait for that fail, too: they would fare no better.
        """
        self.drop_news()
        if self._builds is not None and stage in (Stage.FETCH, Stage.BUILD) and not host:
            await self.built(self._builds, error=message.partition("\n")[0])
        await self._courier.move(
            Fail(
                item_id=self._item_id,
                token=self._token,
                stage=stage,
                message=self.masked(message),
                detail=self.masked(detail)[-MAX_DETAIL:],
                host=host,
            )
        )

    def keep(self, handle: Handle, gpus: int) -> None:
        """Tell where the workload lives, and how many GPUs it was given."""
        data = HandleData(handle.driver, handle.version, dict(handle.data))
        self._add(Keep(item_id=self._item_id, token=self._token, handle=data, gpus=gpus))

    def saw(self, seen: Observation) -> None:
        self._news = [move for move in self._news if not isinstance(move, Observe)]
        self._add(self._observe(seen))

    def warn(self, stage: Stage, message: str) -> bool:
        """Tell the run's owner; the same words once. Return whether they were new."""
        if message in self._warned:
            return False
        self._warned.add(message)
        text = self.masked(message)
        logger.warning(text, item=self._item_id, stage=stage)
        self._post(Warn(item_id=self._item_id, token=self._token, stage=stage, message=text))
        return True

    def tell_news(self) -> None:
        """Tell now what there is to tell."""
        for move in self._news:
            self._post(move)
        self.drop_news()

    def drop_news(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._news = None, []

    def masked(self, text: str) -> str:
        mask = Mask(self.secrets)
        return (mask.feed(text.encode()) + mask.flush()).decode(errors="replace")

    def _of(self, slot: Slot) -> dict[str, str]:
        """Return what each move about an image begins with."""
        return {
            "item_id": self._item_id,
            "token": self._token,
            "place": slot.place,
            "repository": slot.repository,
            "tag": slot.tag,
        }

    def _observe(self, seen: Observation) -> Observe:
        return Observe(
            item_id=self._item_id,
            token=self._token,
            phase=seen.phase,
            exit_code=seen.exit_code,
            reason=self.masked(seen.reason),
        )

    def _add(self, move: AnyMove) -> None:
        self._news.append(move)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TELL_AFTER, self.tell_news)

    def _post(self, move: AnyMove) -> None:
        self._courier.post(move).add_done_callback(self._answered)

    def _answered(self, answer: asyncio.Future[Moved]) -> None:
        error = None if answer.cancelled() else answer.exception()
        if isinstance(error, StaleLease):
            self._on_stale(error)
        elif isinstance(error, RunyardError):
            logger.warning("news was not taken", item=self._item_id, why=error.message)
