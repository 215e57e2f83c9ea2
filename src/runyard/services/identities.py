"""
People who come by a login provider: their account, what their groups give, and their keys.

    the provider's word ─▶ sign_in ─▶ hand_out ─▶ a code, in the browser ─▶ redeem ─▶ a key
                             │
                account, teams and roles as the groups say

All of a sign-in is one transaction, so nobody is ever let in with the roles of yesterday.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from runyard.domain.access import BUILT_IN, Action, Actor, Kind
from runyard.domain.errors import Conflict, Forbidden, Unauthenticated
from runyard.domain.groups import Rules
from runyard.domain.oidc import CODE_LIFE, Person, meets, numbered
from runyard.services import audit, keys
from runyard.services.accounts import add_user
from runyard.services.call import Call, token_hash
from runyard.services.naming import RESERVED, claim_name
from runyard.store import accounts, members
from runyard.store import identities as rows
from runyard.store.db import Row

log = structlog.get_logger(__name__)

GRANTED_BY: Final = "oidc"
SESSION: Final = "sso login"  # the name of keys that a login has made
_MOST_NAMESAKES: Final = 1000


@dataclass(frozen=True, slots=True)
class Provider:
    """What counts for the logins of one provider."""

    issuer: str
    rules: Rules
    link_by_email: bool


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who it is; `refused` says why the person may not enter, empty if it may."""

    user_id: str
    name: str
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    name: str
    expires_at: datetime
    secret: str = field(repr=False)


def sign_in(call: Call, provider: Provider, person: Person) -> SignedIn:
    """Take the provider's word for who this is, and bring the account in line with it.

    Somebody who may not enter (any more) loses what groups had given: that is why a refusal is
    returned and not raised.

    Raises:
        Forbidden: nobody that is let in, and no account either.
    """
    enters = provider.rules.lets_in(person.groups)
    found = rows.find(call.tx, provider.issuer, person.subject)
    if found is None and not enters:
        raise Forbidden(
            f"{person.name}: none of your groups is let in here", hint="ask an admin of the server"
        )
    if found is None:
        found = _new(call, provider, person)
    call = replace(call, actor=Actor(Kind.USER, found["id"], found["name"]))
    said = {"issuer": provider.issuer, "subject": person.subject}
    refused = ""
    if found["disabled_at"] is not None:
        refused = "the account is disabled"
    else:
        groups = person.groups if enters else frozenset[str]()
        made_admin = _sync_admin(call, found, wanted=provider.rules.makes_admin(groups))
        _sync_teams(call, found, provider.rules.roles(groups))
        rows.note_login(call.tx, **said, now=call.now, made_admin=made_admin)
    if not enters:
        refused = refused or "none of your groups is let in here"
        rows.drop_keys(call.tx, found["id"], SESSION)
        call.tx.announce("credentials")
    if refused:
        audit.note(call, "login.refuse", found["name"], after={**said, "why": refused})
    else:
        audit.note(call, "login.sso", found["name"], after=said)
    return SignedIn(found["id"], found["name"], refused)


def hand_out(call: Call, user_id: str, challenge: str) -> str:
    """Return a code with which whoever knows the challenge's verifier gets a key, once."""
    code = call.new_secret()
    expires = call.now + timedelta(seconds=CODE_LIFE)
    rows.add_code(call.tx, token_hash(code), user_id, challenge, call.now, expires)
    return code


def knows(call: Call, code: str) -> bool:
    """Tell whether there is such a code; nothing else about it."""
    return rows.has_code(call.tx, token_hash(code))


def redeem(call: Call, code: str, verifier: str, *, hours: int) -> Session | None:
    """Return a key for the login of a code; None if it is wrong, late, used or another's.

    The code is used up in any case, so that nobody can try verifiers.
    """
    row = rows.take_code(call.tx, token_hash(code), call.now)
    if row is None or row["disabled_at"] is not None or not meets(verifier, row["challenge"]):
        return None
    user_id, name = row["user_id"], row["name"]
    rows.drop_keys(call.tx, user_id, SESSION, expired=call.now)  # or a year would leave hundreds
    expires = call.now + timedelta(hours=hours)
    as_user = replace(call, actor=Actor(Kind.USER, user_id, name))
    made = keys.new_key(as_user, user_id, SESSION, expires)
    return Session(name, expires, made.secret)


def refused_code() -> Unauthenticated:
    return Unauthenticated(
        "the code of this login is not accepted: it was used, it is older than "
        f"{CODE_LIFE // 60} minutes, or another program asked for it",
        hint="log in again: runyard login --sso",
    )


def server_key(call: Call, name: str) -> str:
    """Return a random key that all servers of the database share; made when first asked for."""
    found = rows.server_key(call.tx, name)
    if found is None:
        found = call.new_secret()
        rows.add_server_key(call.tx, name, found, call.now)
    return found


def _new(call: Call, provider: Provider, person: Person) -> Row:
    """Return the account of somebody who comes for the first time: one that is linked, or new."""
    user_id = _linked(call, provider, person)
    if user_id is None:
        user_id = _created(call, person)
    rows.add(call.tx, provider.issuer, person.subject, user_id, call.now)
    found = rows.find(call.tx, provider.issuer, person.subject)
    assert found is not None
    return found


