"""
Agents whose host makes starts fail: counting strikes, setting aside, bringing back.

What an agent reports of its host is believed, since it can only harm itself by it. Bringing it
back takes a check that it passed, or, if a person had set it aside, a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from runyard.domain.access import Action, Actor, Kind
from runyard.domain.agents import Agent
from runyard.domain.errors import Invalid, NotFound
from runyard.domain.items import AgentId
from runyard.services import agents as registered
from runyard.services import audit
from runyard.services.call import Call
from runyard.store import agents
from runyard.wire.health import Check

MAX_CHECKS: Final = 50
_SERVER: Final = Actor(kind=Kind.USER, user_id="", name="server", is_admin=True)


def strike(call: Call, agent: Agent, why: str, *, item_id: str | None = None) -> Agent:
    """Note that a start failed by the fault of the agent's host; return the agent as it is now.

    An item that has failed so on another agent already is itself under suspicion, and no strike:
    a registry whose name is misspelt is unreachable from every host.
    """
    if item_id is not None and agents.others_failed(call.tx, item_id, agent.id):
        return agent
    known = agents.get_locked(call.tx, agent.id) or agent
    now = known.struck(why, call.now)
    if now != known:
        agents.judge(call.tx, now)
    if now.is_set_aside and not known.is_set_aside:
        _note(replace(call, actor=_SERVER), "agent.set_aside", known, now)
        _tell(call, now)
    return now


def started_well(call: Call, agent: Agent) -> Agent:
    """Note that something started on the agent's host. Costs a write only after a strike."""
    if agent.strikes == 0 or agent.is_set_aside:
        return agent
    now = agent.started_well()
    agents.judge(call.tx, now)
    return now


def check(call: Call, agent_id: str, checks: Sequence[Check]) -> Agent:
    """Take what an agent found out about its host; it is back in use if all is well.

    Raises:
        Forbidden: not this agent. StaleEpoch: a newer process has its name.
        Invalid: nothing was checked, or absurdly much.
    """
    agent = registered.current(call, agent_id)
    if not 0 < len(checks) <= MAX_CHECKS:
        raise Invalid(f"checks: {len(checks)} given; 1 to {MAX_CHECKS} are")
    known = agents.get_locked(call.tx, agent.id) or agent
    faults = [f"{c.name}: {c.detail}"[:200] for c in checks if not c.ok]
    now = known.checked(faults)
    if now != known:
        agents.judge(call.tx, now)
    if known.is_set_aside and not now.is_set_aside:
        _note(call, "agent.readmit", known, now)
        _tell(call, now)
    return now


def readmit(call: Call, agent_id: str) -> agents.Listed:
    """Let an agent take items again, on a person's word.

    Raises:
        NotFound, Forbidden.
    """
    known = _locked(call, agent_id)
    return _judged(call, "agent.readmit", known, known.readmitted())


def set_aside(call: Call, agent_id: str, reason: str) -> agents.Listed:
    """Have an agent take nothing more, until a person readmits it. What it runs goes on.

    Raises:
        NotFound, Forbidden.
    """
    known = _locked(call, agent_id)
    why = f"set aside by {call.actor.name}" + (f": {reason.strip()}" if reason.strip() else "")
    return _judged(call, "agent.set_aside", known, known.set_aside_by_hand(why, call.now))


def _locked(call: Call, agent_id: str) -> Agent:
    registered.get(call, agent_id, Action.STOP_AGENTS)
    agent = agents.get_locked(call.tx, agent_id)
    if agent is None:
        raise NotFound(f"no agent {agent_id!r} that you may see")
    return agent


def _judged(call: Call, action: str, known: Agent, now: Agent) -> agents.Listed:
    if now != known:
        agents.judge(call.tx, now)
        _note(call, action, known, now)
        _tell(call, now)
    return agents.listed(call.tx, AgentId(known.id))


def _tell(call: Call, agent: Agent) -> None:
    """Have the agent hear of it at once."""
    call.tx.announce(f"agent:{agent.id}")


def _note(call: Call, action: str, before: Agent, after: Agent) -> None:
    audit.note(
        call,
        action,
        after.name,
        entity_id=after.entity_id,
        before=_values(before),
        after=_values(after),
    )


def _values(agent: Agent) -> dict[str, Any]:
    at = agent.set_aside_at
    return {
        "strikes": agent.strikes,
        "set_aside_at": None if at is None else at.isoformat(),
        "set_aside_why": agent.set_aside_why,
    }
