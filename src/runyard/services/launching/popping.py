"""
Items for the tracking client's own agents: one is leased, claimed, failed, warned of.

Such an agent sends no lease token. The id under which it knows an item ends in a fence, made of
the token and telling nothing of it, since ids get into logs and into the job's environment. With
an older fence nothing is changed: to whoever slept through its lease, the item is gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from runyard.domain import outcomes, wandb_specs
from runyard.domain.access import Action
from runyard.domain.agents import Agent, AgentStatus
from runyard.domain.errors import NotFound
from runyard.domain.items import Failure, ItemState, Lease, Stage
from runyard.domain.outcomes import Outcome
from runyard.domain.queues import Mode, Resource
from runyard.domain.secrets import BUILD_KEY, KEY
from runyard.services import following, leasing
from runyard.services.call import Call
from runyard.services.launching import agents
from runyard.store import agents as agent_rows
from runyard.store import attempts, items
from runyard.store.items import Pair

_FENCE: Final = 16  # hex digits
_MARK: Final = "-"  # in no id of ours, and no separator of paths
_MOST_FILES: Final = 100
_MOST_TEXT: Final = 4096


@dataclass(frozen=True, slots=True)
class Popped:
    """One item, under the id that its agent shall know it by."""

    id: str
    spec: dict[str, Any]


def fenced(item_id: str, lease: Lease) -> str:
    """Return the id of a leased item for its agent."""
    return f"{item_id}{_MARK}{_fence(lease)}"


def item_id(text: str) -> str:
    """Return an item's own id, with or without a fence."""
    return text.partition(_MARK)[0]


def _fence(lease: Lease) -> str:
    return hashlib.sha256(f"fence {lease.token}".encode()).hexdigest()[:_FENCE]


def pop(call: Call, entity: str | None, queue: str, agent_id: str) -> Popped | None:
    """Lease the next item of a queue to an agent of the caller's; None if there is none for it.

    Its spec has a credential of the run, so that the job is not given the agent's own.

    Raises:
        NotFound: no such agent of the caller's, or none that serves this queue. Forbidden.
    """
    agent = agents.own(call, agent_id)
    thing = f"queue {queue!r}"
    call.actor.need(Action.SERVE, agent.entity_id, agent.entity, thing)
    call.actor.need_queue(queue)
    served = next((q for q in agent_rows.served(call.tx, agent.id) if q.name == queue), None)
    if served is None or entity not in (None, agent.entity):
        raise NotFound(f"agent {agent.name} does not serve a queue {queue!r}")
    may_lease = agent.may_lease and agent.status is not AgentStatus.KILLED
    if served.id is None or served.mode == Mode.PAUSED or not may_lease:
        return None
    pair = leasing.lease_one(call, agent.id, agent.name, served, fits=_can_run)
    if pair is None:
        return None
    assert pair.item.lease is not None
    (key,) = leasing.run_tokens(call, [pair])
    spec = wandb_specs.told(pair.spec, requeues=pair.item.requeues, run_key=key)
    return Popped(fenced(pair.item.id, pair.item.lease), spec)


def _can_run(pair: Pair) -> bool:
    """Whether the client's agent could run it: it would print secrets, and knows no Slurm."""
    spec = pair.spec
    has_secrets = spec.get(KEY) or spec.get(BUILD_KEY)
    return not has_secrets and spec["resource"] != Resource.SLURM


def ack(call: Call, text: str, run_name: str) -> bool:
    """Claim a leased item; False if it is not the caller's to claim, or was claimed before."""
    held = _held(call, text)
    if held is None:
        return False
    pair, agent = held
    if pair.item.state is not ItemState.LEASED or pair.spec["run_id"] != run_name:
        return False
    became = outcomes.claimed(pair.item, pair.run, call.now)
    _save(call, agent, pair, became)
    attempts.begin(call.tx, [(pair.item.id, became.item.attempt, agent.id, pair.run.id)], call.now)
    return True


def fail(call: Call, text: str, message: str, stage: str, files: Sequence[str]) -> bool:
    """Fail an item, or have it retried as its queue says; False if it is not the caller's now."""
    held = _held(call, text)
    if held is None:
        return False
    pair, agent = held
    failure = Failure(_text(stage, 16) or Stage.AGENT, _text(message))
    became = outcomes.failed(pair.item, pair.run, failure, pair.policy, call.now)
    _save(call, agent, pair, became)
    if files:
        items.explain(call.tx, pair.item.id, _text(f"{message}\n{_files(agent, files)}", 64 << 10))
    following.after(call, [(pair, became)])
    return True


def warn(call: Call, text: str, message: str, stage: str, files: Sequence[str]) -> bool:
    """Add a warning to an item; False if it is not the caller's now."""
    held = _held(call, text)
    if held is None:
        return False
    pair, agent = held
    told = f"{message}\n{_files(agent, files)}" if files else message
    items.warn(call.tx, pair.item.id, _text(stage, 16), _text(told), call.now)
    return True


def _held(call: Call, text: str) -> tuple[Pair, Agent] | None:
    """Return an item, and the agent of the caller's that holds it under this very id."""
    pair = items.locked(call.tx, [item_id(text)]).get(item_id(text))
    if pair is None or pair.item.lease is None or pair.item.lease.expires_at <= call.now:
        return None
    agent = agent_rows.get(call.tx, pair.item.lease.agent_id)
    if (
        agent is None
        or not agents.is_own(call, agent)
        or not agents.may_serve(call, agent)
        or text != fenced(pair.item.id, pair.item.lease)
    ):
        return None
    return pair, agent


def _save(call: Call, agent: Agent, pair: Pair, became: Outcome) -> None:
    items.save(call.tx, [(pair, became)], now=call.now, actor=f"agent {agent.name}")


def _files(agent: Agent, files: Sequence[str]) -> str:
    """Say where an agent left the long form: among the files of its own run."""
    names = ", ".join(name[:1024] for name in files[:_MOST_FILES])
    return f"files of the agent's run {agent.name}: {names}"


def _text(said: str, most: int = _MOST_TEXT) -> str:
    """Return what an agent says as every database can hold it."""
    return said.replace("\0", "\ufffd")[:most]
