"""Agents to rows and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, delete, func, insert, select, update

from runyard.domain.agents import Agent, AgentKind, AgentStatus
from runyard.domain.items import AgentId, QueueId
from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import at_or_none, from_ms, from_text, to_ms, to_text

_A, _E, _S, _Q, _I = t.agents.c, t.entities.c, t.agent_queues.c, t.queues.c, t.items.c
_T = t.attempts.c

_AGENTS: Final = select(t.agents, _E.name.label("entity")).join(t.entities, _E.id == _A.entity_id)
_BY_ID: Final = _AGENTS.where(_A.id == bindparam("agent"))
_SERVED: Final = (
    select(_S.queue_name, _Q.id, _Q.resource, _Q.policy, _Q.mode)
    .join(t.agents, _A.id == _S.agent_id)
    .outerjoin(
        t.queues,
        (_Q.entity_id == _A.entity_id) & (_Q.name == _S.queue_name) & _Q.deleted_at.is_(None),
    )
    .where(_S.agent_id == bindparam("agent"))
    .order_by(_S.queue_name)
)
_SEEN: Final = (
    update(t.agents)
    .where(_A.id == bindparam("agent"), _A.last_seen_at < bindparam("at"))
    .values(last_seen_at=bindparam("at"), status=bindparam("b_status"))
)


def _agent(row: Row) -> Agent:
    return Agent(
        id=AgentId(row["id"]),
        entity_id=row["entity_id"],
        entity=row["entity"],
        name=row["name"],
        epoch=row["epoch"],
        hostname=row["hostname"],
        version=row["version"],
        status=AgentStatus(row["status"]),
        max_jobs=row["max_jobs"],
        registered_at=from_ms(row["registered_at"]),
        last_seen_at=from_ms(row["last_seen_at"]),
        stop_requested_at=at_or_none(row["stop_requested_at"]),
        strikes=row["strikes"],
        set_aside_at=at_or_none(row["set_aside_at"]),
        set_aside_why=row["set_aside_why"],
        kind=AgentKind(row["kind"]),
    )


def get(tx: Tx, agent_id: str) -> Agent | None:
    row = tx.one(_BY_ID, {"agent": agent_id})
    return None if row is None else _agent(row)


def some(tx: Tx, ids: Sequence[str]) -> list[Agent]:
    """Return these agents in the order of their ids."""
    return [_agent(row) for row in tx.all(_AGENTS.where(_A.id.in_(list(ids))).order_by(_A.id))]


def get_locked(tx: Tx, agent_id: str) -> Agent | None:
    """Return the agent, its row held for writing: two registrations wait for each other."""
    row = tx.one(_BY_ID.with_for_update(of=[t.agents]), {"agent": agent_id})
    return None if row is None else _agent(row)


def named(tx: Tx, entity_id: str, name: str) -> AgentId | None:
    found = tx.scalar(select(_A.id).where(_A.entity_id == entity_id, _A.name == name))
    return None if found is None else AgentId(found)


def owner_of(tx: Tx, agent_id: str) -> str:
    """Return the id of the user who registered the agent last."""
    return str(tx.scalar(select(_A.registered_by).where(_A.id == agent_id)))


def config_of(tx: Tx, agent_id: str) -> dict[str, Any]:
    return from_text(tx.scalar(select(_A.config).where(_A.id == agent_id)))  # type: ignore[no-any-return]


def add(tx: Tx, agent: Agent, *, config: Mapping[str, Any], user_id: str) -> None:
    tx.run(
        insert(t.agents),
        {
            "id": agent.id,
            "entity_id": agent.entity_id,
            "registered_by": user_id,
            "kind": agent.kind.value,
        }
        | _columns(agent, config),
    )


def register_again(tx: Tx, agent: Agent, *, config: Mapping[str, Any], user_id: str) -> None:
    tx.run(
        update(t.agents)
        .where(_A.id == agent.id)
        .values(registered_by=user_id, **_columns(agent, config))
    )


def _columns(agent: Agent, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": agent.name, "epoch": agent.epoch, "hostname": agent.hostname,
        "version": agent.version, "status": agent.status.value, "max_jobs": agent.max_jobs,
        "config": to_text(config), "registered_at": to_ms(agent.registered_at),
        "last_seen_at": to_ms(agent.last_seen_at), "stop_requested_at": None,
    }  # fmt: skip


def serve(tx: Tx, agent_id: AgentId, queue_names: Sequence[str]) -> None:
    """Set the queues that the agent serves; they need not exist yet."""
    tx.run(delete(t.agent_queues).where(_S.agent_id == agent_id))
    if queue_names:
        tx.run(
            insert(t.agent_queues),
            [{"agent_id": agent_id, "queue_name": name} for name in dict.fromkeys(queue_names)],
        )


class Served(NamedTuple):
    """A queue that an agent serves; `id` and what follows are None where there is none yet."""

    name: str
    id: QueueId | None
    resource: str | None
    policy: str | None  # as JSON
    mode: str | None


def served(tx: Tx, agent_id: AgentId) -> list[Served]:
    """Return the agent's queues."""
    return [Served(*row.values()) for row in tx.all(_SERVED, {"agent": agent_id})]


