"""
Following what agents say of the items they hold: claim, keep, observe, fail, give back.

An agent proves with the lease token, on every move, that the item still is its own. Without it,
an agent that slept through its lease (a paused machine, a long collection) would finish work that
has since been given to another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from runyard.domain import outcomes
from runyard.domain.agents import Agent
from runyard.domain.errors import Conflict, Invalid, RunyardError, StaleLease
from runyard.domain.items import Failure, Item, ItemState, LeaseToken
from runyard.domain.outcomes import Outcome
from runyard.domain.runs import RunState
from runyard.domain.workloads import Handle, Observation, Phase
from runyard.services import aside, following, leasing, secrets
from runyard.services.call import Call
from runyard.services.images import building
from runyard.store import attempts, items
from runyard.store.items import Pair
from runyard.wire import agent as wire

MAX_DETAIL: Final = 64 << 10  # bytes of a failure's long form


def move(call: Call, agent: Agent, moves: Sequence[wire.AnyMove]) -> list[wire.Moved]:
    """Make the moves in their order, each answered by itself: one bad token spoils no other."""
    before = items.locked(call.tx, [m.item_id for m in moves])
    moving = _Moving(call, agent, before, moves)
    answers = [moving.one(m) for m in moves]
    moving.write(actor=f"agent {agent.name}")
    return [a if isinstance(a, wire.Moved) else a() for a in answers]


class _Moving:
    """One batch of moves: decided on values one by one, written together."""

    def __init__(
        self, call: Call, agent: Agent, before: dict[str, Pair], moves: Sequence[wire.AnyMove]
    ) -> None:
        self._call = call
        self._agent = agent
        self._before = before
        self._now = {item_id: Outcome(p.item, p.run) for item_id, p in before.items()}
        self._claims: list[Pair] = []
        self._handles: list[tuple[str, int, Handle, int]] = []
        self._seen: dict[str, tuple[str, int, Observation]] = {}
        self._tokens: dict[str, str] = {}
        self._secrets: dict[str, secrets.Given] = {}
        self._builds = building.Builds(call, agent, moves, self._present)

    def one(self, m: wire.AnyMove) -> wire.Moved | Callable[[], wire.Moved]:
        try:
            return self._one(m)
        except RunyardError as error:
            return wire.Moved(code=error.code, message=error.message)

    def _one(self, m: wire.AnyMove) -> wire.Moved | Callable[[], wire.Moved]:
        pair, state = self._before.get(m.item_id), self._now.get(m.item_id)
        if pair is None or state is None:
            raise StaleLease(f"no item {m.item_id}")
        item = state.item.held_by(self._agent.id, LeaseToken(m.token), self._call.now)
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
                items.warn(
                    self._call.tx, item.id, _text(m.stage, 16), _text(m.message), self._call.now
                )
            case wire.Build():
                _need_claim(state)
                return wire.Moved(may_build=self._builds.ask(pair, item, m))
            case wire.Built():
                _need_claim(state)
                self._builds.built(item, m)
            case wire.Use():
                _need_claim(state)
                self._builds.use(pair, item, m)
        return wire.Moved()

    def _present(self, item_id: str) -> Item | None:
        state = self._now.get(item_id)
        return None if state is None else state.item

    def _claim(self, pair: Pair, state: Outcome) -> wire.Moved | Callable[[], wire.Moved]:
        if state.item.state is not ItemState.CLAIMED:
            became = outcomes.claimed(state.item, state.run, self._call.now)
            self._now[pair.item.id] = became
            self._claims.append(replace(pair, item=became.item, run=became.run))
        else:  # the first answer was lost on its way; the token in it is of no use to anybody
            self._tokens[pair.item.id] = leasing.run_tokens(self._call, [pair])[0]
            self._secrets[pair.item.id] = secrets.values_for(self._call, [pair.secret_spec])[0]
        # The tokens of a batch are written together, after all moves were decided.
        return lambda: _claimed(self._tokens[pair.item.id], self._secrets[pair.item.id])

    def _observe(self, pair: Pair, state: Outcome, seen: Observation) -> None:
        item = state.item
        self._now[item.id] = outcomes.observed(item, state.run, seen, pair.policy, self._call.now)
        self._seen[item.id] = (item.id, item.attempt, seen)
        is_fresh = state.run.state is not RunState.RUNNING  # else it started long ago
        if is_fresh and seen.phase in (Phase.RUNNING, Phase.EXITED):
            self._agent = aside.started_well(self._call, self._agent)

    def _fail(self, pair: Pair, state: Outcome, m: wire.Fail) -> None:
        item, failure = state.item, Failure(_text(m.stage, 16), _text(m.message))
        decide = outcomes.host_failed if m.host else outcomes.failed
        self._now[item.id] = decide(item, state.run, failure, pair.policy, self._call.now)
        if m.host:
            self._agent = aside.strike(self._call, self._agent, failure.message, item_id=item.id)
        if m.detail:
            items.explain(self._call.tx, item.id, _text(m.detail, MAX_DETAIL))

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
            made = leasing.run_tokens(call, self._claims)
            self._tokens |= {p.item.id: token for p, token in zip(self._claims, made, strict=True)}
            given = secrets.values_for(call, [p.secret_spec for p in self._claims])
            self._secrets |= {p.item.id: s for p, s in zip(self._claims, given, strict=True)}
        if self._handles:
            attempts.keep(call.tx, self._handles)
        if self._seen:
            attempts.see(call.tx, list(self._seen.values()), call.now)
        told = {item_id for item_id, (_, _, o) in self._seen.items() if o.phase.is_final}
        following.after(call, changed, closed=told)


def _need_claim(state: Outcome) -> None:
    if state.item.state is not ItemState.CLAIMED:
        raise Conflict(f"item {state.item.id} is {state.item.state}; claim it first")


def _observation(m: wire.Observe) -> Observation:
    try:
        return Observation(Phase(m.phase), m.exit_code, _text(m.reason))
    except ValueError:
        raise Invalid(f"phase: {m.phase!r} is none of {', '.join(Phase)}") from None


def _claimed(run_token: str, given: secrets.Given) -> wire.Moved:
    """Answer a claim. Without its secrets the item is not to start: its agent reports why."""
    if isinstance(given, RunyardError):
        told = f"{given.message}\n{given.hint}" if given.hint else given.message
        return wire.Moved(code=given.code, message=told)
    return wire.Moved(run_token=run_token, secrets=given)


def _text(said: str, most: int = 4096) -> str:
    """Return what an agent says as every database can hold it: one NUL must not undo all moves."""
    return said.replace("\0", "\ufffd")[:most]
