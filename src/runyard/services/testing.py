"""
Users and teams for conformance suites: made and gone without ceremony, their names their keys.

This is for tests alone. It touches only what it made itself: users whose key is their own name,
and teams of such users. What is taken down is renamed and opens to nobody; its rows remain, since
much refers to them, and a user of the same name begins with nothing.
"""

from __future__ import annotations

import re
from typing import Final

from runyard.domain.access import ADMIN, Kind
from runyard.domain.errors import Conflict, Invalid
from runyard.services.call import Call, token_hash
from runyard.services.naming import RESERVED
from runyard.store import accounts, members
from runyard.store import testing as rows

_LABEL: Final = "key of the testing switch"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


def user_up(call: Call, name: str, *, is_admin: bool) -> None:
    """Make a user whose key is its name, or leave the one that was made so.

    Raises:
        Invalid: the name. Conflict: somebody else has it.
    """
    _check(name)
    row = accounts.user(call.tx, name)
    if row is None:
        _free(call, name)
        user_id = call.new_id()
        accounts.add_entity(call.tx, user_id, name, "user", call.now)
        email = f"{name}@example.com"
        accounts.add_user(call.tx, user_id, is_admin=is_admin, email=email)
        key = accounts.Credential(
            id=call.new_id(), hash=token_hash(name), kind=Kind.USER, user_id=user_id,
            name=_LABEL, prefix=name[:8],
        )  # fmt: skip
        accounts.add_credentials(call.tx, [key], call.now)
    elif not _is_made(call, row["id"], name):
        raise _others(name)
    elif row["is_admin"] != is_admin:
        accounts.edit_user(call.tx, row["id"], {"is_admin": is_admin})
    call.tx.announce("credentials")


def user_down(call: Call, name: str) -> None:
    """Raises: Conflict: the user was not made by `user_up`."""
    row = accounts.user(call.tx, name)
    if row is None:
        return
    if not _is_made(call, row["id"], name):
        raise _others(name)
    _take_down(call, row["id"])


def all_down(call: Call) -> None:
    """Take down all users that `user_up` has made."""
    for row in rows.keys_named(call.tx, _LABEL):
        if row["hash"] == token_hash(row["name"]):
            _take_down(call, row["id"])


def team_up(call: Call, name: str, admin: str | None) -> None:
    """Make a team, or add an admin to one that was made so.

    Raises:
        Invalid: the name. Conflict: it is taken, or the admin was not made by `user_up`.
    """
    _check(name)
    user = None if admin is None else accounts.user(call.tx, admin)
    if admin is not None and (user is None or not _is_made(call, user["id"], admin)):
        raise _others(admin)
    row = accounts.entity(call.tx, name)
    if row is None:
        _free(call, name)
        team_id = call.new_id()
        accounts.add_entity(call.tx, team_id, name, "team", call.now)
    else:
        team_id = row["id"]
        _need_made_team(call, team_id, row["kind"], name)
    if user is not None:
        members.set_role(call.tx, team_id, user["id"], ADMIN)
    call.tx.announce("credentials")


def team_down(call: Call, name: str) -> None:
    """Raises: Conflict: it is no team of users that `user_up` has made."""
    row = accounts.entity(call.tx, name)
    if row is None:
        return
    _need_made_team(call, row["id"], row["kind"], name)
    rows.drop_memberships(call.tx, row["id"])
    rows.free_name(call.tx, row["id"])
    call.tx.announce("credentials")


def _take_down(call: Call, user_id: str) -> None:
    accounts.drop_credentials_of(call.tx, user_id)
    rows.drop_memberships(call.tx, user_id)
    accounts.edit_user(call.tx, user_id, {"disabled_at": call.now, "is_admin": False})
    rows.free_name(call.tx, user_id)
    call.tx.announce("credentials")


def _is_made(call: Call, user_id: str, name: str) -> bool:
    return any(key["hash"] == token_hash(name) for key in rows.keys_of(call.tx, user_id))


def _need_made_team(call: Call, team_id: str, kind: str, name: str) -> None:
    people = members.members(call.tx, team_id)
    if kind != "team" or not all(_is_made(call, row["user_id"], row["user"]) for row in people):
        raise _others(name)


def _check(name: str) -> None:
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise Invalid(f"name {name[:140]!r}: 1 to 128 letters, digits, '-' or '_'")


def _free(call: Call, name: str) -> None:
    if accounts.is_taken(call.tx, name):
        raise _others(name)


def _others(name: str) -> Conflict:
    return Conflict(f"{name[:140]!r} was not made by the testing switch, which leaves it alone")