def set_status(tx: Tx, agent_id: AgentId, status: AgentStatus, now: datetime) -> None:
    tx.run(
        update(t.agents)
        .where(_A.id == agent_id)
        .values(status=status.value, last_seen_at=to_ms(now))
    )


def note_seen(tx: Tx, seen: Sequence[tuple[str, AgentStatus, datetime]]) -> None:
    """Write when agents were last heard of: one statement for all of them."""
    tx.run(
        _SEEN,
        [{"agent": a, "b_status": status.value, "at": to_ms(at)} for a, status, at in seen],
    )


def judge(tx: Tx, agent: Agent) -> None:
    """Write the agent's strikes, and whether and why it is set aside."""
    at = agent.set_aside_at
    tx.run(
        update(t.agents)
        .where(_A.id == agent.id)
        .values(
            strikes=agent.strikes,
            set_aside_at=None if at is None else to_ms(at),
            set_aside_why=agent.set_aside_why,
        )
    )


def others_failed(tx: Tx, item_id: str, agent_id: AgentId) -> bool:
    """Whether an attempt of another agent at the item never got as far as running."""
    found = select(_T.n).where(
        _T.item_id == item_id, _T.agent_id != agent_id, _T.started_at.is_(None)
    )
    return tx.scalar(found.limit(1)) is not None


def ask_to_stop(tx: Tx, agent_id: AgentId, now: datetime) -> None:
    tx.run(update(t.agents).where(_A.id == agent_id).values(stop_requested_at=to_ms(now)))


Listed = tuple[Agent, list[str], int, dict[str, Any]]


def page(
    tx: Tx,
    entity_ids: Collection[str] | None,
    *,
    queues: Collection[str] | None = None,
    after: str,
    limit: int,
) -> list[Listed]:
    """Return agents with their queues, how many items they hold, and their configs; only those
    that serve one of `queues`, if given."""
    found = _AGENTS.where(_A.id > after).order_by(_A.id).limit(limit)
    if entity_ids is not None:
        found = found.where(_A.entity_id.in_(list(entity_ids)))
    if queues is not None:
        serving = select(_S.agent_id).where(_S.queue_name.in_(list(queues)))
        found = found.where(_A.id.in_(serving))
    return _listed(tx, tx.all(found))


def listed(tx: Tx, agent_id: AgentId) -> Listed:
    """Return one agent that is there, as `page` does."""
    return _listed(tx, tx.all(_BY_ID, {"agent": agent_id}))[0]


def _listed(tx: Tx, rows: Sequence[Row]) -> list[Listed]:
    ids = [row["id"] for row in rows]
    if not ids:
        return []
    names: dict[str, list[str]] = {agent_id: [] for agent_id in ids}
    for row in tx.all(select(t.agent_queues).where(_S.agent_id.in_(ids)).order_by(_S.queue_name)):
        names[row["agent_id"]].append(row["queue_name"])
    held = {
        row["agent_id"]: row["n"]
        for row in tx.all(
            select(_I.agent_id, func.count().label("n"))
            .where(_I.agent_id.in_(ids), _I.token.is_not(None))
            .group_by(_I.agent_id)
        )
    }
    return [(_agent(r), names[r["id"]], held.get(r["id"], 0), from_text(r["config"])) for r in rows]
