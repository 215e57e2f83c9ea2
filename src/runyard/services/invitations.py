"""
Invitations: a token, good once and for some days, that makes its bearer a member of a team.

Who has no account gets one by it, with a first key; who has one joins. An invitation is as
good as the rights of who made it are when it is used: it cannot hand on what its maker has
lost since (T19). Of unknown, used and expired tokens nobody learns which they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from runyard.domain.access import BUILT_IN, Action, Actor, Kind
from runyard.domain.errors import Conflict, Invalid, NotFound, TooMuch
from runyard.services import audit, roles
from runyard.services.accounts import add_user
from runyard.services.call import Call, token_hash
from runyard.services.keys import NewKey, new_key
from runyard.services.naming import check_email, find_team, only_people
from runyard.store import accounts, members
from runyard.store import invitations as rows
from runyard.store.db import Row
from runyard.store.values import at_or_none

PREFIX: Final = "ryi_"  # scanners of leaked secrets look for it
_LONGEST: Final = 128
MOST_OPEN: Final = 500  # of a team, and of those to no team


@dataclass(frozen=True, slots=True)
class NewInvitation:
    row: Row
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Joined:
    """What an invitation led to; `key` is there for a new user."""

    user: str
    team: str | None
    role: str | None
    key: NewKey | None = None


def create(
    call: Call, *, team: str | None, role: str | None, email: str = "", seconds: int
) -> NewInvitation:
    """Invite one person to a team in a role or, as an admin of the server, to no team yet.

    Raises:
        NotFound, Forbidden: among them a role that may more than the caller.
        Invalid: no such role, or not an e-mail address.
        TooMuch: too many are open.
    """
    only_people(call, "invite people")
    if email:
        check_email(email)
    team_id = None
    if team is None:
        call.actor.need_instance_admin("invite people to no team")
        if role is not None:
            raise Invalid("role: there is none without a team")
    else:
        row = find_team(call, team, Action.MANAGE_MEMBERS)
        role = role or "member"
        roles.need_to_grant(call, row, roles.of_team(call, row, role))
        team_id = row["id"]
        members.lock_team(call.tx, team_id)
    if rows.count_open(call.tx, team_id, call.now) >= MOST_OPEN:
        raise TooMuch(
            f"there are {MOST_OPEN} open invitations, which is the most",
            hint="revoke some: runyard invite list",
        )
    token, invitation_id = PREFIX + call.new_secret(), call.new_id()
    rows.add(
        call.tx, invitation_id, token_hash(token),
        team_id=team_id, role=role, email=email, created_by=call.actor.name,
        now=call.now, expires_at=call.now + timedelta(seconds=seconds),
    )  # fmt: skip
    made = _get(call, invitation_id)
    audit.note(call, "invitation.create", invitation_id, entity_id=team_id, after=_noted(made))
    return NewInvitation(made, token)


def page(call: Call, team: str | None, *, after: str, limit: int) -> Sequence[Row]:
    """Return invitations, used and expired ones too, of a team; of all for the server's admins."""
    team_id = None
    if team is None:
        call.actor.need_instance_admin("list the invitations of all teams")
    else:
        team_id = find_team(call, team, Action.MANAGE_MEMBERS)["id"]
    return rows.page(call.tx, team_id, after=after, limit=limit)


def revoke(call: Call, invitation_id: str) -> None:
    """Take an invitation back. Who came by it stays.

    Raises:
        NotFound: none that the caller may see.
        Forbidden: it is for a role that may more than the caller.
    """
    row = rows.get(call.tx, invitation_id)
    if row is None or not _may_manage(call.actor, row["team_id"]):
        raise NotFound(
            f"no invitation {invitation_id!r} that you may revoke", hint="runyard invite list"
        )
    if row["team_id"] is not None:
        call.actor.need_to_grant(_actions(call, row), row["team_id"], f"the role {row['role']!r}")
    rows.drop(call.tx, invitation_id)
    audit.note(
        call, "invitation.revoke", invitation_id, entity_id=row["team_id"], before=_noted(row)
    )


