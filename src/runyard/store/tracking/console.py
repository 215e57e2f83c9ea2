"""Lines of a program's console by number. A line may be written again: the later chunk counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Integer, bindparam, delete, func, insert, select

from runyard.store import tables as t
from runyard.store.db import Tx

MOST: Final = 1000  # lines of a chunk, so that one that holds a line begins not far before it

_C = t.console_chunks.c
_ADD: Final = insert(t.console_chunks)
_REPLACED: Final = delete(t.console_chunks).where(
    _C.run_id == bindparam("run"),
    _C.start >= bindparam("first"),
    _C.start < bindparam("end"),
    _C.start + _C.n <= bindparam("end"),
)
_BETWEEN: Final = (
    select(_C.start, _C.data)
    .where(
        _C.run_id == bindparam("run"),
        _C.start > bindparam("first", type_=Integer) - MOST,
        _C.start < bindparam("end"),
        _C.start + _C.n > bindparam("first"),
    )
    .order_by(_C.seq)
)
_NEXT: Final = select(func.min(_C.start)).where(
    _C.run_id == bindparam("run"), _C.start >= bindparam("first")
)


def write(tx: Tx, run_pk: str, start: int, lines: Sequence[str], *, anew: bool) -> None:
    """Write lines that follow one another; `anew`: some of them may be there already."""
    if anew:
        tx.run(_REPLACED, {"run": run_pk, "first": start, "end": start + len(lines)})
    rows: list[dict[str, Any]] = []
    for at in range(0, len(lines), MOST):
        part = lines[at : at + MOST]
        data = "\n".join(part).encode("utf-8", "replace")
        rows.append({"run_id": run_pk, "start": start + at, "n": len(part), "data": data})
    tx.run(_ADD, rows)


def between(tx: Tx, run_pk: str, first: int, end: int) -> dict[int, str]:
    """Return the lines that there are, from `first` to before `end`, by number."""
    found: dict[int, str] = {}
    for row in tx.all(_BETWEEN, {"run": run_pk, "first": first, "end": end}):
        texts = bytes(row["data"]).decode().split("\n")
        found.update(enumerate(texts, row["start"]))
    return {n: found[n] for n in sorted(found) if first <= n < end}


def next_start(tx: Tx, run_pk: str, first: int, otherwise: int) -> int:
    """Return where the next chunk begins, from a line on."""
    found: int | None = tx.scalar(_NEXT, {"run": run_pk, "first": first})
    return otherwise if found is None else found
