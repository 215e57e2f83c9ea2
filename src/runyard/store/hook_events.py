"""What notifications tell of: moves of items, items that wait too long, agents that are away."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    union_all,
)

from runyard.domain.agents import AgentStatus
from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms

_V, _I, _R, _Q, _P, _A, _S = (
    t.item_events.c, t.items.c, t.runs.c, t.queues.c, t.projects.c, t.agents.c, t.agent_queues.c,
)  # fmt: skip
_target = t.entities.alias("target")  # of the run's project
_author = t.entities.alias("author")

_ITEM_COLUMNS: Final = (
    _I.id.label("item_id"), _I.author_id, _I.attempt, _I.enqueued_at, _I.failure_stage,
    _I.failure_message, _R.state.label("run_state"), _R.name.label("run_name"), _R.job, _R.reason,
    _R.exit_code, _P.name.label("project"), _target.c.name.label("target"),
    _author.c.name.label("author"), _Q.name.label("queue"), _Q.entity_id.label("owner_id"),
)  # fmt: skip


def _joined(statement: Select[Any]) -> Select[Any]:
    return (
        statement.join(t.runs, _R.id == _I.run_id)
        .join(t.queues, _Q.id == _I.queue_id)
        .join(t.projects, _P.id == _R.project_id)
        .join(_target, _target.c.id == _P.entity_id)
        .join(_author, _author.c.id == _I.author_id)
    )


_MOVES: Final = _joined(
    select(
        _V.seq, _V.at, _V.was, _V.became, _V.detail, *_ITEM_COLUMNS
    ).select_from(t.item_events).join(t.items, _I.id == _V.item_id)
).where(
    _V.seq > bindparam("after"),
    _V.seq <= bindparam("to"),
    or_(
        _V.became.in_(["FINISHED", "FAILED", "CANCELLED"]),
        and_(_V.became == "PENDING", _V.was == "CLAIMED"),
    ),
).order_by(_V.seq)  # fmt: skip
_ITEM: Final = _joined(select(*_ITEM_COLUMNS).select_from(t.items)).where(
    _I.id == bindparam("item")
)


def moves(tx: Tx, after: int, to: int) -> Sequence[Row]:
    """Return the ends and requeues among the events with these numbers, with their items."""
    return tx.all(_MOVES, {"after": after, "to": to})


def item(tx: Tx, item_id: str) -> Row | None:
    return tx.one(_ITEM, {"item": item_id})


# -- items that wait ---------------------------------------------------------------------

_PRIORITIES: Final = range(4)


def _waiting(priority: int, *more: ColumnElement[bool]) -> ColumnElement[bool]:
    return and_(
        _I.queue_id == bindparam("queue"),
        _I.priority == priority,
        # Written out, so that a planner knows the partial index to hold them all.
        _I.state == literal_column("'PENDING'"),
        _I.parked.is_(None),
        *more,
    )


def _of(author: bool, shared: bool) -> list[ColumnElement[bool]]:
    """Narrow to one author, whose line has an index; or to where all turns are 0, as an index has
    them in order of time. In a queue with fair share the lines of its priorities are read whole.
    """
    if author:
        return [_I.author_id == bindparam("author")]
    return [] if shared else [_I.turn == literal_column("0")]


def first_query(priority: int, *, author: bool = False, shared: bool = False) -> Select[Any]:
    """Build the statement for what waits longest at one priority."""
    return (
        select(_I.id, _I.enqueued_at)
        .where(_waiting(priority, *_of(author, shared)))
        .order_by(_I.enqueued_at, _I.id)
        .limit(1)
    )


def _oldest_query(*, author: bool, shared: bool) -> Select[Any]:
    firsts = [first_query(p, author=author, shared=shared).subquery() for p in _PRIORITIES]
    first = union_all(*(select(one) for one in firsts)).subquery()
    return select(first).order_by(first.c.enqueued_at, first.c.id).limit(1)


def _count_query(*, author: bool, shared: bool) -> Select[Any]:
    counted = [
        select(_I.id)
        .where(_waiting(priority, *_of(author, shared), _I.enqueued_at <= bindparam("since")))
        .order_by(_I.enqueued_at, _I.id)
        .limit(bindparam("most", type_=Integer))
        .subquery()
        for priority in _PRIORITIES
    ]
    return select(func.count()).select_from(
        union_all(*(select(one) for one in counted)).subquery()
    )  # fmt: skip


_KINDS: Final = [(mine, shared) for mine in (False, True) for shared in (False, True)]
_OLDEST: Final = {kind: _oldest_query(author=kind[0], shared=kind[1]) for kind in _KINDS}
_COUNT: Final = {kind: _count_query(author=kind[0], shared=kind[1]) for kind in _KINDS}


def oldest_waiting(tx: Tx, queue_id: str, author_id: str | None, *, shared: bool) -> Row | None:
    """Return id and enqueued_at of what waits longest in a queue, of all or of one author.

    `shared`: whether the queue has fair share.
    """
    params = {"queue": queue_id} | ({"author": author_id} if author_id else {})
    return tx.one(_OLDEST[bool(author_id), shared], params)


def waiting_since(
    tx: Tx, queue_id: str, author_id: str | None, since: datetime, *, most: int, shared: bool
) -> int:
    """Return how many wait since then or longer; of each priority `most` are counted."""
    params: dict[str, Any] = {"queue": queue_id, "since": to_ms(since), "most": most}
    if author_id:
        params["author"] = author_id
    return int(tx.scalar(_COUNT[bool(author_id), shared], params))


# -- queues and agents -------------------------------------------------------------------


def queues_of(tx: Tx, entity_id: str) -> Sequence[Row]:
    """Return id, name and policy of queues in which nobody stopped the line on purpose."""
    return tx.all(
        select(_Q.id, _Q.name, _Q.policy).where(
            _Q.entity_id == entity_id, _Q.deleted_at.is_(None), _Q.mode != "paused"
        )
    )


_SERVED: Final = (
    select(
        func.max(case((_A.set_aside_at.is_(None), _A.last_seen_at), else_=_A.set_aside_at)).label(
            "seen"
        ),
        func.max(
            case(
                (
                    and_(
                        _A.set_aside_at.is_(None),
                        _A.status != AgentStatus.KILLED.value,
                        _A.last_seen_at > bindparam("since"),
                    ),
                    1,
                ),
                else_=0,
            )
        ).label("live"),
    )
    .select_from(t.agent_queues)
    .join(t.agents, _A.id == _S.agent_id)
    .where(_S.queue_name == bindparam("queue"), _A.entity_id == bindparam("entity"))
)


def last_served(tx: Tx, entity_id: str, queue: str, live_since: datetime) -> tuple[bool, int]:
    """Return whether a live agent serves the queue, and when one last did; 0 is never."""
    params = {"entity": entity_id, "queue": queue, "since": to_ms(live_since)}
    row = tx.one(_SERVED, params)
    return (bool(row["live"]), row["seen"] or 0) if row is not None else (False, 0)


def _agents(entity_id: str, queue: str | None, at: ColumnElement[int]) -> Select[Any]:
    found = (
        select(_A.id, _A.name, _A.last_seen_at, _A.set_aside_at, _A.set_aside_why)
        .where(_A.entity_id == entity_id)
        .order_by(at.desc())
        .limit(500)
    )
    if queue is None:
        return found
    serves = select(_S.agent_id).where(_S.agent_id == _A.id, _S.queue_name == queue)
    return found.where(serves.exists())


def lost_agents(
    tx: Tx, entity_id: str, queue: str | None, *, after: datetime, until: datetime
) -> Sequence[Row]:
    """Return agents that were heard of last between the two times and did not say goodbye."""
    found = _agents(entity_id, queue, _A.last_seen_at).where(
        _A.status != AgentStatus.KILLED.value,
        _A.last_seen_at > to_ms(after),
        _A.last_seen_at <= to_ms(until),
    )
    return tx.all(found)


def set_aside_agents(
    tx: Tx, entity_id: str, queue: str | None, *, after: datetime
) -> Sequence[Row]:  # fmt: skip
    """Return agents that were set aside after a time and still are."""
    found = _agents(entity_id, queue, _A.set_aside_at).where(_A.set_aside_at > to_ms(after))
    return tx.all(found)
