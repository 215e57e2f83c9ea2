"""Picking out items of a queue by what is known of them, for those who operate it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import select

from runyard.domain.runs import RunState
from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms

_I, _R = t.items.c, t.runs.c


def select_items(
    tx: Tx,
    queue_id: str,
    *,
    ids: Sequence[str],
    states: Collection[str],
    runs: Collection[RunState],
    author_id: str | None,
    priority: int | None,
    held: bool | None,
    job: str | None,
    before: datetime | None,
    after: str,
    limit: int,
) -> Sequence[Row]:
    """Return ids of items, the oldest first; `before` is when they were queued at the latest.

    `runs`: only those whose runs are in one of these states; empty: any.
    """
    found = select(_I.id).where(_I.queue_id == queue_id).order_by(_I.id).limit(limit)
    if runs or job is not None:
        found = found.join(t.runs, _R.id == _I.run_id)
    if runs:
        found = found.where(_R.state.in_(list(runs)))
    if after:
        found = found.where(_I.id > after)
    if ids:
        found = found.where(_I.id.in_(list(ids)))
    if states:
        found = found.where(_I.state.in_(list(states)))
    if author_id is not None:
        found = found.where(_I.author_id == author_id)
    if priority is not None:
        found = found.where(_I.priority == priority)
    if held is not None:
        found = found.where(_I.parked == "held" if held else _I.parked.is_distinct_from("held"))
    if job is not None:
        found = found.where(_R.job.startswith(job))
    if before is not None:
        found = found.where(_I.enqueued_at <= to_ms(before))
    return tx.all(found)
