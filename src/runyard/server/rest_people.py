"""Routes of people: who am I, users, teams and their members, keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Query, Response

from runyard import __version__
from runyard.domain.access import Actor, Kind
from runyard.server.auth import opens
from runyard.server.edge import Edge
from runyard.server.paging import Caller, Cursor, Limit, after, page
from runyard.services import accounts
from runyard.services.call import Call
from runyard.store import accounts as rows
from runyard.store import members
from runyard.store.db import Row
from runyard.store.values import at_or_none, from_ms
from runyard.wire import rest
from runyard.wire import rest_people as wire

Named = Annotated[str, Path(max_length=128)]


def add(app: FastAPI, edge: Edge) -> None:
    @app.get("/api/v1/me", tags=["people"])
    @opens(Kind.USER, Kind.RUN)
    async def me(caller: Caller) -> wire.MeOut:
        """Tell whose key this is, and what it may do in which team."""
        return await edge.read(caller, lambda call: _me(call, caller))

    _users(app, edge)
    _teams(app, edge)
    _keys(app, edge)


def _users(app: FastAPI, edge: Edge) -> None:
    @app.get("/api/v1/users", tags=["people"])
    @opens(Kind.USER)
    async def list_users(
        caller: Caller,
        limit: Limit = 50,
        cursor: Cursor = None,
        kind: Annotated[
            Literal["person", "service"] | None, Query(description="Default: both.")
        ] = None,
    ) -> rest.Page[wire.UserOut]:
        """List users; for admins of the server."""
        found = await edge.read(
            caller,
            lambda call: accounts.list_users(call, kind=kind, after=after(cursor), limit=limit + 1),
        )
        return page(found, limit, lambda row: row["id"], _user)

    @app.post("/api/v1/users", tags=["people"], status_code=201)
    @opens(Kind.USER)
    async def create_user(body: wire.UserIn, caller: Caller) -> wire.UserOut:
        """Create a user; for admins of the server."""
        row = await edge.write(
            caller,
            lambda call: accounts.create_user(
                call, body.name, is_admin=body.is_admin, email=body.email
            ),
        )
        return _user(row)

    @app.get("/api/v1/users/{user}", tags=["people"])
    @opens(Kind.USER)
    async def get_user(user: Named, caller: Caller) -> wire.UserOut:
        """Show a user: yourself, or anybody for admins of the server."""
        return _user(await edge.read(caller, lambda call: accounts.get_user(call, user)))

    @app.patch("/api/v1/users/{user}", tags=["people"])
    @opens(Kind.USER)
    async def edit_user(user: Named, body: wire.UserPatch, caller: Caller) -> wire.UserOut:
        """Change your e-mail address or, as an admin of the server, a user; disable and enable."""
        given = body.model_dump(exclude_unset=True)
        changes = {k: v for k, v in given.items() if k == "email" or v is not None}
        return _user(await edge.write(caller, lambda call: accounts.edit_user(call, user, changes)))


def _teams(app: FastAPI, edge: Edge) -> None:
    @app.get("/api/v1/teams", tags=["people"])
    @opens(Kind.USER)
    async def list_teams(
        caller: Caller, limit: Limit = 50, cursor: Cursor = None
    ) -> rest.Page[wire.TeamOut]:
        """List the teams you belong to; all of them for admins of the server."""
        found = await edge.read(
            caller,
            lambda call: accounts.list_teams(call, after=after(cursor), limit=limit + 1),
        )
        return page(found, limit, lambda row: row["id"], _team)

    @app.post("/api/v1/teams", tags=["people"], status_code=201)
    @opens(Kind.USER)
    async def create_team(body: wire.TeamIn, caller: Caller) -> wire.TeamOut:
        """Create a team; you become its admin."""
        return _team(await edge.write(caller, lambda call: accounts.create_team(call, body.name)))

    @app.get("/api/v1/teams/{team}/members", tags=["people"])
    @opens(Kind.USER)
    async def list_members(team: Named, caller: Caller) -> rest.Page[wire.MemberOut]:
        """List the people in a team, all on one page."""
        found = await edge.read(caller, lambda call: accounts.list_members(call, team))
        return rest.Page(
            data=[
                wire.MemberOut(user=m["user"], role=m["role"], granted_by=m["granted_by"])
                for m in found
            ]
        )

    @app.put("/api/v1/teams/{team}/members/{user}", tags=["people"])
    @opens(Kind.USER)
    async def set_member(
        team: Named, user: Named, body: wire.MemberIn, caller: Caller
    ) -> wire.MemberOut:
        """Add a member to a team or change its role, up to what you may do yourself."""
        await edge.write(caller, lambda call: accounts.set_member(call, team, user, body.role))
        return wire.MemberOut(user=user, role=body.role)

    @app.delete("/api/v1/teams/{team}/members/{user}", tags=["people"], status_code=204)
    @opens(Kind.USER)
    async def remove_member(team: Named, user: Named, caller: Caller) -> Response:
        """Remove a member from a team."""
        await edge.write(caller, lambda call: accounts.remove_member(call, team, user))
        return Response(status_code=204)


def _keys(app: FastAPI, edge: Edge) -> None:
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
            Query(
                max_length=128,
                description="Keys of this user; others for admins, or of a service account "
                "whose team's members you manage.",
            ),
        ] = None,
    ) -> rest.Page[wire.KeyOut]:
        """List keys, expired ones too, without their secrets."""

        def listed(call: Call) -> tuple[Sequence[Row], datetime]:
            found = accounts.list_keys(
                call, everybody=everybody, user=user, after=after(cursor), limit=limit + 1
            )
            return found, call.now

        found, now = await edge.read(caller, listed)
        return page(
            found, limit, lambda row: str(row["id"]), lambda row: wire.KeyOut(**key(row, now))
        )

    @app.post("/api/v1/keys", tags=["people"], status_code=201)
    @opens(Kind.USER)
    async def create_key(body: wire.KeyIn, caller: Caller) -> wire.NewKeyOut:
        """Make a key. The answer shows it this once."""
        made = await edge.write(
            caller,
            lambda call: accounts.create_key(
                call,
                name=body.name,
                user=body.user,
                days=body.expires_in_days,
                seconds=body.expires_in_s,
            ),
        )
        return wire.NewKeyOut(**key(made.row), key=made.secret)

    @app.delete("/api/v1/keys/{key_id}", tags=["people"], status_code=204)
    @opens(Kind.USER)
    async def revoke_key(key_id: Named, caller: Caller) -> Response:
        """Revoke a key at once."""
        await edge.write(caller, lambda call: accounts.revoke_key(call, key_id))
        return Response(status_code=204)


def key(row: Row, now: datetime | None = None) -> dict[str, Any]:
    """Return the body of a key; it is not expired unless `now` says so."""
    expires = at_or_none(row["expires_at"])
    return {
        "id": row["id"],
        "name": row["name"],
        "user": row["user"],
        "prefix": row["prefix"],
        "created_at": from_ms(row["created_at"]),
        "expires_at": expires,
        "last_used_at": at_or_none(row["last_used_at"]),
        "expired": now is not None and expires is not None and expires <= now,
    }


def _me(call: Call, caller: Actor) -> wire.MeOut:
    is_user = caller.kind is Kind.USER
    home = rows.home_of(call.tx, caller.user_id) if caller.is_service else None
    user = rows.user(call.tx, caller.name)
    found = members.memberships_of(call.tx, caller.user_id) if is_user else []
    return wire.MeOut(
        kind="service" if is_user and caller.is_service else caller.kind.value,
        name=caller.name,
        is_admin=caller.is_admin,
        entity=home["name"] if home is not None else caller.name,
        teams=[_membership(row) for row in found],
        server_version=__version__,
        email=user["email"] if user is not None and is_user else None,
        queues=None if caller.queues is None or not is_user else sorted(caller.queues),
    )


def _membership(row: Row) -> wire.MembershipOut:
    permissions = sorted(action.permission for action in members.actions_of(row))
    return wire.MembershipOut(team=row["team"], role=row["role"], permissions=permissions)


def _user(row: Row) -> wire.UserOut:
    return wire.UserOut(
        id=row["id"],
        name=row["name"],
        is_admin=row["is_admin"],
        created_at=from_ms(row["created_at"]),
        kind=row["kind"],
        team=row["team"],
        email=row["email"],
        disabled_at=at_or_none(row["disabled_at"]),
    )


def _team(row: Row) -> wire.TeamOut:
    return wire.TeamOut(id=row["id"], name=row["name"], created_at=from_ms(row["created_at"]))
