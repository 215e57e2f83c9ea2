"""What is known of a run whose program speaks: one row, written with each of its requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import and_, bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from runyard.store import tables as t
from runyard.store.db import Row, Tx

_R, _P, _E, _S, _I, _A = (
    t.runs.c, t.projects.c, t.entities.c, t.streams.c, t.items.c, t.agents.c,
)  # fmt: skip

_TARGET: Final = (
    select(
        _R.id.label("pk"), _R.project_id, _R.author_id, _R.item_id, _R.stop_requested_at,
        _P.entity_id,
        _E.name.label("entity"), t.queues.c.name.label("queue"), _S.live,
    )
    .select_from(t.entities)
    .join(t.projects, and_(_P.entity_id == _E.id, _P.name == bindparam("project")))
    .join(t.runs, and_(_R.project_id == _P.id, _R.name == bindparam("run")))
    .outerjoin(t.streams, _S.run_id == _R.id)
    .outerjoin(t.items, _I.id == _R.item_id)
    .outerjoin(t.queues, t.queues.c.id == _I.queue_id)
    .where(_E.name == bindparam("entity"), _R.deleted_at.is_(None))
)  # fmt: skip
# Not against those who refer to the run, as every row of its lines does.
_LOCK: Final = select(_R.id).where(_R.id == bindparam("pk")).with_for_update(key_share=True)
_STREAM: Final = select(t.streams).where(_S.run_id == bindparam("pk"))
# Without what only readers want, and what may be megabytes.
_BOOKS: Final = select(*(c for c in _S if c.name not in ("summary", "system"))).where(
    _S.run_id == bindparam("pk")
)
_LOG: Final = (
    select(
        _R.log_size,
        _R.log_truncated,
        func.coalesce(and_(_I.state == "CLAIMED", _A.kind == "runyard"), False).label("is_watched"),
    )
    .select_from(t.runs)
    .outerjoin(t.items, _I.id == _R.item_id)
    .outerjoin(t.agents, _A.id == _I.agent_id)
    .where(_R.id == bindparam("pk"))
)
_ADD: Final = {
    True: postgresql.insert(t.streams).on_conflict_do_nothing(),
    False: sqlite.insert(t.streams).on_conflict_do_nothing(),
}
_SAVE: Final = update(t.streams).where(_S.run_id == bindparam("pk"))
_BEAT: Final = (
    update(t.streams).where(_S.run_id == bindparam("pk")).values(heartbeat_at=bindparam("at"))
)


def target(tx: Tx, entity: str, project: str, run: str) -> Row | None:
    """Return a run by its names, with what decides who may write it.

    `live` is None for a run whose program has never spoken.
    """
    return tx.one(_TARGET, {"entity": entity, "project": project, "run": run})


def lock(tx: Tx, run_pk: str) -> Row:
    """Return the row of a run's stream but for its summaries, held for writing with its run; it is
    made if need be.

    The run is locked before its stream, as by those who move it.
    """
    if tx.is_postgres:  # SQLite has one writer at a time
        tx.one(_LOCK, {"pk": run_pk})
    row = tx.one(_BOOKS, {"pk": run_pk})
    if row is None:
        tx.run(_ADD[tx.is_postgres], {"run_id": run_pk})
        row = tx.one(_BOOKS, {"pk": run_pk})
    assert row is not None
    return row


def get(tx: Tx, run_pk: str) -> Row | None:
    return tx.one(_STREAM, {"pk": run_pk})


def log_of(tx: Tx, run_pk: str) -> Row:
    """Return log_size, log_truncated, and whether an agent of ours holds the run's item."""
    row = tx.one(_LOG, {"pk": run_pk})
    assert row is not None
    return row


def save(tx: Tx, run_pk: str, changed: Mapping[str, Any]) -> None:
    """Write what has changed of a row that is locked."""
    tx.run(_SAVE, {"pk": run_pk, **changed})


def beat(tx: Tx, run_pk: str, at: int) -> None:
    tx.run(_BEAT, {"pk": run_pk, "at": at})
