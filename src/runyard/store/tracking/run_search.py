"""
Looking for runs of a project: as much of a filter as the database can decide, and rows of facts for
what is left of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Select, and_, case, false, func, literal, not_, or_, true

from runyard.domain.run_conditions import Every, Field, Filter, Not, Path, Test
from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.tracking.runs import RUNS
from runyard.store.values import to_text

Condition: TypeAlias = ColumnElement[bool]  # on runs, as far as the database can decide it
_R, _S = t.runs.c, t.streams.c


def _by_exit(code: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((code == 0, "finished"), else_="failed")


# As `domain.runs.told_state` says it.
_STATE: Final = case(
    (and_(_R.state == "running", _R.said_exit.is_not(None)), _by_exit(_R.said_exit)),
    (and_(_R.state == "running", _S.preempting), "preempting"),
    (_R.state == "killed", _by_exit(_R.exit_code)),
    else_=_R.state,
)
_columns: Final = {column.name: column for column in RUNS.selected_columns}
_FIELDS: Final[dict[Field, ColumnElement[Any]]] = {
    Field.NAME: _R.name,
    Field.DISPLAY_NAME: func.coalesce(func.nullif(_R.display_name, ""), _R.name),
    Field.STATE: _STATE,
    Field.GROUP: _R.group_name,
    Field.JOB_TYPE: _R.job_type,
    Field.TAGS: _R.tags,
    Field.USERNAME: _columns["author"],
    Field.CREATED_AT: _R.created_at,
    Field.HEARTBEAT_AT: func.coalesce(_S.heartbeat_at, _R.created_at),
    Field.SWEEP: _columns["sweep"],
    Field.NOTES: _R.notes,
    Field.DESCRIPTION: _R.description,
    Field.COMMIT: _R.git_commit,
}
_TIMES: Final = {"$gt": "__gt__", "$gte": "__ge__", "$lt": "__lt__", "$lte": "__le__"}


def narrowed(tree: Every) -> tuple[list[ColumnElement[bool]], bool]:
    """Return what the database can decide of a filter, and whether that is all of it."""
    found: list[ColumnElement[bool]] = []
    is_all = True
    for part in tree.parts:
        if isinstance(part, Every):
            below, is_whole = narrowed(part)
            found += below
        else:
            condition = _sql(part)
            is_whole = condition is not None
            if condition is None and isinstance(part, Test):
                condition = _hint(part)
            found += [] if condition is None else [condition]
        is_all = is_all and is_whole
    return found, is_all


def _sql(tree: Filter) -> ColumnElement[bool] | None:
    """Return a condition that is true exactly where the filter holds, and never NULL."""
    if isinstance(tree, Test):
        return _test(tree)
    if isinstance(tree, Not):
        part = _sql(tree.part)
        return None if part is None else not_(part)
    parts = [_sql(part) for part in tree.parts]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return and_(true(), *known) if isinstance(tree, Every) else or_(false(), *known)


def _test(test: Test) -> ColumnElement[bool] | None:
    if isinstance(test.place, Path) or test.place is Field.TAGS:
        return None
    column, operand = _FIELDS[test.place], test.operand
    if test.place.is_time:
        if test.op in _TIMES and isinstance(operand, int | float):
            return getattr(column, _TIMES[test.op])(operand)  # type: ignore[no-any-return]
        return None
    match test.op, operand:
        case "$eq", str():
            return column == operand if test.place is Field.NAME else _same(column, operand)
        case "$ne", str():
            return not_(_same(column, operand))
        case "$in", list() if _all_text(operand):
            return func.coalesce(column.in_(operand), false())
        case "$nin", list() if _all_text(operand):
            return not_(func.coalesce(column.in_(operand), false()))
    return None


def _same(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    return column.is_not_distinct_from(literal(text))


def _all_text(values: Collection[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _hint(test: Test) -> ColumnElement[bool] | None:
    """Return a condition that holds wherever the test does, and elsewhere, too."""
    if test.place is Field.TAGS and isinstance(test.operand, str) and test.op == "$eq":
        return _R.tags.contains(to_text(test.operand), autoescape=True)
    return None


def count(tx: Tx, project_id: str, conditions: Sequence[ColumnElement[bool]]) -> int:
    found = RUNS.with_only_columns(func.count()).where(_R.project_id == project_id, *conditions)
    return tx.scalar(found) or 0


def facts(
    tx: Tx,
    project_id: str,
    conditions: Sequence[ColumnElement[bool]],
    *,
    wanted: Collection[Field],
    config: bool,
    summary: bool,
    after: str,
    descending: bool,
    limit: int,
) -> Sequence[Row]:
    """Return rows of what a filter asks for, in the order in which the runs were made."""
    return tx.all(
        facts_query(
            project_id, conditions, wanted=wanted, config=config, summary=summary, after=after,
            descending=descending, limit=limit,
        )
    )  # fmt: skip


def facts_query(
    project_id: str,
    conditions: Sequence[ColumnElement[bool]],
    *,
    wanted: Collection[Field],
    config: bool,
    summary: bool,
    after: str,
    descending: bool,
    limit: int,
) -> Select[Any]:
    """Build the statement of `facts`, apart so that a test can ask for its plan."""
    columns: list[ColumnElement[Any]] = [_R.id.label("pk")]
    columns += [_FIELDS[field].label(field.value) for field in wanted]
    if config:
        columns.append(_R.config.label("config_text"))
    if summary:
        columns.append(func.coalesce(_S.summary, "{}").label("summary_text"))
    found = RUNS.with_only_columns(*columns).where(_R.project_id == project_id, *conditions)
    if after:
        found = found.where(_R.id < after if descending else _R.id > after)
    return found.order_by(_R.id.desc() if descending else _R.id).limit(limit)


def by_pks(tx: Tx, pks: Sequence[str]) -> list[Row]:
    """Return whole rows, in the order of their ids as given."""
    rows = {row["pk"]: row for row in tx.all(RUNS.where(_R.id.in_(list(pks))))}
    return [rows[pk] for pk in pks if pk in rows]


def seen(queues: Collection[str] | None, user_id: str) -> list[Condition]:
    """Return what narrows runs to those that somebody sees who is kept to these queues, if so."""
    return [] if queues is None else [seen_by(queues, user_id)]


def seen_by(queues: Collection[str], user_id: str) -> ColumnElement[bool]:
    """Return which runs a service account sees that is kept to queues: theirs, and its own."""
    of_queues = t.queues.c.name.in_(list(queues))
    return or_(func.coalesce(of_queues, false()), _R.author_id == user_id)
