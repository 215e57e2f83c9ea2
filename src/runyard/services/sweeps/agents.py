"""
What a sweep's agents are told: what to run, what to stop, when to go home.

An agent that lists runs keeps them; one that lists none asks for work. Work is, in this order:
what it was given and never heard of, a run that somebody enqueued, one whose agent fell silent
before it began, one that was preempted, and the next point of the search.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias

from runyard.domain.access import Action
from runyard.domain.errors import Conflict, Invalid, TooMuch
from runyard.domain.items import RunId
from runyard.domain.runs import RunState
from runyard.domain.sweeps.config import Proposer, SweepConfig
from runyard.domain.sweeps.states import SweepState
from runyard.services.call import Call
from runyard.services.sweeps import controlling, defining, finding, halting, suggesting, yaml_text
from runyard.services.sweeps.suggesting import object_of, plain
from runyard.store import items
from runyard.store import sweeps as rows
from runyard.store.db import Row
from runyard.store.values import to_ms

Command: TypeAlias = dict[str, Any]

MOST_LISTED: Final = 1000
_LONGEST_HOST: Final = 255
_NAME_LENGTH: Final = 8
_OFTEN: Final = 2  # how often a run is offered to an agent that never lists it
_BEATS: Final = timedelta(seconds=10)  # between two notes of a sweep's heartbeat
_EXIT: Final[Command] = {"type": "exit"}
_MOST_ENQUEUED: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Asker:
    """An agent that asks for work, and its sweep, whose row is held."""

    agent: Row
    sweep: Row
    config: SweepConfig

    @property
    def is_scheduler(self) -> bool:
        """Whether it stands for a worker of a launched sweep, whose runs are items of a queue."""
        return self.sweep["scheduler_run_id"] is not None


def register(call: Call, entity: str | None, project: str | None, name: str, host: str) -> Row:
    """Add an agent to a sweep, which begins if it has not.

    Raises:
        NotFound, Forbidden.
    """
    found = finding.find(call, entity, project, name, Action.TRACK)
    if found["state"] == SweepState.PENDING:
        _begin(call, found["id"])
    agent_id = call.new_id()
    rows.add_agent(call.tx, agent_id, found["id"], host[:_LONGEST_HOST], call.now)
    agent = rows.agent(call.tx, agent_id)
    assert agent is not None
    return agent


def heartbeat(
    call: Call, agent_id: str, running: Collection[str], *, silence: timedelta
) -> list[Command]:
    """Return what an agent is to do. `running` names the runs that it has; an agent that was not
    heard of for `silence` has lost those that never began.

    Raises:
        NotFound: the agent, or its sweep, is gone. Forbidden.
    """
    if len(running) > MOST_LISTED:
        raise TooMuch(f"{len(running)} runs; {MOST_LISTED} of one agent at most")
    agent, sweep = finding.agent(call, agent_id, Action.TRACK)
    rows.change_agent(call.tx, agent_id, {"heartbeat_at": to_ms(call.now)})
    rows.beat(call.tx, sweep["id"], call.now, call.now - _BEATS)
    if SweepState(sweep["state"]).stops_runs:
        return [_EXIT]
    if running:
        return _stops(call, agent, sweep, running)
    held = rows.locked(call.tx, sweep["id"])
    assert held is not None
    return _work(call, agent, held, silence)


def enqueue(call: Call, sweep_pk: str, args: Mapping[str, Any], display_name: str | None) -> str:
    """Add a run that the next agent takes; return its name.

    Raises:
        NotFound, Forbidden. Conflict: the sweep has ended. TooMuch: more wait than are allowed.
    """
    sweep = finding.by_pk(call, sweep_pk, Action.TRACK)
    if SweepState(sweep["state"]).is_final:
        raise Conflict(f"sweep {sweep['name']} is {sweep['state'].lower()}, and takes no runs")
    if rows.totals(call.tx, sweep_pk).get(None, 0) >= _MOST_ENQUEUED:
        raise TooMuch(f"{_MOST_ENQUEUED} runs wait in sweep {sweep['name']} already")
    run = add_run(call, sweep, plain(args), agent_id=None, display_name=display_name)
    return str(run["name"])


def add_run(
    call: Call,
    sweep: Row,
    args: Mapping[str, Any],
    *,
    agent_id: str | None,
    display_name: str | None = None,
) -> Row:
    """Make the run that an agent's program will log to."""
    run_id = call.new_id()
    number = rows.count_runs(call.tx, sweep["id"]) + 1
    rows.add_run(
        call.tx,
        run_id,
        project_id=sweep["project_id"],
        name=call.new_id()[-_NAME_LENGTH:].lower(),
        display_name=display_name or f"{sweep['name']}-{number}",
        author_id=call.actor.user_id,
        args=args,
        sweep_id=sweep["id"],
        agent_id=agent_id,
        now=call.now,
    )
    run = rows.run(call.tx, run_id)
    assert run is not None
    return run


def _begin(call: Call, sweep_pk: str) -> None:
    held = rows.locked(call.tx, sweep_pk)
    if held is not None and held["state"] == SweepState.PENDING:
        defining.move(call, held, SweepState.RUNNING)


