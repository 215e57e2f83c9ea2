"""Routes of secrets: written, listed and deleted, never read."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Path, Query, Response

from runyard.domain.access import Kind
from runyard.server.auth import opens
from runyard.server.edge import Edge
from runyard.server.paging import Caller, Cursor, Entity, Limit, after, page
from runyard.services import secret_store
from runyard.store.db import Row
from runyard.store.values import from_ms
from runyard.wire import rest, rest_secrets

Named = Annotated[str, Path(max_length=128)]


def add(app: FastAPI, edge: Edge) -> None:
    @app.get("/api/v1/secrets", tags=["secrets"])
    @opens(Kind.USER)
    async def list_secrets(
        caller: Caller, entity: Entity = None, limit: Limit = 50, cursor: Cursor = None
    ) -> rest.Page[rest_secrets.SecretOut]:
        """List secrets: their names, never their values."""
        found = await edge.read(
            caller,
            lambda call: secret_store.page(call, entity, after=after(cursor), limit=limit + 1),
        )
        return page(found, limit, lambda row: str(row["id"]), _secret)

    @app.get("/api/v1/secrets/{entity}/{name}", tags=["secrets"])
    @opens(Kind.USER)
    async def get_secret(entity: Named, name: Named, caller: Caller) -> rest_secrets.SecretOut:
        """Show all of a secret but its value."""
        return _secret(await edge.read(caller, lambda call: secret_store.get(call, entity, name)))

    @app.put("/api/v1/secrets/{entity}/{name}", tags=["secrets"])
    @opens(Kind.USER)
    async def put_secret(
        entity: Named, name: Named, body: rest_secrets.SecretIn, caller: Caller
    ) -> rest_secrets.SecretOut:
        """Write a secret, or its next version. The value is never shown again."""
        written = await edge.write(
            caller,
            lambda call: secret_store.put(
                call,
                entity,
                name,
                body.value.get_secret_value(),
                description=body.description,
                for_jobs=body.for_jobs,
            ),
        )
        return _secret(written)

    @app.patch("/api/v1/secrets/{entity}/{name}", tags=["secrets"])
    @opens(Kind.USER)
    async def edit_secret(
        entity: Named, name: Named, body: rest_secrets.SecretPatch, caller: Caller
    ) -> rest_secrets.SecretOut:
        """Change a secret's description, or whether jobs may ask for it; not its value."""
        change = body.model_dump()
        edited = await edge.write(
            caller, lambda call: secret_store.edit(call, entity, name, **change)
        )
        return _secret(edited)

    @app.delete("/api/v1/secrets/{entity}/{name}", tags=["secrets"], status_code=204)
    @opens(Kind.USER)
    async def delete_secret(
        entity: Named,
        name: Named,
        caller: Caller,
        force: Annotated[bool, Query(description="Even while queues name it.")] = False,
    ) -> Response:
        """Delete a secret. Refused while queues name it, unless forced."""
        await edge.write(caller, lambda call: secret_store.delete(call, entity, name, force=force))
        return Response(status_code=204)


def _secret(row: Row) -> rest_secrets.SecretOut:
    return rest_secrets.SecretOut(
        entity=row["entity"],
        name=row["name"],
        version=row["version"],
        description=row["description"],
        for_jobs=bool(row["for_jobs"]),
        created_by=row["created_by"],
        created_at=from_ms(row["created_at"]),
        updated_at=from_ms(row["updated_at"]),
    )
