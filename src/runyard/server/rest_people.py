"""Routes of people: who am I, users, teams, keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import FastAPI, Path, Query, Response

from runyard import __version__
from runyard.domain.access import Kind
from runyard.server import shapes
from runyard.server.auth import opens
from runyard.server.edge import Edge
from runyard.server.paging import Caller, Cursor, Limit, after, page
from runyard.services import accounts
from runyard.services.call import Call
from runyard.store import accounts as rows
from runyard.store.db import Row
from runyard.wire import rest

Named = Annotated[str, Path(max_length=128)]


def add(app: FastAPI, edge: Edge) -> None:
    @app.get("/api/v1/me", tags=["people"])
    @opens(Kind.USER, Kind.RUN)
    async def me(caller: Caller) -> rest.MeOut:
        """Tell whose key this is."""
        memberships = await edge.read(
            caller, lambda call: rows.memberships_of(call.tx, caller.user_id)
        )
        return rest.MeOut(
            kind=caller.kind.value,
            name=caller.name,
            is_admin=caller.is_admin,
            entity=caller.name,
            teams=[
                rest.MembershipOut(team=m["team"], role=m["role"])
                for m in memberships
                if caller.kind is Kind.USER
            ],
            server_version=__version__,
        )

    @app.get("/api/v1/users", tags=["people"])
    @opens(Kind.USER)
    async def list_users(
        caller: Caller, limit: Limit = 50, cursor: Cursor = None
    ) -> rest.Page[rest.UserOut]:
        """List users; for admins of the server."""
        found = await edge.read(
            caller,
            lambda call: accounts.list_users(call, after=after(cursor), limit=limit + 1),
        )
        return page(found, limit, lambda row: row["id"], shapes.user)

    @app.post("/api/v1/users", tags=["people"], status_code=201)
    @opens(Kind.USER)
    async def create_user(body: rest.UserIn, caller: Caller) -> rest.UserOut:
        """Create a user; for admins of the server."""
        row = await edge.write(
            caller, lambda call: accounts.create_user(call, body.name, is_admin=body.is_admin)
        )
        return shapes.user(row)

    @app.get("/api/v1/users/{user}", tags=["people"])
    @opens(Kind.USER)
    async def get_user(user: Named, caller: Caller) -> rest.UserOut:
        """Show a user: yourself, or anybody for admins of the server."""
        return shapes.user(await edge.read(caller, lambda call: accounts.get_user(call, user)))

    @app.get("/api/v1/teams", tags=["people"])
    @opens(Kind.USER)
    async def list_teams(
        caller: Caller, limit: Limit = 50, cursor: Cursor = None
    ) -> rest.Page[rest.TeamOut]:
        """List the teams you belong to; all of them for admins of the server."""
        found = await edge.read(
            caller,
            lambda call: accounts.list_teams(call, after=after(cursor), limit=limit + 1),
        )
        return page(found, limit, lambda row: row["id"], shapes.team)

    @app.post("/api/v1/teams", tags=["people"], status_code=201)
    @opens(Kind.USER)
    async def create_team(body: rest.TeamIn, caller: Caller) -> rest.TeamOut:
        """Create a team; you become its admin."""
        return shapes.team(
            await edge.write(caller, lambda call: accounts.create_team(call, body.name))
        )

    @app.get("/api/v1/teams/{team}/members", tags=["people"])
    @opens(Kind.USER)
    async def list_members(team: Named, caller: Caller) -> rest.Page[rest.MemberOut]:
        """List the members of a team, all on one page."""
        found = await edge.read(caller, lambda call: accounts.list_members(call, team))
        members = [rest.MemberOut(user=m["user"], role=m["role"]) for m in found]
        return rest.Page(data=members)

    @app.put("/api/v1/teams/{team}/members/{user}", tags=["people"])
    @opens(Kind.USER)
    async def set_member(
        team: Named, user: Named, body: rest.MemberIn, caller: Caller
    ) -> rest.MemberOut:
        """Add a member to a team or change its role."""
        await edge.write(caller, lambda call: accounts.set_member(call, team, user, body.role))
        return rest.MemberOut(user=user, role=body.role)

    @app.delete("/api/v1/teams/{team}/members/{user}", tags=["people"], status_code=204)
    @opens(Kind.USER)
    async def remove_member(team: Named, user: Named, caller: Caller) -> Response:
        """Remove a member from a team."""
        await edge.write(caller, lambda call: accounts.remove_member(call, team, user))
        return Response(status_code=204)

    @app.get("/api/v1/keys", tags=["people"])
    @opens(Kind.USER)
    async def list_keys(
        caller: Caller,
        limit: Limit = 50,
        cursor: Cursor = None,
        everybody: Annotated[
            bool, Query(description="Everybody's keys; for admins of the server.")
        ] = False,
        user: Annotated[
            str | None,
            Query(max_length=128, description="Keys of this user; others for admins only."),
        ] = None,
    ) -> rest.Page[rest.KeyOut]:
        """List keys, without their secrets."""

        def listed(call: Call) -> Sequence[Row]:
            if user is not None and not everybody:
                owner = accounts.get_user(call, user)["id"]
                return rows.keys(call.tx, owner, after=after(cursor), limit=limit + 1)
            return accounts.list_keys(
                call, everybody=everybody, after=after(cursor), limit=limit + 1
            )

        found = await edge.read(caller, listed)
        return page(
            found,
            limit,
            lambda row: str(row["id"]),
            lambda row: rest.KeyOut(**shapes.key(row)),
        )

    @app.post("/api/v1/keys", tags=["people"], status_code=201)
    @opens(Kind.USER)
    async def create_key(body: rest.KeyIn, caller: Caller) -> rest.NewKeyOut:
        """Make a key. The answer shows it this once."""
        made = await edge.write(
            caller,
            lambda call: accounts.create_key(
                call, name=body.name, user=body.user, days=body.expires_in_days
            ),
        )
        return rest.NewKeyOut(**shapes.key(made.row), key=made.secret)

    @app.delete("/api/v1/keys/{key_id}", tags=["people"], status_code=204)
    @opens(Kind.USER)
    async def revoke_key(key_id: Named, caller: Caller) -> Response:
        """Revoke a key at once."""
        await edge.write(caller, lambda call: accounts.revoke_key(call, key_id))
        return Response(status_code=204)
