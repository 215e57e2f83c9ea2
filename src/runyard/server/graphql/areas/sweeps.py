"""Sweeps and their agents."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, Final

from runyard.domain.access import Action
from runyard.domain.errors import Invalid, NotFound, TooMuch
from runyard.server.graphql import ids
from runyard.server.graphql.areas.projects import project_source
from runyard.server.graphql.areas.runs import run_source
from runyard.server.graphql.connections import connection, cursor, place_of, size_of
from runyard.server.graphql.context import Area, Info, context_of, or_none
from runyard.services.call import Call
from runyard.services.sweeps import agents, defining, finding, launching, listing, yaml_text
from runyard.services.sweeps.defining import Told
from runyard.services.sweeps.suggesting import best_of
from runyard.services.tracking.places import Place
from runyard.store.db import Row
from runyard.store.values import at_or_none, from_ms

Source = dict[str, Any]
Input = dict[str, Any]
_PAGE: Final = 50
_MOST_ENQUEUED_BYTES: Final = 256 << 10


def sweep_source(call: Call, row: Row) -> Source:
    """Return a Sweep of the protocol. What takes a look into other tables is looked up when asked
    for."""
    place = Place(row["project_id"], row["project"], row["entity_id"], row["entity"])

    def expected() -> int | None:
        return yaml_text.read(row["config"]).expected_runs

    def best() -> float | None:
        return best_of(call, row, yaml_text.read(row["config"]).metric)

    return {
        "row": row,
        "id": ids.encode("Sweep", "v1", row["name"], row["project"], row["entity"]),
        "name": row["name"],
        "displayName": row["display_name"],
        "method": row["method"],
        "state": row["state"],
        "description": row["description"],
        "config": row["config"],
        "controller": row["controller"],
        "scheduler": row["scheduler"],
        "controllerRunName": row["name"],
        "earlyStopJobRunning": False,
        "bestLoss": best,
        "createdAt": from_ms(row["created_at"]),
        "updatedAt": from_ms(row["updated_at"]),
        "heartbeatAt": at_or_none(row["heartbeat_at"]),
        "runCount": lambda: listing.count_runs(call, row),
        "runCountExpected": expected,
        "project": lambda: project_source(place),
    }


def _of_id(call: Call, text: str, action: Action) -> Row:
    version, name, project, entity = ids.decode(text, "Sweep", 4)
    if version != "v1":
        raise NotFound(f"no sweep of the id {text[:200]!r}")
    return finding.find(call, entity, project, name, action)


def upsert_sweep(_: None, info: Info, input: Input) -> Source:
    call = context_of(info).call
    told = Told(
        config=input.get("config"),
        description=input.get("description"),
        display_name=input.get("displayName"),
        controller=input.get("controller"),
        scheduler=input.get("scheduler"),
        prior_runs=input.get("priorRunsFilters"),
        state=input.get("state"),
    )
    launch = launching.read(input.get("launchScheduler"), input.get("templateVariableValues"))
    if input.get("id"):
        known = _of_id(call, input["id"], Action.TRACK)
        row, warnings = defining.edit(call, known["id"], told)
    else:
        row, warnings = defining.create(
            call, input.get("entityName"), input.get("projectName"), told
        )
    if launch is not None:
        row = launching.launch(call, row, launch)
    return {"sweep": sweep_source(call, row), "configValidationWarnings": list(warnings)}


def create_agent(_: None, info: Info, input: Input) -> Source:
    call = context_of(info).call
    row = agents.register(
        call,
        input.get("entityName"),
        input.get("projectName"),
        input["sweep"],
        input["host"],
    )
    return {"agent": _agent_source(row, 0)}


def agent_heartbeat(_: None, info: Info, input: Input) -> Source:
    context = context_of(info)
    silence = timedelta(seconds=context.parts.settings.silence_s)
    running = agents.read_states(input.get("runState"))
    commands = agents.heartbeat(context.call, input["id"], running, silence=silence)
    return {"agent": {"id": input["id"]}, "commands": json.dumps(commands)}


def enqueue_sweep_run(_: None, info: Info, input: Input) -> Source:
    call = context_of(info).call
    if len(input["config"]) > _MOST_ENQUEUED_BYTES:
        raise TooMuch(f"config is over {_MOST_ENQUEUED_BYTES >> 10} KiB")
    try:
        config = json.loads(input["config"])
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise Invalid("config: must be a JSON object")
    row = _of_id(call, input["id"], Action.TRACK)
    name = agents.enqueue(call, row["id"], config, input.get("displayName"))
    return {"id": name, "runQueueItemId": None}


def sweep(source: Source, info: Info, sweepName: str) -> Source | None:
    call = context_of(info).call
    row = or_none(lambda: finding.within(call, source["place"], sweepName))
    return None if row is None else sweep_source(call, row)


def sweeps(
    source: Source,
    info: Info,
    after: str | None = None,
    first: int | None = None,
    filters: str | None = None,
) -> Source:
    call, place = context_of(info).call, source["place"]
    size = size_of(first, default=_PAGE, most=_PAGE)
    place_of_page = place_of(after, str)
    before = place_of_page[0] if place_of_page else "~"
    found = listing.page(call, place, filters, before=before, limit=size + 1)
    return connection(
        found[:size],
        lambda row: {"node": sweep_source(call, row), "cursor": cursor(row["id"])},
        has_more=len(found) > size,
        total=lambda: listing.count(call, place, filters),
        end=after,
    )


def total_sweeps(source: Source, info: Info) -> int:
    return listing.count(context_of(info).call, source["place"], None)


def sweep_runs(
    source: Source,
    info: Info,
    first: int | None = None,
    after: str | None = None,
    order: str | None = None,
) -> Source:
    return _runs(info, source["row"], None, first, after, order)


def agent_runs(
    source: Source,
    info: Info,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
    **_: Any,
) -> Source:
    return _runs(info, source["sweep"], source["id"], first, after, order)


def _runs(
    info: Info,
    sweep: Row,
    agent_id: str | None,
    first: int | None,
    after: str | None,
    order: str | None,
) -> Source:
    """Without `first`, the client wants all of them, and can have as many as one answer holds."""
    call = context_of(info).call
    size = size_of(first, default=finding.MOST, most=finding.MOST)
    place = place_of(after, str)
    found = finding.runs_of(
        call,
        sweep,
        agent_id=agent_id,
        after=place[0] if place else "",
        newest_first=_is_newest_first(order),
        limit=size + 1,
    )
    return connection(
        found[:size],
        lambda row: {"node": run_source(row), "cursor": cursor(row["pk"])},
        has_more=len(found) > size,
        total=lambda: listing.count_runs(call, sweep, agent_id),
        end=after,
    )


def _is_newest_first(order: str | None) -> bool:
    if order in (None, "", "+created_at", "created_at", "-created_at"):
        return order == "-created_at"
    raise Invalid(f"order {order!r}: runs of a sweep come by +created_at or -created_at")


def prior_runs(
    source: Source, info: Info, first: int | None = None, after: str | None = None
) -> Source:
    call, row = context_of(info).call, source["row"]
    size = size_of(first, default=_PAGE, most=finding.MOST)
    place = place_of(after, str)
    found = listing.prior_runs(call, row, after=place[0] if place else "", limit=size + 1)
    return connection(
        found[:size],
        lambda run: {"node": run_source(run), "cursor": cursor(run["pk"])},
        has_more=len(found) > size,
        total=len(found),
        end=after,
    )


def _agent_source(row: Row, total: int, sweep: Row | None = None) -> Source:
    return {
        "sweep": sweep,
        "id": row["id"],
        "name": row["id"],
        "host": row["host"],
        "state": row["state"],
        "totalRuns": total,
        "createdAt": from_ms(row["created_at"]),
        "heartbeatAt": at_or_none(row["heartbeat_at"]),
    }


def sweep_agent(source: Source, info: Info, agentName: str) -> Source | None:
    call, sweep = context_of(info).call, source["row"]
    found = listing.agent(call, sweep, agentName)
    return None if found is None else _agent_source(*found, sweep)


def sweep_agents(source: Source, info: Info) -> Source:
    call, sweep = context_of(info).call, source["row"]
    found = listing.agents(call, sweep)
    edges = [{"node": _agent_source(*each, sweep), "cursor": each[0]["id"]} for each in found]
    return {"edges": edges}


AREA = Area(
    {
        "Mutation": {
            "upsertSweep": upsert_sweep,
            "createAgent": create_agent,
            "agentHeartbeat": agent_heartbeat,
            "enqueueSweepRun": enqueue_sweep_run,
        },
        "Project": {"sweep": sweep, "sweeps": sweeps, "totalSweeps": total_sweeps},
        "Sweep": {
            "runs": sweep_runs,
            "priorRuns": prior_runs,
            "agent": sweep_agent,
            "agents": sweep_agents,
        },
        "Agent": {"runs": agent_runs},
    }
)
