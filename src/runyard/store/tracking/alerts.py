"""Alerts that programs raise about their runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, func, insert, select

from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms

_A, _R, _I, _Q = t.run_alerts.c, t.runs.c, t.items.c, t.queues.c
_QUEUE: Final = (
    select(_Q.name, _Q.entity_id)
    .join(t.items, _I.queue_id == _Q.id)
    .join(t.runs, _R.item_id == _I.id)
    .where(_R.id == bindparam("run"))
)
_LOCK: Final = select(_R.id).where(_R.id == bindparam("run")).with_for_update(key_share=True)
_COUNT: Final = select(func.count(_A.id)).where(_A.run_id == bindparam("run"))
_SINCE: Final = select(_A.id).where(
    _A.run_id == bindparam("run"), _A.title == bindparam("title"), _A.at > bindparam("since")
)
_PAGE: Final = (
    select(t.run_alerts)
    .where(_A.run_id == bindparam("run"), _A.id < bindparam("before"))
    .order_by(_A.id.desc())
)


def lock_run(tx: Tx, run_id: str) -> None:
    """Let the alerts of a run follow one another until this commits."""
    tx.one(_LOCK, {"run": run_id})


def count(tx: Tx, run_id: str) -> int:
    found: int = tx.scalar(_COUNT, {"run": run_id})
    return found


def raised_since(tx: Tx, run_id: str, title: str, since: datetime) -> bool:
    return tx.one(_SINCE, {"run": run_id, "title": title, "since": to_ms(since)}) is not None


def add(
    tx: Tx, alert_id: str, run_id: str, *, title: str, body: str, level: str, now: datetime
) -> None:
    tx.run(
        insert(t.run_alerts),
        {
            "id": alert_id, "run_id": run_id, "title": title, "body": body, "level": level,
            "at": to_ms(now),
        },
    )  # fmt: skip


def page(tx: Tx, run_id: str, *, before: str, limit: int) -> Sequence[Row]:
    """Return a run's alerts, the newest first; `before` "~" begins with the newest."""
    return tx.all(_PAGE.limit(limit), {"run": run_id, "before": before})


def queue_of(tx: Tx, run_id: str) -> Row | None:
    """Return name and owner of the queue that a run came by, if it did."""
    return tx.one(_QUEUE, {"run": run_id})
