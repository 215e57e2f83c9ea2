"""Queues to rows and back, and which agents serve them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, func, insert, select, update

from runyard.domain.agents import LOST_AFTER, AgentStatus
from runyard.domain.items import QueueId
from runyard.domain.policy import QueuePolicy
from runyard.domain.queues import Mode, Queue, Resource, parse_links
from runyard.domain.templates import parse_variables
from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import from_ms, from_text, to_ms, to_text

_Q, _E, _A, _S, _I = t.queues.c, t.entities.c, t.agents.c, t.agent_queues.c, t.items.c

_QUEUES: Final = (
    select(t.queues, _E.name.label("entity"))
    .join(t.entities, _E.id == _Q.entity_id)
    .where(_Q.deleted_at.is_(None))
)
_BY_NAME: Final = _QUEUES.where(_E.name == bindparam("entity"), _Q.name == bindparam("name"))
_COUNTS: Final = (
    select(_I.queue_id, _I.state, func.count().label("n"))
    .where(
        _I.queue_id.in_(bindparam("ids", expanding=True)),
        _I.state.in_(["PENDING", "LEASED", "CLAIMED"]),
    )
    .group_by(_I.queue_id, _I.state)
)
_SERVERS: Final = (
    select(_Q.id, func.count().label("n"))
    .join(t.agents, _A.entity_id == _Q.entity_id)
    .join(t.agent_queues, (_S.agent_id == _A.id) & (_S.queue_name == _Q.name))
    .where(
        _Q.id.in_(bindparam("ids", expanding=True)),
        _A.last_seen_at > bindparam("since"),
        _A.status != AgentStatus.KILLED.value,
        _A.set_aside_at.is_(None),
    )
    .group_by(_Q.id)
)


def _queue(row: Row) -> Queue:
    return Queue(
        id=QueueId(row["id"]),
        entity_id=row["entity_id"],
        entity=row["entity"],
        name=row["name"],
        resource=Resource(row["resource"]),
        created_at=from_ms(row["created_at"]),
        config=from_text(row["config"]),
        variables=parse_variables(from_text(row["variables"])),
        policy=QueuePolicy.parse(from_text(row["policy"])),
        links=parse_links(from_text(row["links"])),
        description=row["description"],
        mode=Mode(row["mode"]),
        mode_by=row["mode_by"],
        mode_why=row["mode_why"],
        created_by=row["created_by"],
    )


def get(tx: Tx, entity: str, name: str) -> Queue | None:
    row = tx.one(_BY_NAME, {"entity": entity, "name": name})
    return None if row is None else _queue(row)


def by_id(tx: Tx, queue_id: QueueId) -> Queue | None:
    row = tx.one(_QUEUES.where(_Q.id == queue_id))
    return None if row is None else _queue(row)


def page(
    tx: Tx,
    entity_ids: Collection[str] | None,
    *,
    names: Collection[str] | None = None,
    after: str,
    limit: int,
) -> list[Queue]:
    """Return queues in order of their ids; of these entities and names, or all with None."""
    found = _QUEUES.where(_Q.id > after).order_by(_Q.id).limit(limit)
    if entity_ids is not None:
        found = found.where(_Q.entity_id.in_(list(entity_ids)))
    if names is not None:
        found = found.where(_Q.name.in_(list(names)))
    return [_queue(row) for row in tx.all(found)]


def names(tx: Tx, entity: str) -> list[str]:
    found = select(_Q.name).join(t.entities, _E.id == _Q.entity_id)
    found = found.where(_Q.deleted_at.is_(None), _E.name == entity).order_by(_Q.name).limit(1000)
    return [row["name"] for row in tx.all(found)]


def add(tx: Tx, queue: Queue) -> None:
    tx.run(
        insert(t.queues),
        {
            "id": queue.id, "entity_id": queue.entity_id, "name": queue.name,
            "resource": queue.resource.value, "created_by": queue.created_by,
            "created_at": to_ms(queue.created_at), **_columns(queue),
        },
    )  # fmt: skip


def edit(tx: Tx, queue: Queue) -> None:
    """Write what an admin may change of a queue."""
    tx.run(update(t.queues).where(_Q.id == queue.id).values(_columns(queue)))


def _columns(queue: Queue) -> dict[str, Any]:
    usual = QueuePolicy().to_json()
    # Only what was chosen, so that a later version's better default reaches old queues, too.
    policy = {name: v for name, v in queue.policy.to_json().items() if v != usual[name]}
    return {
        "config": to_text(queue.config),
        "variables": to_text({name: v.to_json() for name, v in queue.variables.items()}),
        "policy": to_text(policy),
        "links": to_text([{"label": link.label, "url": link.url} for link in queue.links]),
        "description": queue.description,
    }


def set_mode(tx: Tx, queue_id: QueueId, mode: Mode, *, by: str, why: str, now: datetime) -> None:
    tx.run(
        update(t.queues)
        .where(_Q.id == queue_id)
        .values(mode=mode.value, mode_by=by, mode_why=why, mode_at=to_ms(now))
    )


def delete(tx: Tx, queue_id: QueueId, now: datetime) -> None:
    """Take the queue out of sight; its items stay in the history of their runs."""
    tx.run(update(t.queues).where(_Q.id == queue_id).values(deleted_at=to_ms(now)))


def counts(tx: Tx, ids: Sequence[QueueId], now: datetime) -> dict[str, tuple[int, int, int]]:
    """Return (pending, leased or claimed, live agents) of each queue."""
    found: dict[str, list[int]] = {queue_id: [0, 0, 0] for queue_id in ids}
    if not ids:
        return {}
    for row in tx.all(_COUNTS, {"ids": list(ids)}):
        found[row["queue_id"]][0 if row["state"] == "PENDING" else 1] += row["n"]
    since = to_ms(now - LOST_AFTER)
    for row in tx.all(_SERVERS, {"ids": list(ids), "since": since}):
        found[row["id"]][2] = row["n"]
    return {queue_id: (p, r, a) for queue_id, (p, r, a) in found.items()}
