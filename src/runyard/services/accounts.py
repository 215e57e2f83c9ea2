"""Users, teams, roles and keys. A key's secret is returned once, by the call that makes it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from runyard.domain.access import ADMIN, BUILT_IN, Action, Actor, Kind
from runyard.domain.errors import Conflict, Forbidden, Invalid, NotFound
from runyard.services.call import KEY_PREFIX, Call, token_hash
from runyard.store import accounts
from runyard.store.db import Duplicate, Row, Tx

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# Names that are words of our paths: an entity with such a name would read as a route (T2).
RESERVED: Final = frozenset(
    {"api", "healthz", "readyz", "metrics", "login", "static", "graphql", "files", "me"}
)


@dataclass(frozen=True, slots=True)
class NewKey:
    row: Row
    secret: str


def authenticate(tx: Tx, secret: str, now: datetime) -> Actor | None:
    """Return whom a key or token stands for."""
    return accounts.actor_of(tx, token_hash(secret), now)


def bootstrap(call: Call, name: str) -> str | None:
    """Create the first user, an admin, and return a key; None if there are users already."""
    if accounts.any_user(call.tx):
        return None
    user_id = _add_user(call, name, is_admin=True)
    return _add_key(call, user_id, "first key", None)


def admin_key(call: Call, name: str, label: str) -> str:
    """Make a key for a user by name, for who holds the database in hand (the command line).

    Raises:
        NotFound: no such user.
    """
    row = accounts.user(call.tx, name)
    if row is None:
        raise NotFound(f"no user {name!r}")
    return _add_key(call, row["id"], label, None)


def create_user(call: Call, name: str, *, is_admin: bool) -> Row:
    """Raises: Forbidden, Invalid (the name), Conflict (it is taken)."""
    call.actor.need_instance_admin("create users")
    _add_user(call, name, is_admin=is_admin)
    return _user(call.tx, name)


def list_users(call: Call, *, after: str, limit: int) -> Sequence[Row]:
    call.actor.need_instance_admin("list users")
    return accounts.users(call.tx, after=after, limit=limit)


def get_user(call: Call, name: str) -> Row:
    """Return a user; everybody may look at themselves, admins at all."""
    if name != call.actor.name or call.actor.kind is not Kind.USER:
        call.actor.need_instance_admin("look at other users")
    return _user(call.tx, name)


def create_team(call: Call, name: str) -> Row:
    """Make a team; whoever makes it is its first admin."""
    _only_people(call)
    team_id = call.new_id()
    _add_entity(call, team_id, name, "team")
    accounts.set_role(call.tx, team_id, call.actor.user_id, ADMIN)
    call.tx.announce("credentials")  # what a key stands for includes the roles of its owner
    row = accounts.entity(call.tx, name)
    assert row is not None
    return row


def list_teams(call: Call, *, after: str, limit: int) -> Sequence[Row]:
    _only_people(call)
    mine = None if call.actor.is_admin else call.actor.user_id
    return accounts.teams(call.tx, mine, after=after, limit=limit)


def list_members(call: Call, team: str) -> Sequence[Row]:
    return accounts.members(call.tx, _team(call, team, Action.SEE)["id"])


def set_member(call: Call, team: str, user: str, role: str) -> None:
    """Add a member or change its role.

    Raises:
        NotFound, Forbidden, Conflict: the last admin would be lost.
    """
    row = _team(call, team, Action.MANAGE_MEMBERS)
    user_id = _user(call.tx, user)["id"]
    if role not in BUILT_IN:
        raise Invalid(f"role: {role!r} is none of {', '.join(BUILT_IN)}")
    if role != ADMIN:
        _keep_an_admin(call, row["id"], user_id)
    accounts.set_role(call.tx, row["id"], user_id, role)
    call.tx.announce("credentials")


def remove_member(call: Call, team: str, user: str) -> None:
    row = _team(call, team, Action.MANAGE_MEMBERS)
    user_id = _user(call.tx, user)["id"]
    _keep_an_admin(call, row["id"], user_id)
    if not accounts.drop_member(call.tx, row["id"], user_id):
        raise NotFound(f"{user} is no member of {team}")
    call.tx.announce("credentials")


def create_key(call: Call, *, name: str, user: str | None, days: int | None) -> NewKey:
    """Make a key for the caller, or, as an admin of the server, for somebody else."""
    _only_people(call)
    owner = call.actor.user_id
    if user is not None and user != call.actor.name:
        call.actor.need_instance_admin("make keys for others")
        owner = _user(call.tx, user)["id"]
    expires = None if days is None else call.now + timedelta(days=days)
    key_id = call.new_id()
    secret = _add_key(call, owner, name, expires, key_id=key_id)
    row = accounts.key(call.tx, key_id)
    assert row is not None
    return NewKey(row, secret)


def list_keys(call: Call, *, everybody: bool, after: str, limit: int) -> Sequence[Row]:
    _only_people(call)
    if everybody:
        call.actor.need_instance_admin("list everybody's keys")
    owner = None if everybody else call.actor.user_id
    return accounts.keys(call.tx, owner, after=after, limit=limit)


def revoke_key(call: Call, key_id: str) -> None:
    """Delete a key of one's own, or, as an admin of the server, anybody's."""
    _only_people(call)
    row = accounts.key(call.tx, key_id)
    if row is None or not (row["user_id"] == call.actor.user_id or call.actor.is_admin):
        raise NotFound(f"no key {key_id!r} of yours")
    accounts.drop_key(call.tx, key_id)
    call.tx.announce("credentials")


def project(call: Call, entity: Row, name: str) -> str:
    """Return the id of a project, made if it is new. The caller has checked the right to."""
    found = accounts.project_id(call.tx, entity["id"], name)
    if found is not None:
        return found
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name):
        raise Invalid(f"project name {name!r}: letters, digits, '-', '_' and '.', 128 at most")
    project_id = call.new_id()
    accounts.add_project(call.tx, project_id, entity["id"], name, call.now)
    return project_id


def _only_people(call: Call) -> None:
    if call.actor.kind is not Kind.USER:
        raise Forbidden("this takes a person's key; an agent's or a run's token opens only its own")


def _team(call: Call, name: str, action: Action) -> Row:
    row = call.entity(name, action)
    if row["kind"] != "team":
        raise NotFound(f"no team {name!r}; it is a user")
    return row


def _user(tx: Tx, name: str) -> Row:
    row = accounts.user(tx, name)
    if row is None:
        raise NotFound(f"no user {name!r}", hint="runyard user list")
    return row


def _keep_an_admin(call: Call, team_id: str, user_id: str) -> None:
    admins = [m for m in accounts.members(call.tx, team_id) if m["role"] == ADMIN]
    if [m["user_id"] for m in admins] == [user_id]:
        raise Conflict("a team keeps one admin at least", hint="make somebody else admin first")


def _add_user(call: Call, name: str, *, is_admin: bool) -> str:
    user_id = call.new_id()
    _add_entity(call, user_id, name, "user")
    accounts.add_user(call.tx, user_id, is_admin=is_admin)
    return user_id


def _add_entity(call: Call, entity_id: str, name: str, kind: str) -> None:
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise Invalid(
            f"{kind} name {name!r}: 1 to 63 lower-case letters, digits, '-' or '_', "
            f"beginning with a letter or digit, and none of {', '.join(sorted(RESERVED))}"
        )
    if accounts.entity(call.tx, name) is not None:
        raise Conflict(f"there is a user or team named {name!r} already")
    try:
        accounts.add_entity(call.tx, entity_id, name, kind, call.now)
    except Duplicate as error:
        raise Conflict(f"there is a user or team named {name!r} already") from error


def _add_key(
    call: Call, user_id: str, name: str, expires: datetime | None, *, key_id: str = ""
) -> str:
    secret = KEY_PREFIX + call.new_secret()
    credential = accounts.Credential(
        id=key_id or call.new_id(),
        hash=token_hash(secret),
        kind=Kind.USER,
        user_id=user_id,
        name=name,
        prefix=secret[:8],
        expires_at=expires,
    )
    accounts.add_credentials(call.tx, [credential], call.now)
    return secret
