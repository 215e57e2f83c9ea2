"""
Items and their runs, to rows and back.

They move together, so they are loaded and saved together: `locked` reads pairs for writing,
`save` writes pairs through a compare-and-swap and records each move in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Integer, Select, and_, bindparam, insert, or_, select, update

from runyard.domain.errors import Conflict
from runyard.domain.items import (
    AgentId,
    Failure,
    Item,
    ItemId,
    ItemState,
    Lease,
    LeaseToken,
    QueueId,
    RunId,
)
from runyard.domain.outcomes import Outcome
from runyard.domain.queues import QueuePolicy
from runyard.domain.runs import Run, RunState
from runyard.store import tables as t
from runyard.store.bulk import change, insertion
from runyard.store.db import Row, Tx
from runyard.store.values import at_or_none, from_ms, from_text, ms_or_none, to_ms, to_text

_I, _R, _Q = t.items.c, t.runs.c, t.queues.c
_MS: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """An item and its run as they are now, with what decisions about them need."""

    item: Item
    run: Run
    policy: QueuePolicy
    queue: str  # "<entity>/<name>", as in its topic
    author_id: str
    spec_text: str

    @property
    def spec(self) -> dict[str, Any]:
        return from_text(self.spec_text)  # type: ignore[no-any-return]


_PAIRS: Final = (
    select(
        _I.id, _I.queue_id, _I.state, _I.priority, _I.enqueued_at, _I.run_id, _I.attempt,
        _I.requeues, _I.agent_id, _I.token, _I.lease_expires_at, _I.claim_ttl,
        _I.failure_stage, _I.failure_message, _I.ended_at, _I.author_id, _I.spec,
        _R.state.label("run_state"), _R.created_at.label("run_created_at"),
        _R.started_at.label("run_started_at"), _R.ended_at.label("run_ended_at"),
        _R.exit_code, _R.reason, _R.stop_requested_at,
        _Q.policy, _Q.name.label("queue_name"), t.entities.c.name.label("queue_entity"),
    )
    .select_from(t.items)
    .join(t.runs, _R.id == _I.run_id)
    .join(t.queues, _Q.id == _I.queue_id)
    .join(t.entities, t.entities.c.id == _Q.entity_id)
)  # fmt: skip


def _for_writing(statement: Select[Any], *, skip_locked: bool = False) -> Select[Any]:
    # SQLite leaves the clause out: there, a writing transaction is alone anyway.
    return statement.with_for_update(of=[t.items, t.runs], skip_locked=skip_locked)


_BY_ID: Final = _for_writing(
    # In one order, so that two transactions over the same items cannot wait for each other.
    _PAIRS.where(_I.id.in_(bindparam("ids", expanding=True))).order_by(_I.id)
)
_WAITING: Final = _for_writing(
    _PAIRS.where(
        _I.queue_id == bindparam("queue_id"),
        _I.state == "PENDING",
        _I.parked.is_(None),
        or_(_I.pinned_agent.is_(None), _I.pinned_agent == bindparam("agent")),
    )
    .order_by(_I.priority, _I.enqueued_at, _I.id)
    .limit(bindparam("limit", type_=Integer)),
    skip_locked=True,
)
_HELD: Final = _for_writing(
    _PAIRS.where(_I.agent_id == bindparam("agent_id"), _I.token.is_not(None)).order_by(_I.id)
)
_OVERDUE: Final = _for_writing(
    _PAIRS.where(_I.token.is_not(None), _I.lease_expires_at <= bindparam("now"))
    .order_by(_I.lease_expires_at)
    .limit(500),
    skip_locked=True,
)
_PENDING_OF_QUEUE: Final = _for_writing(
    _PAIRS.where(_I.queue_id == bindparam("queue_id"), _I.state == "PENDING")
    .order_by(_I.id)
    .limit(1000)
)
_PINNED_TO: Final = _for_writing(
    _PAIRS.where(
        _I.queue_id.in_(bindparam("queue_ids", expanding=True)),
        _I.state == "PENDING",
        _I.pinned_agent == bindparam("agent"),
    ).order_by(_I.id)
)
_RENEW: Final = (
    update(t.items)
    .where(
        _I.agent_id == bindparam("agent"),
        _I.token.is_not(None),  # said only so that the partial index is used
        _I.state == "CLAIMED",
        _I.lease_expires_at > bindparam("now"),
    )
    .values(lease_expires_at=bindparam("now") + _I.claim_ttl)
)
_HELD_IDS: Final = select(
    _I.id, _R.stop_requested_at, _Q.policy
).join(t.runs, _R.id == _I.run_id).join(t.queues, _Q.id == _I.queue_id).where(
    _I.agent_id == bindparam("agent_id"), _I.token.is_not(None)
)  # fmt: skip

_SWAP_ITEM: Final = change(
    t.items,
    found_by={"was_id": "id", "was_state": "state", "was_token": "token"},
    sets=(
        "state", "enqueued_at", "attempt", "requeues", "agent_id", "token",
        "lease_expires_at", "failure_stage", "failure_message", "ended_at",
    ),
    keeps=("last_agent_id",),
)  # fmt: skip
_SWAP_RUN: Final = change(
    t.runs,
    found_by={"was_id": "id", "was_state": "state"},
    sets=("state", "started_at", "ended_at", "exit_code", "reason", "stop_requested_at"),
)
_EVENTS: Final = insertion(t.item_events, "item_id", "at", "was", "became", "actor", "detail")
_NEW_RUNS: Final = insertion(
    t.runs, "id", "project_id", "name", "display_name", "state", "item_id", "author_id", "job",
    "config", "created_at",
)  # fmt: skip
_NEW_ITEMS: Final = insertion(
    t.items, "id", "queue_id", "state", "priority", "enqueued_at", "run_id", "author_id",
    "attempt", "requeues", "claim_ttl", "pinned_agent", "spec",
)  # fmt: skip


def _item(row: Row) -> Item:
    lease = failure = None
    if row["token"] is not None:
        lease = Lease(
            AgentId(row["agent_id"]), LeaseToken(row["token"]), from_ms(row["lease_expires_at"])
        )
    if row["failure_stage"] is not None:
        failure = Failure(row["failure_stage"], row["failure_message"])
    return Item(
        id=ItemId(row["id"]),
        queue_id=QueueId(row["queue_id"]),
        state=ItemState(row["state"]),
        priority=row["priority"],
        enqueued_at=from_ms(row["enqueued_at"]),
        run_id=RunId(row["run_id"]),
        attempt=row["attempt"],
        requeues=row["requeues"],
        lease=lease,
        failure=failure,
        claim_ttl=row["claim_ttl"] * _MS,
        ended_at=at_or_none(row["ended_at"]),
    )


@lru_cache(maxsize=256)
def _policy(text: str) -> QueuePolicy:
    return QueuePolicy.parse(from_text(text))


def _pair(row: Row) -> Pair:
    run = Run(
        id=RunId(row["run_id"]),
        state=RunState(row["run_state"]),
        created_at=from_ms(row["run_created_at"]),
        started_at=at_or_none(row["run_started_at"]),
        ended_at=at_or_none(row["run_ended_at"]),
        exit_code=row["exit_code"],
        reason=row["reason"],
        stop_requested_at=at_or_none(row["stop_requested_at"]),
    )
    return Pair(
        _item(row),
        run,
        _policy(row["policy"]),
        f"{row['queue_entity']}/{row['queue_name']}",
        row["author_id"],
        row["spec"],
    )


def locked(tx: Tx, ids: Iterable[str]) -> dict[str, Pair]:
    """Return the pairs of these items, held for writing until the transaction ends."""
    return {row["id"]: _pair(row) for row in tx.all(_BY_ID, {"ids": sorted(set(ids))})}


def next_waiting(tx: Tx, queue_id: QueueId, *, agent: str, limit: int) -> list[Pair]:
    """Return up to `limit` items in the order in which they leave, held for writing."""
    params = {"queue_id": queue_id, "agent": agent, "limit": limit}
    return [_pair(row) for row in tx.all(_WAITING, params)]


def held_by(tx: Tx, agent_id: AgentId) -> list[Pair]:
    return [_pair(row) for row in tx.all(_HELD, {"agent_id": agent_id})]


def overdue(tx: Tx, now: datetime) -> list[Pair]:
    return [_pair(row) for row in tx.all(_OVERDUE, {"now": to_ms(now)})]


def pending_of_queue(tx: Tx, queue_id: QueueId) -> list[Pair]:
    """Return up to 1000; call again until there are none."""
    return [_pair(row) for row in tx.all(_PENDING_OF_QUEUE, {"queue_id": queue_id})]


def pinned_to(tx: Tx, queue_ids: Sequence[QueueId], agent: str) -> list[Pair]:
    return [_pair(r) for r in tx.all(_PINNED_TO, {"queue_ids": queue_ids, "agent": agent})]


def renew(tx: Tx, agent_id: AgentId, now: datetime) -> int:
    """Extend every claim of the agent that is not overdue already; return how many."""
    return tx.run(_RENEW, {"agent": agent_id, "now": to_ms(now)})


def held_ids(tx: Tx, agent_id: AgentId) -> list[Row]:
    """Return id, stop_requested_at and policy of everything the agent holds."""
    return list(tx.all(_HELD_IDS, {"agent_id": agent_id}))


def save(tx: Tx, moves: Sequence[tuple[Pair, Outcome]], *, now: datetime, actor: str = "") -> None:
    """Write each outcome if its rows still are as they were read, and record the moves.

    Raises:
        Conflict: somebody else moved one of the items since it was read.
    """
    items = [(p.item, o.item) for p, o in moves if o.item != p.item]
    runs = [(p.run, o.run) for p, o in moves if o.run != p.run]
    if items and _SWAP_ITEM.run(tx, [_item_swap(*pair) for pair in items]) != len(items):
        raise Conflict("an item was moved by somebody else; look again")
    if runs and _SWAP_RUN.run(tx, [_run_swap(*pair) for pair in runs]) != len(runs):
        raise Conflict("a run was moved by somebody else; look again")
    events = [
        {
            "item_id": became.id,
            "at": to_ms(now),
            "was": was.state.value,
            "became": became.state.value,
            "actor": actor,
            "detail": _detail(became),
        }
        for was, became in items
        if was.state is not became.state
    ]
    if events:
        _EVENTS.run(tx, events)
    for pair, outcome in moves:
        if outcome.run != pair.run or outcome.item.state is not pair.item.state:
            tx.announce(f"run:{pair.run.id}")
    if events:
        tx.announce("events")


def _detail(became: Item) -> str:
    if became.failure is not None:
        return f"{became.failure.stage}: {became.failure.message}"
    return f"requeued {became.requeues}" if became.state is ItemState.PENDING else ""


def _item_swap(was: Item, became: Item) -> dict[str, Any]:
    lease, failure = became.lease, became.failure
    return {
        "was_id": was.id,
        "was_state": was.state.value,
        "was_token": was.lease.token if was.lease else None,
        "b_state": became.state.value,
        "b_enqueued_at": to_ms(became.enqueued_at),
        "b_attempt": became.attempt,
        "b_requeues": became.requeues,
        "b_agent_id": lease and lease.agent_id,
        "b_last_agent_id": lease.agent_id if lease and became.state is ItemState.CLAIMED else None,
        "b_token": lease and lease.token,
        "b_lease_expires_at": lease and to_ms(lease.expires_at),
        "b_failure_stage": failure and failure.stage,
        "b_failure_message": failure and failure.message,
        "b_ended_at": ms_or_none(became.ended_at),
    }


def _run_swap(was: Run, became: Run) -> dict[str, Any]:
    return {
        "was_id": was.id,
        "was_state": was.state.value,
        "b_state": became.state.value,
        "b_started_at": ms_or_none(became.started_at),
        "b_ended_at": ms_or_none(became.ended_at),
        "b_exit_code": became.exit_code,
        "b_reason": became.reason,
        "b_stop_requested_at": ms_or_none(became.stop_requested_at),
    }


@dataclass(frozen=True, slots=True)
class NewItem:
    """What submitting writes: the item and the run that is born with it."""

    item: Item
    run: Run
    project_id: str
    run_name: str
    display_name: str | None
    author_id: str
    job: str | None
    config: dict[str, Any]
    spec: dict[str, Any]
    spec_text: str
    pinned_agent: str | None = None


def add(tx: Tx, new: Sequence[NewItem], *, now: datetime, actor: str) -> None:
    """Insert items with their runs and first events.

    Raises:
        Duplicate: a run of that name exists in the project.
    """
    at = to_ms(now)
    _NEW_RUNS.run(
        tx,
        [
            {
                "id": n.run.id, "project_id": n.project_id, "name": n.run_name,
                "display_name": n.display_name, "state": n.run.state.value,
                "item_id": n.item.id, "author_id": n.author_id, "job": n.job,
                "config": to_text(n.config), "created_at": at,
            }
            for n in new
        ],
    )  # fmt: skip
    _NEW_ITEMS.run(
        tx,
        [
            {
                "id": n.item.id, "queue_id": n.item.queue_id, "state": n.item.state.value,
                "priority": n.item.priority, "enqueued_at": to_ms(n.item.enqueued_at),
                "run_id": n.run.id, "author_id": n.author_id, "attempt": 0, "requeues": 0,
                "claim_ttl": n.item.claim_ttl // _MS, "pinned_agent": n.pinned_agent,
                "spec": n.spec_text,
            }
            for n in new
        ],
    )  # fmt: skip
    _EVENTS.run(
        tx,
        [
            {"item_id": n.item.id, "at": at, "was": None, "became": n.item.state.value,
             "actor": actor, "detail": ""}
            for n in new
        ],
    )  # fmt: skip
    tx.announce("events")


_STOP: Final = (
    update(t.runs)
    .where(and_(_R.id == bindparam("run"), _R.ended_at.is_(None), _R.stop_requested_at.is_(None)))
    .values(stop_requested_at=bindparam("at"), reason=bindparam("why"))
)


def ask_to_stop(tx: Tx, run_id: RunId, why: str, now: datetime) -> bool:
    """Note the wish to stop, and whose it is; False if it was noted before or the run has ended."""
    return tx.run(_STOP, {"run": run_id, "at": to_ms(now), "why": why}) == 1


_DETAIL: Final = (
    update(t.items).where(_I.id == bindparam("item")).values(failure_detail=bindparam("text"))
)
_WARN: Final = insert(t.item_warnings)


def explain(tx: Tx, item_id: ItemId, detail: str) -> None:
    """Keep the long form of a failure: a traceback, the last lines of a log."""
    tx.run(_DETAIL, {"item": item_id, "text": detail})


def warn(tx: Tx, item_id: ItemId, stage: str, message: str, now: datetime) -> bool:
    """Add a warning unless the item has it already."""
    known = select(t.item_warnings.c.seq).where(
        t.item_warnings.c.item_id == item_id,
        t.item_warnings.c.stage == stage,
        t.item_warnings.c.message == message,
    )
    if tx.one(known):
        return False
    tx.run(_WARN, {"item_id": item_id, "at": to_ms(now), "stage": stage, "message": message})
    return True
