"""Sweeps, their agents and their runs, to rows and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from runyard.domain.runs import RunState
from runyard.store import tables as t
from runyard.store.artifacts.filtering import condition
from runyard.store.artifacts.listing import Columns
from runyard.store.db import Row, Tx
from runyard.store.tracking.runs import RUNS
from runyard.store.values import to_ms, to_text

MOST_AGENTS: Final = 1000  # in one answer
_W, _A, _R, _S, _G = (
    t.sweeps.c, t.sweep_agents.c, t.runs.c, t.streams.c, t.sweep_rungs.c,
)  # fmt: skip
_ALIVE: Final = (RunState.PENDING.value, RunState.RUNNING.value, RunState.PREEMPTED.value)

SWEEPS: Final[Select[Any]] = (
    select(
        t.sweeps, t.projects.c.name.label("project"), t.projects.c.entity_id,
        t.entities.c.name.label("entity"),
    )
    .join(t.projects, t.projects.c.id == _W.project_id)
    .join(t.entities, t.entities.c.id == t.projects.c.entity_id)
)  # fmt: skip
_NAMED: Final = SWEEPS.where(_W.project_id == bindparam("project"), _W.name == bindparam("name"))
_BY_ID: Final = SWEEPS.where(_W.id == bindparam("id"))
_PAGE: Final = SWEEPS.where(
    _W.project_id == bindparam("project"), _W.id < bindparam("before")
).order_by(_W.id.desc())
_AGENT: Final = select(t.sweep_agents).where(_A.id == bindparam("id"))
_TOTALS: Final = (
    select(_R.sweep_agent_id, func.count().label("n"))
    .where(_R.sweep_id == bindparam("sweep"), _R.deleted_at.is_(None))
    .group_by(_R.sweep_agent_id)
)
_OF_SWEEP: Final = select(t.runs).where(_R.sweep_id == bindparam("sweep"))
_FREE: Final = _OF_SWEEP.where(_R.item_id.is_(None), _R.deleted_at.is_(None)).order_by(_R.id)
_ENQUEUED: Final = _FREE.where(_R.state == "pending", _R.sweep_agent_id.is_(None)).limit(1)
_PREEMPTED: Final = _FREE.where(_R.state == "preempted").limit(1)
_ABANDONED: Final = (
    _FREE.join(t.sweep_agents, _A.id == _R.sweep_agent_id)
    .where(_R.state == "pending", _A.heartbeat_at <= bindparam("until"))
    .limit(1)
)
# What a search knows of the runs so far: the newest ones, for a model gains little from more.
_TRIALS: Final = (
    select(_R.id, _R.state, _R.config, _S.summary)
    .select_from(t.runs)
    .outerjoin(t.streams, _S.run_id == _R.id)
    .where(_R.sweep_id == bindparam("sweep"), _R.deleted_at.is_(None))
    .order_by(_R.id.desc())
)
_LAST_OFFERED: Final = (
    select(_S.summary)
    .select_from(t.sweep_agents)
    .join(t.streams, _S.run_id == _A.offered_run_id)
    .where(_A.sweep_id == bindparam("sweep"))
    .order_by(_A.id.desc())
    .limit(MOST_AGENTS)
)
# What sweeps, and the runs that are attached to one, are picked out by.
_FILTERED: Final[Columns] = {
    "name": _W.name,
    "displayName": _W.display_name,
    "display_name": _W.display_name,
    "description": _W.description,
    "method": _W.method,
    "state": _W.state,
    "createdAt": _W.created_at,
    "created_at": _W.created_at,
    "updatedAt": _W.updated_at,
    "updated_at": _W.updated_at,
}
_FILTERED_RUNS: Final[Columns] = {
    "name": _R.name,
    "displayName": _R.display_name,
    "display_name": _R.display_name,
    "state": _R.state,
    "group": _R.group_name,
    "jobType": _R.job_type,
    "createdAt": _R.created_at,
    "created_at": _R.created_at,
    "sweep": t.sweeps.c.name,
}


def named(tx: Tx, project_id: str, name: str) -> Row | None:
    return tx.one(_NAMED, {"project": project_id, "name": name})


def get(tx: Tx, sweep_id: str) -> Row | None:
    return tx.one(_BY_ID, {"id": sweep_id})


def locked(tx: Tx, sweep_id: str) -> Row | None:
    """Return a sweep held for writing: who takes a suggestion, or moves it, is alone with it."""
    return tx.one(_BY_ID.with_for_update(of=[t.sweeps]), {"id": sweep_id})


def page(tx: Tx, project_id: str, filters: str | None, *, before: str, limit: int) -> Sequence[Row]:
    """Return sweeps of a project, the newest first; `before` "~" begins with the newest.

    Raises:
        Invalid: the filters.
    """
    found = _PAGE.where(*_conditions(filters, _FILTERED)).limit(limit)
    return tx.all(found, {"project": project_id, "before": before})


def count(tx: Tx, project_id: str, filters: str | None = None) -> int:
    found = select(func.count()).select_from(t.sweeps).where(_W.project_id == project_id)
    return int(tx.scalar(found.where(*_conditions(filters, _FILTERED))))


def _conditions(filters: str | None, columns: Columns) -> list[ColumnElement[bool]]:
    found = condition(filters, columns)
    return [] if found is None else [found]


def add(tx: Tx, values: Mapping[str, Any], now: datetime) -> None:
    at = to_ms(now)
    tx.run(insert(t.sweeps), {**values, "created_at": at, "updated_at": at})


def change(tx: Tx, sweep_id: str, values: Mapping[str, Any], now: datetime) -> None:
    tx.run(update(t.sweeps).where(_W.id == sweep_id).values(**values, updated_at=to_ms(now)))


def took_suggestion(tx: Tx, sweep_id: str, cursor: int) -> None:
    tx.run(update(t.sweeps).where(_W.id == sweep_id).values(cursor=cursor))


def note_best(tx: Tx, sweep_id: str, best: float) -> None:
    tx.run(update(t.sweeps).where(_W.id == sweep_id).values(best_loss=best))


def beat(tx: Tx, sweep_id: str, now: datetime, since: datetime) -> None:
    """Note that an agent was heard of, unless one was since then."""
    stale = _W.heartbeat_at.is_(None) | (_W.heartbeat_at < to_ms(since))
    tx.run(update(t.sweeps).where(_W.id == sweep_id, stale).values(heartbeat_at=to_ms(now)))


def add_agent(tx: Tx, agent_id: str, sweep_id: str, host: str, now: datetime) -> None:
    at = to_ms(now)
    tx.run(
        insert(t.sweep_agents),
        {"id": agent_id, "sweep_id": sweep_id, "host": host, "state": "RUNNING",
         "created_at": at, "heartbeat_at": at},
    )  # fmt: skip


def agent(tx: Tx, agent_id: str) -> Row | None:
    return tx.one(_AGENT, {"id": agent_id})


def agents(tx: Tx, sweep_id: str) -> Sequence[Row]:
    """Return the agents of a sweep, the oldest first."""
    found = select(t.sweep_agents).where(_A.sweep_id == sweep_id).order_by(_A.id)
    return tx.all(found.limit(MOST_AGENTS))


def change_agent(tx: Tx, agent_id: str, values: Mapping[str, Any]) -> None:
    tx.run(update(t.sweep_agents).where(_A.id == agent_id).values(**values))


def totals(tx: Tx, sweep_id: str) -> dict[str | None, int]:
    """Return how many runs each agent of a sweep has had; None: those that no agent has."""
    rows = tx.all(_TOTALS, {"sweep": sweep_id})
    return {row["sweep_agent_id"]: row["n"] for row in rows}


def run_counts(tx: Tx, sweep_ids: Sequence[str]) -> dict[str, int]:
    """Return how many runs each of these sweeps has."""
    found = (
        select(_R.sweep_id, func.count().label("n"))
        .where(_R.sweep_id.in_(list(sweep_ids)), _R.deleted_at.is_(None))
        .group_by(_R.sweep_id)
    )
    return dict.fromkeys(sweep_ids, 0) | {row["sweep_id"]: row["n"] for row in tx.all(found)}


def count_runs(tx: Tx, sweep_id: str) -> int:
    """Return how many runs a sweep has had, deleted ones too: a cap counts them."""
    found = select(func.count()).select_from(t.runs).where(_R.sweep_id == sweep_id)
    return int(tx.scalar(found))


def run_page(
    tx: Tx,
    sweep_id: str,
    *,
    agent_id: str | None,
    seen: Sequence[ColumnElement[bool]],
    after: str,
    newest_first: bool,
    limit: int,
) -> Sequence[Row]:
    """Return runs of a sweep, joined as the tracking client sees them; `seen` narrows them."""
    found = RUNS.where(_R.sweep_id == sweep_id, *seen).limit(limit)
    if agent_id is not None:
        found = found.where(_R.sweep_agent_id == agent_id)
    if newest_first:
        found = found.order_by(_R.id.desc())
        return tx.all(found.where(_R.id < after) if after else found)
    return tx.all(found.where(_R.id > after).order_by(_R.id))


def run(tx: Tx, run_id: str) -> Row | None:
    return tx.one(select(t.runs).where(_R.id == run_id))


def runs_named(tx: Tx, sweep_id: str, names: Sequence[str]) -> Sequence[Row]:
    return tx.all(_OF_SWEEP.where(_R.name.in_(names)), {"sweep": sweep_id})


def alive(tx: Tx, sweep_id: str, *, limit: int) -> Sequence[Row]:
    """Return runs of a sweep that have not ended, the oldest first."""
    found = _OF_SWEEP.where(_R.state.in_(_ALIVE), _R.deleted_at.is_(None)).order_by(_R.id)
    return tx.all(found.limit(limit), {"sweep": sweep_id})


def others_alive(tx: Tx, sweep_id: str, agent_id: str) -> bool:
    """Whether a run has not ended that this agent does not answer for."""
    found = _OF_SWEEP.where(
        _R.state.in_(_ALIVE), _R.deleted_at.is_(None), _R.sweep_agent_id.is_distinct_from(agent_id)
    )
    return tx.one(found.limit(1), {"sweep": sweep_id}) is not None


def enqueued(tx: Tx, sweep_id: str) -> Row | None:
    """Return the oldest run that waits for an agent."""
    return tx.one(_ENQUEUED, {"sweep": sweep_id})


def preempted(tx: Tx, sweep_id: str) -> Row | None:
    return tx.one(_PREEMPTED, {"sweep": sweep_id})


def abandoned(tx: Tx, sweep_id: str, until: datetime) -> Row | None:
    """Return a run that never started, of an agent last heard of until then."""
    return tx.one(_ABANDONED, {"sweep": sweep_id, "until": to_ms(until)})


def trials(tx: Tx, sweep_id: str, *, limit: int) -> Sequence[Row]:
    """Return (id, state, config, summary) of a sweep's newest runs, the newest first."""
    return tx.all(_TRIALS.limit(limit), {"sweep": sweep_id})


