"""
Attempts in a window of time, summed by the database as far as it can.

Most attempts begin and end within one day of the window: of those come sums, one row for each
group and day. The few that cross a midnight or an edge of the window come as they are, and are
cut by the caller. All are found by the index on their end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, or_, select
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from runyard.domain.errors import TooMuch
from runyard.domain.usage import Group, Window
from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms

Columns = ReadOnlyColumnCollection[str, Any]
DAY_MS: Final = 86_400_000
MAX_ROWS: Final = 200_000  # of one statement; beyond, the question has to be narrower

_A, _I, _Q, _R, _P = t.attempts.c, t.items.c, t.queues.c, t.runs.c, t.projects.c
_author = t.entities.alias("author")
_owner = t.entities.alias("owner")  # of the queue
_target = t.entities.alias("target")  # of the run's project

_COLUMNS: Final[dict[Group, ColumnElement[Any]]] = {
    Group.USER: _author.c.name,
    Group.TEAM: _target.c.name,
    Group.ENTITY: _owner.c.name,
    Group.QUEUE: _owner.c.name + "/" + _Q.name,
    Group.PROJECT: _target.c.name + "/" + _P.name,
    Group.JOB: func.coalesce(_R.job, ""),
}


class Scope:
    """Whose attempts may be looked at, and which of them are asked for. None is no limit."""

    def __init__(
        self,
        *,
        entities: Collection[str] | None,
        or_author: str | None = None,
        author: str | None = None,
        user: str | None = None,
        queues: Collection[str] | None = None,
    ) -> None:
        """`entities` own the queue or the project, or `or_author` submitted; ids of both.
        `author` is an id too; `user` and `queues` are names.
        """
        self.where: list[ColumnElement[bool]] = []
        self.needs: set[Group] = set()
        if entities is not None:
            ids = list(entities)
            theirs: list[ColumnElement[bool]] = [_Q.entity_id.in_(ids), _P.entity_id.in_(ids)]
            if or_author is not None:
                theirs.append(_I.author_id == or_author)
            self.where.append(or_(*theirs))
            self.needs |= {Group.ENTITY, Group.TEAM}
        if author is not None:
            self.where.append(_I.author_id == author)
        if user is not None:
            self.where.append(_author.c.name == user)
            self.needs.add(Group.USER)
        if queues is not None:
            self.where.append(_Q.name.in_(list(queues)))
            self.needs.add(Group.QUEUE)


def sums(tx: Tx, scope: Scope, window: Window, groups: Sequence[Group]) -> Sequence[Row]:
    """Return, by group and day: runs, attempts, held_ms, ran_ms, gpu_ms; `day` counts from 1970.

    Raises:
        TooMuch: more rows than a report can have.
    """
    return _bounded(tx, sums_query(scope, window, groups))


def pieces(tx: Tx, scope: Scope, window: Window, groups: Sequence[Group]) -> Iterable[Row]:
    """Return the attempts that `sums` leaves out: n, claimed_at, started_at, ended_at, gpus.

    Raises:
        TooMuch: more rows than can be cut.
    """
    for query in pieces_queries(scope, window, groups):
        yield from _bounded(tx, query)


def sums_query(scope: Scope, window: Window, groups: Sequence[Group]) -> Select[Any]:
    c = _found(_ends_in(window), _is_whole(window))
    day = _day(c.claimed_at) if window.interval else literal(0)
    held = c.ended_at - c.claimed_at
    found = _joined(
        c,
        scope,
        groups,
        day.label("day"),
        func.sum(case((c.n == 1, 1), else_=0)).label("runs"),
        func.count().label("attempts"),
        func.sum(held).label("held_ms"),
        func.sum(func.coalesce(c.ended_at - c.started_at, 0)).label("ran_ms"),
        func.sum(held * c.gpus).label("gpu_ms"),
    )
    return found.group_by(*(f"by_{g.value}" for g in groups), "day")


def pieces_queries(scope: Scope, window: Window, groups: Sequence[Group]) -> list[Select[Any]]:
    until = to_ms(window.until)
    begun = _A.claimed_at < until
    found = [
        _found(_ends_in(window), begun, ~_is_whole(window)),
        _found(_A.ended_at > until, begun),
        _found(_A.ended_at.is_(None), begun),
    ]
    whole, later, running = (
        _joined(c, scope, groups, c.n, c.claimed_at, c.started_at, c.ended_at, c.gpus)
        for c in found
    )
    # What has no end and is not the one that its item is in would be counted for ever.
    n = running.selected_columns.n
    return [whole, later, running.where(_I.state == "CLAIMED", _I.attempt == n)]


def _found(*where: ColumnElement[bool]) -> Columns:
    """Return attempts, found before anything else is: the planner may not begin elsewhere."""
    columns = (_A.item_id, _A.n, _A.claimed_at, _A.started_at, _A.ended_at, _A.gpus)
    return select(*columns).where(*where).cte("found").prefix_with("MATERIALIZED").c


def _ends_in(window: Window) -> ColumnElement[bool]:
    return _A.ended_at.between(to_ms(window.since), to_ms(window.until))


def _is_whole(window: Window) -> ColumnElement[bool]:
    """Whether nothing of an attempt that ends in the window has to be cut off."""
    inside = [_A.claimed_at >= to_ms(window.since), _A.claimed_at < to_ms(window.until)]
    if window.interval:
        # What ends at midnight ends with its day, not in the next one.
        inside.append(_day(_A.claimed_at) == _day(_A.ended_at - 1))
    return and_(*inside)


def _day(at: ColumnElement[Any]) -> ColumnElement[Any]:
    return at // DAY_MS


def _joined(
    c: Columns, scope: Scope, groups: Sequence[Group], *columns: ColumnElement[Any]
) -> Select[Any]:
    """Join what the groups and the scope need, no more: each table costs a look per attempt."""
    by = [_COLUMNS[g].label(f"by_{g.value}") for g in groups]
    wanted = {*groups, *scope.needs}
    found = select(*by, *columns).select_from(t.items).where(_I.id == c.item_id, *scope.where)
    if wanted & {Group.USER}:
        found = found.join(_author, _author.c.id == _I.author_id)
    if wanted & {Group.QUEUE, Group.ENTITY}:
        found = found.join(t.queues, _Q.id == _I.queue_id)
        found = found.join(_owner, _owner.c.id == _Q.entity_id)
    if wanted & {Group.JOB, Group.PROJECT, Group.TEAM}:
        found = found.join(t.runs, _R.id == _I.run_id)
    if wanted & {Group.PROJECT, Group.TEAM}:
        found = found.join(t.projects, _P.id == _R.project_id)
        found = found.join(_target, _target.c.id == _P.entity_id)
    return found


def _bounded(tx: Tx, query: Select[Any]) -> Sequence[Row]:
    rows = tx.all(query.limit(MAX_ROWS + 1))
    if len(rows) > MAX_ROWS:
        raise TooMuch(
            "this is too much for one report",
            hint="ask for less time, fewer groups, or one entity",
        )
    return rows


def at_day(day: int) -> int:
    """Return the first millisecond of a day of `sums`."""
    return day * DAY_MS
