"""
Ending hopeless runs early: hyperband, as one bracket of successive halving without waiting.

At each rung, a number of values of the metric, a run is measured by its best value so far. It
goes on if it is among the best share 1/eta of all runs that have come to that rung. `strict`
measures a run at every rung behind it again, as others come; otherwise only at its newest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from runyard.domain.errors import Invalid, Violation

_MOST_RUNGS: Final = 20
_FARTHEST: Final = 10**9
_KEYS: Final = ("type", "min_iter", "max_iter", "s", "eta", "strict")


@dataclass(frozen=True, slots=True)
class Hyperband:
    """`rungs` ascend."""

    rungs: tuple[int, ...]
    eta: int
    strict: bool = False


def parse(data: Mapping[str, object]) -> Hyperband:
    """Read `early_terminate`. Raises: Invalid."""
    wrong: list[Violation] = []

    def number(key: str, least: int) -> int | None:
        value = data.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _FARTHEST:
            wrong.append(Violation(f"early_terminate.{key}", f"a whole number, {least} or more"))
            return None
        return value

    if data.get("type") != "hyperband":
        kind = data.get("type")
        wrong.append(Violation("early_terminate.type", f"is {kind!r}; hyperband is what there is"))
    eta = number("eta", 2) or 3
    least, most, count = number("min_iter", 1), number("max_iter", 1), number("s", 1)
    strict = data.get("strict", False)
    if not isinstance(strict, bool):
        wrong.append(Violation("early_terminate.strict", "true or false"))
    ladder: list[int] = []
    if least is not None:
        ladder = [least * eta**k for k in range(_MOST_RUNGS) if least * eta**k <= _FARTHEST]
    elif most is not None and count is not None:
        steps = range(1, min(count, _MOST_RUNGS) + 1)
        ladder = sorted({most // eta**k for k in steps} - {0})
    if not wrong and not ladder:
        wrong.append(Violation("early_terminate", "give min_iter, or both max_iter and s"))
    if wrong:
        raise Invalid("early_terminate is not valid", violations=wrong)
    return Hyperband(tuple(ladder), eta, strict=strict is True)


def unknown_keys(data: Mapping[str, object]) -> list[str]:
    return [key for key in data if key not in _KEYS]


def bests(values: Sequence[float], rungs: Sequence[int], *, maximize: bool) -> dict[int, float]:
    """Return the best value at each rung that a run has come to."""
    best = max if maximize else min
    return {rung: best(values[:rung]) for rung in rungs if rung <= len(values)}


def stops(
    band: Hyperband,
    own: Mapping[int, float],
    all_bests: Mapping[int, Sequence[float]],
    *,
    maximize: bool,
) -> bool:
    """Whether a run with these bests should end; `all_bests` are those of all runs, its own too."""
    reached = sorted(own)
    measured = reached if band.strict else reached[-1:]
    return any(
        _is_worse(own[rung], _bar(all_bests[rung], band.eta, maximize=maximize), maximize=maximize)
        for rung in measured
    )


def _bar(values: Sequence[float], eta: int, *, maximize: bool) -> float:
    """Return the worst value that is among the best share."""
    kept = max(1, math.ceil(len(values) / eta))
    return sorted(values, reverse=maximize)[kept - 1]


def _is_worse(value: float, than: float, *, maximize: bool) -> bool:
    return value < than if maximize else value > than
