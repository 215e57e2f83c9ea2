"""
Users and teams as the tracking client asks for them, and as it makes them.

Everybody sees of others their names alone. Who looks at themselves, and an admin of the server,
sees address, keys and teams.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from runyard.domain.access import ADMIN, BUILT_IN, Action, Kind
from runyard.domain.errors import Conflict, Forbidden, Invalid, NotFound
from runyard.services import accounts, keys, members, service_accounts
from runyard.services.call import Call
from runyard.services.keys import NewKey
from runyard.services.naming import find_team
from runyard.services.tracking import places
from runyard.store import accounts as account_rows
from runyard.store import members as member_rows
from runyard.store.db import Row
from runyard.store.tracking import people as rows

MOST_FOUND: Final = 50
_MOST_KEYS: Final = 500
_LONGEST_SEARCH: Final = 320
_UNFIT: Final = re.compile(r"[^a-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a team, or the one person that a personal entity is."""

    id: str
    name: str
    role: str
    is_service: bool = False
    email: str | None = None


def home(call: Call) -> str:
    """Return the user or team that the caller's runs go to when nobody says where."""
    if call.actor.kind is Kind.RUN:
        return places.find(call, None, None).entity
    row = account_rows.home_of(call.tx, call.actor.user_id) if call.actor.is_service else None
    return call.actor.name if row is None else str(row["name"])


def profile(call: Call, user_id: str, name: str) -> Row | None:
    """Return all of a user, if the caller may see that: itself, or anybody as an admin."""
    is_self = call.actor.kind is Kind.USER and user_id == call.actor.user_id
    if not is_self and not (call.actor.kind is Kind.USER and call.actor.is_admin):
        return None
    return account_rows.user(call.tx, name)


def entities_of(call: Call, user: Row) -> list[tuple[str, str]]:
    """Return ids and names of a user's own entity and teams; `user` is from `profile`."""
    own = [] if user["kind"] == "service" else [(user["id"], user["name"])]
    return own + [
        (row["team_id"], row["team"]) for row in member_rows.memberships_of(call.tx, user["id"])
    ]


def keys_of(call: Call, user: Row) -> Sequence[Row]:
    """Return the newest keys of a user, without their secrets; `user` is from `profile`."""
    return keys.list_keys(call, user=user["name"], after="", limit=_MOST_KEYS)


def search(call: Call, text: str) -> Sequence[Row]:
    """Return people by name or address: everybody for admins of the server, else the caller."""
    if len(text) > _LONGEST_SEARCH:
        return []  # no name or address is as long
    if call.actor.kind is Kind.USER and call.actor.is_admin:
        return rows.search(call.tx, text, limit=MOST_FOUND)
    user = profile(call, call.actor.user_id, call.actor.name)
    own = [] if user is None else [user["name"], (user["email"] or "").lower()]
    asked = text.lower()
    fits = any(each.startswith(asked) or each.endswith(asked) for each in own if each)
    return [user] if user is not None and fits else []


def entity(call: Call, name: str | None) -> Row:
    """Return a user or team that the caller may see; for a run's token, that of its project.

    Raises:
        NotFound.
    """
    if call.actor.kind is not Kind.RUN:
        return call.entity(name, Action.SEE)
    own = places.find(call, None, None).entity
    row = account_rows.entity(call.tx, own) if name in (None, own) else None
    if row is None:
        raise NotFound(f"no user or team {name!r} that this run's token opens")
    return row


def members_of(call: Call, entity_row: Row) -> list[Member]:
    """Return who is in a team, its service accounts last; `entity_row` is from `entity`."""
    if call.actor.kind is Kind.RUN:
        return []
    if entity_row["kind"] == "user":
        user = profile(call, entity_row["id"], entity_row["name"])
        email = None if user is None else user["email"]
        return [Member(entity_row["id"], entity_row["name"], ADMIN, email=email)]
    team = entity_row["name"]
    people = members.list_members(call, team)
    programs = service_accounts.page(call, team, after="", limit=service_accounts.MOST)
    return [
        *(Member(row["user_id"], row["user"], row["role"]) for row in people),
        *(Member(row["id"], row["name"], row["role"], is_service=True) for row in programs),
    ]


