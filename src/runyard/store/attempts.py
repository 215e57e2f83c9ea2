"""One row for each try at an item: who tried, where its workload lives, where its log begins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, select

from runyard.domain.workloads import Handle, Observation, Phase
from runyard.store import tables as t
from runyard.store.bulk import change, insertion
from runyard.store.db import Row, Tx
from runyard.store.values import from_text, to_ms, to_text

_A = t.attempts.c
_ATTEMPT: Final = {"item": "item_id", "attempt": "n"}
_OPEN: Final = insertion(t.attempts, "item_id", "n", "agent_id", "log_base", "claimed_at")
_KEEP: Final = change(t.attempts, found_by=_ATTEMPT, sets=["handle", "gpus"])
_SEE: Final = change(
    t.attempts,
    found_by=_ATTEMPT,
    sets=["phase", "exit_code", "reason"],
    fills=["started_at", "ended_at"],
)
_CLOSE: Final = change(t.attempts, found_by=_ATTEMPT, sets=(), fills=["ended_at"])
# What ended by itself has run, even if nobody looked in between.
_HAVE_RUN: Final = (Phase.RUNNING, Phase.EXITED)
_MOST_GPUS: Final = 65_536  # of one workload; whatever an agent says beyond is no number of GPUs
_ONE: Final = (
    select(t.attempts, t.runs.c.log_size)
    .join(t.items, t.items.c.id == _A.item_id)
    .join(t.runs, t.runs.c.id == t.items.c.run_id)
    .where(_A.item_id == bindparam("item"), _A.n == bindparam("attempt"))
)
_SIZES: Final = select(t.runs.c.id, t.runs.c.log_size).where(
    t.runs.c.id.in_(bindparam("ids", expanding=True))
)


def begin(tx: Tx, claims: Sequence[tuple[str, int, str, str]], now: datetime) -> None:
    """Open attempts: (item id, number, agent id, run id). The log goes on where the run's is."""
    sizes = {r["id"]: r["log_size"] for r in tx.all(_SIZES, {"ids": [c[3] for c in claims]})}
    _OPEN.run(
        tx,
        [
            {"item_id": item, "n": n, "agent_id": agent, "log_base": sizes[run],
             "claimed_at": to_ms(now)}
            for item, n, agent, run in claims
        ],
    )  # fmt: skip


def keep(tx: Tx, handles: Sequence[tuple[str, int, Handle, int]]) -> None:
    """Write where workloads live, and how many GPUs they were given."""
    _KEEP.run(
        tx,
        [
            {
                "item": item,
                "attempt": n,
                "b_handle": to_text({"driver": h.driver, "version": h.version, "data": h.data}),
                "b_gpus": max(0, min(gpus, _MOST_GPUS)),
            }
            for item, n, h, gpus in handles
        ],
    )


def see(tx: Tx, seen: Sequence[tuple[str, int, Observation]], now: datetime) -> None:
    """Write what was seen of workloads; the first sight of one that runs is when it started."""
    _SEE.run(
        tx,
        [
            {
                "item": item,
                "attempt": n,
                "b_phase": o.phase.value,
                "b_exit_code": o.exit_code,
                "b_reason": o.reason,
                "b_started_at": to_ms(now) if o.phase in _HAVE_RUN else None,
                "b_ended_at": to_ms(now) if o.phase.is_final else None,
            }
            for item, n, o in seen
        ],
    )


def close(tx: Tx, over: Sequence[tuple[str, int]], now: datetime) -> None:
    """End attempts of which no end was seen: they failed to start, or their agent fell silent."""
    if over:
        _CLOSE.run(tx, [{"item": item, "attempt": n, "b_ended_at": to_ms(now)} for item, n in over])


_LASTED: Final = select(_A.item_id, _A.n, _A.claimed_at, _A.gpus).where(
    _A.item_id.in_(bindparam("ids", expanding=True))
)


def lasted(tx: Tx, tries: Sequence[tuple[str, int]], now: datetime) -> dict[str, tuple[float, int]]:
    """Return (seconds since the claim, GPUs) of attempts (item id, number), by item."""
    wanted = dict(tries)
    return {
        row["item_id"]: ((to_ms(now) - row["claimed_at"]) / 1000, row["gpus"])
        for row in tx.all(_LASTED, {"ids": list(wanted)})
        if row["n"] == wanted[row["item_id"]]
    }


def get(tx: Tx, item_id: str, n: int) -> Row | None:
    """Return the attempt's row with its run's `log_size`."""
    return tx.one(_ONE, {"item": item_id, "attempt": n})


def handle_of(row: Row) -> Handle | None:
    if row["handle"] is None:
        return None
    data: dict[str, Any] = from_text(row["handle"])
    return Handle(data["driver"], data["version"], data["data"])
