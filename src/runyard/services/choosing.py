"""
Which items of a queue leave next: priority, then fair share if it is on, then time; within limits.

A queue without limits and shares is read straight from its index. Otherwise the leases of one
queue wait for each other, what runs is counted, and users take turns; the work grows with the
number of items asked for and of users who wait, never with the number of items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from runyard.domain import sharing
from runyard.domain.items import QueueId
from runyard.domain.policy import QueuePolicy
from runyard.services.call import Call
from runyard.store import shares, waiting
from runyard.store.db import Row
from runyard.store.items import Pair

_MOST_LINES: Final = 2000  # that are compared where users have limits but no shares
_WINDOW: Final = 64  # items beyond those asked for that are looked at before lines are

Chosen = tuple[Pair, float | None]


def choose(
    call: Call, queue_id: QueueId, policy: QueuePolicy, *, agent: str, n: int
) -> list[Chosen]:
    """Return up to `n` items that may leave now, held for writing, and what each is charged."""
    if not policy.is_choosy:
        found = waiting.next_waiting(call.tx, queue_id, agent=agent, limit=n)
        return [(pair, None) for pair in found]
    waiting.lock_queue(call.tx, queue_id)
    running = waiting.running(call.tx, queue_id)
    if policy.max_running:
        n = min(n, policy.max_running - sum(running.values()))
    if n <= 0:
        return []
    rooms = _Rooms(policy, running)
    if policy.fair_share:
        return _Turns(call, queue_id, policy, rooms, agent, n).take()
    ids = _by_time(call, queue_id, rooms, agent, n)
    return [(pair, None) for pair in waiting.take(call.tx, ids)]


class _Rooms:
    """How many more items of each user may run."""

    def __init__(self, policy: QueuePolicy, running: Mapping[str, int]) -> None:
        self._most, self._running = policy.max_running_per_user, running

    def of(self, user_id: str) -> int | None:
        """Return a number, None for any number."""
        return max(0, self._most - self._running.get(user_id, 0)) if self._most else None

    def full(self) -> list[str]:
        return [user for user in self._running if self.of(user) == 0]


def _by_time(call: Call, queue_id: QueueId, rooms: _Rooms, agent: str, n: int) -> list[str]:
    """Return the oldest of the most urgent items of users who have room."""
    width = n + _WINDOW
    first = waiting.window(call.tx, queue_id, agent=agent, limit=width)
    chosen = list(_within(((row["id"], row["author_id"]) for row in first), rooms, n))
    if len(chosen) == n or len(first) < width:
        return chosen
    # Users without room fill the front of the queue: ask for the fronts of all others.
    lines = shares.lines(call.tx, queue_id, limit=_MOST_LINES, without=rooms.full())
    asked = [(row["user_id"], row["priority"], min(n, rooms.of(row["user_id"]) or n))
             for row in lines]  # fmt: skip
    heads = waiting.heads(call.tx, queue_id, asked, agent=agent)
    for row in lines:
        if not heads[row["user_id"], row["priority"]]:
            shares.close(call.tx, queue_id, row)
    ordered = sorted((p, at, item_id, user) for (user, p), line in heads.items()
                     for at, item_id in line)  # fmt: skip
    return list(_within(((item_id, user) for _, _, item_id, user in ordered), rooms, n))


def _within(items: Iterable[tuple[str, str]], rooms: _Rooms, n: int) -> Iterator[str]:
    left: dict[str, int] = {}
    for item_id, user in items:
        room = rooms.of(user)
        if room is not None:
            if left.setdefault(user, room) <= 0:
                continue
            left[user] -= 1
        yield item_id
        n -= 1
        if not n:
            return


class _Turns:
    """Users of a queue taking turns, until `n` items are found or nobody has any left."""

    def __init__(
        self, call: Call, queue_id: QueueId, policy: QueuePolicy, rooms: _Rooms, agent: str, n: int
    ) -> None:
        self._call, self._queue_id, self._agent = call, queue_id, agent
        self._half_life, self._rooms, self._n = policy.fair_share_half_life, rooms, n
        self._levels: dict[str, float] = {}  # as they will be
        self._charged: dict[str, float] = {}  # by item
        self._taken: dict[str, int] = {}  # by user
        self._of_line: dict[tuple[str, int], int] = {}
        self._done: set[tuple[str, int]] = set()  # lines that have no more for us

    def take(self) -> list[Chosen]:
        while len(self._charged) < self._n:
            wanted = self._n - len(self._charged) + len(self._done)
            rows = shares.lines(
                self._call.tx, self._queue_id, limit=2 * wanted + 8, without=self._rooms.full()
            )
            left = [row for row in rows if _line(row) not in self._done]
            if not left:
                break
            urgent = left[0]["priority"]
            self._round([row for row in left if row["priority"] == urgent])
        pairs = waiting.take(self._call.tx, list(self._charged))
        if pairs:
            shares.charge(self._call.tx, self._queue_id, self._levels)
        return [(pair, self._charged[pair.item.id]) for pair in pairs]

    def _round(self, rows: Sequence[Row]) -> None:
        """Let the users of one priority take turns; mark lines that have no more."""
        by_user = {row["user_id"]: row for row in rows}
        turns = sharing.turns(
            [self._standing(row) for row in rows],
            self._n - len(self._charged),
            half_life=self._half_life,
            now=self._call.now.timestamp(),
        )
        wanted = Counter(turn.user_id for turn in turns)
        asked = [(u, by_user[u]["priority"], self._of_line.get(_line(by_user[u]), 0) + times)
                 for u, times in wanted.items()]  # fmt: skip
        heads = waiting.heads(self._call.tx, self._queue_id, asked, agent=self._agent)
        begun = {line: self._of_line.get(line, 0) for line in heads}
        for turn in turns:
            line = _line(by_user[turn.user_id])
            nth = begun[line] + turn.nth
            if nth < len(heads[line]):
                self._book(line, heads[line][nth][1], turn)
            else:
                self._done.add(line)
        for line, items in heads.items():
            if not items:
                shares.close(self._call.tx, self._queue_id, by_user[line[0]])
        if len(self._charged) < self._n and not self._done.intersection(heads):
            self._done.update(map(_line, rows))  # limits, not emptiness, have ended this round

    def _standing(self, row: Row) -> sharing.Line:
        user = row["user_id"]
        room = self._rooms.of(user)
        if room is not None:
            room = max(0, room - self._taken.get(user, 0))
        level = self._levels.get(user, row["level"])
        return sharing.Line(user, level, row["typical_s"], room)

    def _book(self, line: tuple[str, int], item_id: str, turn: sharing.Turn) -> None:
        user, now = turn.user_id, self._call.now.timestamp()
        level = self._levels.get(user, turn.level)
        self._levels[user] = sharing.added(level, turn.charged, self._half_life, now)
        self._charged[item_id] = turn.charged
        self._taken[user] = self._taken.get(user, 0) + 1
        self._of_line[line] = self._of_line.get(line, 0) + 1


def _line(row: Row) -> tuple[str, int]:
    return row["user_id"], row["priority"]
