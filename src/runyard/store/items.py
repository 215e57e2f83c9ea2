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
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Select, and_, bindparam, insert, select, update

from runyard.domain.errors import Conflict
from runyard.domain.items import (
    AgentId,
    Failure,
    Item,
    ItemId,
    ItemState,
    Lease,
    LeaseToken,
    Parked,
    QueueId,
    RunId,
)
from runyard.domain.outcomes import Outcome
from runyard.domain.policy import QueuePolicy
from runyard.domain.runs import Run, RunState
from runyard.domain.sharing import Place
from runyard.store import tables as t
from runyard.store.bulk import change, insertion
from runyard.store.db import Row, Tx
from runyard.store.values import at_or_none, from_ms, from_text, ms_or_none, to_ms

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

    @property
    def secret_spec(self) -> dict[str, Any]:
        """The spec as far as references to secrets go; most have none, and are not read for it."""
        return self.spec if 'secrets"' in self.spec_text else {}  # a variable's or a build's


PAIRS: Final = (
    select(
        _I.id, _I.queue_id, _I.state, _I.priority, _I.enqueued_at, _I.run_id, _I.attempt,
        _I.requeues, _I.agent_id, _I.token, _I.lease_expires_at, _I.claim_ttl,
        _I.failure_stage, _I.failure_message, _I.ended_at, _I.author_id, _I.spec,
        _R.state.label("run_state"), _R.created_at.label("run_created_at"),
        _R.started_at.label("run_started_at"), _R.ended_at.label("run_ended_at"),
        _R.exit_code, _R.reason, _R.stop_requested_at, _R.said_exit,
        _I.policy.label("narrowed"), _I.parked, _I.parked_why, _I.ready_at, _I.expires_at,
        _I.run_deadline, _I.retries, _I.host_faults, _I.aged, _I.turn, _I.charged,
        _Q.policy, _Q.name.label("queue_name"), t.entities.c.name.label("queue_entity"),
    )
    .select_from(t.items)
    .join(t.runs, _R.id == _I.run_id)
    .join(t.queues, _Q.id == _I.queue_id)
    .join(t.entities, t.entities.c.id == _Q.entity_id)
)  # fmt: skip


def for_writing(statement: Select[Any], *, skip_locked: bool = False) -> Select[Any]:
    # SQLite leaves the clause out: there, a writing transaction is alone anyway.
    return statement.with_for_update(of=[t.items, t.runs], skip_locked=skip_locked)


_BY_ID: Final = for_writing(
    # In one order, so that two transactions over the same items cannot wait for each other.
    PAIRS.where(_I.id.in_(bindparam("ids", expanding=True))).order_by(_I.id)
)
_HELD: Final = for_writing(
    PAIRS.where(_I.agent_id == bindparam("agent_id"), _I.token.is_not(None)).order_by(_I.id)
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

_FOUND_BY: Final = {"was_id": "id", "was_state": "state", "was_token": "token"}
_LIFE: Final = (
    "state", "enqueued_at", "attempt", "requeues", "agent_id", "token", "lease_expires_at",
    "failure_stage", "failure_message", "ended_at",
)  # fmt: skip
# What few moves change, so that the many do not pay for it.
_WAIT: Final = (
    "priority", "parked", "parked_why", "ready_at", "expires_at", "run_deadline", "retries",
    "host_faults", "aged", "turn", "charged",
)  # fmt: skip
_waiting: Final = attrgetter(*_WAIT)
_SWAP: Final = change(t.items, found_by=_FOUND_BY, sets=_LIFE, keeps=("last_agent_id",))
_SWAP_ALL: Final = change(
    t.items, found_by=_FOUND_BY, sets=(*_LIFE, *_WAIT), keeps=("last_agent_id",)
)
_SWAP_RUN: Final = change(
    t.runs,
    found_by={"was_id": "id", "was_state": "state"},
    sets=("state", "started_at", "ended_at", "exit_code", "reason", "stop_requested_at",
          "said_exit"),
)  # fmt: skip
_RUN: Final = select(
    _R.id.label("run_id"), _R.state.label("run_state"), _R.created_at.label("run_created_at"),
    _R.started_at.label("run_started_at"), _R.ended_at.label("run_ended_at"), _R.exit_code,
    _R.reason, _R.stop_requested_at, _R.said_exit,
).where(_R.id == bindparam("run")).with_for_update()  # fmt: skip
_EVENTS: Final = insertion(t.item_events, "item_id", "at", "was", "became", "actor", "detail")


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
        parked=row["parked"] and Parked(row["parked"]),
        parked_why=row["parked_why"],
        ready_at=at_or_none(row["ready_at"]),
        expires_at=at_or_none(row["expires_at"]),
        run_deadline=at_or_none(row["run_deadline"]),
        retries=row["retries"],
        host_faults=row["host_faults"],
        aged=row["aged"],
        turn=row["turn"],
        charged=row["charged"],
    )


