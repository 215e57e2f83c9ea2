"""Routes of operating a queue: its items one by one or by selection, and why they wait."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import FastAPI, Path

from runyard.domain.access import Kind
from runyard.domain.policy import json_schema
from runyard.server.auth import opens
from runyard.server.edge import Edge
from runyard.server.nesting import check_depth
from runyard.server.paging import Caller
from runyard.server.rest_runs import item_out
from runyard.services import explaining, operating
from runyard.services.call import Call
from runyard.services.explaining import Explained
from runyard.services.operating import Order, Selection
from runyard.wire import rest
from runyard.wire import rest_operating as wire

Named = Annotated[str, Path(max_length=128)]
_ITEM = "/api/v1/items/{item_id}"
_QUEUE = "/api/v1/queues/{entity}/{queue}"


def add(app: FastAPI, edge: Edge) -> None:
    _add_items(app, edge)
    _add_queues(app, edge)


def _add_items(app: FastAPI, edge: Edge) -> None:
    async def done(caller: Caller, item_id: str, order: Order) -> rest.ItemOut:
        return await edge.write(
            caller, lambda call: item_out(call, operating.one(call, item_id, order))
        )

    @app.post(f"{_ITEM}/hold", tags=["items"])
    @opens(Kind.USER)
    async def hold_item(
        item_id: Named, caller: Caller, body: wire.HoldIn | None = None
    ) -> rest.ItemOut:
        """Keep a waiting item from being started until it is released."""
        return await done(caller, item_id, Order(verb="hold", reason=body.reason if body else ""))

    @app.post(f"{_ITEM}/release", tags=["items"])
    @opens(Kind.USER)
    async def release_item(item_id: Named, caller: Caller) -> rest.ItemOut:
        """Let a held item go; one that backs off before a retry goes at once."""
        return await done(caller, item_id, Order(verb="release"))

    @app.post(f"{_ITEM}/priority", tags=["items"])
    @opens(Kind.USER)
    async def reprioritise_item(
        item_id: Named, body: wire.PriorityIn, caller: Caller
    ) -> rest.ItemOut:
        """Change the priority of a waiting item."""
        return await done(caller, item_id, Order(verb="priority", priority=body.priority))

    @app.post(f"{_ITEM}/move", tags=["items"])
    @opens(Kind.USER)
    async def move_item(item_id: Named, body: wire.MoveIn, caller: Caller) -> rest.ItemOut:
        """Take a waiting item to another queue of the same owner and resource."""
        return await done(caller, item_id, Order(verb="move", queue=body.queue))

    @app.post(f"{_ITEM}/retry", tags=["items"], status_code=201)
    @opens(Kind.USER)
    async def retry_item(
        item_id: Named, caller: Caller, body: wire.RetryIn | None = None
    ) -> rest.SubmittedItem:
        """Submit an item that has ended once more, with changes: a new item with a new run."""
        changes = body.changes if body else {}
        check_depth(changes)
        made = await edge.write(caller, lambda call: operating.retry(call, item_id, changes))
        run = {name: made.spec[name] for name in ("entity", "project", "run_id", "name")}
        return rest.SubmittedItem(id=made.id, run=rest.RunRef(**run), spec=dict(made.spec))


def _add_queues(app: FastAPI, edge: Edge) -> None:
    @app.post(f"{_QUEUE}/select", tags=["items"])
    @opens(Kind.USER)
    async def select_items(
        entity: Named, queue: Named, body: wire.SelectIn, caller: Caller
    ) -> wire.SelectedOut:
        """Hold, release, reprioritise, move, cancel or retry items of a queue by filter."""
        check_depth(body.changes)
        which = Selection(
            ids=body.ids,
            author=body.author,
            states=body.states,
            priority=body.of_priority,
            held=body.held,
            job=body.job,
            waited_s=body.waited_s,
            after=body.after or "",
        )
        order = Order(
            verb=body.action,
            reason=body.reason,
            priority=body.priority,
            queue=body.queue,
            changes=body.changes,
        )
        done = await edge.write(
            caller,
            lambda call: operating.many(call, entity, queue, which, order, dry_run=body.dry_run),
        )
        return wire.SelectedOut(
            changed=done.changed, refused=done.refused, next=done.next, dry_run=body.dry_run
        )

    @app.get(f"{_QUEUE}/explain", tags=["queues"])
    @opens(Kind.USER)
    async def explain_queue(entity: Named, queue: Named, caller: Caller) -> wire.ExplainedOut:
        """Tell how a queue stands: its rules, limits, agents, users and who is next."""

        def explain(call: Call) -> Explained:
            return explaining.of_queue(call, entity, queue)

        return _explained(await edge.read(caller, explain))

    @app.get("/api/v1/schemas/queue-policy", tags=["queues"])
    @opens(Kind.USER)
    async def queue_policy_schema() -> dict[str, Any]:
        """Show the JSON Schema of a queue's policy."""
        return json_schema()


def _explained(found: Explained) -> wire.ExplainedOut:
    return wire.ExplainedOut(
        entity=found.queue.entity,
        queue=found.queue.name,
        mode=found.queue.mode.value,
        mode_by=found.queue.mode_by,
        mode_why=found.queue.mode_why,
        rules=list(found.rules),
        agents=wire.ServingOut(**asdict(found.serving)),
        running=found.running,
        max_running=found.queue.policy.max_running,
        waiting=found.waiting,
        held=found.held,
        backing_off=found.backing_off,
        typical_s=found.typical_s,
        users=[wire.StandingOut(**asdict(user)) for user in found.users],
        next=list(found.next),
    )
