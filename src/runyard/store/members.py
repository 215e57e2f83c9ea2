"""Teams, who is in them as what, and the roles that teams made themselves."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import delete, func, insert, select, update

from runyard.domain.access import ADMIN, BUILT_IN, Action
from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import from_text, to_ms, to_text

_E, _U, _M, _R = t.entities.c, t.users.c, t.memberships.c, t.roles.c
_KNOWN: Final = {action.permission: action for action in Action}


def lock_team(tx: Tx, team_id: str) -> None:
    """Let changes to the members and roles of a team follow one another until this commits.

    Without it two admins could remove each other at the same moment.
    """
    tx.one(select(_E.id).where(_E.id == team_id).with_for_update(key_share=True))


def teams(tx: Tx, user_id: str | None, *, after: str, limit: int) -> Sequence[Row]:
    """Return the teams of a user, or all teams."""
    found = select(t.entities).where(_E.kind == "team", _E.id > after)
    if user_id is not None:
        found = found.where(_E.id.in_(select(_M.team_id).where(_M.user_id == user_id)))
    return tx.all(found.order_by(_E.id).limit(limit))


def memberships_of(tx: Tx, user_id: str) -> Sequence[Row]:
    """Return the teams of a user with the role there, and that role's permissions if it is own."""
    return tx.all(
        select(_M.team_id, _E.name.label("team"), _M.role, _R.permissions)
        .join(t.entities, _E.id == _M.team_id)
        .outerjoin(t.roles, (_R.team_id == _M.team_id) & (_R.name == _M.role))
        .where(_M.user_id == user_id)
        .order_by(_E.name)
    )


def actions_of(row: Row) -> frozenset[Action]:
    """Return what the role of a membership may do; one that nobody knows may do nothing."""
    if row["role"] in BUILT_IN:
        return BUILT_IN[row["role"]]
    return actions_in(row["permissions"])


def actions_in(permissions: str | None) -> frozenset[Action]:
    """Read the stored permissions of a role. What a newer server wrote there counts for nothing."""
    names = from_text(permissions) if permissions is not None else ()
    return frozenset(_KNOWN[name] for name in names if name in _KNOWN)


_MEMBERS: Final = (
    select(
        _E.name.label("user"), _M.role, _M.user_id, _M.granted_by, _U.kind, _U.disabled_at,
        _R.permissions,
    )
    .join(t.entities, _E.id == _M.user_id)
    .join(t.users, _U.id == _M.user_id)
    .outerjoin(t.roles, (_R.team_id == _M.team_id) & (_R.name == _M.role))
)  # fmt: skip


def members(tx: Tx, team_id: str) -> Sequence[Row]:
    """Return the people in a team; its service accounts are listed apart."""
    people = (_M.team_id == team_id) & (_U.kind == "person")
    return tx.all(_MEMBERS.where(people).order_by(_E.name))


def member(tx: Tx, team_id: str, user_id: str) -> Row | None:
    return tx.one(_MEMBERS.where(_M.team_id == team_id, _M.user_id == user_id))


def admins(tx: Tx, team_id: str) -> set[str]:
    """Return the ids of the people who can administer a team now."""
    found = tx.all(
        select(_M.user_id)
        .join(t.users, _U.id == _M.user_id)
        .where(_M.team_id == team_id, _M.role == ADMIN)
        .where(_U.kind == "person", _U.disabled_at.is_(None))
    )
    return {row["user_id"] for row in found}


def set_role(tx: Tx, team_id: str, user_id: str, role: str, *, granted_by: str = "") -> None:
    drop_member(tx, team_id, user_id)
    tx.run(
        insert(t.memberships),
        {"team_id": team_id, "user_id": user_id, "role": role, "granted_by": granted_by},
    )


def drop_member(tx: Tx, team_id: str, user_id: str) -> int:
    return tx.run(delete(t.memberships).where(_M.team_id == team_id, _M.user_id == user_id))


def roles(tx: Tx, team_id: str) -> Sequence[Row]:
    return tx.all(select(t.roles).where(_R.team_id == team_id).order_by(_R.name))


def role(tx: Tx, team_id: str, name: str) -> Row | None:
    return tx.one(select(t.roles).where(_R.team_id == team_id, _R.name == name))


def count_roles(tx: Tx, team_id: str) -> int:
    found: int = tx.scalar(select(func.count()).select_from(t.roles).where(_R.team_id == team_id))
    return found


def add_role(
    tx: Tx,
    team_id: str,
    name: str,
    permissions: Collection[Action],
    description: str,
    now: datetime,
) -> None:
    tx.run(
        insert(t.roles),
        {
            "team_id": team_id, "name": name, "permissions": _written(permissions),
            "description": description, "created_at": to_ms(now),
        },
    )  # fmt: skip


def edit_role(
    tx: Tx, team_id: str, name: str, permissions: Collection[Action], description: str
) -> None:
    tx.run(
        update(t.roles)
        .where(_R.team_id == team_id, _R.name == name)
        .values(permissions=_written(permissions), description=description)
    )


def drop_role(tx: Tx, team_id: str, name: str) -> int:
    return tx.run(delete(t.roles).where(_R.team_id == team_id, _R.name == name))


def holders(tx: Tx, team_id: str, role: str, *, limit: int) -> list[str]:
    """Return names of users and service accounts that have a role, `limit` at most."""
    found = tx.all(
        select(_E.name)
        .join(t.memberships, _M.user_id == _E.id)
        .where(_M.team_id == team_id, _M.role == role)
        .order_by(_E.name)
        .limit(limit)
    )
    return [row["name"] for row in found]


def _written(permissions: Collection[Action]) -> str:
    return to_text(sorted(action.permission for action in permissions))
