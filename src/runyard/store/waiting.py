"""What waits: finding what leaves next, and what has waited, backed off or run for too long."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Integer,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    text,
)

from runyard.domain.items import QueueId
from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.items import PAIRS, Pair, for_writing, pair_of
from runyard.store.values import to_ms

_I, _Q, _R = t.items.c, t.queues.c, t.runs.c

# Written out, not bound: SQLite would plan the statement anew for each value that is bound where
# the condition of a partial index is asked for.
_PENDING: Final = _I.state == literal_column("'PENDING'")
_FREE: Final = and_(_PENDING, _I.parked.is_(None))
_MINE: Final = or_(_I.pinned_agent.is_(None), _I.pinned_agent == bindparam("agent"))
_LIMIT: Final = bindparam("limit", type_=Integer)
_ORDER: Final = (_I.priority, _I.turn, _I.enqueued_at, _I.id)
_NEXT: Final = for_writing(
    PAIRS.where(_I.queue_id == bindparam("queue_id"), _FREE, _MINE).order_by(*_ORDER).limit(_LIMIT),
    skip_locked=True,
)
_NEXT_WITHOUT: Final = for_writing(
    PAIRS.where(
        _I.queue_id == bindparam("queue_id"),
        _FREE,
        _MINE,
        _I.author_id.not_in(bindparam("without", expanding=True)),
    )
    .order_by(*_ORDER)
    .limit(_LIMIT),
    skip_locked=True,
)
_NEXT_AUTHORS: Final = (
    select(_I.author_id)
    .where(_I.queue_id == bindparam("queue_id"), _FREE)
    .order_by(*_ORDER)
    .limit(_LIMIT)
)
_OF_AUTHOR: Final = (
    select(_I.id)
    .where(
        _I.queue_id == bindparam("queue_id"),
        _I.author_id == bindparam("author"),
        _PENDING,
        # What is held stands in no line; what backs off keeps its place.
        _I.parked.is_distinct_from(literal_column("'held'")),
    )
    .order_by(_I.enqueued_at, _I.id)
    .with_for_update(skip_locked=True)
)
_RUN: Final = select(func.count()).where(
    _I.queue_id == bindparam("queue_id"), _I.state.in_(["LEASED", "CLAIMED"])
)
_RUNNING: Final = (
    select(_I.author_id, func.count().label("n"))
    .where(_I.queue_id == bindparam("queue_id"), _I.state.in_(["LEASED", "CLAIMED"]))
    .group_by(_I.author_id)
)
_LOCK: Final = text("SELECT id FROM queues WHERE id = :queue_id FOR NO KEY UPDATE")
_OVERDUE: Final = for_writing(
    PAIRS.where(_I.token.is_not(None), _I.lease_expires_at <= bindparam("now"))
    .order_by(_I.lease_expires_at)
    .limit(500),
    skip_locked=True,
)
_OVERWAITED: Final = for_writing(
    PAIRS.where(_PENDING, _I.expires_at <= bindparam("now")).order_by(_I.expires_at).limit(500),
    skip_locked=True,
)
_READY: Final = for_writing(
    PAIRS.where(_I.ready_at <= bindparam("now")).order_by(_I.ready_at).limit(500),
    skip_locked=True,
)
_OVERRUN: Final = for_writing(
    PAIRS.where(_I.run_deadline <= bindparam("now"), _R.stop_requested_at.is_(None))
    .order_by(_I.run_deadline)
    .limit(500),
    skip_locked=True,
)
_OF_QUEUE: Final = for_writing(
    PAIRS.where(_I.queue_id == bindparam("queue_id"), _I.state == "PENDING")
    .order_by(_I.id)
    .limit(1000)
)
_PINNED_TO: Final = for_writing(
    PAIRS.where(
        _I.queue_id.in_(bindparam("queue_ids", expanding=True)),
        _I.state == "PENDING",
        _I.pinned_agent == bindparam("agent"),
    ).order_by(_I.id)
)
_COUNT: Final = select(func.count()).select_from(
    select(_I.id).where(_I.queue_id == bindparam("queue_id"), _PENDING).limit(_LIMIT).subquery()
)
_COUNT_OF: Final = select(func.count()).select_from(
    select(_I.id)
    .where(
        _I.queue_id == bindparam("queue_id"),
        _I.state == "PENDING",
        _I.author_id == bindparam("author"),
    )
    .limit(_LIMIT)
    .subquery()
)
_NOW: Final = bindparam("now", type_=BigInteger)
_STEP: Final = bindparam("step", type_=BigInteger)
_AGED: Final = for_writing(
    PAIRS.where(
        _I.queue_id == bindparam("queue_id"),
        _FREE,
        _I.priority == bindparam("level"),
        _I.enqueued_at <= _NOW - _STEP,  # said only for the index
        _I.enqueued_at <= _NOW - _STEP * (_I.aged + 1),
    )
    .order_by(_I.enqueued_at)
    .limit(500),
    skip_locked=True,
)
_AGING_QUEUES: Final = select(_Q.id, _Q.policy).where(
    _Q.deleted_at.is_(None), _Q.policy.contains('"aging":')
)


def next_waiting(
    tx: Tx, queue_id: QueueId, *, agent: str, limit: int, without: Collection[str] = ()
) -> list[Pair]:
    """Return up to `limit` items in the order in which they leave, held for writing.

    Items of the users `without` are passed over.
    """
    params: dict[str, Any] = {"queue_id": queue_id, "agent": agent, "limit": limit}
    if without:
        rows = tx.all(_NEXT_WITHOUT, {**params, "without": sorted(without)})
    else:
        rows = tx.all(_NEXT, params)
    return [pair_of(row) for row in rows]


def next_authors(tx: Tx, queue_id: QueueId, *, limit: int) -> list[str]:
    """Return whose items leave next, by id."""
    rows = tx.all(_NEXT_AUTHORS, {"queue_id": queue_id, "limit": limit})
    return [row["author_id"] for row in rows]


_IN_FLIGHT: Final = select(func.sum(_I.charged)).where(
    _I.queue_id == bindparam("queue_id"),
    _I.author_id == bindparam("author"),
    _I.state.in_(["LEASED", "CLAIMED"]),
)


def in_flight(tx: Tx, queue_id: str, author_id: str) -> float:
    """Return the seconds that a user's share is charged with for what runs now."""
    return float(tx.scalar(_IN_FLIGHT, {"queue_id": queue_id, "author": author_id}) or 0.0)


