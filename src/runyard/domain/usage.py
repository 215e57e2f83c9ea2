"""
What was used: the time of attempts, cut to the periods in which it passed.

An attempt holds its place, and its GPUs, from the claim to the end; its program runs from the
start on. What was preempted, lost or failed was used all the same. Periods begin at midnight UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Self

from runyard.domain.errors import Invalid

MAX_PERIODS: Final = 1000
_DAY: Final = timedelta(days=1)


class Group(StrEnum):
    """By what usage can be told apart."""

    USER = "user"  # who submitted
    TEAM = "team"  # whose project it is
    ENTITY = "entity"  # whose queue it is
    QUEUE = "queue"
    PROJECT = "project"
    JOB = "job"

    @classmethod
    def parse(cls, text: str) -> tuple[Group, ...]:
        """Read `user,queue`; an empty text is no group: one line for all.

        Raises:
            Invalid: an unknown word.
        """
        words = [word.strip() for word in text.split(",") if word.strip()]
        unknown = [word for word in words if word not in set(cls)]
        if unknown:
            raise Invalid(f"group: {unknown[0]!r} is none of {', '.join(cls)}")
        return tuple(dict.fromkeys(map(cls, words)))


class Interval(StrEnum):
    DAY = "day"
    MONTH = "month"


@dataclass(slots=True)
class Figures:
    """`runs` and `attempts` count where they began, times are in milliseconds."""

    runs: int = 0
    attempts: int = 0
    held_ms: int = 0
    ran_ms: int = 0
    gpu_ms: int = 0

    def add(self, other: Self) -> None:
        self.runs += other.runs
        self.attempts += other.attempts
        self.held_ms += other.held_ms
        self.ran_ms += other.ran_ms
        self.gpu_ms += other.gpu_ms


@dataclass(frozen=True, slots=True)
class Window:
    """From `since` until just before `until`, in UTC; in periods of `interval`, or as a whole."""

    since: datetime
    until: datetime
    interval: Interval | None = None

    def checked(self) -> Self:
        """Return the window.

        Raises:
            Invalid: it ends before it begins, or has more than `MAX_PERIODS` periods.
        """
        if self.since >= self.until:
            raise Invalid(f"since: {self.since} is not before until, {self.until}")
        shortest = timedelta(days=28) if self.interval is Interval.MONTH else _DAY
        if self.interval is not None and (self.until - self.since) / shortest > MAX_PERIODS:
            raise Invalid(f"interval: more than {MAX_PERIODS} periods; ask for fewer")
        return self

    def period_of(self, at: datetime) -> datetime | None:
        """Return the beginning of the period that `at` lies in; None if there is only one."""
        midnight = datetime(at.year, at.month, at.day, tzinfo=UTC)
        match self.interval:
            case Interval.DAY:
                return midnight
            case Interval.MONTH:
                return midnight.replace(day=1)
            case None:
                return None

    def periods(self, begin: datetime, end: datetime) -> Iterator[tuple[datetime | None, int, int]]:
        """Cut a stretch of time to the window and into periods.

        Yield each period that it touches with the milliseconds, since the epoch, between which
        it does.
        """
        begin, end = max(begin, self.since), min(end, self.until)
        while begin < end:
            period = self.period_of(begin)
            until = end if period is None else min(end, self._after(period))
            yield period, _ms(begin), _ms(until)
            begin = until

    def _after(self, period: datetime) -> datetime:
        if self.interval is Interval.DAY:
            return period + _DAY
        return (period + timedelta(days=31)).replace(day=1)


def _ms(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
