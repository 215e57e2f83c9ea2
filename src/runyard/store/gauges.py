"""
How things stand, for monitoring: a handful of grouped counts over partial indexes.

None of them looks at what is finished, or at a row of an item that waits: 100,000 waiting items
are counted in the index alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, case, func, literal_column, select

from runyard.domain.agents import LOST_AFTER, AgentStatus
from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms

_Q, _E, _I, _A, _S = t.queues.c, t.entities.c, t.items.c, t.agents.c, t.agent_queues.c
MAX_QUEUES: Final = 10_000

_QUEUES: Final = (
    select(_Q.id, _Q.entity_id, _E.name.label("entity"), _Q.name, _Q.mode, _Q.policy)
    .join(t.entities, _E.id == _Q.entity_id)
    .where(_Q.deleted_at.is_(None))
    .order_by(_Q.id)
    .limit(MAX_QUEUES)
)
_WAITING: Final = (
    select(
        _I.queue_id,
        _I.priority,
        func.count().label("n"),
        func.min(_I.enqueued_at).label("oldest"),
    )
    # Written out, so that the planner knows the partial index to have them all.
    .where(_I.state == literal_column("'PENDING'"), _I.parked.is_(None))
    .group_by(_I.queue_id, _I.priority)
)
_PARKED: Final = (
    select(_I.queue_id, _I.parked, func.count().label("n"))
    .where(_I.parked.is_not(None))
    .group_by(_I.queue_id, _I.parked)
)
_HELD: Final = (
    select(_I.queue_id, _A.entity_id, func.count().label("n"))
    .join(t.agents, _A.id == _I.agent_id)
    .where(_I.token.is_not(None))
    .group_by(_I.queue_id, _A.entity_id)
)
_live: Final = (_A.status != AgentStatus.KILLED.value) & (_A.last_seen_at > bindparam("since"))
_SERVING: Final = (
    select(_Q.id, func.count().label("n"))
    .join(t.agents, _A.entity_id == _Q.entity_id)
    .join(t.agent_queues, (_S.agent_id == _A.id) & (_S.queue_name == _Q.name))
    .where(_Q.deleted_at.is_(None), _live, _A.set_aside_at.is_(None))
    .group_by(_Q.id)
)
_AGENTS: Final = (
    select(
        _A.entity_id,
        _E.name.label("entity"),
        func.sum(case((_live & _A.set_aside_at.is_(None), 1), else_=0)).label("live"),
        func.sum(case((_live & _A.set_aside_at.is_not(None), 1), else_=0)).label("set_aside"),
        func.sum(case((~_live, 1), else_=0)).label("lost"),
        func.sum(
            case((_live & _A.set_aside_at.is_(None) & (_A.max_jobs > 0), _A.max_jobs), else_=0)
        ).label("slots"),
    )
    .join(t.entities, _E.id == _A.entity_id)
    .where(_A.status != AgentStatus.KILLED.value)
    .group_by(_A.entity_id, _E.name)
)


def queues(tx: Tx) -> Sequence[Row]:
    """Return id, entity_id, entity, name, mode and policy of each queue."""
    return tx.all(_QUEUES)


def waiting(tx: Tx) -> Sequence[Row]:
    """Return queue_id, priority, n and the oldest one's time of what may be leased."""
    return tx.all(_WAITING)


def parked(tx: Tx) -> Sequence[Row]:
    return tx.all(_PARKED)


def held(tx: Tx) -> Sequence[Row]:
    """Return queue_id, entity_id of the agent, and n of what is leased or claimed."""
    return tx.all(_HELD)


def serving(tx: Tx, now: datetime) -> Sequence[Row]:
    """Return id of each queue that live agents serve, and n of those."""
    return tx.all(_SERVING, {"since": to_ms(now - LOST_AFTER)})


def agents(tx: Tx, now: datetime) -> Sequence[Row]:
    """Return, by entity: live, set_aside and lost agents, and the slots of the live ones."""
    return tx.all(_AGENTS, {"since": to_ms(now - LOST_AFTER)})


def names(tx: Tx, entity_ids: Collection[str]) -> set[str]:
    """Return the names of entities."""
    return {row["name"] for row in tx.all(select(_E.name).where(_E.id.in_(list(entity_ids))))}
