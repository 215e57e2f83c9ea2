"""Keys of people and service accounts. A key's secret is returned once, by what makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from runyard.domain.access import Action, Kind
from runyard.domain.errors import Conflict, Invalid, NotFound
from runyard.services import audit
from runyard.services.call import KEY_PREFIX, Call, token_hash
from runyard.services.naming import find_user, only_people, only_users
from runyard.store import accounts
from runyard.store.db import Row
from runyard.store.members import actions_of
from runyard.store.values import at_or_none


@dataclass(frozen=True, slots=True)
class NewKey:
    row: Row
    secret: str = field(repr=False)


def new_key(call: Call, user_id: str, name: str, expires: datetime | None) -> NewKey:
    """Make a key for a user. The caller has checked the right to."""
    secret = KEY_PREFIX + call.new_secret()
    credential = accounts.Credential(
        id=call.new_id(),
        hash=token_hash(secret),
        kind=Kind.USER,
        user_id=user_id,
        name=name,
        prefix=secret[:8],
        expires_at=expires,
    )
    accounts.add_credentials(call.tx, [credential], call.now)
    row = accounts.key(call.tx, credential.id)
    assert row is not None
    audit.note(call, "key.create", row["id"], entity_id=_log_of(row), after=_noted(row))
    return NewKey(row, secret)


def create_key(
    call: Call,
    *,
    name: str,
    user: str | None,
    days: int | None = None,
    seconds: int | None = None,
) -> NewKey:
    """Make a key for the caller, a service account that it manages, or, as an admin, anybody.

    Raises:
        Forbidden: the caller is a service account, no admin, or may less than the account (T19).
        Conflict: the account is disabled.
    """
    only_people(call, "make keys")
    owner = call.actor.user_id
    if user is not None and user != call.actor.name:
        owner = _account(call, user, "make keys for others")["id"]
    if days is not None and seconds is not None:
        raise Invalid("a key expires in days or in seconds, not both")
    if days is not None:
        seconds = days * 86_400
    expires = None if seconds is None else call.now + timedelta(seconds=seconds)
    return new_key(call, owner, name, expires)


def list_keys(
    call: Call, *, everybody: bool = False, user: str | None = None, after: str, limit: int
) -> Sequence[Row]:
    """Return keys of the caller, of `user`, or of everybody, expired ones included.

    Raises:
        Forbidden, NotFound: others' keys take an admin, or a manager of the service account.
    """
    only_users(call)
    owner: str | None = call.actor.user_id
    if everybody:
        call.actor.need_instance_admin("list everybody's keys")
        owner = None
    elif user is not None and user != call.actor.name:
        owner = _account(call, user, "list keys of others", disabled=True)["id"]
    return accounts.keys(call.tx, owner, after=after, limit=limit)


def revoke_key(call: Call, key_id: str) -> None:
    """Delete a key: one's own, one of a service account that the caller manages, or, as an
    admin of the server, anybody's.

    Raises:
        NotFound: none of those.
        Forbidden: the service account may more than the caller (T19).
    """
    only_users(call)
    row = accounts.key(call.tx, key_id)
    if row is None or not _may_revoke(call, row):
        raise NotFound(
            f"no key {key_id!r} of yours", hint="an admin of this server can revoke any key"
        )
    accounts.drop_key(call.tx, key_id)
    audit.note(call, "key.revoke", key_id, entity_id=_log_of(row), before=_noted(row))
    call.tx.announce("credentials")


def _may_revoke(call: Call, key: Row) -> bool:
    if key["user_id"] == call.actor.user_id or call.actor.is_admin:
        return True
    team = key["team_id"]
    if team is None or call.actor.is_service or not call.actor.may(Action.MANAGE_MEMBERS, team):
        return False
    _need_all_of(call, key["user"], team)
    return True


def _account(call: Call, name: str, what: str, *, disabled: bool = False) -> Row:
    """Return another user whose keys the caller may administer."""
    row = accounts.user(call.tx, name)
    team = None if row is None else row["team_id"]
    if row is None or team is None or not call.actor.may(Action.SEE, team):
        call.actor.need_instance_admin(what)
        row = find_user(call.tx, name)
    elif not call.actor.is_admin:
        only_people(call, what)
        call.actor.need(Action.MANAGE_MEMBERS, team, row["team"], f"user {name!r}")
        _need_all_of(call, name, team)
    if row["disabled_at"] is not None and not disabled:
        raise Conflict(f"{name!r} is disabled", hint=_enable(row))
    return row


def _need_all_of(call: Call, service: str, team_id: str) -> None:
    account = accounts.service(call.tx, team_id, service)
    if account is not None:
        what = f"the service account {service!r} ({account['role']})"
        call.actor.need_to_grant(actions_of(account), team_id, what)


def _enable(row: Row) -> str:
    if row["team"] is None:
        return f"an admin of this server can enable it: runyard user enable {row['name']}"
    return f"an admin of {row['team']} can enable it: runyard service-account enable"


def _log_of(key: Row) -> str:
    """Return whose audit log a key belongs to: its owner's, or the service account's team's."""
    return str(key["team_id"] or key["user_id"])


def _noted(key: Row) -> dict[str, object]:
    return {
        "user": key["user"],
        "name": key["name"],
        "prefix": key["prefix"],
        "expires_at": at_or_none(key["expires_at"]),
    }
