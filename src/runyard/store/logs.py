"""A run's output: chunks by offset, append-only, one stream through all attempts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Integer, bindparam, func, insert, select, update

from runyard.domain.items import RunId
from runyard.store import tables as t
from runyard.store.db import Row, Tx

_C, _R = t.log_chunks.c, t.runs.c
_ADD: Final = insert(t.log_chunks)
_GROW: Final = (
    update(t.runs)
    .where(_R.id == bindparam("run"))
    .values(log_size=bindparam("size"), log_truncated=bindparam("cut"))
)
_SIZE: Final = select(_R.log_size, _R.log_truncated).where(_R.id == bindparam("run"))
# The chunk that holds `offset` begins at or before it: one step back in the primary key.
_FROM: Final = (
    select(_C.start, _C.data)
    .where(
        _C.run_id == bindparam("run"),
        _C.start
        >= func.coalesce(
            select(func.max(_C.start))
            .where(_C.run_id == bindparam("run"), _C.start <= bindparam("offset"))
            .scalar_subquery(),
            0,
        ),
    )
    .order_by(_C.start)
    .limit(bindparam("chunks", type_=Integer))
)
_CHUNKS_A_READ: Final = 8


def append(tx: Tx, chunks: Sequence[tuple[RunId, int, bytes]]) -> None:
    """Insert (run, start, data); the caller has made sure that each begins where the log ends."""
    tx.run(_ADD, [{"run_id": run, "start": start, "data": data} for run, start, data in chunks])


def grow(tx: Tx, sizes: Sequence[tuple[RunId, int, bool]]) -> None:
    """Set (run, size, truncated)."""
    rows: list[dict[str, Any]] = [{"run": r, "size": size, "cut": cut} for r, size, cut in sizes]
    tx.run(_GROW, rows)


def size(tx: Tx, run_id: RunId) -> Row | None:
    """Return log_size and log_truncated, None without such a run."""
    return tx.one(_SIZE, {"run": run_id})


def cut_note(at_most: int) -> bytes:
    """Return what stands at the end of a log that is longer than is kept."""
    return f"\n[log cut here: over {at_most} bytes]\n".encode()


def fitted(data: bytes, *, skip: int, room: int, at_most: int) -> tuple[bytes, bool]:
    """Return what of `data` is new and has room, and whether the log is cut behind it."""
    data = data[skip:]
    if len(data) <= room:
        return data, False
    return data[: max(0, room)] + cut_note(at_most), True


def read(tx: Tx, run_id: RunId, offset: int) -> bytes:
    """Return output from byte `offset` on: some 2 MB at most, empty at the end."""
    rows = tx.all(_FROM, {"run": run_id, "offset": offset, "chunks": _CHUNKS_A_READ})
    if not rows:
        return b""
    skip = offset - rows[0]["start"]
    return b"".join(bytes(row["data"]) for row in rows)[skip:]
