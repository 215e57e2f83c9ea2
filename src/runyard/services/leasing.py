"""
Handing items to agents, following what agents say of them, and taking them back.

Each function reads pairs of item and run, asks the domain for what becomes of them, and
writes it through a compare-and-swap, many at once where many came. An agent proves with the
lease token, on every move, that the item still is its own. Without it, an agent that slept
through its lease (a paused machine, a long collection) would finish work that has since been
given to another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Final

from runyard.domain import outcomes
from runyard.domain.access import Kind
from runyard.domain.agents import Agent
from runyard.domain.errors import Conflict, Invalid, NotFound, RunyardError, StaleLease
from runyard.domain.items import (
    LEASE_TTL,
    AgentId,
    Failure,
    ItemState,
    Lease,
    LeaseToken,
    QueueId,
)
from runyard.domain.outcomes import Outcome
from runyard.domain.queues import Mode
from runyard.domain.workloads import Handle, Observation, Phase
from runyard.services import choosing
from runyard.services.call import RUN_PREFIX, Call, token_hash
from runyard.store import accounts, agents, attempts, items, waiting
from runyard.store.items import Pair
from runyard.wire import agent as wire

MAX_DETAIL: Final = 64 << 10  # bytes of a failure's long form


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
    return [_held(pair) for pair in taken]


def _lease_from(
    call: Call, agent_id: AgentId, agent_name: str, queue: agents.Served, n: int
) -> list[Pair]:
    assert queue.id is not None
    policy = items.policy_of(queue.policy or "{}")
    expires = call.now + LEASE_TTL
    moves = []
    for pair, charged in choosing.choose(call, queue.id, policy, agent=agent_name, n=n):
        lease = Lease(agent_id, LeaseToken(call.new_secret()), expires)
        moves.append((pair, Outcome(pair.item.leased(lease, charged=charged), pair.run)))
    items.save(call.tx, moves, now=call.now, actor=f"agent {agent_name}")
    return [replace(p, item=o.item) for p, o in moves]


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
    return [
        _adopted(call, replace(p, item=o.item))
        for p, o in moves
        if o.item.state is ItemState.CLAIMED
    ]


def _adopted(call: Call, pair: Pair) -> wire.Held:
    held = _held(pair)
    row = attempts.get(call.tx, pair.item.id, pair.item.attempt)
    assert row is not None  # a claim opens its attempt
    handle = attempts.handle_of(row)
    held.log_size = row["log_size"] - row["log_base"]
    if handle is None:
        held.run_token = _run_tokens(call, [pair])[0]
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


def move(call: Call, agent: Agent, moves: Sequence[wire.AnyMove]) -> list[wire.Moved]:
    """Make the moves in their order, each answered by itself: one bad token spoils no other."""
    before = items.locked(call.tx, [m.item_id for m in moves])
    moving = _Moving(call, agent.id, before)
    answers = [moving.one(m) for m in moves]
    moving.write(actor=f"agent {agent.name}")
    return [a if isinstance(a, wire.Moved) else a() for a in answers]


class _Moving:
    """One batch of moves: decided on values one by one, written together."""

    def __init__(self, call: Call, agent_id: AgentId, before: dict[str, Pair]) -> None:
        self._call = call
        self._agent_id = agent_id
        self._before = before
        self._now = {item_id: Outcome(p.item, p.run) for item_id, p in before.items()}
        self._claims: list[Pair] = []
        self._handles: list[tuple[str, int, Handle, int]] = []
        self._seen: dict[str, tuple[str, int, Observation]] = {}
        self._tokens: dict[str, str] = {}

    def one(self, m: wire.AnyMove) -> wire.Moved | Callable[[], wire.Moved]:
        try:
            return self._one(m)
        except RunyardError as error:
            return wire.Moved(code=error.code, message=error.message)

    def _one(self, m: wire.AnyMove) -> wire.Moved | Callable[[], wire.Moved]:
        pair, state = self._before.get(m.item_id), self._now.get(m.item_id)
        if pair is None or state is None:
            raise StaleLease(f"no item {m.item_id}")
        item = state.item.held_by(self._agent_id, LeaseToken(m.token), self._call.now)
        match m:
            case wire.Claim():
                return self._claim(pair, state)
            case wire.Release():
                self._now[item.id] = outcomes.released(item, state.run, self._call.now)
            case wire.Keep():
                _need_claim(state)
                handle = Handle(m.handle.driver, m.handle.version, m.handle.data)
                self._handles.append((item.id, item.attempt, handle, m.gpus))
            case wire.Observe():
                _need_claim(state)
                self._observe(pair, state, _observation(m))
            case wire.Fail():
                self._fail(pair, replace(state, item=item), m)
            case wire.Warn():
                items.warn(self._call.tx, item.id, m.stage[:16], m.message[:4096], self._call.now)
        return wire.Moved()

    def _claim(self, pair: Pair, state: Outcome) -> wire.Moved | Callable[[], wire.Moved]:
        if state.item.state is not ItemState.CLAIMED:
            became = outcomes.claimed(state.item, state.run, self._call.now)
            self._now[pair.item.id] = became
            self._claims.append(replace(pair, item=became.item, run=became.run))
        else:  # the first answer was lost on its way; the token in it is of no use to anybody
            self._tokens[pair.item.id] = _run_tokens(self._call, [pair])[0]
        # The tokens of a batch are written together, after all moves were decided.
        return lambda: wire.Moved(run_token=self._tokens[pair.item.id])

    def _observe(self, pair: Pair, state: Outcome, seen: Observation) -> None:
        item = state.item
        self._now[item.id] = outcomes.observed(item, state.run, seen, pair.policy, self._call.now)
        self._seen[item.id] = (item.id, item.attempt, seen)

    def _fail(self, pair: Pair, state: Outcome, m: wire.Fail) -> None:
        item, failure = state.item, Failure(m.stage[:16], m.message[:4096])
        decide = outcomes.host_failed if m.host else outcomes.failed
        self._now[item.id] = decide(item, state.run, failure, pair.policy, self._call.now)
        if m.detail:
            items.explain(self._call.tx, item.id, m.detail[:MAX_DETAIL])

    def write(self, actor: str) -> None:
        call = self._call
        changed = [
            (self._before[item_id], outcome)
            for item_id, outcome in self._now.items()
            if outcome.item != self._before[item_id].item
            or outcome.run != self._before[item_id].run
        ]
        items.save(call.tx, changed, now=call.now, actor=actor)
        if self._claims:
            opened = [
                (p.item.id, p.item.attempt, p.item.lease.agent_id, p.run.id)
                for p in self._claims
                if p.item.lease
            ]
            attempts.begin(call.tx, opened, call.now)
            made = _run_tokens(call, self._claims)
            self._tokens |= {p.item.id: token for p, token in zip(self._claims, made, strict=True)}
        if self._handles:
            attempts.keep(call.tx, self._handles)
        if self._seen:
            attempts.see(call.tx, list(self._seen.values()), call.now)
        told = {item_id for item_id, (_, _, o) in self._seen.items() if o.phase.is_final}
        _after(call, changed, closed=told)


def _after(
    call: Call, changed: Sequence[tuple[Pair, Outcome]], *, closed: Collection[str] = ()
) -> None:
    """What follows from moves: ended tries are closed and lose their tokens, requeued items wake
    agents. `closed` are the items whose attempt has its end written already.
    """
    open_still = [
        (o.item.id, o.item.attempt)
        for p, o in changed
        if o.item.lease is None
        and (p.item.state is ItemState.CLAIMED or o.item.attempt > p.item.attempt)
        and o.item.id not in closed
    ]
    attempts.close(call.tx, open_still, call.now)
    over = [
        p.run.id
        for p, o in changed
        if o.item.state.is_final
        or (o.item.state is ItemState.PENDING and p.item.state is ItemState.CLAIMED)
    ]
    if over:
        accounts.drop_run_tokens(call.tx, over)


def expire(call: Call) -> int:
    """Take back every overdue item. Run by the server's sweeper, every few seconds."""
    overdue = waiting.overdue(call.tx, call.now)
    moves = [(p, outcomes.expired(p.item, p.run, call.now)) for p in overdue]
    items.save(call.tx, moves, now=call.now, actor="server")
    _after(call, moves)
    for p in overdue:
        if p.item.lease is not None:  # should its agent be back by now, it shall know
            call.tx.announce(f"agent:{p.item.lease.agent_id}")
    return len(moves)


def _held(pair: Pair) -> wire.Held:
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
    )


def _run_tokens(call: Call, pairs: Sequence[Pair]) -> list[str]:
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


def _need_claim(state: Outcome) -> None:
    if state.item.state is not ItemState.CLAIMED:
        raise Conflict(f"item {state.item.id} is {state.item.state}; claim it first")


def _observation(m: wire.Observe) -> Observation:
    try:
        return Observation(Phase(m.phase), m.exit_code, m.reason[:4096])
    except ValueError:
        raise Invalid(f"phase: {m.phase!r} is none of {', '.join(Phase)}") from None


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
    _after(call, moves)


def cancel_pinned(call: Call, agent_name: str, queue_ids: Sequence[QueueId]) -> None:
    """Cancel what waits for one agent only, when that agent leaves."""
    pinned = waiting.pinned_to(call.tx, queue_ids, agent_name) if queue_ids else []
    moves = [(p, outcomes.cancelled(p.item, p.run, call.now)) for p in pinned]
    items.save(call.tx, moves, now=call.now, actor=f"agent {agent_name}")
    _after(call, moves)
