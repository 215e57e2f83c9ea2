"""What launching through the tracking protocol adds: drafts of queues, its agents, its sweeps."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select, update

from runyard.domain.agents import AgentStatus
from runyard.domain.items import ItemState, RunId
from runyard.domain.runs import Run, RunState
from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import at_or_none, from_ms, to_ms, to_text

_D, _A, _I, _R, _S, _Q, _E = (
    t.resource_drafts.c, t.agents.c, t.items.c, t.runs.c, t.sweeps.c, t.queues.c, t.entities.c,
)  # fmt: skip

_DRAFT: Final = select(t.resource_drafts).where(
    _D.id == bindparam("draft"), _D.entity_id == bindparam("entity")
)
_HEARD: Final = (
    update(t.agents)
    .where(_A.id == bindparam("agent"))
    .values(last_seen_at=bindparam("at"))
)  # fmt: skip
_SAID: Final = _HEARD.values(status=bindparam("b_status"))
_RUN: Final = (
    select(
        _R.id, _R.state, _R.item_id, _R.author_id, _R.created_at, _R.started_at, _R.reason,
        _R.stop_requested_at, _R.deleted_at, _I.state.label("item_state"),
    )
    .outerjoin(t.items, _I.id == _R.item_id)
    .where(_R.project_id == bindparam("project"), _R.name == bindparam("name"))
)  # fmt: skip
_QUEUE_OF_RUN: Final = (
    select(_Q.id, _Q.name, _Q.entity_id, _E.name.label("entity"))
    .select_from(t.runs)
    .join(t.items, _I.id == _R.item_id)
    .join(t.queues, _Q.id == _I.queue_id)
    .join(t.entities, _E.id == _Q.entity_id)
    .where(_R.id == bindparam("run"))
)
_SWEEP: Final = select(_S.id, _S.name, _S.author_id).where(
    _S.project_id == bindparam("project"),
    _S.name == bindparam("name"),
    _S.scheduler_run_id == bindparam("run"),
)


def add_draft(
    tx: Tx,
    draft_id: str,
    entity_id: str,
    *,
    resource: str,
    config: dict[str, Any],
    variables: dict[str, Any],
    by: str,
    now: datetime,
) -> None:
    tx.run(
        insert(t.resource_drafts),
        {
            "id": draft_id, "entity_id": entity_id, "resource": resource, "created_by": by,
            "config": to_text(config), "variables": to_text(variables), "created_at": to_ms(now),
        },
    )  # fmt: skip


def draft(tx: Tx, draft_id: str, entity_id: str) -> Row | None:
    return tx.one(_DRAFT, {"draft": draft_id, "entity": entity_id})


def drop_draft(tx: Tx, draft_id: str) -> None:
    tx.run(delete(t.resource_drafts).where(_D.id == draft_id))


def drop_drafts_before(tx: Tx, at: datetime) -> None:
    """Forget drafts of which no queue was made."""
    tx.run(delete(t.resource_drafts).where(_D.created_at < to_ms(at)))


def heard(tx: Tx, agent_id: str, now: datetime, status: AgentStatus | None = None) -> None:
    """Note that an agent was heard of, and what it says of itself."""
    params: dict[str, Any] = {"agent": agent_id, "at": to_ms(now)}
    if status is None:
        tx.run(_HEARD, params)
    else:
        tx.run(_SAID, {**params, "b_status": status.value})


def item_of_run(tx: Tx, project_id: str, name: str) -> str | None:
    """Return the id of the item of a run."""
    row = tx.one(_RUN, {"project": project_id, "name": name})
    return None if row is None else row["item_id"]


def waiting_run(tx: Tx, project_id: str, name: str, author_id: str) -> Run | None:
    """Return a user's run that waits for an item, held for writing: none was queued for it yet,
    or the one that was has ended with a preemption."""
    row = tx.one(_RUN.with_for_update(of=[t.runs]), {"project": project_id, "name": name})
    if row is None or row["author_id"] != author_id or row["deleted_at"] is not None:
        return None
    state = RunState(row["state"])
    is_over = row["item_id"] is None or ItemState(row["item_state"]).is_final
    if not (is_over and state is RunState.PREEMPTED) and not (
        row["item_id"] is None and state is RunState.PENDING
    ):
        return None
    return Run(
        RunId(row["id"]),
        state,
        from_ms(row["created_at"]),
        started_at=at_or_none(row["started_at"]),
        reason=row["reason"],
        stop_requested_at=at_or_none(row["stop_requested_at"]),
    )


def queue_of_run(tx: Tx, run_id: str) -> Row | None:
    """Return the queue through which a run came."""
    return tx.one(_QUEUE_OF_RUN, {"run": run_id})


def driven_sweep(tx: Tx, project_id: str, name: str, run_id: str) -> Row | None:
    """Return a sweep of that name if this run drives it."""
    return tx.one(_SWEEP, {"project": project_id, "name": name, "run": run_id})