def _run(row: Row) -> Run:
    return Run(
        id=RunId(row["run_id"]),
        state=RunState(row["run_state"]),
        created_at=from_ms(row["run_created_at"]),
        started_at=at_or_none(row["run_started_at"]),
        ended_at=at_or_none(row["run_ended_at"]),
        exit_code=row["exit_code"],
        reason=row["reason"],
        stop_requested_at=at_or_none(row["stop_requested_at"]),
        said_exit=row["said_exit"],
    )


@lru_cache(maxsize=1024)
def policy_of(text: str, narrowed: str | None = None) -> QueuePolicy:
    """Read the policy of a queue, with what an item's submission narrowed."""
    policy = QueuePolicy.parse(from_text(text))
    return policy if narrowed is None else policy.within(from_text(narrowed))


def pair_of(row: Row) -> Pair:
    """Return the pair of a row of `PAIRS`."""
    return Pair(
        _item(row),
        _run(row),
        policy_of(row["policy"], row["narrowed"]),
        f"{row['queue_entity']}/{row['queue_name']}",
        row["author_id"],
        row["spec"],
    )


def locked(tx: Tx, ids: Iterable[str]) -> dict[str, Pair]:
    """Return the pairs of these items, held for writing until the transaction ends."""
    return {row["id"]: pair_of(row) for row in tx.all(_BY_ID, {"ids": sorted(set(ids))})}


def locked_run(tx: Tx, run_id: RunId) -> Run | None:
    """Return a run, held for writing. One whose item may still move is read with `locked`."""
    row = tx.one(_RUN, {"run": run_id})
    return None if row is None else _run(row)


def save_runs(tx: Tx, moves: Sequence[tuple[Run, Run]]) -> None:
    """Write what became of runs if they still are as they were read.

    Raises:
        Conflict: somebody else moved one of them since.
    """
    changed = [(was, became) for was, became in moves if was != became]
    if changed and _SWAP_RUN.run(tx, [_run_swap(*pair) for pair in changed]) != len(changed):
        raise Conflict("a run was moved by somebody else; look again")
    for was, _ in changed:
        tx.announce(f"run:{was.id}")


def held_by(tx: Tx, agent_id: AgentId) -> list[Pair]:
    return [pair_of(row) for row in tx.all(_HELD, {"agent_id": agent_id})]


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
    few: list[dict[str, Any]] = []
    many: list[dict[str, Any]] = []
    for was, became in items:
        if _waiting(was) == _waiting(became):
            many.append(_item_swap(was, became))
        else:
            few.append(_item_swap(was, became) | _wait_swap(became))
    for swap, some in ((_SWAP, many), (_SWAP_ALL, few)):
        if some and swap.run(tx, some) != len(some):
            raise Conflict("an item was moved by somebody else; look again")
    save_runs(tx, [(p.run, o.run) for p, o in moves])
    events = [
        {
            "item_id": became.id,
            "at": to_ms(now),
            "was": was.state.value,
            "became": became.state.value,
            "actor": actor,
            "detail": _detail(was, became),
        }
        for was, became in items
        if was.state is not became.state or _told(was) != _told(became)
    ]
    if events:
        _EVENTS.run(tx, events)
    for pair, outcome in moves:
        if outcome.run == pair.run and outcome.item.state is not pair.item.state:
            tx.announce(f"run:{pair.run.id}")
    if events:
        tx.announce("events")
    for pair, outcome in moves:
        if _wakes(pair, outcome.item):
            tx.announce(f"queue:{pair.queue}")


