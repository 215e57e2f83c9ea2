"""Runs as the tracking client sees them: joined with their project, people and stream."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    Select,
    bindparam,
    exists,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms

_R, _P, _S, _I, _A = t.runs.c, t.projects.c, t.streams.c, t.items.c, t.agents.c
_entity = t.entities.alias("entity")
_author = t.entities.alias("author")

RUNS: Final[Select[Any]] = (
    select(
        _R.id.label("pk"), _R.name, _R.project_id, _R.display_name, _R.state, _R.item_id,
        _R.author_id, _R.job, _R.config, _R.created_at, _R.started_at, _R.ended_at, _R.exit_code,
        _R.reason, _R.stop_requested_at, _R.said_exit, _R.notes, _R.description, _R.tags,
        _R.group_name, _R.job_type, _R.git_commit, _R.about, _R.sweep_id, _R.sweep_agent_id,
        _P.name.label("project"), _P.entity_id, _entity.c.name.label("entity"),
        _author.c.name.label("author"), t.sweeps.c.name.label("sweep"),
        func.coalesce(_S.history_lines, 0).label("history_lines"),
        func.coalesce(_S.events_lines, 0).label("events_lines"),
        func.coalesce(_S.console_lines, 0).label("console_lines"),
        _S.last_step,
        func.coalesce(_S.summary, "{}").label("summary"),
        func.coalesce(_S.system, "{}").label("system"),
        func.coalesce(_S["keys"], "{}").label("keys"),
        _S.live, _S.preempting, _S.heartbeat_at,
        t.queues.c.name.label("queue"),
    )
    .select_from(t.runs)
    .join(t.projects, _P.id == _R.project_id)
    .join(_entity, _entity.c.id == _P.entity_id)
    .join(_author, _author.c.id == _R.author_id)
    .outerjoin(t.streams, _S.run_id == _R.id)
    .outerjoin(t.sweeps, t.sweeps.c.id == _R.sweep_id)
    .outerjoin(t.items, _I.id == _R.item_id)
    .outerjoin(t.queues, t.queues.c.id == _I.queue_id)
    .where(_R.deleted_at.is_(None))
)  # fmt: skip
_NAMED: Final = RUNS.where(_R.project_id == bindparam("project"), _R.name == bindparam("name"))
_BY_PK: Final = RUNS.where(_R.id == bindparam("pk"))


def named(tx: Tx, project_id: str, name: str) -> Row | None:
    return tx.one(_NAMED, {"project": project_id, "name": name})


def get(tx: Tx, run_pk: str) -> Row | None:
    return tx.one(_BY_PK, {"pk": run_pk})


_LIFE: Final = (
    select(_R.item_id, _I.state.label("item_state"), _A.kind, _S.live, _S.preempting)
    .select_from(t.runs)
    .outerjoin(t.items, _I.id == _R.item_id)
    .outerjoin(t.agents, _A.id == _I.agent_id)
    .outerjoin(t.streams, _S.run_id == _R.id)
    .where(_R.id == bindparam("pk"))
)
_OURS: Final = exists().where(
    _I.id == _R.item_id, _I.state == "CLAIMED", _A.id == _I.agent_id, _A.kind == "runyard"
)
# As in its index: SQLite would not know "live = 1" for the same.
_LIVE: Final = text("streams.live")
_SILENT: Final = (
    select(_S.run_id)
    .join(t.runs, _R.id == _S.run_id)
    .where(_LIVE, _S.heartbeat_at <= bindparam("until"), ~_OURS)
    .order_by(_S.heartbeat_at)
    .limit(200)
)
_STILL_SILENT: Final = (
    update(t.streams)
    .where(_S.run_id == bindparam("pk"), _S.live, _S.heartbeat_at <= bindparam("until"))
    .values(live=False, preempting=False)
)
_QUIET: Final = (
    update(t.streams).where(_S.run_id == bindparam("pk")).values(live=False, preempting=False)
)


def _expecting(new: postgresql.Insert | sqlite.Insert) -> postgresql.Insert | sqlite.Insert:
    told = {name: new.excluded[name] for name in ("live", "preempting", "heartbeat_at")}
    return new.on_conflict_do_update(index_elements=["run_id"], set_=told)


# By whether it is PostgreSQL.
_EXPECT: Final = {
    True: _expecting(postgresql.insert(t.streams)),
    False: _expecting(sqlite.insert(t.streams)),
}


def life(tx: Tx, run_pk: str) -> Row | None:
    """Return what decides who reports of a run: its item's state, the holder's kind, the stream."""
    return tx.one(_LIFE, {"pk": run_pk})


def is_clients_own(tx: Tx, agent_id: str) -> bool:
    """Whether an agent is the tracking client's own program, which tells no end of runs."""
    kind: str | None = tx.scalar(select(_A.kind).where(_A.id == agent_id))
    return kind == "wandb"


