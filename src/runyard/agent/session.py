"""
The agent's conversation with its server: one long poll after the other, until it is time to go.

A poll is always open, so that a lease, a wish to stop or the order to drain arrives at once. One
that asks for work is never cancelled while the agent stays: an answer that nobody reads may carry
a lease. One that does not (the agent is full) is cancelled as soon as there is room again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from runyard.agent.attempt import Attempt
from runyard.agent.outage import Line
from runyard.agent.reporting import QueueNotes
from runyard.wire.agent import POLL_WAIT, Held, Poll, Polled

logger = structlog.get_logger(__name__)

UNLIMITED: Final = 200  # items to lease at once where there is no limit
SETTLE: Final = 0.1  # seconds that a full agent waits for a slot before it asks for news alone
LONGEST_CALM: Final = 0.25  # seconds between answers that came at once and said nothing new
IDLE_WAIT: Final = 1.0  # seconds to wait for work before an agent that leaves when idle does


class PollPost(Protocol):
    """What the session needs of `AgentApi`."""

    async def poll(self, poll: Poll) -> Polled: ...


class Session:
    """
    `begin` makes an attempt of what was leased. `on_aside` is told, with each answer, why the
    agent is set aside, or "" if it is not.
    """

    def __init__(
        self,
        api: PollPost,
        line: Line,
        begin: Callable[[Held], Attempt],
        queues: QueueNotes,
        *,
        max_jobs: int,
        exit_when_idle: bool = False,
        on_aside: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._api, self._line, self._begin, self._queues = api, line, begin, queues
        self._max_jobs, self._exit_when_idle = max_jobs, exit_when_idle
        self._on_aside, self._is_aside = on_aside, False
        self._attempts: dict[str, tuple[Attempt, asyncio.Task[None]]] = {}  # by lease token
        self._changed = asyncio.Event()
        self._draining = self._leaving = False
        self._empty_answers = 0

    # -- wishes from outside -------------------------------------------------------------

    def drain(self, why: str) -> None:
        """Take nothing more, finish what runs, then leave. Repeatable."""
        if self._draining:
            return
        self._draining = True
        for attempt in self.attempts:
            attempt.give_back()
        busy = [a.held.item_id for a in self.attempts if a.holds]
        logger.info("draining: nothing new is taken", why=why, running=len(busy), items=busy)
        self._changed.set()

    def leave(self) -> None:
        """Leave now; workloads go on, for the next process of this name."""
        busy = [a.held.item_id for a in self.attempts if a.holds]
        logger.warning("leaving at once; workloads go on", running=len(busy), items=busy)
        self._draining = self._leaving = True
        self._changed.set()

    @property
    def attempts(self) -> list[Attempt]:
        return [attempt for attempt, _ in self._attempts.values()]

    # -- work ----------------------------------------------------------------------------

    def take(self, held: Held, group: asyncio.TaskGroup) -> None:
        """Begin to work on an item."""
        attempt = self._begin(held)
        task = group.create_task(attempt.run(), name=held.key)
        self._attempts[held.token] = attempt, task
        task.add_done_callback(lambda _: self._over(held.token))
        if self._draining:
            attempt.give_back()

    def _over(self, token: str) -> None:
        del self._attempts[token]
        self._changed.set()

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Poll until drained or told to leave; attempts run in `group`.

        Raises:
            StaleEpoch, Unauthenticated: this process counts no more.
        """
        while not self._is_over():
            slots = self._slots()
            if slots == 0 and await self._changes_within(SETTLE):
                continue
            began = asyncio.get_running_loop().time()
            answer = await self._ask(self._next_poll(slots))
            if answer is not None:
                await self._calm_down(self._heed(answer, group), began)
                if self._is_idle(slots, answer):
                    self.drain("idle")
        for _, task in self._attempts.values():
            task.cancel()

    def _is_over(self) -> bool:
        return self._leaving or (self._draining and not self._attempts)

    def _is_idle(self, slots: int, answer: Polled) -> bool:
        may_work = slots > 0 or self._is_aside
        return self._exit_when_idle and may_work and not answer.leased and not self._attempts

    def _slots(self) -> int:
        if self._draining or self._is_aside:
            return 0
        if self._max_jobs < 0:
            return UNLIMITED
        return max(0, self._max_jobs - len(self._attempts))

    def _next_poll(self, slots: int) -> Poll:
        return Poll(
            slots=slots,
            holding=[a.held.item_id for a in self.attempts if a.holds],
            wait_s=IDLE_WAIT if self._exit_when_idle and not self._attempts else POLL_WAIT,
        )

    async def _ask(self, poll: Poll) -> Polled | None:
        """Return the answer; None if it is better to ask anew."""
        asking = asyncio.create_task(self._line.insist(lambda: self._api.poll(poll)))
        try:
            while not asking.done():
                self._changed.clear()
                changed = asyncio.create_task(self._changed.wait())
                await asyncio.wait({asking, changed}, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                pointless = poll.slots == 0 and self._slots() > 0
                if not asking.done() and (self._is_over() or pointless):
                    return None
            return asking.result()
        finally:
            asking.cancel()

    def _heed(self, answer: Polled, group: asyncio.TaskGroup) -> bool:
        """Do as the server says; return whether it said anything new."""
        news = bool(answer.leased)
        mine = {attempt.held.item_id: attempt for attempt in self.attempts if attempt.holds}
        for item_id in answer.lost:
            if attempt := mine.get(item_id):
                attempt.lose()
                news = True
        for wish in answer.stop:
            if (attempt := mine.get(wish.item_id)) and not attempt.is_stopping:
                attempt.stop(wish.grace_s)
                news = True
        for held in answer.leased:
            self.take(held, group)
        self._queues.look(answer.queues)
        news = news or self._is_aside != bool(answer.set_aside)
        self._is_aside = bool(answer.set_aside)
        self._on_aside(answer.set_aside)
        if answer.drain and not self._draining:
            self.drain("asked by the server")
            news = True
        return news

    async def _calm_down(self, news: bool, began: float) -> None:
        """Do not ask in a tight loop, should the server keep answering at once with no news."""
        took = asyncio.get_running_loop().time() - began
        if news or took > 1.0:
            self._empty_answers = 0
            return
        self._empty_answers += 1
        await asyncio.sleep(min(LONGEST_CALM, 0.01 * 2.0 ** min(self._empty_answers, 10)))

    async def _changes_within(self, seconds: float) -> bool:
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True