def _linked(call: Call, provider: Provider, person: Person) -> str | None:
    """Return the one account whose address is the verified one of this person.

    Only where the operator wants it, and only by addresses that an admin vouches for: everybody
    may write any address into their own account.
    """
    if not provider.link_by_email or person.email is None:
        return None
    found = rows.unlinked_by_email(call.tx, provider.issuer, person.email)
    if len(found) != 1:
        return None
    after = {"issuer": provider.issuer, "subject": person.subject, "email": person.email}
    name = found[0]["name"]
    audit.note(call, "login.link", name, after=after)
    return str(found[0]["id"])


def _created(call: Call, person: Person) -> str:
    """Make an account. A name that is taken gets a number; nobody inherits another's account."""
    for number in range(1, _MOST_NAMESAKES):
        name = numbered(person.name, number)
        if name not in RESERVED and not accounts.is_taken(call.tx, name):
            break
    else:
        raise Conflict(f"there are too many users named {person.name!r} already")
    return add_user(call, name, email=person.email, vouched=person.email is not None)


# -- what the groups give ------------------------------------------------------------------


def _sync_admin(call: Call, user: Row, *, wanted: bool) -> bool:
    """Make the person admin of the server or undo it; return whether a group made it so.

    Who was made admin by hand stays one: only what a group gave is taken back.
    """
    given: bool = user["made_admin"]
    if wanted == user["is_admin"] or not (wanted or given):
        return given and wanted
    accounts.edit_user(call.tx, user["id"], {"is_admin": wanted})
    before, after = {"is_admin": not wanted}, {"is_admin": wanted, "granted_by": GRANTED_BY}
    audit.note(call, "user.edit", user["name"], before=before, after=after)
    call.tx.announce("credentials")
    return wanted


def _sync_teams(call: Call, user: Row, wanted: Mapping[str, Sequence[str]]) -> None:
    """Give, change and take back memberships; those that people gave are theirs to change."""
    now = {row["team"]: row for row in rows.memberships(call.tx, user["id"])}
    for team, roles in sorted(wanted.items()):
        if team in now and now[team]["granted_by"] != GRANTED_BY:
            continue
        team_id = _team(call, team)
        role = _strongest(call, team_id, roles) if team_id is not None else None
        if team_id is not None and role is not None:
            _grant(call, team_id, user, role, now.get(team))
        elif team in now:
            _revoke(call, user, now[team])
    for team, row in sorted(now.items()):
        if row["granted_by"] == GRANTED_BY and team not in wanted:
            _revoke(call, user, row)


def _team(call: Call, name: str) -> str | None:
    """Return a team's id, made if it is new; None if the name is another's."""
    found = accounts.entity(call.tx, name)
    if found is not None and found["kind"] == "team":
        return str(found["id"])
    if name in RESERVED or accounts.is_taken(call.tx, name):
        log.warning("a group leads to a team whose name is taken", team=name)
        return None
    team_id = call.new_id()
    claim_name(call, team_id, name, "team")
    after = {"name": name, "granted_by": GRANTED_BY}
    audit.note(call, "team.create", name, entity_id=team_id, after=after)
    return team_id


def _strongest(call: Call, team_id: str, roles: Sequence[str]) -> str | None:
    """Return the role with the most permissions, of those that the team has."""
    known = {role: actions for role in roles if (actions := _actions(call, team_id, role))}
    for role in set(roles) - set(known):
        log.warning("a group gives a role that the team does not have", role=role, team=team_id)
    return max(known, key=lambda role: len(known[role])) if known else None


def _actions(call: Call, team_id: str, role: str) -> frozenset[Action]:
    if role in BUILT_IN:
        return BUILT_IN[role]
    row = members.role(call.tx, team_id, role)
    return members.actions_in(row["permissions"]) if row is not None else frozenset()


def _grant(call: Call, team_id: str, user: Row, role: str, was: Row | None) -> None:
    if was is not None and was["role"] == role:
        return
    members.lock_team(call.tx, team_id)
    members.set_role(call.tx, team_id, user["id"], role, granted_by=GRANTED_BY)
    after = {"role": role, "granted_by": GRANTED_BY}
    if was is None:
        audit.note(call, "member.add", user["name"], entity_id=team_id, after=after)
    else:
        before = {"role": was["role"], "granted_by": GRANTED_BY}
        audit.note(call, "member.edit", user["name"], entity_id=team_id, before=before, after=after)
    call.tx.announce("credentials")


def _revoke(call: Call, user: Row, was: Row) -> None:
    """Take a membership back, even a team's last admin's: a login never fails for want of one."""
    members.lock_team(call.tx, was["team_id"])
    members.drop_member(call.tx, was["team_id"], user["id"])
    before = {"role": was["role"], "granted_by": GRANTED_BY}
    audit.note(call, "member.remove", user["name"], entity_id=was["team_id"], before=before)
    call.tx.announce("credentials")
