"""
What was printed before an item's program ran: a log for each stage, append-only, through all
attempts. An item has chunks of it or none; how much there is, its last chunk tells.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Integer, ScalarSelect, bindparam, func, insert, select

from runyard.domain.items import Stage
from runyard.store import tables as t
from runyard.store.db import Tx

STAGES: Final = (Stage.FETCH, Stage.BUILD)  # those that have logs of their own

_C, _I = t.stage_chunks.c, t.items.c
_ADD: Final = insert(t.stage_chunks)


def _end(stage: str) -> ScalarSelect[int]:
    """Return where a stage's last chunk ends: one step in the primary key."""
    of_stage = select(_C.start + func.length(_C.data)).where(_C.item_id == _I.id, _C.stage == stage)
    return of_stage.order_by(_C.start.desc()).limit(1).scalar_subquery()


_SIZES: Final = select(_I.id, *(_end(stage.value).label(stage.value) for stage in STAGES)).where(
    _I.id.in_(bindparam("items", expanding=True))
)
# The chunk that holds `offset` begins at or before it: one step back in the primary key.
_FROM: Final = (
    select(_C.start, _C.data)
    .where(
        _C.item_id == bindparam("item"),
        _C.stage == bindparam("stage"),
        _C.start
        >= func.coalesce(
            select(func.max(_C.start))
            .where(
                _C.item_id == bindparam("item"),
                _C.stage == bindparam("stage"),
                _C.start <= bindparam("offset"),
            )
            .scalar_subquery(),
            0,
        ),
    )
    .order_by(_C.start)
    .limit(bindparam("chunks", type_=Integer))
)
_CHUNKS_A_READ: Final = 8


def append(tx: Tx, chunks: Sequence[tuple[str, str, int, bytes]]) -> None:
    """Insert (item, stage, start, data), each beginning where that log ends: the caller holds
    the item."""
    tx.run(_ADD, [{"item_id": i, "stage": s, "start": n, "data": d} for i, s, n, d in chunks])


def sizes(tx: Tx, item_ids: Collection[str]) -> dict[str, dict[str, int]]:
    """Return the bytes of each stage's log, by item; of stages that printed nothing, nothing."""
    rows = tx.all(_SIZES, {"items": list(item_ids)}) if item_ids else []
    found = {r["id"]: {s.value: r[s.value] for s in STAGES if r[s.value]} for r in rows}
    return {item_id: of_stages for item_id, of_stages in found.items() if of_stages}


def read(tx: Tx, item_id: str, stage: str, offset: int) -> bytes:
    """Return output from byte `offset` on: some MB at most, empty at the end."""
    where = {"item": item_id, "stage": stage, "offset": offset, "chunks": _CHUNKS_A_READ}
    rows = tx.all(_FROM, where)
    if not rows:
        return b""
    return b"".join(bytes(row["data"]) for row in rows)[offset - rows[0]["start"] :]
