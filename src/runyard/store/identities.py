"""Who a person is to a login provider, logins that wait for their key, keys that servers share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, func, insert, select, update

from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms

_E, _U, _I, _M, _K = (
    t.entities.c, t.users.c, t.identities.c, t.memberships.c, t.credentials.c,
)  # fmt: skip
_C, _S = t.login_codes.c, t.server_keys.c
_PEOPLE: Final = (
    select(_U.id, _E.name, _U.is_admin, _U.disabled_at)
    .join(t.entities, _E.id == _U.id)
    .where(_U.kind == "person")
)


def find(tx: Tx, issuer: str, subject: str) -> Row | None:
    """Return the user that stands for this person, and whether a group made it admin.

    Its row is locked until the transaction ends, so that two logins follow one another.
    """
    return tx.one(
        _PEOPLE.add_columns(_I.made_admin)
        .join(t.identities, _I.user_id == _U.id)
        .where(_I.issuer == issuer, _I.subject == subject)
        .with_for_update(of=t.identities)
    )


def unlinked_by_email(tx: Tx, issuer: str, email: str) -> Sequence[Row]:
    """Return people for whose address an admin vouches, and whom nobody of this provider is yet."""
    linked = select(_I.user_id).where(_I.issuer == issuer)
    vouched = _PEOPLE.where(func.lower(_U.email) == email.lower(), _U.email_vouched)
    return tx.all(vouched.where(_U.id.not_in(linked)).limit(2))


def add(tx: Tx, issuer: str, subject: str, user_id: str, now: datetime) -> None:
    tx.run(
        insert(t.identities),
        {"issuer": issuer, "subject": subject, "user_id": user_id, "created_at": to_ms(now)},
    )


def note_login(
    tx: Tx, issuer: str, subject: str, now: datetime, *, made_admin: bool
) -> None:  # fmt: skip
    tx.run(
        update(t.identities)
        .where(_I.issuer == issuer, _I.subject == subject)
        .values(last_login_at=to_ms(now), made_admin=made_admin)
    )


def memberships(tx: Tx, user_id: str) -> Sequence[Row]:
    """Return the id and name of each team of a user, with the role and where it is from."""
    return tx.all(
        select(_M.team_id, _E.name.label("team"), _M.role, _M.granted_by)
        .join(t.entities, _E.id == _M.team_id)
        .where(_M.user_id == user_id)
    )


def drop_keys(tx: Tx, user_id: str, name: str, *, expired: datetime | None = None) -> int:
    """Drop a user's keys of one name, or only those that had expired at a time."""
    named = (_K.user_id == user_id) & (_K.kind == "user") & (_K.name == name)
    old = named if expired is None else named & (_K.expires_at <= to_ms(expired))
    return tx.run(delete(t.credentials).where(old))


def add_code(
    tx: Tx, code_hash: str, user_id: str, challenge: str, now: datetime, expires_at: datetime
) -> None:
    """Keep the code of a login until it expires; those that did are dropped."""
    tx.run(delete(t.login_codes).where(_C.expires_at <= to_ms(now)))
    values: dict[str, Any] = {
        "hash": code_hash, "user_id": user_id, "challenge": challenge,
        "expires_at": to_ms(expires_at),
    }  # fmt: skip
    tx.run(insert(t.login_codes), values)


def has_code(tx: Tx, code_hash: str) -> bool:
    return tx.one(select(_C.hash).where(_C.hash == code_hash)) is not None


def take_code(tx: Tx, code_hash: str, now: datetime) -> Row | None:
    """Return the login of a code, and drop the code: nobody gets it twice, whoever is faster."""
    row = tx.one(
        select(t.login_codes, _E.name, _U.disabled_at)
        .join(t.users, _U.id == _C.user_id)
        .join(t.entities, _E.id == _C.user_id)
        .where(_C.hash == code_hash)
    )
    if row is None or not tx.run(delete(t.login_codes).where(_C.hash == code_hash)):
        return None
    return row if row["expires_at"] > to_ms(now) else None


def server_key(tx: Tx, name: str) -> str | None:
    found: str | None = tx.scalar(select(_S.value).where(_S.name == name))
    return found


def add_server_key(tx: Tx, name: str, value: str, now: datetime) -> None:
    tx.run(insert(t.server_keys), {"name": name, "value": value, "created_at": to_ms(now)})
