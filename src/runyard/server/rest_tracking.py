"""Routes of what a run has logged: its metrics, samples of its history, and of the system's."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from fastapi import FastAPI, Path, Query
from starlette.responses import Response

from runyard.domain.access import Kind
from runyard.domain.tracking.sampling import Spec
from runyard.server.auth import opens
from runyard.server.edge import Edge
from runyard.server.paging import Caller
from runyard.services import runs
from runyard.services.call import Call
from runyard.services.tracking import history
from runyard.services.tracking.streaming import EVENTS, HISTORY
from runyard.wire import rest_tracking as wire

Named = Annotated[str, Path(max_length=128)]
Samples = Annotated[
    int, Query(ge=1, le=history.MOST, description="How many rows at most, evenly chosen.")
]
Step = Annotated[int | None, Query(ge=-(2**53), le=2**53)]
_RUN: Final = "/api/v1/runs/{entity}/{project}/{run}"


def add(app: FastAPI, edge: Edge) -> None:
    @app.get(f"{_RUN}/metrics", tags=["runs"])
    @opens(Kind.USER, Kind.RUN)
    async def run_metrics(
        entity: Named, project: Named, run: Named, caller: Caller
    ) -> wire.MetricsOut:
        """Show the keys that a run has logged with their last values, and its summary."""

        def look(call: Call) -> wire.MetricsOut:
            row = runs.get_run(call, entity, project, run)
            told = history.told(call, row["run_pk"])
            return wire.MetricsOut(
                rows=told.rows,
                last_step=told.last_step,
                metrics=[
                    wire.Metric(key=key, types=of.types, last=of.last, rising=of.rising)
                    for key, of in sorted(told.keys.items())
                ],
                summary=history.values(told.summary),
                system=history.values(told.system),
            )

        return await edge.read(caller, look)

    @app.get(f"{_RUN}/history", tags=["runs"], response_model=wire.RowsOut)
    @opens(Kind.USER, Kind.RUN)
    async def run_history(
        entity: Named,
        project: Named,
        run: Named,
        caller: Caller,
        keys: Annotated[
            str | None,
            Query(
                max_length=20_000,
                description="Only rows that have all of these, and nothing else of them: `a,b.c`. "
                "Default: whole rows.",
            ),
        ] = None,
        samples: Samples = 1500,
        min_step: Step = None,
        max_step: Step = None,
    ) -> Response:
        """Return rows of a run's history; those of both steps may be among them."""
        wanted = tuple(key for key in (keys or "").split(",") if key)
        spec = Spec(wanted, samples, min_step, max_step)

        def look(call: Call) -> list[dict[str, object]]:
            pk = runs.get_run(call, entity, project, run)["run_pk"]
            if wanted:
                return history.sampled(call, pk, spec)
            found = history.rows(
                call, pk, HISTORY, samples=samples, min_step=min_step, max_step=max_step
            )
            return [history.values(text) for text in found]

        return _rows(await edge.read(caller, look))

    @app.get(f"{_RUN}/system-metrics", tags=["runs"], response_model=wire.RowsOut)
    @opens(Kind.USER, Kind.RUN)
    async def run_system_metrics(
        entity: Named, project: Named, run: Named, caller: Caller, samples: Samples = 500
    ) -> Response:
        """Return samples of what a run's machine did meanwhile: `system.cpu` and its like."""

        def look(call: Call) -> list[dict[str, object]]:
            pk = runs.get_run(call, entity, project, run)["run_pk"]
            found = history.rows(call, pk, EVENTS, samples=samples)
            return [history.values(text) for text in found]

        return _rows(await edge.read(caller, look))


def _rows(found: list[dict[str, object]]) -> Response:
    return Response(msgspec.json.encode({"data": found}), media_type="application/json")
