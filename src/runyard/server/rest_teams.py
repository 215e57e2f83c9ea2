"""Routes of what a team has beside people: roles of its own, and service accounts."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Path, Response

from runyard.domain.access import Kind
from runyard.server.auth import opens
from runyard.server.edge import Edge
from runyard.server.paging import Caller, Cursor, Limit, after, page
from runyard.services import roles, service_accounts
from runyard.services.roles import Role
from runyard.store.db import Row
from runyard.store.values import at_or_none, from_ms
from runyard.wire import rest
from runyard.wire import rest_people as wire

Named = Annotated[str, Path(max_length=128)]


def add(app: FastAPI, edge: Edge) -> None:
    _roles(app, edge)
    _service_accounts(app, edge)


def _roles(app: FastAPI, edge: Edge) -> None:
    @app.get("/api/v1/teams/{team}/roles", tags=["people"])
    @opens(Kind.USER)
    async def list_roles(team: Named, caller: Caller) -> rest.Page[wire.RoleOut]:
        """List the roles that members of a team can have, built-in ones first, on one page."""
        found = await edge.read(caller, lambda call: roles.list_roles(call, team))
        return rest.Page(data=[_role(role) for role in found])

    @app.get("/api/v1/teams/{team}/roles/{role}", tags=["people"])
    @opens(Kind.USER)
    async def get_role(team: Named, role: Named, caller: Caller) -> wire.RoleOut:
        """Show a role."""
        return _role(await edge.read(caller, lambda call: roles.get(call, team, role)))

    @app.put("/api/v1/teams/{team}/roles/{role}", tags=["people"])
    @opens(Kind.USER)
    async def put_role(team: Named, role: Named, body: wire.RoleIn, caller: Caller) -> wire.RoleOut:
        """Make a role of a team, or change it, at once, for all who have it."""
        made = await edge.write(
            caller,
            lambda call: roles.put(call, team, role, body.permissions, body.description),
        )
        return _role(made)

    @app.delete("/api/v1/teams/{team}/roles/{role}", tags=["people"], status_code=204)
    @opens(Kind.USER)
    async def delete_role(team: Named, role: Named, caller: Caller) -> Response:
        """Delete a role that nobody has."""
        await edge.write(caller, lambda call: roles.delete(call, team, role))
        return Response(status_code=204)


def _service_accounts(app: FastAPI, edge: Edge) -> None:
    @app.get("/api/v1/teams/{team}/service-accounts", tags=["people"])
    @opens(Kind.USER)
    async def list_service_accounts(
        team: Named, caller: Caller, limit: Limit = 50, cursor: Cursor = None
    ) -> rest.Page[wire.ServiceAccountOut]:
        """List the service accounts of a team."""
        found = await edge.read(
            caller,
            lambda call: service_accounts.page(call, team, after=after(cursor), limit=limit + 1),
        )
        return page(found, limit, lambda row: row["id"], _service_account)

    @app.post("/api/v1/teams/{team}/service-accounts", tags=["people"], status_code=201)
    @opens(Kind.USER)
    async def create_service_account(
        team: Named, body: wire.ServiceAccountIn, caller: Caller
    ) -> wire.ServiceAccountOut:
        """Make a service account, or bring back a deleted one. Make a key for it next."""
        made = await edge.write(
            caller,
            lambda call: service_accounts.create(
                call, team, body.name, role=body.role, queues=body.queues
            ),
        )
        return _service_account(made)

    @app.get("/api/v1/teams/{team}/service-accounts/{name}", tags=["people"])
    @opens(Kind.USER)
    async def get_service_account(
        team: Named, name: Named, caller: Caller
    ) -> wire.ServiceAccountOut:
        """Show a service account."""
        found = await edge.read(caller, lambda call: service_accounts.get(call, team, name))
        return _service_account(found)

    @app.patch("/api/v1/teams/{team}/service-accounts/{name}", tags=["people"])
    @opens(Kind.USER)
    async def edit_service_account(
        team: Named, name: Named, body: wire.ServiceAccountPatch, caller: Caller
    ) -> wire.ServiceAccountOut:
        """Change a service account's role or queues, disable or enable it, at once."""
        given = body.model_dump(exclude_unset=True)
        changes = {k: v for k, v in given.items() if k == "queues" or v is not None}
        edited = await edge.write(
            caller, lambda call: service_accounts.edit(call, team, name, changes)
        )
        return _service_account(edited)

    @app.delete("/api/v1/teams/{team}/service-accounts/{name}", tags=["people"], status_code=204)
    @opens(Kind.USER)
    async def delete_service_account(team: Named, name: Named, caller: Caller) -> Response:
        """Delete a service account; its keys end at once, its name stays taken."""
        await edge.write(caller, lambda call: service_accounts.delete(call, team, name))
        return Response(status_code=204)


def _role(role: Role) -> wire.RoleOut:
    return wire.RoleOut(
        name=role.name,
        permissions=role.permissions,
        description=role.description,
        built_in=role.created_at is None,
        created_at=role.created_at,
    )


def _service_account(row: Row) -> wire.ServiceAccountOut:
    return wire.ServiceAccountOut(
        id=row["id"],
        name=row["name"],
        team=row["team"],
        role=row["role"],
        queues=service_accounts.queues_of(row),
        disabled_at=at_or_none(row["disabled_at"]),
        created_at=from_ms(row["created_at"]),
    )
