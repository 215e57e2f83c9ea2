"""
The tracking client's own agents: registered with a person's key, heard of by their polling.

They hold items as ours do. What they lack is told by others: they renew nothing, so asking for
oneself is the heartbeat; they tell no end of a workload, so its run's end is the item's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runyard.domain.access import Action, Kind
from runyard.domain.agents import Agent, AgentKind, AgentStatus
from runyard.domain.errors import Invalid, NotFound, TooMuch
from runyard.domain.items import AgentId
from runyard.services import agents as registered
from runyard.services import audit, leasing
from runyard.services.call import Call
from runyard.services.launching import queues
from runyard.store import agents, items
from runyard.store import launching as rows
from runyard.store.values import to_text

MOST_QUEUES: Final = 1000
_MOST_CONFIG: Final = 64 << 10  # bytes
_NAME_LENGTH: Final = 10  # of the random end of its id
_NO_LIMIT: Final = -1


@dataclass(frozen=True, slots=True)
class Known:
    """An agent as it, or a person, is told of it."""

    agent: Agent
    queue_ids: Sequence[str]
    config: Mapping[str, Any]
    stop: bool


def register(
    call: Call,
    entity: str,
    *,
    queue_ids: Sequence[str],
    hostname: str,
    config: Mapping[str, Any],
    version: str,
) -> Agent:
    """Make an agent of a name that nothing else has: it names the agent's own run, too.

    Raises:
        Invalid: no queue. TooMuch: the config. NotFound: a queue, or the entity. Forbidden.
    """
    owner = call.entity(entity, Action.SERVE)
    if not 0 < len(queue_ids) <= MOST_QUEUES:
        raise Invalid(f"runQueues: {len(queue_ids)} given; 1 to {MOST_QUEUES} are")
    names = []
    for queue_id in queue_ids:
        queue = queues.by_id(call, queue_id, Action.SERVE)
        if queue.entity_id != owner["id"]:
            raise NotFound(f"no queue {queue.name!r} in {owner['name']}")
        names.append(queue.name)
    if len(to_text(config)) > _MOST_CONFIG:
        raise TooMuch(f"agentConfig: {_MOST_CONFIG >> 10} KiB at most")
    agent_id = call.new_id()
    agent = Agent(
        id=AgentId(agent_id),
        entity_id=owner["id"],
        entity=owner["name"],
        name=f"wandb-{agent_id[-_NAME_LENGTH:]}",
        epoch=1,
        hostname=hostname[:255],
        version=version[:64],
        status=AgentStatus.POLLING,
        max_jobs=_max_jobs(config.get("max_jobs")),
        registered_at=call.now,
        last_seen_at=call.now,
        kind=AgentKind.WANDB,
    )
    agents.add(call.tx, agent, config=config, user_id=call.actor.user_id)
    agents.serve(call.tx, agent.id, names)
    after = {"hostname": agent.hostname, "version": agent.version, "max_jobs": agent.max_jobs}
    audit.note(call, "agent.register", agent.name, entity_id=agent.entity_id, after=after)
    return agent


def _max_jobs(said: Any) -> int:
    try:
        most = 1 if said is None else int(said)
    except (TypeError, ValueError):
        raise Invalid(f"agentConfig.max_jobs: {said!r} is no number") from None
    return most if 0 < most < 2**31 else _NO_LIMIT


def is_own(call: Call, agent: Agent) -> bool:
    """Whether the caller registered this agent, and it is one of the tracking client's."""
    return (
        call.actor.kind is Kind.USER
        and agent.kind is AgentKind.WANDB
        and agents.owner_of(call.tx, agent.id) == call.actor.user_id
    )


def may_serve(call: Call, agent: Agent) -> bool:
    """Whether the caller may run agents there now, not when it registered this one (T22)."""
    return Action.SERVE in call.actor.granted(agent.entity_id)


def own(call: Call, agent_id: str) -> Agent:
    """Return an agent that the caller registered.

    Raises:
        NotFound: it is another's, or one of ours, or none.
    """
    agent = agents.get(call.tx, agent_id)
    if agent is None or not is_own(call, agent):
        raise NotFound(f"no agent {agent_id[:64]!r} of yours")
    return agent


def look(call: Call, agent_id: str) -> Known:
    """Return an agent. Asked for by itself, it is alive, and goes on holding what it holds.

    Raises:
        NotFound.
    """
    agent = agents.get(call.tx, agent_id)
    if agent is None or not is_own(call, agent):
        agent = registered.get(call, agent_id)
    else:
        rows.heard(call.tx, agent.id, call.now)
        items.renew(call.tx, agent.id, call.now)
    served = [q.id for q in agents.served(call.tx, agent.id) if q.id is not None]
    stop = agent.stop_requested_at is not None or not may_serve(call, agent)
    return Known(agent, served, agents.config_of(call.tx, agent.id), stop)


def ask_to_stop(call: Call, agent_id: str) -> None:
    """Have an agent, of either kind, take nothing more and leave. Raises: NotFound, Forbidden."""
    registered.ask_to_stop(call, agent_id)


def say(call: Call, agent_id: str, status: str) -> None:
    """Note what an agent says of itself. One that leaves gives back what it has not begun, and is
    gone: what its last job says of it afterwards comes too late. The next process is another agent.

    Raises:
        Invalid: no such status. NotFound: no agent of the caller's.
    """
    agent = own(call, agent_id)
    try:
        said = AgentStatus(status)
    except ValueError:
        known = ", ".join(AgentStatus)
        raise Invalid(f"agentStatus: {status[:64]!r} is none of {known}") from None
    if agent.status is AgentStatus.KILLED:
        return
    if said is AgentStatus.KILLED:
        served = [q.id for q in agents.served(call.tx, agent.id) if q.id is not None]
        leasing.give_back(call, agent.id, agent.name)
        leasing.cancel_pinned(call, agent.name, served)
    rows.heard(call.tx, agent.id, call.now, said)
