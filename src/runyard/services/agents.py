"""Registering agents, what they poll for, stopping and retiring them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from runyard.domain.access import Action, Kind
from runyard.domain.agents import Agent, AgentKind, AgentStatus
from runyard.domain.errors import Conflict, Forbidden, Invalid, NotFound, StaleEpoch
from runyard.domain.items import AgentId
from runyard.domain.queues import check_queue_name
from runyard.services import audit, leasing
from runyard.services.call import AGENT_PREFIX, Call, token_hash
from runyard.store import accounts, agents
from runyard.store.db import Duplicate
from runyard.wire import agent as wire

_EPOCHS_TOLD: Final = 5


def register(call: Call, asked: wire.Register) -> wire.Registered:
    """Make this process the agent of its name: new epoch, new token, the claims to go on with.

    Raises:
        Invalid: no queue, or a name that cannot be one. Forbidden, NotFound: the entity.
    """
    owner = call.entity(asked.entity, Action.SERVE)
    if not asked.queues:
        raise Invalid("an agent serves one queue at least", hint="runyard agent --queue NAME")
    for name in asked.queues:
        check_queue_name(name)
    check_queue_name(asked.name)
    if asked.max_jobs < -1 or asked.max_jobs == 0:
        raise Invalid(f"max_jobs: {asked.max_jobs} is neither positive nor -1 (no limit)")
    agent = _new_epoch(call, owner["id"], owner["name"], asked)
    agents.serve(call.tx, agent.id, asked.queues)
    held = leasing.adopt(call, agent.id, agent.name)
    call.tx.announce(f"agent:{agent.id}")  # so that an older process learns of its end at once
    return wire.Registered(
        agent_id=agent.id,
        name=agent.name,
        entity=agent.entity,
        entity_is_team=owner["kind"] == "team",
        epoch=agent.epoch,
        token=_token(call, agent),
        queues=served_queues(agents.served(call.tx, agent.id)),
        held=held,
    )


def _new_epoch(call: Call, entity_id: str, entity: str, asked: wire.Register) -> Agent:
    known = agents.named(call.tx, entity_id, asked.name)
    was = None if known is None else agents.get_locked(call.tx, known)
    agent = Agent(
        id=AgentId(call.new_id()) if was is None else was.id,
        entity_id=entity_id,
        entity=entity,
        name=asked.name,
        epoch=1 if was is None else was.epoch + 1,
        hostname=asked.hostname[:255],
        version=asked.version[:64],
        status=AgentStatus.POLLING,
        max_jobs=asked.max_jobs,
        registered_at=call.now,
        last_seen_at=call.now,
        # A new process is no new host: what is known of it stays.
        strikes=0 if was is None else was.strikes,
        set_aside_at=None if was is None else was.set_aside_at,
        set_aside_why="" if was is None else was.set_aside_why,
    )
    if was is not None:
        _may_take_over(call, was)
        agents.register_again(call.tx, agent, config=asked.config, user_id=call.actor.user_id)
        _note(call, agent, before=_told(was))
        return agent
    try:
        agents.add(call.tx, agent, config=asked.config, user_id=call.actor.user_id)
    except Duplicate as error:
        raise Conflict(f"agent {asked.name!r} is being registered elsewhere; try again") from error
    _note(call, agent, before=None)
    return agent


def _note(call: Call, agent: Agent, *, before: dict[str, Any] | None) -> None:
    """Note a new agent, or one that is another host or version now; not every restart."""
    after = _told(agent)
    audit.note(
        call, "agent.register", agent.name, entity_id=agent.entity_id, before=before, after=after
    )


def _told(agent: Agent) -> dict[str, Any]:
    return {"hostname": agent.hostname, "version": agent.version, "max_jobs": agent.max_jobs}


def _may_take_over(call: Call, was: Agent) -> None:
    """Pass if the caller may be this agent from now on: its claims and their tokens come along.

    Raises:
        Forbidden: somebody else registered it (T22). Conflict: it is no agent of ours.
    """
    if was.kind is not AgentKind.RUNYARD:
        raise Conflict(
            f"agent {was.name!r} of {was.entity} is one of `wandb launch-agent`",
            hint="give yours another name: runyard agent --name NAME",
        )
    if agents.owner_of(call.tx, was.id) == call.actor.user_id:
        return
    if not call.actor.may(Action.STOP_AGENTS, was.entity_id):
        raise Forbidden(
            f"agent {was.name!r} of {was.entity} belongs to somebody else",
            hint="give yours another name: runyard agent --name NAME; or ask an admin",
        )
    _need_all_queues(call, was)


def _token(call: Call, agent: Agent) -> str:
    secret = AGENT_PREFIX + call.new_secret()
    # The tokens of the last few processes stay, opening nothing: with them an old process is
    # told that it is an old one, and leaves, where without it could only be told "unknown".
    accounts.drop_agent_tokens(call.tx, agent.id, below=agent.epoch - _EPOCHS_TOLD)
    call.tx.announce("credentials")
    credential = accounts.Credential(
        id=call.new_id(),
        hash=token_hash(secret),
        kind=Kind.AGENT,
        user_id=call.actor.user_id,
        name=agent.name,
        agent_id=agent.id,
        epoch=agent.epoch,
    )
    accounts.add_credentials(call.tx, [credential], call.now)
    return secret


def poll(
    call: Call, agent_id: str, polled: wire.Poll, *, turn: int, only_news: bool = False
) -> tuple[wire.Polled, list[str]]:
    """Renew, lease and tell. Return the answer and the topics whose news the agent awaits.

    `turn` rotates the order of queues. `only_news` skips leasing: the caller knows that the
    queues are empty.

    Raises:
        Forbidden: not this agent. StaleEpoch: a newer process has its name.
    """
    agent = current(call, agent_id)
    answer = leasing.renew(call, agent.id, polled.holding)
    served = agents.served(call.tx, agent.id)
    answer.queues = served_queues(served)
    may_serve = Action.SERVE in call.actor.granted(agent.entity_id)  # now, not when it came (T22)
    answer.drain = agent.stop_requested_at is not None or not may_serve
    answer.set_aside = agent.set_aside_why
    there = [q for q in served if q.id is not None and call.actor.may_touch(q.name)]
    if polled.slots > 0 and there and agent.may_lease and may_serve and not only_news:
        at = turn % len(there)
        answer.leased = leasing.lease(
            call, agent.id, agent.name, there[at:] + there[:at], min(polled.slots, 1000)
        )
    return answer, [f"queue:{agent.entity}/{queue.name}" for queue in served]


def current(call: Call, agent_id: str) -> Agent:
    """Return the agent if the caller is its present process.

    Raises:
        Forbidden, StaleEpoch.
    """
    call.as_agent(agent_id)
    agent = agents.get(call.tx, agent_id)
    if agent is None:
        raise StaleEpoch(f"agent {agent_id} was removed", hint="start the agent again")
    return agent.of_epoch(call.actor.epoch)


def served_queues(served: Sequence[agents.Served]) -> list[wire.ServedQueue]:
    return [wire.ServedQueue(queue.name, queue.resource) for queue in served]


def page(call: Call, entity: str | None, *, after: str, limit: int) -> list[agents.Listed]:
    owners = call.visible()
    if entity is not None:
        owners = [call.entity(entity, Action.SEE)["id"]]
    return agents.page(call.tx, owners, queues=call.actor.queues, after=after, limit=limit)


def get(call: Call, agent_id: str, action: Action = Action.SEE) -> Agent:
    """Return an agent in which the caller may do `action`. Raises: NotFound, Forbidden."""
    agent = agents.get(call.tx, agent_id)
    if agent is None or not _may_see(call, agent):
        raise NotFound(f"no agent {agent_id!r} that you may see", hint="runyard agent list")
    call.actor.need(action, agent.entity_id, agent.entity, f"agent {agent.name!r}")
    if action is not Action.SEE:
        _need_all_queues(call, agent)
    return agent


def _may_see(call: Call, agent: Agent) -> bool:
    if not call.actor.may(Action.SEE, agent.entity_id):
        return False
    own = call.actor.queues
    return own is None or any(q.name in own for q in agents.served(call.tx, agent.id))


def _need_all_queues(call: Call, agent: Agent) -> None:
    """Pass unless this is a service account that may not touch one of the agent's queues.

    Raises:
        Forbidden.
    """
    if call.actor.queues is None:
        return
    if others := [q for q in agents.served(call.tx, agent.id) if not call.actor.may_touch(q.name)]:
        raise Forbidden(
            f"agent {agent.name!r} serves {len(others)} queues that this service account may "
            "not touch",
            hint=f"ask an operator of {agent.entity}",
        )


def ask_to_stop(call: Call, agent_id: str) -> None:
    """Have the agent take nothing more, finish what it runs, and leave."""
    agent = get(call, agent_id, Action.STOP_AGENTS)
    agents.ask_to_stop(call.tx, agent.id, call.now)
    audit.note(call, "agent.stop", agent.name, entity_id=agent.entity_id)
    call.tx.announce(f"agent:{agent.id}")


def retire(call: Call, agent_id: str) -> None:
    """Note that the agent's process leaves: leases go back, claims stay for its next one."""
    agent = current(call, agent_id)
    served = [q.id for q in agents.served(call.tx, agent.id) if q.id is not None]
    leasing.give_back(call, agent.id, agent.name)
    leasing.cancel_pinned(call, agent.name, served)
    agents.set_status(call.tx, agent.id, AgentStatus.KILLED, call.now)
    accounts.drop_agent_tokens(call.tx, agent.id)
    call.tx.announce("credentials")


def note_seen(call: Call, seen: Mapping[str, tuple[AgentStatus, Any]]) -> None:
    """Write when agents were heard of, all in one statement."""
    agents.note_seen(call.tx, [(a, status, at) for a, (status, at) in seen.items()])