def last_summaries(tx: Tx, sweep_id: str) -> list[str]:
    """Return the summaries of the run that each agent was given last."""
    return [row["summary"] for row in tx.all(_LAST_OFFERED, {"sweep": sweep_id})]


def summary(tx: Tx, run_id: str) -> str | None:
    found: str | None = tx.scalar(select(_S.summary).where(_S.run_id == run_id))
    return found


def add_run(
    tx: Tx,
    run_id: str,
    *,
    project_id: str,
    name: str,
    display_name: str | None,
    author_id: str,
    args: Mapping[str, Any],
    sweep_id: str,
    agent_id: str | None,
    now: datetime,
) -> None:
    """Insert a run that a program will start. Raises: Duplicate."""
    tx.run(
        insert(t.runs),
        {"id": run_id, "project_id": project_id, "name": name, "display_name": display_name,
         "state": RunState.PENDING.value, "author_id": author_id, "config": to_text(args),
         "created_at": to_ms(now), "sweep_id": sweep_id, "sweep_agent_id": agent_id},
    )  # fmt: skip


def give(tx: Tx, run_id: str, agent_id: str) -> None:
    """Make an agent answer for a run."""
    tx.run(update(t.runs).where(_R.id == run_id).values(sweep_agent_id=agent_id))


def prior_runs(
    tx: Tx,
    project_id: str,
    filters: str,
    *,
    seen: Sequence[ColumnElement[bool]],
    after: str,
    limit: int,
) -> Sequence[Row]:
    """Return runs of a project that a filter picks out, the oldest first, joined; `seen` narrows
    them."""
    found = RUNS.where(_R.project_id == project_id, _R.id > after, *seen)
    found = found.where(*_conditions(filters, _FILTERED_RUNS))
    return tx.all(found.order_by(_R.id).limit(limit))


