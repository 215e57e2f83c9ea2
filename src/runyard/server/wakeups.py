"""
Waking those who wait, after a commit, within a millisecond, and no more of them than needed.

Whoever waits opens a bell *before* it looks at the database, so nothing that is announced in
between is lost. Of a queue's waiters as many are rung as items came, the longest-waiting
first; of any other topic all. A waiter that is rung and cannot look passes the ring on.

The hub also remembers which queues were found empty and not announced since: their waiters
need not ask the database at all.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

QUEUE = "queue:"
_COUNTED = (QUEUE, "agent:")  # topics whose announcements are numbered


class Bell:
    """One waiter. Rung once; `by` is the queue's topic whose share of rings it took."""

    def __init__(self, topics: Collection[str]) -> None:
        self.topics = topics
        self.by: str | None = None
        self._event = asyncio.Event()

    @property
    def rung(self) -> bool:
        return self._event.is_set()

    def ring(self) -> None:
        self._event.set()

    def reset(self) -> None:
        """Be ready to be rung again; look at the database after this, not before."""
        self._event.clear()

    def answered(self) -> None:
        """Say that whoever was rung has looked, or will for certain: nobody else needs to."""
        self.by = None

    async def wait(self, seconds: float) -> bool:
        """Return True when rung, False after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return self.rung
        return True


class Hub:
    """`announced` and `missed` may be called from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bells: dict[str, OrderedDict[Bell, None]] = {}
        self._lock = threading.Lock()
        self._number = itertools.count(1)
        self._since = 0  # everything announced before it counts as news
        self._last: dict[str, int] = {}
        self._empty: dict[str, int] = {}
        self.closing = False

    def start(self) -> None:
        """Belong to the running loop."""
        self._loop = asyncio.get_running_loop()
        self.closing = False

    def close(self) -> None:
        """Ring everybody, for good: the server is leaving."""
        self.closing = True
        self._ring_all()

    def announced(self, topics: Mapping[str, int]) -> None:
        """Take what a transaction said when it was committed."""
        with self._lock:
            for topic in topics:
                if topic.startswith(_COUNTED):
                    self._last[topic] = next(self._number)
        self._in_loop(lambda: self._ring(topics))

    def missed(self) -> None:
        """Announcements may have been lost: everybody has to look again."""
        with self._lock:
            self._since = next(self._number)
        self._in_loop(self._ring_all)

    def number(self, topic: str) -> int:
        """Return a number that grows with each announcement of a queue or an agent."""
        return max(self._since, self._last.get(topic, 0))

    def is_empty(self, topic: str) -> bool:
        """Whether the queue was found empty and nothing was announced since."""
        return self._empty.get(topic, -1) == self.number(topic)

    def mark(self) -> int:
        """Return a number above all that was announced, to look at the database after."""
        with self._lock:
            return next(self._number)

    def found_empty(self, topics: Collection[str], mark: int) -> None:
        """Note queues that were found empty by a look that began at `mark`."""
        for topic in topics:
            if (number := self.number(topic)) < mark:
                self._empty[topic] = number

    @contextmanager
    def bell(self, topics: Collection[str]) -> Iterator[Bell]:
        """Open a bell for the topics; what it was rung for and did not answer is passed on."""
        bell = Bell(topics)
        for topic in topics:
            self._bells.setdefault(topic, OrderedDict())[bell] = None
        if self.closing:
            bell.ring()
        try:
            yield bell
        finally:
            self._remove(bell)
            if bell.by is not None:
                self._ring({bell.by: 1})

    def _in_loop(self, what: object) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what)  # type: ignore[arg-type]

    def _ring(self, topics: Mapping[str, int]) -> None:
        for topic, count in topics.items():
            waiting = self._bells.get(topic)
            if not waiting:
                continue
            is_queue = topic.startswith(QUEUE)
            for bell in list(itertools.islice(waiting, count if is_queue else None)):
                if is_queue:
                    bell.by = topic
                    self._remove(bell)  # its place in the other queues' lines is given up too
                bell.ring()

    def _ring_all(self) -> None:
        for waiting in list(self._bells.values()):
            for bell in list(waiting):
                bell.ring()

    def _remove(self, bell: Bell) -> None:
        for topic in bell.topics:
            waiting = self._bells.get(topic)
            if waiting is not None:
                waiting.pop(bell, None)
                if not waiting:
                    del self._bells[topic]
