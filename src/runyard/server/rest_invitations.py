"""
Routes of invitations. One of them needs no credential: a token makes a user of its bearer.

What strangers can cost there is bounded: a body of a few hundred bytes, one read by an index
for a token that is not good, no write, and some tries a minute from an address.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Query, Request, Response

from runyard.domain.access import Kind
from runyard.server.auth import opens, public
from runyard.server.edge import SERVER, Edge
from runyard.server.paging import Caller, Cursor, Limit, after, page
from runyard.server.problems import TooMany
from runyard.server.rest_people import key
from runyard.services import invitations
from runyard.services.call import Call
from runyard.services.invitations import Joined
from runyard.store.db import Row
from runyard.store.values import at_or_none, from_ms
from runyard.wire import rest
from runyard.wire import rest_people as wire

TRIES: Final = 20  # of an address in a minute; a person needs one
_REMEMBERED: Final = 10_000  # addresses; beyond, the one that was silent longest is forgotten


class Tries:
    """How often each address asked within the last minute. For one event loop."""

    def __init__(self, *, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def count(self, address: str) -> None:
        """Raises: TooMany: this address has asked too often."""
        network, now = _network(address), self._seconds()
        since, count = self._seen.pop(network, (now, 0))
        if now - since >= 60:
            since, count = now, 0
        self._seen[network] = (since, count + 1)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        if count >= TRIES:
            raise TooMany("too many invitations were tried from here", hint="wait a minute")


def add(app: FastAPI, edge: Edge) -> None:
    tries = Tries()

    @app.get("/api/v1/invitations", tags=["people"])
    @opens(Kind.USER)
    async def list_invitations(
        caller: Caller,
        limit: Limit = 50,
        cursor: Cursor = None,
        team: Annotated[
            str | None,
            Query(max_length=128, description="Default: all, for admins of the server."),
        ] = None,
    ) -> rest.Page[wire.InvitationOut]:
        """List invitations, used and expired ones too, without their tokens."""

        def listed(call: Call) -> tuple[Sequence[Row], datetime]:
            found = invitations.page(call, team, after=after(cursor), limit=limit + 1)
            return found, call.now

        found, now = await edge.read(caller, listed)
        return page(
            found, limit, lambda row: row["id"], lambda row: wire.InvitationOut(**_shape(row, now))
        )

    @app.post("/api/v1/invitations", tags=["people"], status_code=201)
    @opens(Kind.USER)
    async def invite(body: wire.InvitationIn, caller: Caller) -> wire.NewInvitationOut:
        """Invite somebody to a team, in a role up to your own. The answer shows the token once."""
        made = await edge.write(
            caller,
            lambda call: invitations.create(
                call,
                team=body.team,
                role=body.role,
                email=body.email,
                seconds=body.expires_in_s,
            ),
        )
        return wire.NewInvitationOut(**_shape(made.row, edge.clock()), token=made.token)

    @app.post("/api/v1/invitations/redeem", tags=["people"], status_code=201)
    @public
    async def redeem(body: wire.RedeemIn, request: Request) -> wire.RedeemedOut:
        """Become a user by an invitation, under a name of your choice. Needs no key: gives one."""
        tries.count(request.client.host if request.client else "")
        # Strangers do not queue up among those who write.
        await edge.read(SERVER, lambda call: invitations.check(call, body.token))
        joined = await edge.write(
            SERVER, lambda call: invitations.redeem(call, body.token, body.name)
        )
        assert joined.key is not None
        first = wire.NewKeyOut(**key(joined.key.row), key=joined.key.secret)
        return wire.RedeemedOut(**_joined(joined), key=first)

    @app.post("/api/v1/invitations/join", tags=["people"])
    @opens(Kind.USER)
    async def join(body: wire.JoinIn, caller: Caller, request: Request) -> wire.JoinedOut:
        """Join the team of an invitation, as the user you are."""
        tries.count(request.client.host if request.client else "")
        joined = await edge.write(caller, lambda call: invitations.join(call, body.token))
        return wire.JoinedOut(**_joined(joined))

    @app.delete("/api/v1/invitations/{invitation_id}", tags=["people"], status_code=204)
    @opens(Kind.USER)
    async def revoke_invitation(
        invitation_id: Annotated[str, Path(max_length=128)], caller: Caller
    ) -> Response:
        """Take an invitation back."""
        await edge.write(caller, lambda call: invitations.revoke(call, invitation_id))
        return Response(status_code=204)


def _network(address: str) -> str:
    """Return what one stranger can be told apart by: an IPv6 user has 2**64 addresses."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if ip.version == 6:
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


def _joined(joined: Joined) -> dict[str, Any]:
    return {"user": joined.user, "team": joined.team, "role": joined.role}


def _shape(row: Row, now: datetime) -> dict[str, Any]:
    expires = from_ms(row["expires_at"])
    state = "used" if row["used_at"] is not None else "expired" if expires <= now else "open"
    return {
        "id": row["id"],
        "team": row["team"],
        "role": row["role"],
        "email": row["email"],
        "state": state,
        "created_by": row["created_by"],
        "created_at": from_ms(row["created_at"]),
        "expires_at": expires,
        "used_at": at_or_none(row["used_at"]),
    }
