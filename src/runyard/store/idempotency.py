"""Answers kept by the caller's key, so that a request that is sent twice acts once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.exc import IntegrityError

from runyard.domain.errors import Conflict, Unavailable
from runyard.store import tables as t
from runyard.store.db import Tx
from runyard.store.values import to_ms

KEPT_FOR: Final = timedelta(days=1)
_K = t.idempotency_keys.c
_FIND: Final = select(t.idempotency_keys).where(
    _K.user_id == bindparam("user"), _K.key == bindparam("key")
)


def answer(tx: Tx, user_id: str, key: str, request_hash: str) -> str | None:
    """Return what this request was answered before, None if it is new.

    Raises:
        Conflict: the key was used for another request.
    """
    row = tx.one(_FIND, {"user": user_id, "key": key})
    if row is None:
        return None
    if row["request_hash"] != request_hash:
        raise Conflict(
            f"Idempotency-Key {key!r} was used for another request",
            hint="make a new key for each new request",
        )
    return str(row["response"])


def remember(
    tx: Tx, user_id: str, key: str, request_hash: str, response: str, now: datetime
) -> None:
    """Keep the answer.

    Raises:
        Unavailable: the same request is being answered elsewhere right now.
    """
    values = {
        "user_id": user_id, "key": key, "request_hash": request_hash, "response": response,
        "created_at": to_ms(now),
    }  # fmt: skip
    try:
        tx.run(insert(t.idempotency_keys), values)
    except IntegrityError as error:
        raise Unavailable("the same request is being answered; send it again") from error


def forget_old(tx: Tx, now: datetime) -> int:
    return tx.run(delete(t.idempotency_keys).where(_K.created_at < to_ms(now - KEPT_FOR)))
