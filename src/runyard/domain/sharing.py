"""
Fair share: who of a queue's users goes next, by what each of them used of late.

Use is seconds of running, and counts half after the queue's half-life. What is kept of it is a
*level*, the logarithm of the use as it would weigh at the epoch:

    level = log2(use now) + (now / half-life)

All use decays alike, so the order of levels does not change while time passes: it can be an
index, and nothing is rewritten until somebody uses more. Logarithms, because the number itself
would overflow within a year.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

NEVER: Final = -1e18  # the level of who has used nothing; a number, so that it can be indexed
FIRST_GUESS: Final = 60.0  # seconds a run is taken to last before one was measured
_WEIGHT: Final = 0.3  # of the newest run in the measured typical length


def use_at(level: float, half_life: float, now: float) -> float:
    """Return the decayed use, in seconds, at `now` (seconds since the epoch)."""
    return 0.0 if level <= NEVER else 2.0 ** min(level - now / half_life, 1000.0)


def added(level: float, seconds: float, half_life: float, now: float) -> float:
    """Return the level after `seconds` more of use; fewer, if negative, but never below none."""
    use = use_at(level, half_life, now) + seconds
    return NEVER if use <= 1e-6 else math.log2(use) + now / half_life


def typical(before: float, seconds: float) -> float:
    """Return the typical length of a user's runs after one of `seconds`."""
    return before + _WEIGHT * (seconds - before)


@dataclass(frozen=True, slots=True)
class Line:
    """A user with items waiting at one priority. `room`: how many more may run, None any."""

    user_id: str
    level: float
    typical_s: float
    room: int | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """The `nth` waiting item of a user leaves next and is charged; `level` is the user's before."""

    user_id: str
    nth: int
    charged: float
    level: float


def turns(lines: Sequence[Line], n: int, *, half_life: float, now: float) -> list[Turn]:
    """Return whose items leave next, `n` at most, if everybody has enough of them.

    Every start is charged at once, with what the user's runs typically last, so that two users
    who wait alternate; the end of the run settles the difference.
    """
    heap = [(line.level, line.user_id) for line in lines if line.room != 0]
    heapq.heapify(heap)
    by_user = {line.user_id: line for line in lines}
    counts: dict[str, int] = {}
    found: list[Turn] = []
    while heap and len(found) < n:
        level, user = heapq.heappop(heap)
        line, nth = by_user[user], counts.get(user, 0)
        found.append(Turn(user, nth, line.typical_s, level))
        counts[user] = nth + 1
        if line.room is None or nth + 1 < line.room:
            heapq.heappush(heap, (added(level, line.typical_s, half_life, now), user))
    return found