def silent(tx: Tx, until: datetime) -> list[str]:
    """Return runs last heard of until then, and which no agent of ours holds."""
    return [row["run_id"] for row in tx.all(_SILENT, {"until": to_ms(until)})]


def still_silent(tx: Tx, run_pk: str, until: datetime) -> bool:
    """Expect no word of a program any more; False if it has spoken meanwhile."""
    return tx.run(_STILL_SILENT, {"pk": run_pk, "until": to_ms(until)}) == 1


def expect(tx: Tx, run_pk: str, now: datetime) -> None:
    """Expect to hear of a program from now on."""
    values = {"run_id": run_pk, "live": True, "preempting": False, "heartbeat_at": to_ms(now)}
    tx.run(_EXPECT[tx.is_postgres], values)


def expect_no_more(tx: Tx, run_pk: str) -> None:
    tx.run(_QUIET, {"pk": run_pk})


_COUNT: Final = 100_000
_COUNTED: Final = select(func.count()).select_from(
    select(_R.id).where(_R.project_id == bindparam("project")).limit(_COUNT).subquery()
)
_ADD: Final = {
    is_postgres: new.on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    for is_postgres, new in (
        (True, postgresql.insert(t.runs)),
        (False, sqlite.insert(t.runs)),
    )
}
_SWEEP: Final = select(t.sweeps.c.id).where(
    t.sweeps.c.project_id == bindparam("project"), t.sweeps.c.name == bindparam("name")
)
_HELD: Final = select(_R.config, _I.spec).outerjoin_from(t.runs, t.items, _I.id == _R.item_id)
_CONFIGS: Final = _HELD.where(_R.id == bindparam("pk")).with_for_update(of=t.runs)


def count(tx: Tx, project_id: str) -> int:
    """Return how many runs a project ever had, as far as counting is worth it."""
    return tx.scalar(_COUNTED, {"project": project_id}) or 0


def add(tx: Tx, values: dict[str, Any]) -> bool:
    """Insert a run; False if there is one of its name."""
    return tx.run(_ADD[tx.is_postgres], values) == 1


def change(tx: Tx, run_pk: str, values: dict[str, Any]) -> None:
    tx.run(update(t.runs).where(_R.id == run_pk).values(values))


def configs(tx: Tx, run_pk: str) -> Row | None:
    """Return a run's configuration, held for writing, and the spec of its item, if it has one."""
    return tx.one(_CONFIGS, {"pk": run_pk})


def summarise(tx: Tx, run_pk: str, summary: str) -> None:
    """Write a run's summary, whole."""
    dialect = postgresql if tx.is_postgres else sqlite
    new = dialect.insert(t.streams).values(run_id=run_pk, summary=summary)
    tx.run(new.on_conflict_do_update(index_elements=["run_id"], set_={"summary": summary}))


def sweep_id(tx: Tx, project_id: str, name: str) -> str | None:
    found: str | None = tx.scalar(_SWEEP, {"project": project_id, "name": name})
    return found


def artifacts(tx: Tx, run_pk: str) -> list[int]:
    """Return the versions that a run has logged and that are there."""
    c = t.artifacts.c
    found = select(c.id).where(c.run_id == run_pk, c.state == "COMMITTED").order_by(c.id)
    return [row["id"] for row in tx.all(found)]
