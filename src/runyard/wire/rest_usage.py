"""Bodies of the usage report."""

from __future__ import annotations

from datetime import datetime

from runyard.wire.rest import Out


class UsageFigures(Out):
    """What was used. Hours are of attempts, in hours.

    `hours` is the time from claim to end, when a place of an agent was taken; `running_hours` is
    when the program ran; `gpu_hours` is `hours` times the number of GPUs. `runs` and `attempts`
    count what began in the period.
    """

    runs: int
    attempts: int
    hours: float
    running_hours: float
    gpu_hours: float


class UsageLine(UsageFigures):
    """`period` is the beginning of the day or month; `by` has a name for each group asked for."""

    period: datetime | None
    by: dict[str, str]


class UsageOut(Out):
    since: datetime
    until: datetime
    group: list[str]
    interval: str | None
    lines: list[UsageLine]
    total: UsageFigures
