"""
Roles of teams: those that are built in, and a team's own, made of the same permissions.

Nobody hands on, and nobody changes, what is above what they may do themselves (T19). A role
takes effect for all who have it in the moment it is changed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from runyard.domain.access import BUILT_IN, Action, parse_permissions
from runyard.domain.errors import Conflict, Invalid, NotFound, TooMuch
from runyard.services import audit
from runyard.services.call import Call
from runyard.services.naming import check_name, find_team
from runyard.store import invitations, members
from runyard.store.db import Row
from runyard.store.values import from_ms

MOST: Final = 100  # own roles of a team
_NAMED: Final = 5  # holders of a role that a refusal names


@dataclass(frozen=True, slots=True)
class Role:
    """A role that members of a team can have."""

    name: str
    actions: frozenset[Action]
    description: str = ""
    created_at: datetime | None = None  # None: built in

    @property
    def permissions(self) -> list[str]:
        return sorted(action.permission for action in self.actions)


def of_team(call: Call, team: Row, name: str) -> Role:
    """Return a role of a team by its name.

    Raises:
        Invalid: the team has none of that name.
    """
    if name in BUILT_IN:
        return Role(name, BUILT_IN[name])
    row = members.role(call.tx, team["id"], name)
    if row is None:
        known = [*BUILT_IN, *(role["name"] for role in members.roles(call.tx, team["id"]))]
        raise Invalid(
            f"role: {name!r} is no role of {team['name']}; there are {', '.join(known)}",
            hint=f"an admin of {team['name']} can make roles: runyard role set",
        )
    return _read(row)


def need_to_grant(call: Call, team: Row, role: Role) -> None:
    """Pass if the caller may do all that the role may (T19).

    Raises:
        Forbidden.
    """
    call.actor.need_to_grant(role.actions, team["id"], f"the role {role.name!r}")


def list_roles(call: Call, team: str) -> list[Role]:
    """Return the built-in roles, the weakest first, and then the team's own."""
    row = find_team(call, team, Action.SEE)
    own = [_read(role) for role in members.roles(call.tx, row["id"])]
    return [*(Role(name, actions) for name, actions in BUILT_IN.items()), *own]


def get(call: Call, team: str, name: str) -> Role:
    row = find_team(call, team, Action.SEE)
    own = members.role(call.tx, row["id"], name)
    if own is None and name not in BUILT_IN:
        raise NotFound(f"{team} has no role {name!r}", hint=f"runyard role list {team}")
    return of_team(call, row, name)


def put(call: Call, team: str, name: str, permissions: Collection[str], description: str) -> Role:
    """Make a role of a team, or change it for all who have it. Repeating changes nothing.

    Raises:
        NotFound, Forbidden: among them permissions, of now or before, that the caller lacks.
        Invalid: the name, or a permission that there is not.
        TooMuch: the team has as many as it can.
    """
    row = find_team(call, team, Action.MANAGE_MEMBERS)
    if name in BUILT_IN:
        raise Invalid(f"the role {name!r} is built in; give your own another name")
    check_name(name, "role")
    new = Role(name, parse_permissions(permissions), description)
    members.lock_team(call.tx, row["id"])
    before = members.role(call.tx, row["id"], name)
    need_to_grant(call, row, new)
    if before is None:
        _add(call, row, new)
    else:
        was = _read(before)
        need_to_grant(call, row, was)
        members.edit_role(call.tx, row["id"], name, new.actions, description)
        audit.note(
            call, "role.edit", name, entity_id=row["id"], before=_noted(was), after=_noted(new)
        )
    call.tx.announce("credentials")
    return get(call, team, name)


def delete(call: Call, team: str, name: str) -> None:
    """Delete a role of a team that nobody has.

    Raises:
        NotFound, Forbidden.
        Conflict: somebody has it, or is invited to it.
    """
    row = find_team(call, team, Action.MANAGE_MEMBERS)
    if name in BUILT_IN:
        raise Conflict(f"the role {name!r} is built in and cannot be deleted")
    members.lock_team(call.tx, row["id"])
    was = get(call, team, name)
    need_to_grant(call, row, was)
    have = members.holders(call.tx, row["id"], name, limit=_NAMED + 1)
    if have:
        shown = ", ".join(have[:_NAMED]) + (", …" if len(have) > _NAMED else "")
        raise Conflict(f"{shown} of {team} have the role {name!r}", hint="give them another first")
    if invited := invitations.count_open(call.tx, row["id"], call.now, role=name):
        raise Conflict(
            f"{invited} open invitations of {team} are for the role {name!r}",
            hint=f"revoke them first: runyard invite list {team}",
        )
    members.drop_role(call.tx, row["id"], name)
    audit.note(call, "role.delete", name, entity_id=row["id"], before=_noted(was))
    call.tx.announce("credentials")


def _add(call: Call, team: Row, new: Role) -> None:
    if members.count_roles(call.tx, team["id"]) >= MOST:
        raise TooMuch(
            f"{team['name']} has {MOST} roles of its own, which is the most",
            hint="delete one that nobody has: runyard role delete",
        )
    members.add_role(call.tx, team["id"], new.name, new.actions, new.description, call.now)
    audit.note(call, "role.create", new.name, entity_id=team["id"], after=_noted(new))


def _read(row: Row) -> Role:
    return Role(
        row["name"],
        members.actions_in(row["permissions"]),
        row["description"],
        from_ms(row["created_at"]),
    )


def _noted(role: Role) -> dict[str, object]:
    return {"permissions": role.permissions, "description": role.description}
