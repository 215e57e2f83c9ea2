"""Who used how much, for those who may know: one's own always, others' with `see_audit`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from runyard.domain.access import Action
from runyard.domain.errors import TooMuch
from runyard.domain.usage import Figures, Group, Window
from runyard.services.call import Call
from runyard.store import usage
from runyard.store.db import Row
from runyard.store.usage import Scope
from runyard.store.values import from_ms, to_ms

MAX_LINES: Final = 20_000
_VERSION: Final = re.compile(r":v\d+$")

Key = tuple[datetime | None, tuple[str, ...]]


@dataclass(slots=True)
class Report:
    """Figures by period and by the names of `groups`, in order; `total` is the sum of all."""

    window: Window
    groups: tuple[Group, ...]
    lines: dict[Key, Figures] = field(default_factory=dict)
    total: Figures = field(default_factory=Figures)

    def add(self, period: datetime | None, names: tuple[str, ...], figures: Figures) -> None:
        """Count figures in.

        Raises:
            TooMuch: this would be one line too many.
        """
        key = (period, names)
        if key not in self.lines:
            if len(self.lines) >= MAX_LINES:
                raise TooMuch(
                    f"the report would have more than {MAX_LINES} lines",
                    hint="ask for less time, or for fewer groups",
                )
            self.lines[key] = Figures()
        self.lines[key].add(figures)
        self.total.add(figures)

    def sort(self) -> None:
        """Order by period, then the greatest use first."""

        def place(key: Key) -> tuple[float, int, int, tuple[str, ...]]:
            period, names = key
            figures = self.lines[key]
            since = period.timestamp() if period else 0.0
            return since, -figures.gpu_ms, -figures.held_ms, names

        self.lines = {key: self.lines[key] for key in sorted(self.lines, key=place)}


def report(
    call: Call,
    window: Window,
    groups: Sequence[Group] = (),
    *,
    entity: str | None = None,
    user: str | None = None,
) -> Report:
    """Sum up what attempts used within a window.

    Of `entity`'s queues and projects, or of all that the caller may know; a caller without
    `see_audit` is told of what they submitted. What still runs counts up to now.

    Raises:
        Invalid: the window. NotFound: no such entity that the caller may see. TooMuch.
    """
    made = Report(window.checked(), tuple(groups))
    scope = _scope(call, entity, user)
    for row in usage.sums(call.tx, scope, window, groups):
        period = window.period_of(from_ms(usage.at_day(row["day"])))
        figures = Figures(
            int(row["runs"]), row["attempts"],
            int(row["held_ms"]), int(row["ran_ms"]), int(row["gpu_ms"]),
        )  # fmt: skip
        made.add(period, _names(row, groups), figures)
    for row in usage.pieces(call.tx, scope, window, groups):
        _cut(made, row, call.now)
    made.sort()
    return made


def _cut(made: Report, row: Row, now: datetime) -> None:
    """Count each period's part of an attempt, and the attempt where it began."""
    window, names = made.window, _names(row, made.groups)
    claimed = from_ms(row["claimed_at"])
    ended = now if row["ended_at"] is None else from_ms(row["ended_at"])
    if window.since <= claimed < window.until:
        begun = Figures(runs=int(row["n"] == 1), attempts=1)
        made.add(window.period_of(claimed), names, begun)
    started = to_ms(ended) if row["started_at"] is None else row["started_at"]
    for period, begin, end in window.periods(claimed, ended):
        held = end - begin
        part = Figures(held_ms=held, ran_ms=max(0, end - max(begin, started)))
        part.gpu_ms = held * row["gpus"]
        made.add(period, names, part)


def _names(row: Row, groups: Sequence[Group]) -> tuple[str, ...]:
    # All versions of a job are one job.
    return tuple(
        _VERSION.sub("", row["by_job"]) if group is Group.JOB else row[f"by_{group.value}"]
        for group in groups
    )


def _scope(call: Call, entity: str | None, user: str | None) -> Scope:
    actor = call.actor
    if entity is not None:
        found = call.entity(entity, Action.SEE)["id"]
        author = None if actor.may(Action.SEE_AUDIT, found) else actor.user_id
        return Scope(entities=[found], author=author, user=user, queues=actor.queues)
    if actor.is_admin:
        return Scope(entities=None, user=user)
    known = [e for e in actor.grants if actor.may(Action.SEE_AUDIT, e)]
    return Scope(entities=known, or_author=actor.user_id, user=user, queues=actor.queues)
