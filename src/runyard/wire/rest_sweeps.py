"""Bodies of the routes of sweeps."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from runyard.wire.rest import In, Out


class SweepOut(Out):
    """`sweep` is the name that commands and programs use; `expected` is null where the number of
    runs is open. `best` is the best value of `metric` so far."""

    entity: str
    project: str
    sweep: str
    name: str | None
    state: str
    method: str
    runs: int
    expected: int | None
    run_cap: int | None
    metric: str | None
    goal: str | None
    best: float | None
    description: str
    created_at: datetime
    updated_at: datetime
    heartbeat_at: datetime | None


class SweepDetail(SweepOut):
    """`config` is the YAML as its author wrote it. `scheduler` is the run that drives it."""

    config: str
    scheduler: str | None
    agents: int


class SweepIn(In):
    state: Annotated[
        str,
        Field(
            max_length=16,
            description="RUNNING, PAUSED, FINISHED (runs that have begun go on), CANCELED.",
        ),
    ]
