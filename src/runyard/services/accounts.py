"""Users, and whom a key stands for. Teams, keys and roles have modules of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from runyard.domain.access import Actor, Kind
from runyard.domain.errors import Conflict, Invalid, TooMuch
from runyard.services import audit
from runyard.services.call import Call, token_hash
from runyard.services.keys import NewKey, create_key, list_keys, new_key, revoke_key
from runyard.services.members import (
    create_team,
    list_members,
    list_teams,
    remove_member,
    set_member,
)
from runyard.services.naming import (
    RESERVED,
    check_email,
    check_project_name,
    claim_name,
    find_user,
)
from runyard.store import accounts
from runyard.store.db import Row, Tx

__all__ = [
    "RESERVED", "NewKey", "add_user", "admin_key", "authenticate", "bootstrap", "create_key",
    "create_team", "create_user", "edit_user", "get_user", "list_keys", "list_members",
    "list_teams", "list_users", "project", "remove_member", "revoke_key", "set_member",
]  # fmt: skip

MOST_PROJECTS: Final = 10_000  # of one user or team


def authenticate(tx: Tx, secret: str, now: datetime) -> Actor | None:
    """Return whom a key or token stands for."""
    return accounts.actor_of(tx, token_hash(secret), now)


def bootstrap(call: Call, name: str) -> str | None:
    """Create the first user, an admin, and return a key; None if there are users already."""
    if accounts.any_user(call.tx):
        return None
    return new_key(call, add_user(call, name, is_admin=True), "first key", None).secret


def admin_key(call: Call, name: str, label: str) -> str:
    """Make a key for a user by name, for who holds the database in hand (the command line).

    Raises:
        NotFound: no such user.
    """
    return new_key(call, find_user(call.tx, name)["id"], label, None).secret


def create_user(call: Call, name: str, *, is_admin: bool, email: str | None = None) -> Row:
    """Raises: Forbidden, Invalid (the name, the address), Conflict (the name is taken)."""
    call.actor.need_instance_admin("create users")
    add_user(call, name, is_admin=is_admin, email=email, vouched=email is not None)
    return find_user(call.tx, name)


def add_user(
    call: Call,
    name: str,
    *,
    is_admin: bool = False,
    email: str | None = None,
    vouched: bool = False,
) -> str:
    """Add a person and return its id. The caller has checked the right to.

    `vouched`: an admin of the server or a login provider says that the address is this person's.

    Raises:
        Invalid (the name, the address), Conflict (the name is taken).
    """
    if email is not None:
        check_email(email)
    user_id = call.new_id()
    claim_name(call, user_id, name, "user")
    accounts.add_user(call.tx, user_id, is_admin=is_admin, email=email, vouched=vouched)
    after = {"is_admin": is_admin, "email": email}
    audit.note(call, "user.create", name, after=after)
    return user_id


def list_users(call: Call, *, kind: str | None = None, after: str, limit: int) -> Sequence[Row]:
    """Return users of a kind, person or service, or of both."""
    call.actor.need_instance_admin("list users")
    return accounts.users(call.tx, kind, after=after, limit=limit)


def get_user(call: Call, name: str) -> Row:
    """Return a user; everybody may look at themselves, admins at all."""
    if not _is_self(call, name):
        call.actor.need_instance_admin("look at other users")
    return find_user(call.tx, name)


def edit_user(call: Call, name: str, changes: Mapping[str, Any]) -> Row:
    """Change `email`, one's own or as an admin, or, as an admin, `is_admin` and `disabled`.

    Whoever is disabled is nobody: keys, and the tokens of agents, open nothing until it is
    enabled again.

    Raises:
        Forbidden, NotFound.
        Invalid: the address; or a service account, which has none and is no admin.
        Conflict: the server would be left without an admin.
    """
    if not _is_self(call, name) or set(changes) - {"email"}:
        call.actor.need_instance_admin("change other users, or who is admin or disabled")
    row = find_user(call.tx, name)
    is_service = row["kind"] == "service"
    if is_service and (changes.get("email") is not None or changes.get("is_admin")):
        raise Invalid(f"{name!r} is a service account: it has no e-mail address and is no admin")
    if changes.get("email") is not None:
        check_email(changes["email"])
    values = {field: value for field, value in changes.items() if field != "disabled"}
    if "email" in changes:  # what people say of themselves links nobody else's login to them
        values["email_vouched"] = changes["email"] is not None and call.actor.is_admin
    if "disabled" in changes and changes["disabled"] != _disabled(row):
        values["disabled_at"] = call.now if changes["disabled"] else None
    if row["is_admin"] and (changes.get("disabled") or changes.get("is_admin") is False):
        _keep_an_admin(call, row["id"])
    if values:
        accounts.edit_user(call.tx, row["id"], values)
        call.tx.announce("credentials")
    edited = find_user(call.tx, name)
    audit.note(
        call, "user.edit", name, entity_id=row["team_id"], before=_noted(row), after=_noted(edited)
    )
    return edited


def project(call: Call, entity: Row, name: str) -> str:
    """Return the id of a project, made if it is new. The caller has checked the right to.

    Raises:
        Invalid: the name. TooMuch: the entity has as many projects as it can.
    """
    found = accounts.project_id(call.tx, entity["id"], name)
    if found is not None:
        return found
    check_project_name(name)
    if accounts.count_projects(call.tx, entity["id"]) >= MOST_PROJECTS:
        raise TooMuch(f"{entity['name']} has {MOST_PROJECTS} projects, which is the most")
    accounts.add_project(
        call.tx, call.new_id(), entity["id"], name, created_by=call.actor.name, now=call.now
    )
    made = accounts.project_id(call.tx, entity["id"], name)
    assert made is not None
    return made


def _is_self(call: Call, name: str) -> bool:
    return call.actor.kind is Kind.USER and name == call.actor.name


def _disabled(row: Row) -> bool:
    return row["disabled_at"] is not None


def _keep_an_admin(call: Call, user_id: str) -> None:
    if accounts.working_admins(call.tx) == {user_id}:
        raise Conflict(
            "the server keeps one admin at least",
            hint="make somebody else admin first: runyard user edit NAME --admin",
        )


def _noted(row: Row) -> dict[str, Any]:
    return {"email": row["email"], "is_admin": row["is_admin"], "disabled": _disabled(row)}
