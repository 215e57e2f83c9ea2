"""Routes of notifications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import FastAPI, Path, Response

from runyard.domain.access import Kind
from runyard.domain.errors import RunyardError
from runyard.domain.hooks import Hook, HookKind
from runyard.server.auth import opens
from runyard.server.edge import Edge
from runyard.server.notifying import Notifier
from runyard.server.outbound import Answer, excerpt
from runyard.server.paging import Caller, Cursor, Limit, after, page
from runyard.services import delivering, hooks
from runyard.store.db import Row
from runyard.store.values import at_or_none, from_ms, from_text
from runyard.wire import rest
from runyard.wire import rest_hooks as wire

Named = Annotated[str, Path(max_length=128)]


def add(app: FastAPI, edge: Edge, notifier: Notifier) -> None:
    @app.get("/api/v1/hooks/{entity}", tags=["hooks"])
    @opens(Kind.USER)
    async def list_hooks(
        entity: Named, caller: Caller, limit: Limit = 50, cursor: Cursor = None
    ) -> rest.Page[wire.HookOut]:
        """List the hooks that you administer: all of them by permission, or your own."""
        found = await edge.read(
            caller, lambda call: hooks.page(call, entity, after=after(cursor), limit=limit + 1)
        )
        return page(found, limit, lambda hook: hook.id, lambda hook: wire.HookOut(**_shape(hook)))

    @app.post("/api/v1/hooks/{entity}", tags=["hooks"], status_code=201)
    @opens(Kind.USER)
    async def create_hook(entity: Named, body: wire.HookIn, caller: Caller) -> wire.NewHookOut:
        """Create a hook. The secret that signs what is sent is shown this once."""
        # First who asks, then where to: nobody else shall have the server look names up.
        await edge.read(caller, lambda call: hooks.admit(call, entity, mine=body.mine))
        target = None if body.url is None else await notifier.outbound.check(body.url)
        made, secret = await edge.write(
            caller,
            lambda call: hooks.create(
                call,
                entity,
                body.name,
                target=target,
                emails=body.emails,
                events=body.events,
                queue=body.queue,
                wait_s=body.wait_s,
                mine=body.mine,
            ),
        )
        return wire.NewHookOut(**_shape(made), secret=secret)

    @app.get("/api/v1/hooks/{entity}/{name}", tags=["hooks"])
    @opens(Kind.USER)
    async def get_hook(entity: Named, name: Named, caller: Caller) -> wire.HookDetail:
        """Show a hook and its last deliveries."""
        hook, sent = await edge.read(caller, lambda call: hooks.detail(call, entity, name))
        return _detail(hook, sent)

    @app.patch("/api/v1/hooks/{entity}/{name}", tags=["hooks"])
    @opens(Kind.USER)
    async def edit_hook(
        entity: Named, name: Named, body: wire.HookPatch, caller: Caller
    ) -> wire.HookOut:
        """Change a hook, disable it, or enable it again."""
        await edge.read(caller, lambda call: hooks.get(call, entity, name))
        target = None if body.url is None else await notifier.outbound.check(body.url)
        changes = body.model_dump(exclude_unset=True, exclude={"url"})
        edited = await edge.write(
            caller, lambda call: hooks.edit(call, entity, name, changes, target=target)
        )
        return wire.HookOut(**_shape(edited))

    @app.delete("/api/v1/hooks/{entity}/{name}", tags=["hooks"], status_code=204)
    @opens(Kind.USER)
    async def delete_hook(entity: Named, name: Named, caller: Caller) -> Response:
        """Delete a hook. What it was to send is not sent."""
        await edge.write(caller, lambda call: hooks.delete(call, entity, name))
        return Response(status_code=204)

    @app.post("/api/v1/hooks/{entity}/{name}/test", tags=["hooks"])
    @opens(Kind.USER)
    async def test_hook(entity: Named, name: Named, caller: Caller) -> wire.TestOut:
        """Send a test now, and tell what came back."""
        due = await edge.read(caller, lambda call: delivering.trial(call, entity, name))
        answer, error = Answer(), ""
        try:
            answer = await notifier.attempt([due]) or answer
        except RunyardError as failed:
            error = failed.message
        return wire.TestOut(
            ok=not error,
            status=answer.status or None,
            answer=excerpt(answer),
            error=error,
            sent=wire.Notification.model_validate(due.payload),
        )


def _shape(hook: Hook) -> dict[str, Any]:
    is_mail = hook.kind is HookKind.EMAIL
    return {
        "entity": hook.entity,
        "name": hook.name,
        "kind": hook.kind.value,
        "url": None if is_mail else hook.target,
        "emails": hook.addresses if is_mail else [],
        "events": sorted(event.value for event in hook.events),
        "queue": hook.queue_name,
        "wait_s": int(hook.wait.total_seconds()),
        "mine": hook.author_id is not None,
        "enabled": hook.disabled_at is None,
        "disabled_why": hook.disabled_why,
        "failing_since": hook.failing_since,
        "created_at": hook.created_at,
        "created_by": hook.created_by,
    }


def _detail(hook: Hook, sent: Sequence[Row]) -> wire.HookDetail:
    deliveries = [
        wire.DeliveryOut(
            id=row["id"],
            event=row["event"],
            text=from_text(row["payload"])["text"],
            state=row["state"],
            tries=row["tries"],
            created_at=from_ms(row["created_at"]),
            next_at=at_or_none(row["next_at"]),
            ended_at=at_or_none(row["ended_at"]),
            error=row["error"],
        )
        for row in sent
    ]
    return wire.HookDetail(**_shape(hook), deliveries=deliveries)
