"""What happened to items, read for those who count it and those who trace it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import bindparam, select

from runyard.domain.timeline import Event, Tale, Try
from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import at_or_none, from_ms

_V, _I, _R, _Q, _P, _A, _T = (
    t.item_events.c, t.items.c, t.runs.c, t.queues.c, t.projects.c, t.agents.c, t.attempts.c,
)  # fmt: skip
_owner = t.entities.alias("owner")
_target = t.entities.alias("target")
_author = t.entities.alias("author")
_IDS: Final[Any] = bindparam("ids", expanding=True)

_MOVES: Final = (
    select(
        _V.seq, _V.item_id, _V.was, _V.became, _I.queue_id, _Q.name.label("queue"),
        _owner.c.name.label("entity"),
    )
    .join(t.items, _I.id == _V.item_id)
    .join(t.queues, _Q.id == _I.queue_id)
    .join(_owner, _owner.c.id == _Q.entity_id)
    .where(_V.seq > bindparam("after"), _V.seq <= bindparam("to"))
    .order_by(_V.seq)
)  # fmt: skip
_ITEMS: Final = (
    select(
        _I.id, _I.queue_id, _I.priority, _I.failure_stage, _I.ended_at, _I.expires_at,
        _Q.name.label("queue"), _Q.resource, _owner.c.name.label("entity"),
        _author.c.name.label("author"), _target.c.name.label("team"),
        _P.name.label("project"), _R.name.label("run"), _R.job, _R.state.label("run_state"),
    )
    .join(t.queues, _Q.id == _I.queue_id)
    .join(_owner, _owner.c.id == _Q.entity_id)
    .join(_author, _author.c.id == _I.author_id)
    .join(t.runs, _R.id == _I.run_id)
    .join(t.projects, _P.id == _R.project_id)
    .join(_target, _target.c.id == _P.entity_id)
    .where(_I.id.in_(_IDS))
)  # fmt: skip
_EVENTS: Final = (
    select(_V.item_id, _V.seq, _V.at, _V.was, _V.became, _V.detail)
    .where(_V.item_id.in_(_IDS))
    .order_by(_V.seq)
)
_TRIES: Final = (
    select(
        _T.item_id, _T.n, _T.claimed_at, _T.started_at, _T.phase, _T.exit_code, _T.gpus,
        _A.name.label("agent"),
    )
    .outerjoin(t.agents, _A.id == _T.agent_id)
    .where(_T.item_id.in_(_IDS))
)  # fmt: skip


def moves(tx: Tx, after: int, to: int) -> Sequence[Row]:
    """Return the events above `after` up to `to`: seq, item_id, was, became, queue and entity."""
    return tx.all(_MOVES, {"after": after, "to": to})


def tales(tx: Tx, item_ids: Collection[str]) -> dict[str, Tale]:
    """Return what happened to these items, a thousand at most."""
    if not item_ids:
        return {}
    ids = {"ids": sorted(item_ids)}
    events: dict[str, list[Event]] = {item_id: [] for item_id in item_ids}
    for row in tx.all(_EVENTS, ids):
        event = Event(row["seq"], from_ms(row["at"]), row["was"], row["became"], row["detail"])
        events[row["item_id"]].append(event)
    tries: dict[str, dict[int, Try]] = {item_id: {} for item_id in item_ids}
    for row in tx.all(_TRIES, ids):
        tries[row["item_id"]][row["n"]] = _try(row)
    return {
        row["id"]: _tale(row, tuple(events[row["id"]]), tries[row["id"]])
        for row in tx.all(_ITEMS, ids)
    }


def _try(row: Row) -> Try:
    return Try(
        n=row["n"],
        agent=row["agent"] or "",
        claimed_at=from_ms(row["claimed_at"]),
        started_at=at_or_none(row["started_at"]),
        phase=row["phase"],
        exit_code=row["exit_code"],
        gpus=row["gpus"],
    )


def _tale(row: Row, events: tuple[Event, ...], tries: dict[int, Try]) -> Tale:
    told: dict[str, Any] = {
        name: row[name]
        for name in ("queue_id", "entity", "queue", "resource", "priority", "author", "team",
                     "project", "run", "run_state")
    }  # fmt: skip
    return Tale(
        **told,
        item_id=row["id"],
        job=row["job"] or "",
        stage=row["failure_stage"],
        ended_at=at_or_none(row["ended_at"]),
        expires_at=at_or_none(row["expires_at"]),
        events=events,
        tries=tries,
    )
