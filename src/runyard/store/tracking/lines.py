"""
Rows of a run's history and of its system metrics: chunks of lines, by number, append-only.

A long history is many megabytes, so it is read in turns, and from PostgreSQL in its binary form:
bytes would come as text of twice their size otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

from sqlalchemy import Integer, Select, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from runyard.store import tables as t
from runyard.store.db import Row, Tx

_L = t.line_chunks.c
_OF: Final = (_L.run_id == bindparam("run"), _L.kind == bindparam("of_kind"))
_ADD: Final = insert(t.line_chunks)
# The chunk that holds a line begins at or before it: one step back in the primary key.
_COVERED: Final = (
    select(_L.start, _L.n)
    .where(
        *_OF,
        _L.start < bindparam("end"),
        _L.start
        >= func.coalesce(
            select(func.max(_L.start))
            .where(*_OF, _L.start <= bindparam("first"))
            .scalar_subquery(),
            0,
        ),
    )
    .order_by(_L.start)
)
_CHUNKS: Final[Select[Any]] = (
    select(_L.start, _L.data)
    .where(
        *_OF,
        _L.start > bindparam("after"),
        _L.max_step >= bindparam("min_step"),
        _L.min_step <= bindparam("max_step"),
    )
    .order_by(_L.start)
    .limit(bindparam("chunks", type_=Integer))
)
_CHUNKS_TEXT: Final = str(_CHUNKS.compile(dialect=PGDialect_psycopg()))  # type: ignore[no-untyped-call]
_LAST: Final = select(_L.start, _L.data).where(*_OF).order_by(_L.start.desc()).limit(1)
_DROP: Final = delete(t.line_chunks).where(*_OF, _L.start >= bindparam("first"))
_CUT: Final = (
    update(t.line_chunks)
    .where(*_OF, _L.start == bindparam("at"))
    .values(n=bindparam("b_n"), data=bindparam("b_data"), min_step=bindparam("b_min"),
            max_step=bindparam("b_max"))
)  # fmt: skip
_FAR: Final = 2**62
_AT_ONCE: Final = 16 << 20  # bytes, about
_MOST_AT_ONCE: Final = 500  # chunks


def append(tx: Tx, rows: Sequence[dict[str, Any]]) -> None:
    """Insert chunks: run_id, kind, start, n, min_step, max_step, data."""
    tx.run(_ADD, rows)


def covered(tx: Tx, run_pk: str, kind: str, first: int, end: int) -> list[tuple[int, int]]:
    """Return the ranges of lines that are there already, of those from `first` to before `end`."""
    found = tx.all(_COVERED, {"run": run_pk, "of_kind": kind, "first": first, "end": end})
    ranges = [(row["start"], row["start"] + row["n"]) for row in found]
    return [(max(a, first), min(b, end)) for a, b in ranges if a < end and b > first]


def chunks(
    tx: Tx, run_pk: str, kind: str, min_step: int | None = None, max_step: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """Yield the chunks that may hold one of these steps: the number of the first line, the data."""
    params: dict[str, Any] = {
        "run": run_pk, "of_kind": kind, "after": -1, "chunks": 8,
        "min_step": -_FAR if min_step is None else min_step,
        "max_step": _FAR if max_step is None else max_step,
    }  # fmt: skip
    while True:
        found = _fetched(tx, params)
        yield from found
        if len(found) < params["chunks"]:
            return
        taken = sum(len(data) for _, data in found)
        params["after"] = found[-1][0]
        params["chunks"] = max(1, min(_MOST_AT_ONCE, _AT_ONCE * len(found) // max(taken, 1)))


def last(tx: Tx, run_pk: str, kind: str) -> bytes | None:
    """Return the last line."""
    row = tx.one(_LAST, {"run": run_pk, "of_kind": kind})
    return None if row is None else bytes(row["data"]).rpartition(b"\n")[2]


def drop(tx: Tx, run_pk: str, kind: str, first: int) -> None:
    """Delete the chunks that begin at this line or behind it."""
    tx.run(_DROP, {"run": run_pk, "of_kind": kind, "first": first})


def cut(
    tx: Tx, run_pk: str, kind: str, start: int, data: bytes, n: int, steps: tuple[int, int]
) -> None:
    """Keep only these lines of a chunk."""
    tx.run(
        _CUT,
        {"run": run_pk, "of_kind": kind, "at": start, "b_n": n, "b_data": data,
         "b_min": steps[0], "b_max": steps[1]},
    )  # fmt: skip


def _fetched(tx: Tx, params: dict[str, Any]) -> list[tuple[int, bytes]]:
    if not tx.is_postgres:
        rows: Sequence[Row] = tx.all(_CHUNKS, params)
        return [(row["start"], row["data"]) for row in rows]
    driver = tx.connection.connection.driver_connection
    assert driver is not None
    with driver.cursor(binary=True) as cursor:
        cursor.execute(_CHUNKS_TEXT, params)
        return cast(list[tuple[int, bytes]], cursor.fetchall())
