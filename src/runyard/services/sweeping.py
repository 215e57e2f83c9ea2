"""
What only time brings about. Each function takes a few hundred items and returns how many there
were; the server's sweeper calls it until there are none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from runyard.domain import outcomes
from runyard.domain.outcomes import Outcome
from runyard.services import following, turns
from runyard.services.artifacts import deleting
from runyard.services.call import Call
from runyard.services.images import pruning
from runyard.store import items, waiting
from runyard.store.items import Pair

_SERVER: Final = "server"


def expire(call: Call) -> int:
    """Take back every overdue item. Run by the server's sweeper, every few seconds."""
    overdue = waiting.overdue(call.tx, call.now)
    moves = [(p, outcomes.expired(p.item, p.run, call.now)) for p in overdue]
    items.save(call.tx, moves, now=call.now, actor=_SERVER)
    following.after(call, moves)
    for p in overdue:
        if p.item.lease is not None:  # should its agent be back by now, it shall know
            call.tx.announce(f"agent:{p.item.lease.agent_id}")
    return len(moves)


def cancel_overwaited(call: Call) -> int:
    """Cancel what has waited longer than its time to live in the queue."""
    found = waiting.overwaited(call.tx, call.now)
    return _save(call, found, lambda p: outcomes.overwaited(p.item, p.run, call.now))


def free_ready(call: Call) -> int:
    """Let go what has backed off for long enough."""
    found = waiting.ready(call.tx, call.now)
    return _save(call, found, lambda p: Outcome(p.item.freed(), p.run))


def stop_overrun(call: Call) -> int:
    """Ask what runs longer than it may to stop; its agent ends it."""
    found = waiting.overrun(call.tx, call.now)
    for p in found:
        why = f"stopped by the server: it ran longer than {p.policy.run_timeout} s (run_timeout)"
        items.ask_to_stop(call.tx, p.run.id, why, call.now)
        call.tx.announce(f"run:{p.run.id}")
        if p.item.lease is not None:
            call.tx.announce(f"agent:{p.item.lease.agent_id}")
    return len(found)


def age(call: Call) -> int:
    """Raise what has waited long by a level, in queues whose policy has them age."""
    raised = 0
    for row in waiting.aging_queues(call.tx):
        policy = items.policy_of(row["policy"])
        if not (policy.aging and policy.priorities):
            continue
        for level in (1, 2, 3):
            found = waiting.aged(call.tx, row["id"], step_s=policy.aging, level=level, now=call.now)
            raised += _save(
                call,
                found,
                lambda p: Outcome(
                    replace(p.item, priority=p.item.priority - 1, aged=p.item.aged + 1), p.run
                ),
            )
    return raised


def _save(call: Call, found: list[Pair], decide: Callable[[Pair], Outcome]) -> int:
    moves = [(p, decide(p)) for p in found]
    items.save(call.tx, moves, now=call.now, actor=_SERVER)
    following.after(call, moves)
    return len(moves)


SWEEPS: Final = (
    expire, cancel_overwaited, free_ready, stop_overrun, turns.place_anew, age,
    deleting.expire_artifacts, pruning.forget_failed_builds,
)  # fmt: skip
