"""Teams and the people in them."""

from __future__ import annotations

from collections.abc import Sequence

from runyard.domain.access import ADMIN, Action
from runyard.domain.errors import Conflict, Invalid, NotFound
from runyard.services import audit, roles
from runyard.services.call import Call
from runyard.services.naming import claim_name, find_team, find_user, only_people, only_users
from runyard.store import accounts
from runyard.store import members as rows
from runyard.store.db import Row


def create_team(call: Call, name: str) -> Row:
    """Make a team; whoever makes it is its first admin.

    Raises:
        Forbidden, Invalid (the name), Conflict (it is taken).
    """
    only_people(call, "create teams")
    team_id = call.new_id()
    claim_name(call, team_id, name, "team")
    rows.set_role(call.tx, team_id, call.actor.user_id, ADMIN)
    after = {"name": name, "admin": call.actor.name}
    audit.note(call, "team.create", name, entity_id=team_id, after=after)
    call.tx.announce("credentials")  # what a key stands for includes the roles of its owner
    row = accounts.entity(call.tx, name)
    assert row is not None
    return row


def list_teams(call: Call, *, after: str, limit: int) -> Sequence[Row]:
    only_users(call)
    mine = None if call.actor.is_admin else call.actor.user_id
    return rows.teams(call.tx, mine, after=after, limit=limit)


def list_members(call: Call, team: str) -> Sequence[Row]:
    """Return the people in a team; its service accounts are listed apart."""
    return rows.members(call.tx, find_team(call, team, Action.SEE)["id"])


def set_member(call: Call, team: str, user: str, role: str) -> None:
    """Add a member or change its role.

    Raises:
        NotFound, Forbidden: among them a role, of now or before, that may more than the caller.
        Invalid: no such role, or a service account.
        Conflict: the last admin would be lost.
    """
    row, user_id = _both(call, team, user)
    new = roles.of_team(call, row, role)
    roles.need_to_grant(call, row, new)
    was = _changeable(call, row, user_id, user)
    if role != ADMIN:
        _keep_an_admin(call, row, user_id)
    rows.set_role(call.tx, row["id"], user_id, role)
    after = {"role": role, "granted_by": ""}
    if was is None:
        audit.note(call, "member.add", user, entity_id=row["id"], after=after)
    else:
        before = {"role": was["role"], "granted_by": was["granted_by"]}
        audit.note(call, "member.edit", user, entity_id=row["id"], before=before, after=after)
    call.tx.announce("credentials")


def remove_member(call: Call, team: str, user: str) -> None:
    """Take somebody out of a team.

    Raises:
        NotFound, Forbidden: among them somebody whose role may more than the caller.
        Conflict: the last admin would be lost.
    """
    row, user_id = _both(call, team, user)
    was = _changeable(call, row, user_id, user)
    if was is None:
        raise NotFound(f"{user} is no member of {team}", hint=f"runyard team members {team}")
    _keep_an_admin(call, row, user_id)
    rows.drop_member(call.tx, row["id"], user_id)
    before = {"role": was["role"]}
    audit.note(call, "member.remove", user, entity_id=row["id"], before=before)
    call.tx.announce("credentials")


def _both(call: Call, team: str, user: str) -> tuple[Row, str]:
    row = find_team(call, team, Action.MANAGE_MEMBERS)
    found = find_user(call.tx, user)
    if found["kind"] == "service":
        raise Invalid(
            f"{user!r} is a service account; it belongs to one team for good",
            hint="change its role: runyard service-account edit",
        )
    rows.lock_team(call.tx, row["id"])
    return row, found["id"]


def _changeable(call: Call, team: Row, user_id: str, user: str) -> Row | None:
    """Return the membership as it is; above the caller's own it is not theirs to change (T19)."""
    was = rows.member(call.tx, team["id"], user_id)
    if was is not None:
        what = f"{user}, as {was['role']} of {team['name']},"
        call.actor.need_to_grant(rows.actions_of(was), team["id"], what)
    return was


def _keep_an_admin(call: Call, team: Row, user_id: str) -> None:
    if rows.admins(call.tx, team["id"]) == {user_id}:
        raise Conflict(
            f"{team['name']} keeps one admin at least", hint="make somebody else admin first"
        )