def of_author(tx: Tx, queue_id: str, author_id: str) -> list[str]:
    """Return the ids of what waits of a user and is not held, the oldest first, locked."""
    rows = tx.all(_OF_AUTHOR, {"queue_id": queue_id, "author": author_id})
    return [row["id"] for row in rows]


def lock_queue(tx: Tx, queue_id: QueueId) -> None:
    """Let leases of a queue with limits wait for each other. SQLite has one writer anyway."""
    if tx.is_postgres:
        tx.connection.execute(_LOCK, {"queue_id": queue_id})


def number_running(tx: Tx, queue_id: QueueId) -> int:
    """Return how many items agents hold."""
    return int(tx.scalar(_RUN, {"queue_id": queue_id}))


def running(tx: Tx, queue_id: QueueId) -> dict[str, int]:
    """Return how many items of each user are held by agents."""
    return {row["author_id"]: row["n"] for row in tx.all(_RUNNING, {"queue_id": queue_id})}


def overdue(tx: Tx, now: datetime) -> list[Pair]:
    """Return what is held under a lease that has run out."""
    return [pair_of(row) for row in tx.all(_OVERDUE, {"now": to_ms(now)})]


def overwaited(tx: Tx, now: datetime) -> list[Pair]:
    """Return what has waited longer than it may."""
    return [pair_of(row) for row in tx.all(_OVERWAITED, {"now": to_ms(now)})]


def ready(tx: Tx, now: datetime) -> list[Pair]:
    """Return what has backed off for long enough."""
    return [pair_of(row) for row in tx.all(_READY, {"now": to_ms(now)})]


def overrun(tx: Tx, now: datetime) -> list[Pair]:
    """Return what runs longer than it may and was not asked to stop."""
    return [pair_of(row) for row in tx.all(_OVERRUN, {"now": to_ms(now)})]


def aging_queues(tx: Tx) -> Sequence[Row]:
    """Return (id, policy) of queues whose policy speaks of aging."""
    return tx.all(_AGING_QUEUES)


def aged(tx: Tx, queue_id: str, *, step_s: int, level: int, now: datetime) -> list[Pair]:
    """Return items at a level that have waited for another one."""
    params = {"queue_id": queue_id, "level": level, "now": to_ms(now), "step": step_s * 1000}
    return [pair_of(row) for row in tx.all(_AGED, params)]


def of_queue(tx: Tx, queue_id: QueueId) -> list[Pair]:
    """Return up to 1000 waiting items, held ones too; call again until there are none."""
    return [pair_of(row) for row in tx.all(_OF_QUEUE, {"queue_id": queue_id})]


def pinned_to(tx: Tx, queue_ids: Sequence[QueueId], agent: str) -> list[Pair]:
    return [pair_of(r) for r in tx.all(_PINNED_TO, {"queue_ids": queue_ids, "agent": agent})]


def count(tx: Tx, queue_id: QueueId, *, author_id: str | None = None, up_to: int) -> int:
    """Return how many items wait, of one author or of all; counting stops at `up_to`."""
    params: dict[str, Any] = {"queue_id": queue_id, "limit": up_to}
    if author_id is None:
        return int(tx.scalar(_COUNT, params))
    return int(tx.scalar(_COUNT_OF, {**params, "author": author_id}))
