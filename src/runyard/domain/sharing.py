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

import math
from dataclasses import dataclass, replace
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
class Standing:
    """
    What a user has used, as a level; the level at which the user's next item is placed, which
    reckons with what waits; and how long the user's runs typically last, in seconds.
    """

    used: float = NEVER
    level: float = NEVER
    typical_s: float = FIRST_GUESS


@dataclass(frozen=True, slots=True)
class Place:
    """An item's place, and the seconds that it is booked with before anybody knows better."""

    turn: float
    charged: float


def places(
    standing: Standing, n: int, *, half_life: float, now: float
) -> tuple[list[Place], Standing]:
    """Return the places of a user's next `n` items, and the standing after them.

    Each item is placed by what its user will have used when it is its turn, so what waits of all
    users is in order by these numbers alone: it is as if, at every start, whoever used least went
    first and was charged at once. The end of a run settles the difference.
    """
    found, level = [], standing.level
    for _ in range(n):
        found.append(Place(level, standing.typical_s))
        level = added(level, standing.typical_s, half_life, now)
    return found, replace(standing, level=level)
