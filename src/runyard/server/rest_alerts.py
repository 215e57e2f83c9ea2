"""The route of the alerts that a run's program has raised."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Path

from runyard.domain.access import Kind
from runyard.server.auth import opens
from runyard.server.edge import Edge
from runyard.server.paging import Caller, Cursor, Limit, after, page
from runyard.services import runs
from runyard.services.call import Call
from runyard.services.tracking import alerts
from runyard.store.db import Row
from runyard.store.values import from_ms
from runyard.wire import rest
from runyard.wire import rest_alerts as wire

Named = Annotated[str, Path(max_length=128)]


def add(app: FastAPI, edge: Edge) -> None:
    @app.get("/api/v1/runs/{entity}/{project}/{run}/alerts", tags=["runs"])
    @opens(Kind.USER)
    async def run_alerts(
        entity: Named,
        project: Named,
        run: Named,
        caller: Caller,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> rest.Page[wire.AlertOut]:
        """List the alerts of a run, the newest first."""

        def look(call: Call) -> list[Row]:
            row = runs.get_run(call, entity, project, run)
            return alerts.page(call, row["run_pk"], before=after(cursor), limit=limit + 1)

        found = await edge.read(caller, look)
        return page(found, limit, lambda row: row["id"], _alert)


def _alert(row: Row) -> wire.AlertOut:
    return wire.AlertOut(
        title=row["title"], text=row["body"], level=row["level"], at=from_ms(row["at"])
    )