def check(call: Call, token: str) -> Row:
    """Return the invitation that a token stands for, while it can be used.

    Raises:
        NotFound: it is unknown, used, expired or revoked, or its maker may no longer invite.
    """
    known = len(token) <= _LONGEST and token.isascii()
    row = rows.open_one(call.tx, token_hash(token), call.now) if known else None
    maker = None if row is None else accounts.actor_named(call.tx, row["created_by"])
    if row is None or maker is None or not _may_manage(maker, row["team_id"]):
        raise _unknown()
    if row["team_id"] is not None and not _actions(call, row) <= maker.granted(row["team_id"]):
        raise _unknown()
    return row


def redeem(call: Call, token: str, name: str) -> Joined:
    """Create the person that an invitation was made for, with a first key.

    Raises:
        NotFound: as `check`.
        Invalid, Conflict: the name; the invitation can still be used with another.
    """
    row = _locked(call, token)
    own = replace(call, actor=Actor(Kind.USER, "", name))  # the log has them as who did it
    user_id = add_user(own, name, email=row["email"] or None)
    _use(own, row, user_id)
    key = new_key(own, user_id, "first key", None)
    return Joined(name, row["team"], row["role"], key)


def join(call: Call, token: str) -> Joined:
    """Make the caller a member of the team that an invitation is to.

    Raises:
        NotFound: as `check`.
        Conflict: the caller is a member already, or the invitation is to no team.
    """
    only_people(call, "join teams")
    row = _locked(call, token)
    if row["team_id"] is None:
        raise Conflict("the invitation is for a new user, and to no team")
    if members.member(call.tx, row["team_id"], call.actor.user_id) is not None:
        raise Conflict(
            f"you are a member of {row['team']} already",
            hint=f"an admin of {row['team']} can change your role",
        )
    _use(call, row, call.actor.user_id)
    return Joined(call.actor.name, row["team"], row["role"])


def _locked(call: Call, token: str) -> Row:
    row = check(call, token)
    if row["team_id"] is not None:
        members.lock_team(call.tx, row["team_id"])  # its role is not deleted meanwhile
        row = check(call, token)
    return row


def _use(call: Call, row: Row, user_id: str) -> None:
    if not rows.use(call.tx, row["id"], user_id, call.now):
        raise _unknown()
    team_id, role = row["team_id"], row["role"]
    note = {"user": call.actor.name, "created_by": row["created_by"]}
    audit.note(call, "invitation.redeem", row["id"], entity_id=team_id, after=note)
    if team_id is not None:
        members.set_role(call.tx, team_id, user_id, role)
        after = {"role": role, "invited_by": row["created_by"]}
        audit.note(call, "member.add", call.actor.name, entity_id=team_id, after=after)
        call.tx.announce("credentials")


def _actions(call: Call, row: Row) -> frozenset[Action]:
    """Return what the role of an invitation may do now."""
    if row["role"] in BUILT_IN:
        return BUILT_IN[row["role"]]
    own = members.role(call.tx, row["team_id"], row["role"])
    return members.actions_in(None if own is None else own["permissions"])


def _may_manage(actor: Actor, team_id: str | None) -> bool:
    if team_id is None:
        return actor.is_admin
    return actor.may(Action.MANAGE_MEMBERS, team_id) and not actor.is_service


def _get(call: Call, invitation_id: str) -> Row:
    row = rows.get(call.tx, invitation_id)
    assert row is not None
    return row


def _unknown() -> NotFound:
    return NotFound(
        "the invitation is not known: it was used or revoked, or it has expired",
        hint="ask whoever invited you for a new one",
    )


def _noted(row: Row) -> dict[str, object]:
    return {
        "team": row["team"],
        "role": row["role"],
        "email": row["email"],
        "expires_at": at_or_none(row["expires_at"]),
    }