def _stops(call: Call, agent: Row, sweep: Row, running: Collection[str]) -> list[Command]:
    found = rows.runs_named(call.tx, sweep["id"], list(running))
    if agent["offers"] < _OFTEN and agent["offered_run_id"] in {run["id"] for run in found}:
        rows.change_agent(call.tx, agent["id"], {"offers": _OFTEN})  # it has arrived
    stopped = {run["name"] for run in found if _is_unwanted(run)}
    config = yaml_text.read(sweep["config"])
    going = [run for run in found if run["name"] not in stopped]
    hopeless = halting.hopeless(call, sweep, config, going)
    if config.proposer is Proposer.CONTROLLER:
        hopeless += [run for run in going if run["name"] in controlling.unwanted(sweep)]
    for run in hopeless:
        items.ask_to_stop(call.tx, RunId(run["id"]), "stopped early by its sweep", call.now)
        call.tx.announce(f"run:{run['id']}")
    stopped |= {run["name"] for run in hopeless}
    return [{"type": "stop", "run_id": name} for name in sorted(stopped)]


def _is_unwanted(run: Row) -> bool:
    return run["stop_requested_at"] is not None or run["deleted_at"] is not None


def _work(call: Call, agent: Row, sweep: Row, silence: timedelta) -> list[Command]:
    state = SweepState(sweep["state"])
    if state is SweepState.PAUSED:
        return []
    if state.is_final:
        return [_EXIT]
    if state is SweepState.PENDING:
        defining.move(call, sweep, SweepState.RUNNING)
    asker = _Asker(agent, sweep, yaml_text.read(sweep["config"]))
    again = _settle_last(call, asker)
    if again is not None:
        return [_offer(call, asker, again, "run")]
    waiting = rows.enqueued(call.tx, sweep["id"]) or rows.abandoned(
        call.tx, sweep["id"], call.now - silence
    )
    if waiting is not None:
        return [_offer(call, asker, waiting, "run")]
    preempted = rows.preempted(call.tx, sweep["id"])
    if preempted is not None:
        return [_resume(call, asker, preempted)]
    if asker.config.proposer is Proposer.SCHEDULER:
        return []
    return _search(call, asker)


def _search(call: Call, asker: _Asker) -> list[Command]:
    sweep, config = asker.sweep, asker.config
    if config.proposer is Proposer.CONTROLLER:
        proposed = controlling.proposed(sweep)
        if proposed is None:
            return []
        if proposed.args is not None:
            run = add_run(call, sweep, proposed.args, agent_id=asker.agent["id"])
            controlling.note(call, sweep, proposed, run["name"])
            return [_offer(call, asker, run, "run")]
        return _over(call, asker)
    args = suggesting.next_point(call, sweep, config)
    if args is None:
        return _over(call, asker)
    run = add_run(call, sweep, args, agent_id=asker.agent["id"])
    return [_offer(call, asker, run, "run")]


def _over(call: Call, asker: _Asker) -> list[Command]:
    """There is nothing left to try. The sweep is finished when its last run is.

    The scheduler of a launched sweep would end its other runs on `exit`; it sees the state.
    """
    if not rows.others_alive(call.tx, asker.sweep["id"], asker.agent["id"]):
        sweep = rows.get(call.tx, asker.sweep["id"])
        assert sweep is not None
        defining.move(call, sweep, SweepState.FINISHED)
    return [] if asker.is_scheduler else [_EXIT]


def _settle_last(call: Call, asker: _Asker) -> Row | None:
    """Close the books on what an agent was given last; return it if it is to be given again.

    The answer may have been lost, so a run that was never heard of is offered twice.
    """
    last = asker.agent["offered_run_id"]
    run = rows.run(call.tx, last) if last else None
    if run is None:
        return None
    suggesting.note_best(call, asker.sweep, asker.config.metric, run["id"])
    halting.note_rungs(call, asker.sweep, asker.config, run["id"])
    if run["state"] != RunState.PENDING or run["item_id"] is not None or run["deleted_at"]:
        return None
    if asker.agent["offers"] < _OFTEN:
        return run
    known = items.locked_run(call.tx, RunId(run["id"]))
    if known is not None and known.state is RunState.PENDING:
        reason = "its agent ended it before wandb.init was called"
        items.save_runs(call.tx, [(known, known.failed(reason, call.now))])
    return None


def _resume(call: Call, asker: _Asker, preempted: Row) -> Command:
    known = items.locked_run(call.tx, RunId(preempted["id"]))
    assert known is not None
    items.save_runs(call.tx, [(known, known.resumed())])
    return _offer(call, asker, preempted, "resume")


def _offer(call: Call, asker: _Asker, run: Row, kind: str) -> Command:
    agent = asker.agent
    offers = agent["offers"] + 1 if agent["offered_run_id"] == run["id"] else 1
    rows.change_agent(call.tx, agent["id"], {"offered_run_id": run["id"], "offers": offers})
    if run["sweep_agent_id"] != agent["id"]:
        rows.give(call.tx, run["id"], agent["id"])
    config = object_of(run["config"])
    return {
        "type": kind,
        "run_id": run["name"],
        "args": {key: {"value": value} for key, value in config.items() if key != "_wandb"},
        "program": asker.config.program,
        "logs": [],
    }


def read_states(text: str | None) -> list[str]:
    """Return the names of the runs that an agent says it has. Raises: Invalid."""
    states = object_of(text)
    if not states and (text or "{}").strip() not in ("{}", "null"):
        raise Invalid("runState: must be a JSON object of runs")
    return [name for name, is_there in states.items() if is_there]
