"""
Handing items to agents, following what agents say of them, and taking them back.

Each function reads pairs of item and run, asks the domain for what becomes of them, and
writes it through a compare-and-swap, many at once where many came. An agent proves with the
lease token, on every move, that the item still is its own. Without it, an agent that slept
through its lease (a paused machine, a long collection) would finish work that has since been
given to another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from runyard.domain import outcomes
from runyard.domain.access import Kind
from runyard.domain.errors import NotFound
from runyard.domain.items import (
    LEASE_TTL,
    AgentId,
    ItemState,
    Lease,
    LeaseToken,
    QueueId,
    Stage,
)
from runyard.domain.outcomes import Outcome
from runyard.domain.queues import Mode
from runyard.services import choosing, following, secrets
from runyard.services.call import RUN_PREFIX, Call, token_hash
from runyard.store import accounts, agents, attempts, items, stage_logs, waiting
from runyard.store.items import Pair
from runyard.wire import agent as wire

MAX_DETAIL: Final = 64 << 10  # bytes of a failure's long form
Printed = Mapping[str, Mapping[str, int]]  # bytes of each stage's log, by item
_LOOKED_AT: Final = 50  # items, for one that fits an agent which cannot run everything


def lease(
    call: Call, agent_id: AgentId, agent_name: str, queues: Sequence[agents.Served], n: int
) -> list[wire.Held]:
    """Lease up to `n` items for `LEASE_TTL`: of each queue its share, then what is left.

    The order of `queues` is whose turn it is; the caller rotates it. Within a queue the policy
    decides. A paused queue gives nothing.
    """
    going = [queue for queue in queues if queue.mode != Mode.PAUSED]
    taken: list[Pair] = []
    share = -(-n // max(1, len(going)))
    for at_most in (share, n):
        for queue in going:
            room = min(at_most, n - len(taken))
            if room > 0:
                taken += _lease_from(call, agent_id, agent_name, queue, room)
        if at_most == n or len(taken) == n:
            break
    printed = _printed(call, taken)
    return [_held(pair, printed) for pair in taken]


def _lease_from(
    call: Call, agent_id: AgentId, agent_name: str, queue: agents.Served, n: int
) -> list[Pair]:
    assert queue.id is not None
    policy = items.policy_of(queue.policy or "{}")
    expires = call.now + LEASE_TTL
    moves = [
        (p, Outcome(p.item.leased(Lease(agent_id, LeaseToken(call.new_secret()), expires)), p.run))
        for p in choosing.choose(call, queue.id, policy, agent=agent_name, n=n)
    ]
    items.save(call.tx, moves, now=call.now, actor=f"agent {agent_name}")
    return [replace(p, item=o.item) for p, o in moves]


def lease_one(
    call: Call,
    agent_id: AgentId,
    agent_name: str,
    queue: agents.Served,
    *,
    fits: Callable[[Pair], bool],
) -> Pair | None:
    """Lease the first item that `fits` this agent, as not all do; None if there is none near."""
    assert queue.id is not None
    policy = items.policy_of(queue.policy or "{}")
    pair, found = None, list[Pair]()
    for n in (1, _LOOKED_AT):
        found = choosing.choose(call, queue.id, policy, agent=agent_name, n=n)
        pair = next(filter(fits, found), None)
        if pair is not None or not found:
            break
    if passed := len(found) - (pair is not None):
        # Held for a moment, it was hidden from others, who may have found the queue empty.
        call.tx.announce(f"queue:{found[0].queue}", passed)
    if pair is None:
        return None
    lease = Lease(agent_id, LeaseToken(call.new_secret()), call.now + LEASE_TTL)
    became = Outcome(pair.item.leased(lease), pair.run)
    items.save(call.tx, [(pair, became)], now=call.now, actor=f"agent {agent_name}")
    return replace(pair, item=became.item)


def adopt(call: Call, agent_id: AgentId, agent_name: str) -> list[wire.Held]:
    """Pass all that an agent holds to its new process.

    What was leased goes back to the queue: nothing was started for it. What was claimed gets
    a new token, so that the old process can write no more (T23).
    """
    found = items.held_by(call.tx, agent_id)
    live = [p for p in found if p.item.lease and p.item.lease.expires_at > call.now]
    moves = []
    for p in live:
        if p.item.state is ItemState.LEASED:
            moves.append((p, outcomes.released(p.item, p.run, call.now)))
        else:
            token = LeaseToken(call.new_secret())
            lease = Lease(agent_id, token, call.now + p.item.claim_ttl)
            moves.append((p, Outcome(p.item.adopted(lease), p.run)))
    items.save(call.tx, moves, now=call.now, actor=f"agent {agent_name}")
    following.after(call, moves)
    claims = [replace(p, item=o.item) for p, o in moves if o.item.state is ItemState.CLAIMED]
    printed = _printed(call, claims)
    return [_adopted(call, pair, printed) for pair in claims]


def _adopted(call: Call, pair: Pair, printed: Printed) -> wire.Held:
    held = _held(pair, printed)
    row = attempts.get(call.tx, pair.item.id, pair.item.attempt)
    assert row is not None  # a claim opens its attempt
    handle = attempts.handle_of(row)
    held.log_size = row["log_size"] - row["log_base"]
    if handle is None:
        held.run_token = run_tokens(call, [pair])[0]
        given = secrets.values_for(call, [pair.spec])[0]
        held.secrets = given if isinstance(given, dict) else None  # the agent misses what it needs
    else:
        held.handle = wire.HandleData(handle.driver, handle.version, dict(handle.data))
    return held


def renew(call: Call, agent_id: AgentId, holding: Sequence[str]) -> wire.Polled:
    """Extend all claims of an agent; say what it lost and what it shall stop.

    Overdue leases are left to `expire`: reviving one would race the sweeper.
    """
    items.renew(call.tx, agent_id, call.now)
    rows = {row["id"]: row for row in items.held_ids(call.tx, agent_id)}
    found = items.locked(call.tx, [i for i in rows if rows[i]["stop_requested_at"] is not None])
    return wire.Polled(
        lost=[item_id for item_id in holding if item_id not in rows],
        stop=[wire.Stop(p.item.id, p.policy.stop_grace) for p in found.values()],
    )


def _printed(call: Call, pairs: Sequence[Pair]) -> Printed:
    """Return how much is there of the logs of stages; what comes to its first agent has none."""
    return stage_logs.sizes(call.tx, [p.item.id for p in pairs if p.item.attempt > 0])


def _held(pair: Pair, printed: Printed) -> wire.Held:
    item = pair.item
    assert item.lease is not None
    claimed = item.state is ItemState.CLAIMED
    attempt = item.attempt if claimed else item.attempt + 1
    return wire.Held(
        item_id=item.id,
        token=item.lease.token,
        key=replace(item, attempt=attempt).key,
        attempt=attempt,
        requeues=item.requeues,
        spec=pair.spec,
        claimed=claimed,
        stop=pair.run.stop_requested_at is not None,
        stop_grace_s=pair.policy.stop_grace,
        start_timeout_s=pair.policy.start_timeout,
        images=list(pair.policy.images),
        build_log_size=printed.get(item.id, {}).get(Stage.BUILD, 0),
    )


def run_tokens(call: Call, pairs: Sequence[Pair]) -> list[str]:
    """Give each attempt a token that can write its own run, and dies with the attempt (T15)."""
    secrets = [RUN_PREFIX + call.new_secret() for _ in pairs]
    accounts.add_credentials(
        call.tx,
        [
            accounts.Credential(
                id=call.new_id(),
                hash=token_hash(secret),
                kind=Kind.RUN,
                user_id=p.author_id,
                run_id=p.run.id,
            )
            for p, secret in zip(pairs, secrets, strict=True)
        ],
        call.now,
    )
    return secrets


def need_upload(call: Call, agent_id: AgentId, item_id: str, digest: str) -> None:
    """Pass if the agent holds the item and the item's job is made of this upload (T22).

    Raises:
        NotFound: otherwise, whatever the reason is.
    """
    pair = items.locked(call.tx, [item_id]).get(item_id)
    lease = pair.item.lease if pair else None
    source = pair.spec["source"] if pair else {}
    if (
        lease is None
        or lease.agent_id != agent_id
        or lease.expires_at <= call.now
        or digest not in (source.get("archive"), source.get("patch"))
    ):
        raise NotFound(f"no upload {digest} of an item {item_id} that this agent holds")


def give_back(call: Call, agent_id: AgentId, agent_name: str) -> None:
    """Return what an agent has leased and not begun; it is leaving."""
    found = items.held_by(call.tx, agent_id)
    leased = [p for p in found if p.item.state is ItemState.LEASED]
    moves = [(p, outcomes.released(p.item, p.run, call.now)) for p in leased]
    items.save(call.tx, moves, now=call.now, actor=f"agent {agent_name}")
    following.after(call, moves)


def cancel_pinned(call: Call, agent_name: str, queue_ids: Sequence[QueueId]) -> None:
    """Cancel what waits for one agent only, when that agent leaves."""
    pinned = waiting.pinned_to(call.tx, queue_ids, agent_name) if queue_ids else []
    moves = [(p, outcomes.cancelled(p.item, p.run, call.now)) for p in pinned]
    items.save(call.tx, moves, now=call.now, actor=f"agent {agent_name}")
    following.after(call, moves)