def lines(tx: Tx, run_id: str) -> int:
    """Return how many rows a run's history has."""
    return int(tx.scalar(select(_S.history_lines).where(_S.run_id == run_id)) or 0)


def rungs_of(tx: Tx, sweep_id: str, run_id: str) -> dict[int, float]:
    found = select(_G.rung, _G.best).where(_G.sweep_id == sweep_id, _G.run_id == run_id)
    return {row["rung"]: row["best"] for row in tx.all(found)}


def add_rungs(tx: Tx, sweep_id: str, run_id: str, bests: Mapping[int, float]) -> None:
    """Write down what a run had at rungs, for those at which nothing is known of it."""
    dialect = postgresql if tx.is_postgres else sqlite
    tx.run(
        dialect.insert(t.sweep_rungs).on_conflict_do_nothing(),
        [
            {"sweep_id": sweep_id, "rung": rung, "run_id": run_id, "best": best}
            for rung, best in bests.items()
        ],
    )


def bests_at(tx: Tx, sweep_id: str, rungs: Sequence[int]) -> dict[int, list[float]]:
    """Return the bests of all runs at these rungs."""
    found = select(_G.rung, _G.best).where(_G.sweep_id == sweep_id, _G.rung.in_(rungs))
    bests: dict[int, list[float]] = {rung: [] for rung in rungs}
    for row in tx.all(found):
        bests[row["rung"]].append(row["best"])
    return bests
