"""
What people look at: items, runs and events, joined for reading, a page at a time.

Every list is keyset-paginated: the cursor is the last id seen, so page 10,000 costs what the
first does. Ids are ordered by time, so "newest first" is the primary key backwards.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Select, bindparam, case, func, select

from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms

_I, _R, _Q, _E, _P, _A, _T, _S = (
    t.items.c, t.runs.c, t.queues.c, t.entities.c, t.projects.c, t.agents.c, t.attempts.c,
    t.streams.c,
)  # fmt: skip

_owner = t.entities.alias("owner")  # of the queue
_target = t.entities.alias("target")  # of the run's project
_author = t.entities.alias("author")

_RUN_COLUMNS: Final = (
    _R.id.label("run_pk"), _R.name.label("run_name"), _R.display_name,
    _R.state.label("run_state"), _R.job, _R.started_at, _R.ended_at.label("run_ended_at"),
    _R.exit_code, _R.reason, _R.stop_requested_at, _R.created_at, _R.log_size,
    _R.log_truncated, _R.author_id, _P.name.label("project"), _P.entity_id.label("target_id"),
    _target.c.name.label("target"), _author.c.name.label("author"),
)  # fmt: skip
_ITEM_COLUMNS: Final = (
    _I.id, _I.queue_id, _I.state, _I.priority, _I.attempt, _I.requeues, _I.enqueued_at,
    _I.ended_at, _I.parked, _I.parked_why, _I.ready_at, _I.expires_at, _I.run_deadline,
    _I.retries, _I.host_faults, _I.aged, _I.pinned_agent, _I.failure_stage,
    _I.failure_message, _I.failure_detail, _I.agent_id,
    _Q.name.label("queue"), _Q.entity_id.label("owner_id"),
    _owner.c.name.label("queue_entity"), _A.name.label("agent"),
    _A.last_seen_at.label("agent_seen_at"),
)  # fmt: skip

_ITEMS: Final = (
    select(*_ITEM_COLUMNS, *_RUN_COLUMNS)
    .select_from(t.items)
    .join(t.runs, _R.id == _I.run_id)
    .join(t.queues, _Q.id == _I.queue_id)
    .join(_owner, _owner.c.id == _Q.entity_id)
    .join(t.projects, _P.id == _R.project_id)
    .join(_target, _target.c.id == _P.entity_id)
    .join(_author, _author.c.id == _I.author_id)
    .outerjoin(t.agents, _A.id == func.coalesce(_I.agent_id, _I.last_agent_id))
)
_ITEM: Final = _ITEMS.add_columns(_I.spec).where(_I.id == bindparam("item"))

_LARGE: Final = 64 << 10  # bytes of a configuration or summary that a list leaves out
_TOLD_COLUMNS: Final = (
    _R.said_exit, _R.notes, _R.tags, _R.group_name, _R.job_type,
    t.sweeps.c.name.label("sweep"), _S.heartbeat_at,
)  # fmt: skip
_summary: Final = func.coalesce(_S.summary, "{}")
_RUNS: Final = (
    select(
        *_RUN_COLUMNS, *_ITEM_COLUMNS, *_TOLD_COLUMNS,
        case((func.length(_R.config) <= _LARGE, _R.config), else_="{}").label("config"),
        case((func.length(_summary) <= _LARGE, _summary), else_="{}").label("summary"),
    )
    .select_from(t.runs)
    .join(t.projects, _P.id == _R.project_id)
    .join(_target, _target.c.id == _P.entity_id)
    .join(_author, _author.c.id == _R.author_id)
    .outerjoin(t.items, _I.id == _R.item_id)
    .outerjoin(t.queues, _Q.id == _I.queue_id)
    .outerjoin(_owner, _owner.c.id == _Q.entity_id)
    .outerjoin(t.agents, _A.id == func.coalesce(_I.agent_id, _I.last_agent_id))
    .outerjoin(t.streams, _S.run_id == _R.id)
    .outerjoin(t.sweeps, t.sweeps.c.id == _R.sweep_id)
    .where(_R.deleted_at.is_(None))
)  # fmt: skip
_RUN: Final = _RUNS.with_only_columns(
    *_RUN_COLUMNS, *_ITEM_COLUMNS, *_TOLD_COLUMNS, _R.config, _summary.label("summary")
).where(
    _target.c.name == bindparam("entity"),
    _P.name == bindparam("project"),
    _R.name == bindparam("run"),
)

_EVENTS: Final = (
    select(
        t.item_events, _Q.name.label("queue"), _Q.entity_id.label("owner_id"),
        _R.name.label("run_name"),
    )
    .join(t.items, _I.id == t.item_events.c.item_id)
    .join(t.queues, _Q.id == _I.queue_id)
    .join(t.runs, _R.id == _I.run_id)
)  # fmt: skip


def items(
    tx: Tx,
    *,
    limit: int,
    before: str | None = None,
    queue_id: str | None = None,
    owners: Collection[str] | None = None,
    names: Collection[str] | None = None,
    states: Collection[str] = (),
    author_id: str | None = None,
) -> Sequence[Row]:
    """Return items, the newest first; `owners` are the entities whose queues may be seen, and
    `names` those of their queues, if not all of them."""
    return tx.all(
        items_query(
            limit=limit, before=before, queue_id=queue_id, owners=owners, names=names,
            states=states, author_id=author_id,
        )
    )  # fmt: skip


def items_query(
    *,
    limit: int,
    before: str | None,
    queue_id: str | None,
    owners: Collection[str] | None,
    states: Collection[str],
    author_id: str | None,
    names: Collection[str] | None = None,
) -> Select[Any]:
    """Build the statement of `items`, apart so that a test can ask for its plan."""
    found = _ITEMS.order_by(_I.id.desc()).limit(limit)
    if before:
        found = found.where(_I.id < before)
    if queue_id is not None:
        found = found.where(_I.queue_id == queue_id)
    if owners is not None:
        found = found.where(_Q.entity_id.in_(list(owners)))
    if names is not None:
        found = found.where(_Q.name.in_(list(names)))
    if states:
        found = found.where(_I.state.in_(list(states)))
    if author_id is not None:
        found = found.where(_I.author_id == author_id)
    return found


def item(tx: Tx, item_id: str) -> Row | None:
    return tx.one(_ITEM, {"item": item_id})


def warnings(tx: Tx, item_id: str) -> Sequence[Row]:
    c = t.item_warnings.c
    return tx.all(select(t.item_warnings).where(c.item_id == item_id).order_by(c.seq).limit(200))


def events_of(tx: Tx, item_id: str) -> Sequence[Row]:
    c = t.item_events.c
    return tx.all(_EVENTS.where(c.item_id == item_id).order_by(c.seq).limit(500))


def events_after(
    tx: Tx,
    seq: int,
    *,
    owners: Collection[str] | None,
    names: Collection[str] | None = None,
    queue_id: str | None,
    limit: int,
) -> Sequence[Row]:
    """Return events of the queues of `owners` (all with None) with a number above `seq`; of
    those named `names`, if not of all."""
    c = t.item_events.c
    found = _EVENTS.where(c.seq > seq).order_by(c.seq).limit(limit)
    if owners is not None:
        found = found.where(_Q.entity_id.in_(list(owners)))
    if names is not None:
        found = found.where(_Q.name.in_(list(names)))
    if queue_id is not None:
        found = found.where(_I.queue_id == queue_id)
    return tx.all(found)


def last_event(tx: Tx) -> int:
    return tx.scalar(select(func.max(t.item_events.c.seq))) or 0


_NUMBERS: Final = (
    select(t.item_events.c.seq, t.item_events.c.at)
    .where(t.item_events.c.seq > bindparam("seq"))
    .order_by(t.item_events.c.seq)
    .limit(bindparam("limit"))
)
_YOUNG: Final = timedelta(seconds=2)  # longer than a transaction lasts


def settled(
    tx: Tx, seq: int, *, now: datetime, limit: int, patience: timedelta = _YOUNG
) -> tuple[int, bool]:
    """Return the number up to which nothing can appear any more, and whether more is there.

    Numbers are given before transactions commit, so a gap before a young event may be one
    that is about to be filled; an old one is of a transaction that was taken back.
    """
    young = to_ms(now - patience)
    for row in tx.all(_NUMBERS, {"seq": seq, "limit": limit}):
        if row["seq"] > seq + 1 and row["at"] > young:
            return seq, True
        seq = row["seq"]
    return seq, False


def runs(
    tx: Tx,
    *,
    limit: int,
    before: str | None = None,
    targets: Collection[str] | None = None,
    queues: Collection[str] | None = None,
    project: str | None = None,
    states: Collection[str] = (),
    name: str | None = None,
    author_id: str | None = None,
) -> Sequence[Row]:
    """Return runs, the newest first; `targets` are the entities whose runs may be seen, and
    `queues` the names of those through which they came, if not any."""
    found = _RUNS.order_by(_R.id.desc()).limit(limit)
    if before:
        found = found.where(_R.id < before)
    if targets is not None:
        found = found.where(_P.entity_id.in_(list(targets)))
    if queues is not None:
        found = found.where(_Q.name.in_(list(queues)))
    if project is not None:
        found = found.where(_P.name == project)
    if states:
        found = found.where(_R.state.in_(list(states)))
    if name is not None:
        found = found.where(_R.name == name)
    if author_id is not None:
        found = found.where(_R.author_id == author_id)
    return tx.all(found)


def run(tx: Tx, entity: str, project: str, name: str) -> Row | None:
    return tx.one(_RUN, {"entity": entity, "project": project, "run": name})
