"""Output as it is now: of a run, or of a stage of its item, from a byte on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Query

from runyard.domain.items import RunId
from runyard.domain.runs import RunState
from runyard.services import runs
from runyard.services.call import Call

StageName = Annotated[
    Literal["", "fetch", "build"],
    Query(description="Output of this stage, before the program ran; default: the program's own."),
]


@dataclass(frozen=True, slots=True)
class LogName:
    """Whose output: a run's by entity, project and name, or one of its stages'."""

    place: tuple[str, str, str]
    stage: str = ""


@dataclass(frozen=True, slots=True)
class Log:
    run: RunId
    size: int
    is_over: bool
    data: bytes


def read(call: Call, name: LogName, offset: int) -> Log:
    """Return what there is from `offset` on. Raises: NotFound."""
    row = runs.get_run(call, *name.place)
    run, state = RunId(row["run_pk"]), RunState(row["run_state"])
    if name.stage:
        size, data = runs.read_stage_log(call, row["id"], name.stage, offset)
        # A stage is over when the program runs, though an attempt to come may have it again.
        return Log(run, size, state.is_final or state is RunState.RUNNING, data)
    data = runs.read_log(call, run, offset) if offset < row["log_size"] else b""
    return Log(run, row["log_size"], state.is_final, data)