def create_user(call: Call, email: str, *, is_admin: bool) -> Row:
    """Create a user, named after the address.

    Raises:
        Forbidden, Invalid (the address, or no name in it), Conflict (the name is taken).
    """
    name = _name_of(email.partition("@")[0])
    return accounts.create_user(call, name, is_admin=is_admin, email=email)


def create_team(call: Call, name: str, admin: str | None) -> Row:
    """Make a team; `admin` is made admin of it, too, if it is not the caller.

    Raises:
        Forbidden, Invalid, Conflict, NotFound: as `members.create_team` and `set_member`.
    """
    team = members.create_team(call, name)
    if admin is not None and admin != call.actor.name:
        actor = call.actor  # as it is from now on
        grants = {**actor.grants, team["id"]: BUILT_IN[ADMIN]}
        now = replace(actor, grants=grants, roles={**actor.roles, team["id"]: ADMIN})
        members.set_member(replace(call, actor=now), name, admin, ADMIN)
    return team


def add_member(
    call: Call, team: str, *, user: str | None, email: str | None, is_admin: bool
) -> Row:
    """Add a user to a team by name or, as an admin of the server, by address.

    Who has no account gets one by an invitation, whose token somebody has to pass on: the tracking
    client would drop it.

    Raises:
        NotFound, Forbidden: as `members.set_member`.
        Invalid: neither is given. Conflict: it is a member already.
    """
    row = find_team(call, team, Action.MANAGE_MEMBERS)
    if user is None:
        user = _name_by_email(call, email, team)
    found = account_rows.user(call.tx, user)
    if found is not None and member_rows.member(call.tx, row["id"], found["id"]) is not None:
        raise Conflict(f"{user} is a member of {team} already")
    members.set_member(call, team, user, ADMIN if is_admin else "member")
    added = account_rows.user(call.tx, user)
    assert added is not None
    return added


def remove_member(call: Call, team: str, user_id: str) -> None:
    """Take somebody out of a team; a service account is deleted.

    Raises:
        NotFound, Forbidden, Conflict: as `members.remove_member` and `service_accounts.delete`.
    """
    row = find_team(call, team, Action.MANAGE_MEMBERS)
    found = member_rows.member(call.tx, row["id"], user_id)
    if found is None:
        raise NotFound(f"{team} has no such member", hint=f"runyard team members {team}")
    if found["kind"] == "service":
        service_accounts.delete(call, team, found["user"])
    else:
        members.remove_member(call, team, found["user"])


def create_service_account(call: Call, team: str, description: str) -> Row:
    """Make a service account, a member of the team, named after its description.

    Raises:
        NotFound, Forbidden, Invalid, Conflict, TooMuch: as `service_accounts.create`.
    """
    name = _name_of(description)
    return service_accounts.create(call, team, name, role="member", queues=None)


def create_key(call: Call, description: str | None) -> NewKey:
    """Make a key for the caller. Raises: Forbidden: a program's account makes none."""
    return keys.create_key(call, name=" ".join((description or "key").split())[:128], user=None)


def _name_of(text: str) -> str:
    name = _UNFIT.sub("-", text.lower()).strip("-_")[:63]
    if not name:
        raise Invalid(f"{text[:80]!r} has no letter or digit to make a name of")
    return name


def _name_by_email(call: Call, email: str | None, team: str) -> str:
    if not email:
        raise Invalid("an invitation needs the name of a user")
    if not call.actor.is_admin:
        raise Forbidden(
            "only an admin of this server may find users by their address",
            hint=f"invite them by name, or make an invitation: runyard invite create {team}",
        )
    found = rows.of_email(call.tx, email, limit=2)
    if len(found) != 1:
        raise NotFound(
            f"{'no user has' if not found else 'several users have'} the address {email[:80]!r}",
            hint=f"make an invitation for them: runyard invite create {team}",
        )
    return str(found[0]["name"])
