"""Routes of sweeps: look, pause, resume, end. They are made with the tracking client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import FastAPI, Path

from runyard.domain.access import Action, Kind
from runyard.server.auth import opens
from runyard.server.edge import Edge
from runyard.server.paging import Caller, Cursor, Limit, after, page
from runyard.services.call import Call
from runyard.services.sweeps import defining, finding, listing, yaml_text
from runyard.services.sweeps.suggesting import best_of
from runyard.store.db import Row
from runyard.store.values import at_or_none, from_ms
from runyard.wire import rest, rest_sweeps

Named = Annotated[str, Path(max_length=128)]


def add(app: FastAPI, edge: Edge) -> None:
    @app.get("/api/v1/sweeps/{entity}/{project}", tags=["sweeps"])
    @opens(Kind.USER)
    async def list_sweeps(
        entity: Named, project: Named, caller: Caller, limit: Limit = 50, cursor: Cursor = None
    ) -> rest.Page[rest_sweeps.SweepOut]:
        """List the sweeps of a project, the newest first."""

        def listed(call: Call) -> tuple[Sequence[Row], Mapping[str, rest_sweeps.SweepOut]]:
            place = listing.place(call, entity, project)
            before = after(cursor) or "~"
            found = listing.page(call, place, None, before=before, limit=limit + 1)
            counts = listing.counts(call, found)
            return found, {row["id"]: _out(call, row, counts[row["id"]]) for row in found}

        found, shaped = await edge.read(caller, listed)
        return page(found, limit, lambda row: row["id"], lambda row: shaped[row["id"]])

    @app.get("/api/v1/sweeps/{entity}/{project}/{sweep}", tags=["sweeps"])
    @opens(Kind.USER)
    async def get_sweep(
        entity: Named, project: Named, sweep: Named, caller: Caller
    ) -> rest_sweeps.SweepDetail:
        """Show a sweep with its configuration."""
        return await edge.read(
            caller, lambda call: _detail(call, finding.find(call, entity, project, sweep))
        )

    @app.patch("/api/v1/sweeps/{entity}/{project}/{sweep}", tags=["sweeps"])
    @opens(Kind.USER)
    async def edit_sweep(
        entity: Named, project: Named, sweep: Named, body: rest_sweeps.SweepIn, caller: Caller
    ) -> rest_sweeps.SweepDetail:
        """Pause, resume, stop or cancel a sweep."""

        def edit(call: Call) -> rest_sweeps.SweepDetail:
            row = finding.find(call, entity, project, sweep, Action.TRACK)
            return _detail(call, defining.set_state(call, row["id"], body.state))

        return await edge.write(caller, edit)


def _out(call: Call, row: Row, runs: int) -> rest_sweeps.SweepOut:
    config = yaml_text.read(row["config"])
    metric = config.metric
    return rest_sweeps.SweepOut(
        entity=row["entity"],
        project=row["project"],
        sweep=row["name"],
        name=row["display_name"],
        state=row["state"],
        method=row["method"],
        runs=runs,
        expected=config.expected_runs,
        run_cap=row["run_cap"],
        metric=metric.name if metric else None,
        goal=None if metric is None else "maximize" if metric.maximize else "minimize",
        best=best_of(call, row, metric),
        description=row["description"],
        created_at=from_ms(row["created_at"]),
        updated_at=from_ms(row["updated_at"]),
        heartbeat_at=at_or_none(row["heartbeat_at"]),
    )


def _detail(call: Call, row: Row) -> rest_sweeps.SweepDetail:
    shown = _out(call, row, listing.count_runs(call, row))
    return rest_sweeps.SweepDetail(
        **shown.model_dump(),
        config=row["config"],
        scheduler=listing.scheduler(call, row),
        agents=len(listing.agents(call, row)),
    )
