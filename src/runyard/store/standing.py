"""Where items stand: what leaves before them, who waits and runs in a queue, how long runs take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import BigInteger, Float, Integer, and_, bindparam, func, or_, select

from runyard.domain.agents import LOST_AFTER, Agent
from runyard.domain.items import Item, QueueId
from runyard.store import agents
from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms

_I, _R, _A, _S = t.items.c, t.runs.c, t.agents.c, t.agent_queues.c
_FREE: Final = and_(
    _I.queue_id == bindparam("queue_id"), _I.state == "PENDING", _I.parked.is_(None)
)
_LEVEL: Final = bindparam("level", type_=Integer)
_TURN: Final = bindparam("turn", type_=Float)
_AT: Final = bindparam("at", type_=BigInteger)
_EARLIER: Final = or_(
    _I.turn < _TURN,
    and_(_I.turn == _TURN, _I.enqueued_at < _AT),
    and_(_I.turn == _TURN, _I.enqueued_at == _AT, _I.id < bindparam("id")),
)
_AHEAD: Final = select(func.count()).select_from(
    select(_I.id)
    .where(
        _FREE,
        or_(_I.priority < _LEVEL, and_(_I.priority == _LEVEL, _EARLIER)),
    )
    .limit(bindparam("most", type_=Integer))
    .subquery()
)
_LENGTHS: Final = (
    select(_R.started_at, _R.ended_at)
    .join(t.items, _I.run_id == _R.id)
    .where(_I.queue_id == bindparam("queue_id"), _I.state == "FINISHED", _R.started_at.is_not(None))
    .order_by(_I.id.desc())
    .limit(50)
)
_WAITING_BY_USER: Final = (
    select(_I.author_id, _I.priority, func.count().label("n"))
    .where(_FREE)
    .group_by(_I.author_id, _I.priority)
)
_PARKED: Final = (
    select(_I.parked, func.count().label("n"))
    .where(_I.queue_id == bindparam("queue_id"), _I.parked.is_not(None))
    .group_by(_I.parked)
)


def ahead(tx: Tx, item: Item, *, most: int) -> int:
    """Return how many free items leave before this one, `most` at most."""
    place = {
        "queue_id": item.queue_id, "level": item.priority, "turn": item.turn,
        "at": to_ms(item.enqueued_at), "id": item.id, "most": most,
    }  # fmt: skip
    return int(tx.scalar(_AHEAD, place))


def typical_seconds(tx: Tx, queue_id: QueueId) -> float | None:
    """Return the median length of the queue's last 50 runs that finished; None without any."""
    rows = tx.all(_LENGTHS, {"queue_id": queue_id})
    lengths = sorted((row["ended_at"] - row["started_at"]) / 1000 for row in rows)
    return lengths[len(lengths) // 2] if lengths else None


def waiting_by_user(tx: Tx, queue_id: QueueId) -> Sequence[Row]:
    """Return (author_id, priority, n) of what may be leased."""
    return tx.all(_WAITING_BY_USER, {"queue_id": queue_id})


def parked(tx: Tx, queue_id: QueueId) -> dict[str, int]:
    """Return how many items are held and how many back off."""
    return {row["parked"]: row["n"] for row in tx.all(_PARKED, {"queue_id": queue_id})}


def names(tx: Tx, user_ids: Sequence[str]) -> dict[str, str]:
    """Return the names of users by id."""
    found: dict[str, str] = {}
    for at in range(0, len(user_ids), 500):
        some = list(user_ids[at : at + 500])
        rows = tx.all(select(t.entities.c.id, t.entities.c.name).where(t.entities.c.id.in_(some)))
        found |= {row["id"]: row["name"] for row in rows}
    return found


def agents_of(tx: Tx, entity_id: str, queue_name: str, now_ms: int) -> list[tuple[Agent, int]]:
    """Return the agents of a queue that were heard of lately, with how many items they hold."""
    since = now_ms - int(LOST_AFTER.total_seconds() * 1000)
    rows = tx.all(
        select(_A.id)
        .join(t.agent_queues, _S.agent_id == _A.id)
        .where(
            _A.entity_id == entity_id,
            _S.queue_name == queue_name,
            _A.last_seen_at > since,
            _A.status != "KILLED",
        )
        .order_by(_A.id)
        .limit(1000)
    )
    ids = [row["id"] for row in rows]
    if not ids:
        return []
    held = {
        row["agent_id"]: row["n"]
        for row in tx.all(
            select(_I.agent_id, func.count().label("n"))
            .where(_I.agent_id.in_(ids), _I.token.is_not(None))
            .group_by(_I.agent_id)
        )
    }
    return [(agent, held.get(agent.id, 0)) for agent in agents.some(tx, ids)]
