"""
Many rows in one statement, where a statement each would cost a trip or a plan each.

SQLite runs inside of us: a prepared statement, once for each row, is the fastest there, and
it goes to the driver as text, since SQLAlchemy's work for a row would cost as much as the row.
PostgreSQL gets all rows at once, as one JSON text: the statement is the same for any number of
rows, so it is parsed once, no driver has to look at each value, and the count of rows that it
changed stays exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final
from typing import cast as as_a

from sqlalchemy import (
    JSON,
    ClauseElement,
    Column,
    ColumnElement,
    Executable,
    FromClause,
    Table,
    Text,
    Update,
    bindparam,
    cast,
    column,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.compiler import SQLCompiler

from runyard.store.db import Duplicate, Tx
from runyard.store.values import to_text

Rows = Sequence[Mapping[str, Any]]
Columns = ReadOnlyColumnCollection[str, Any]
_ROWS: Final = "rows"


class Bulk:
    """A write that is made once for each row of parameters."""

    def __init__(self, each: ClauseElement, together: Executable) -> None:
        compiled = each.compile(dialect=sqlite.dialect(paramstyle="qmark"))
        assert isinstance(compiled, SQLCompiler)
        assert compiled.positiontup
        self._each, self._row = str(compiled), itemgetter(*compiled.positiontup)
        self._together = together

    def run(self, tx: Tx, rows: Rows) -> int:
        """Write the rows; return how many rows of the table an update has changed.

        Raises:
            Duplicate: as `Tx.run`.
        """
        if not tx.is_postgres:
            values = [self._row(row) for row in rows]
            try:
                return tx.connection.exec_driver_sql(self._each, values).rowcount
            except IntegrityError as error:
                raise Duplicate("there is one of that name already") from error
        return tx.run(self._together, {_ROWS: _json(rows)})


def insertion(table: Table, *names: str) -> Bulk:
    """Return an insert of rows that have these columns; the others get their defaults."""
    new = _table({name: table.c[name] for name in names})
    together = insert(table).from_select(list(names), select(*(new.c[name] for name in names)))
    each = insert(table).values({name: bindparam(name) for name in names})
    return Bulk(each, together)


def upsertion(
    table: Table, *names: str, sets: Callable[[Columns], Mapping[str, ColumnElement[Any]]]
) -> Bulk:
    """Return an insert of rows that have these columns; a row that is there already is changed.

    `sets` says how: it is given the columns of the new row, and returns new values by column. No
    two rows of one run may have the same key.
    """
    key = [c.name for c in table.primary_key.columns]
    each = sqlite.insert(table).values({name: bindparam(name) for name in names})
    new = _table({name: table.c[name] for name in names})
    # "WHERE true": without it, SQL cannot tell what ON CONFLICT belongs to.
    rows = select(*(new.c[name] for name in names)).where(true())
    together = postgresql.insert(table).from_select(list(names), rows)
    return Bulk(
        each.on_conflict_do_update(index_elements=key, set_=sets(each.excluded)),
        together.on_conflict_do_update(index_elements=key, set_=sets(together.excluded)),
    )


def change(
    table: Table,
    *,
    found_by: Mapping[str, str],
    sets: Sequence[str],
    keeps: Sequence[str] = (),
    fills: Sequence[str] = (),
) -> Bulk:
    """Return an update of the rows in which columns equal parameters, NULL being equal to NULL.

    `found_by` maps parameters to columns. `sets` are columns that take their parameter,
    `b_<column>`; `keeps` take it too, but keep what they have where it is None; `fills` take it
    only where they have nothing yet.
    """
    typed: dict[str, ColumnElement[Any]] = {p: table.c[name] for p, name in found_by.items()}
    typed |= {f"b_{name}": table.c[name] for name in (*sets, *keeps, *fills)}

    def updated(given: Callable[[str], ColumnElement[Any]]) -> Update:
        found = [_is(table.c[name], given(p)) for p, name in found_by.items()]
        values = {name: given(f"b_{name}") for name in sets}
        values |= {name: func.coalesce(given(f"b_{name}"), table.c[name]) for name in keeps}
        values |= {name: func.coalesce(table.c[name], given(f"b_{name}")) for name in fills}
        return update(table).where(*found).values(values)

    new = _table(typed)
    return Bulk(
        updated(lambda name: bindparam(name, type_=typed[name].type)),
        updated(lambda name: new.c[name]),
    )


def _is(column: Column[Any], value: ColumnElement[Any]) -> ColumnElement[bool]:
    return column.is_not_distinct_from(value) if column.nullable else column == value


def _table(typed: Mapping[str, ColumnElement[Any]]) -> FromClause:
    """Return the table that PostgreSQL makes of the JSON."""
    given = cast(bindparam(_ROWS, type_=Text), JSON)
    rows = func.json_to_recordset(given).table_valued(
        *(column(n, c.type) for n, c in typed.items())
    )
    return as_a(FromClause, rows.render_derived(name="new_rows", with_types=True))


def _json(rows: Rows) -> str:
    text = to_text(rows)
    if r"\u0000" not in text:
        return text
    # PostgreSQL's text has no NUL; what a program printed may have one.
    return to_text(
        [
            {k: v.replace("\0", "\ufffd") if isinstance(v, str) else v for k, v in row.items()}
            for row in rows
        ]
    )
