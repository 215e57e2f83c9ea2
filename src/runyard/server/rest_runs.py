"""Routes of items and runs: look, stop, cancel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

from fastapi import FastAPI, Path, Query

from runyard.domain.access import Kind
from runyard.domain.runs import RunState
from runyard.server.auth import opens
from runyard.server.edge import Edge
from runyard.server.paging import Caller, Cursor, Entity, Limit, after, page
from runyard.server.shapes import Now
from runyard.services import explaining, runs
from runyard.services.call import Call
from runyard.store import images, stage_logs, views
from runyard.store import queues as queue_rows
from runyard.store.db import Row
from runyard.wire import rest

Named = Annotated[str, Path(max_length=128)]
States = Annotated[
    str | None,
    Query(max_length=200, description="Only in this state, or in one of these: `a,b`."),
]


def add(app: FastAPI, edge: Edge) -> None:
    @app.get("/api/v1/items", tags=["items"])
    @opens(Kind.USER)
    async def list_items(
        caller: Caller,
        entity: Entity = None,
        queue: Annotated[
            str | None,
            Query(max_length=128, description="Only of this queue of `entity`, or of your own."),
        ] = None,
        state: States = None,
        author: Annotated[
            str | None, Query(max_length=128, description="Only of this user.")
        ] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> rest.Page[rest.ItemOut]:
        """List what was submitted, the newest first."""

        def listed(call: Call) -> tuple[Sequence[Row], Now]:
            found = runs.list_items(
                call,
                entity=entity,
                queue=queue,
                states=_words(state),
                author=author,
                before=after(cursor) or None,
                limit=limit + 1,
            )
            return found, _now(call, found)

        found, now = await edge.read(caller, listed)
        return page(found, limit, lambda row: row["id"], now.item)

    @app.get("/api/v1/items/{item_id}", tags=["items"])
    @opens(Kind.USER)
    async def get_item(item_id: Named, caller: Caller) -> rest.ItemDetail:
        """Show an item: what will run, its warnings and every move it made."""

        def get(call: Call) -> rest.ItemDetail:
            row = runs.get_item(call, item_id)
            warnings = views.warnings(call.tx, item_id)
            detail = _now(call, [row]).item_detail(row, warnings, views.events_of(call.tx, item_id))
            if why := explaining.of_item(call, row):
                detail.waiting = rest.WaitingOut(**asdict(why))
            return detail

        return await edge.read(caller, get)

    @app.post("/api/v1/items/{item_id}/cancel", tags=["items"])
    @opens(Kind.USER)
    async def cancel_item(item_id: Named, caller: Caller) -> rest.ItemOut:
        """Take an item out of its queue; if it runs already, stop its run."""

        def cancel(call: Call) -> rest.ItemOut:
            row = runs.cancel(call, item_id)
            return _now(call, [row]).item(row)

        return await edge.write(caller, cancel)

    @app.get("/api/v1/runs", tags=["runs"])
    @opens(Kind.USER)
    async def list_runs(
        caller: Caller,
        entity: Entity = None,
        project: Annotated[
            str | None, Query(max_length=128, description="Only of this project.")
        ] = None,
        state: States = None,
        author: Annotated[
            str | None, Query(max_length=128, description="Only of this user.")
        ] = None,
        name: Annotated[
            str | None, Query(max_length=128, description="Only with this run id.")
        ] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> rest.Page[rest.RunOut]:
        """List runs, the newest first."""

        def listed(call: Call) -> tuple[Sequence[Row], Now]:
            found = runs.list_runs(
                call,
                entity=entity,
                project=project,
                states=_words(state),
                name=name,
                author=author,
                before=after(cursor) or None,
                limit=limit + 1,
            )
            return found, _now(call, found)

        found, now = await edge.read(caller, listed)
        return page(found, limit, lambda row: row["run_pk"], now.run)

    @app.get("/api/v1/runs/{entity}/{project}/{run}", tags=["runs"])
    @opens(Kind.USER, Kind.RUN)
    async def get_run(entity: Named, project: Named, run: Named, caller: Caller) -> rest.RunOut:
        """Show a run. A run's own token opens this for that run."""
        return await edge.read(caller, lambda call: look(call, entity, project, run))

    @app.post("/api/v1/runs/{entity}/{project}/{run}/stop", tags=["runs"])
    @opens(Kind.USER)
    async def stop_run(
        entity: Named,
        project: Named,
        run: Named,
        caller: Caller,
        body: rest.StopIn | None = None,
    ) -> rest.RunOut:
        """Ask a run to end. One that still waits is cancelled at once."""

        def stop(call: Call) -> rest.RunOut:
            row = runs.stop(call, entity, project, run, body.reason if body else "")
            return _now(call, [row]).run(row)

        return await edge.write(caller, stop)


def item_out(call: Call, row: Row) -> rest.ItemOut:
    """Return an item as it is now, from a row of `runs.get_item`."""
    return _now(call, [row]).item(row)


def look(call: Call, entity: str, project: str, run: str) -> rest.RunOut:
    """Return a run as it is now. Raises: NotFound."""
    row = runs.get_run(call, entity, project, run)
    return _now(call, [row]).run(row)


def _words(text: str | None) -> list[str]:
    return [word for word in (text or "").split(",") if word]


def _now(call: Call, rows: Sequence[Row]) -> Now:
    waiting = {r["queue_id"] for r in rows if r["state"] == "PENDING"}
    counts = queue_rows.counts(call.tx, sorted(waiting), call.now)
    printed = stage_logs.sizes(call.tx, [r["id"] for r in rows if r["attempt"]])
    served = {queue for queue, (_, _, agents) in counts.items() if agents}
    starting = [
        r["id"] for r in rows if r["state"] == "CLAIMED" and r["run_state"] != RunState.RUNNING
    ]
    return Now(call.now, served, printed, images.building(call.tx, starting))
