"""Routes of queues."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import FastAPI, Path, Response

from runyard.domain.access import Kind
from runyard.domain.queues import Mode, Queue
from runyard.server import shapes
from runyard.server.auth import opens
from runyard.server.edge import Edge
from runyard.server.nesting import check_depth
from runyard.server.paging import Caller, Cursor, Entity, Limit, after, page
from runyard.services import queues
from runyard.services.call import Call
from runyard.services.queues import Counts
from runyard.wire import rest

Named = Annotated[str, Path(max_length=128)]
Counted = tuple[Queue, Counts]


def _setter(edge: Edge, mode: Mode) -> Callable[..., Awaitable[rest.QueueOut]]:
    async def set_mode(
        entity: Named, queue: Named, caller: Caller, body: rest.ModeIn | None = None
    ) -> rest.QueueOut:
        def change(call: Call) -> Counted:
            changed = queues.set_mode(call, entity, queue, mode, body.reason if body else "")
            return changed, queues.counts(call, changed)

        return shapes.queue(*await edge.write(caller, change))

    return set_mode


def add(app: FastAPI, edge: Edge) -> None:
    @app.get("/api/v1/queues", tags=["queues"])
    @opens(Kind.USER)
    async def list_queues(
        caller: Caller, entity: Entity = None, limit: Limit = 50, cursor: Cursor = None
    ) -> rest.Page[rest.QueueOut]:
        """List queues with what waits and runs in them."""
        found = await edge.read(
            caller,
            lambda call: queues.page(call, entity, after=after(cursor), limit=limit + 1),
        )
        return page(found, limit, lambda q: q[0].id, lambda q: shapes.queue(*q))

    @app.post("/api/v1/queues", tags=["queues"], status_code=201)
    @opens(Kind.USER)
    async def create_queue(body: rest.QueueIn, caller: Caller) -> rest.QueueOut:
        """Create a queue."""
        check_depth(body.config, body.variables, body.policy)

        def create(call: Call) -> Counted:
            made = queues.create(
                call,
                entity=body.entity,
                name=body.name,
                resource=body.resource,
                **body.model_dump(exclude={"entity", "name", "resource"}),
            )
            return made, queues.counts(call, made)

        return shapes.queue(*await edge.write(caller, create))

    @app.get("/api/v1/queues/{entity}/{queue}", tags=["queues"])
    @opens(Kind.USER)
    async def get_queue(entity: Named, queue: Named, caller: Caller) -> rest.QueueOut:
        """Show a queue."""

        def get(call: Call) -> Counted:
            found = queues.get(call, entity, queue)
            return found, queues.counts(call, found)

        return shapes.queue(*await edge.read(caller, get))

    @app.patch("/api/v1/queues/{entity}/{queue}", tags=["queues"])
    @opens(Kind.USER)
    async def edit_queue(
        entity: Named, queue: Named, body: rest.QueuePatch, caller: Caller
    ) -> rest.QueueOut:
        """Replace parts of a queue. What waits keeps the config that it was given."""
        check_depth(body.config, body.variables, body.policy)

        def edit(call: Call) -> Counted:
            edited = queues.edit(call, entity, queue, **body.model_dump())
            return edited, queues.counts(call, edited)

        return shapes.queue(*await edge.write(caller, edit))

    for verb, mode, told in (
        ("pause", Mode.PAUSED, "Hand out nothing of a queue. It goes on taking submissions."),
        ("drain", Mode.DRAINING, "Take no submissions. What waits and runs goes on to its end."),
        ("resume", Mode.OPEN, "Open a paused or draining queue again."),
    ):
        app.post(
            f"/api/v1/queues/{{entity}}/{{queue}}/{verb}",
            tags=["queues"],
            operation_id=f"{verb}_queue",
            summary=f"{verb.capitalize()} Queue",
            description=told,
        )(opens(Kind.USER)(_setter(edge, mode)))

    @app.delete("/api/v1/queues/{entity}/{queue}", tags=["queues"], status_code=204)
    @opens(Kind.USER)
    async def delete_queue(entity: Named, queue: Named, caller: Caller) -> Response:
        """Delete a queue; what waits in it is cancelled."""
        await edge.write(caller, lambda call: queues.delete(call, entity, queue))
        return Response(status_code=204)
