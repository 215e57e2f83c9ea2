"""
Which items of a queue leave next: by priority, by turn, by time, and within its limits.

The order is an index's, and turns (fair share) are numbers that were given out before, so a lease
reads what it takes and nothing else. Where there are limits, the leases of one queue wait for each
other and count what runs first.
"""

from __future__ import annotations

from collections.abc import Sequence

from runyard.domain.items import QueueId
from runyard.domain.policy import QueuePolicy
from runyard.services.call import Call
from runyard.store import waiting
from runyard.store.items import Pair


def choose(call: Call, queue_id: QueueId, policy: QueuePolicy, *, agent: str, n: int) -> list[Pair]:
    """Return up to `n` items that may leave now, held for writing."""
    if not policy.has_limits:
        return waiting.next_waiting(call.tx, queue_id, agent=agent, limit=n)
    waiting.lock_queue(call.tx, queue_id)
    if not policy.max_running_per_user:
        n = min(n, policy.max_running - waiting.number_running(call.tx, queue_id))
        return waiting.next_waiting(call.tx, queue_id, agent=agent, limit=n) if n > 0 else []
    running = waiting.running(call.tx, queue_id)
    if policy.max_running:
        n = min(n, policy.max_running - sum(running.values()))
    return _of_those_with_room(call, queue_id, policy, running, agent, n)


def _of_those_with_room(
    call: Call,
    queue_id: QueueId,
    policy: QueuePolicy,
    running: dict[str, int],
    agent: str,
    n: int,
) -> list[Pair]:
    """Pass over who runs as many as one user may. `running` is counted on."""
    most, found = policy.max_running_per_user, list[Pair]()
    taken: set[str] = set()
    while len(found) < n:
        full = [user for user, there in running.items() if there >= most]
        wanted = n - len(found) + len(taken)  # what is taken already is read again
        some = waiting.next_waiting(call.tx, queue_id, agent=agent, limit=wanted, without=full)
        new = [pair for pair in some if pair.item.id not in taken]
        found += _within(new, running, most, n - len(found))
        taken = {pair.item.id for pair in found}
        if len(some) < wanted:
            break
    return found


def _within(pairs: Sequence[Pair], running: dict[str, int], most: int, n: int) -> list[Pair]:
    found = []
    for pair in pairs[:n]:
        if running.get(pair.author_id, 0) < most:
            running[pair.author_id] = running.get(pair.author_id, 0) + 1
            found.append(pair)
    return found
