"""Bodies of what runs have logged. NaN and infinities are told by their names, as strings."""

from __future__ import annotations

from typing import Any

from runyard.wire.rest import Out


class Metric(Out):
    """A key of a history: how many values of which types, the last number, and whether numbers
    never fell."""

    key: str
    types: dict[str, int]
    last: float | int | None
    rising: bool


class MetricsOut(Out):
    """`rows` is how many steps were logged, `last_step` the highest of them. `system` is the newest
    sample of system metrics."""

    rows: int
    last_step: int | None
    metrics: list[Metric]
    summary: dict[str, Any]
    system: dict[str, Any]


class RowsOut(Out):
    """Rows in the order in which they were logged."""

    data: list[dict[str, Any]]