def _wakes(pair: Pair, became: Item) -> bool:
    """Whether something may be leased now that could not: it waits anew, or a limit let go."""
    if is_free(became):
        return not is_free(pair.item)
    return pair.policy.has_limits and pair.item.lease is not None and became.lease is None


def _told(item: Item) -> object:
    """What of a waiting item people want to see change."""
    return item.parked, item.parked_why, item.priority


def is_free(item: Item) -> bool:
    """Whether an item may be leased, as far as itself is concerned."""
    return item.state is ItemState.PENDING and item.parked is None


def _detail(was: Item, became: Item) -> str:
    if became.failure is not None:
        return f"{became.failure.stage}: {became.failure.message}"
    if was.priority != became.priority:
        return f"priority {was.priority} to {became.priority}"
    if became.parked_why or was.parked is not became.parked:
        return became.parked_why or "released"
    if became.retries > was.retries:
        return f"retry {became.retries}"
    if became.host_faults > was.host_faults:
        return "given back: the agent's host was at fault"
    return f"requeued {became.requeues}" if became.requeues > was.requeues else ""


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


def _wait_swap(became: Item) -> dict[str, Any]:
    return {
        "b_priority": became.priority,
        "b_parked": became.parked and became.parked.value,
        "b_parked_why": became.parked_why,
        "b_ready_at": ms_or_none(became.ready_at),
        "b_expires_at": ms_or_none(became.expires_at),
        "b_run_deadline": ms_or_none(became.run_deadline),
        "b_retries": became.retries,
        "b_host_faults": became.host_faults,
        "b_aged": became.aged,
        "b_turn": became.turn,
        "b_charged": became.charged,
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
        "b_said_exit": became.said_exit,
    }


_STOP: Final = (
    update(t.runs)
    .where(and_(_R.id == bindparam("run"), _R.ended_at.is_(None), _R.stop_requested_at.is_(None)))
    .values(stop_requested_at=bindparam("at"), reason=bindparam("why"))
)


def ask_to_stop(tx: Tx, run_id: RunId, why: str, now: datetime) -> bool:
    """Note the wish to stop, and whose it is; False if it was noted before or the run has ended."""
    return tx.run(_STOP, {"run": run_id, "at": to_ms(now), "why": why}) == 1


_RELOCATE: Final = (
    update(t.items)
    .where(_I.id == bindparam("item"), _I.state == "PENDING")
    .values(queue_id=bindparam("to"), spec=bindparam("b_spec"))
)
_PLACE: Final = change(t.items, found_by={"item": "id"}, sets=("turn", "charged"))


def relocate(tx: Tx, item: Item, queue_id: QueueId, spec: str) -> None:
    """Write a waiting item's queue and spec. The caller holds its row."""
    tx.run(_RELOCATE, {"item": item.id, "to": queue_id, "b_spec": spec})


def place(tx: Tx, placed: Sequence[tuple[str, Place | None]]) -> None:
    """Write the places of items (by id) that the caller holds; None is none, as without shares."""
    if placed:
        _PLACE.run(
            tx,
            [
                {"item": i, "b_turn": p.turn if p else 0.0, "b_charged": p.charged if p else None}
                for i, p in placed
            ],
        )


def note(tx: Tx, item: Item, *, now: datetime, actor: str, detail: str) -> None:
    """Record something that happened to an item and was no move of its state."""
    state = item.state.value
    _EVENTS.run(
        tx,
        [{"item_id": item.id, "at": to_ms(now), "was": state, "became": state, "actor": actor,
          "detail": detail}],
    )  # fmt: skip
    tx.announce("events")
    tx.announce(f"run:{item.run_id}")


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
