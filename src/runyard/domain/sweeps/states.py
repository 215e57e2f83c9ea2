"""
The state of a sweep, in the words of the tracking client.

    PENDING ──▶ RUNNING ◀──▶ PAUSED ──▶ FINISHED | CANCELED | CRASHED ─ ─▶ RUNNING, PENDING

A sweep that has ended may be resumed. FINISHED lets the runs that are still going end by
themselves; CANCELED and CRASHED do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from runyard.domain.errors import IllegalMove, Invalid


class SweepState(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    FINISHED = "FINISHED"
    CANCELED = "CANCELED"
    CRASHED = "CRASHED"

    @property
    def is_final(self) -> bool:
        return self in _ENDS

    @property
    def stops_runs(self) -> bool:
        return self in (self.CANCELED, self.CRASHED)


_ENDS: Final = frozenset({SweepState.FINISHED, SweepState.CANCELED, SweepState.CRASHED})
_GOING: Final = frozenset({SweepState.PENDING, SweepState.RUNNING})
MOVES: Final[Mapping[SweepState, frozenset[SweepState]]] = {
    SweepState.PENDING: frozenset({SweepState.RUNNING, SweepState.PAUSED} | _ENDS),
    SweepState.RUNNING: frozenset({SweepState.PENDING, SweepState.PAUSED} | _ENDS),
    SweepState.PAUSED: _GOING | _ENDS,
    SweepState.FINISHED: _GOING,
    SweepState.CANCELED: _GOING,
    SweepState.CRASHED: _GOING,
}


def parse(text: str) -> SweepState:
    """Read a state as clients write it. Raises: Invalid."""
    word = text.upper()
    word = "CANCELED" if word == "CANCELLED" else word
    if word not in set(SweepState):
        raise Invalid(f"state: {text!r} is none of {', '.join(SweepState)}")
    return SweepState(word)


def moved(name: str, state: SweepState, to: SweepState) -> SweepState:
    """Return the state after a wish. Raises: IllegalMove."""
    if to is not state and to not in MOVES[state]:
        raise IllegalMove(f"sweep {name} is {state.lower()}, and cannot become {to.lower()}")
    return to
