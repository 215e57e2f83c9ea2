"""Queues, items and launch agents. A queue belongs to an entity, whatever project is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from runyard.domain import wandb_specs
from runyard.domain.errors import Invalid, NotFound
from runyard.domain.items import ItemState
from runyard.domain.queues import Queue
from runyard.server.graphql.context import Area, Info, context_of, or_none
from runyard.services import runs
from runyard.services.launching import agents, looking, popping, pushing, queues
from runyard.services.tracking.places import Place
from runyard.store.db import Row
from runyard.store.values import at_or_none, from_ms, from_text

Source = dict[str, Any]
Input = Mapping[str, Any]
_MOST_DELETED: Final = 100  # queues by one request


# -- queues --------------------------------------------------------------------------------


def _queue_source(queue: Queue) -> Source:
    return {
        "pk": queue.id,
        "id": queue.id,
        "name": queue.name,
        "createdBy": queue.created_by,
        "access": "PROJECT",
        "prioritizationMode": wandb_specs.mode_told(priorities=queue.policy.priorities),
        "externalLinks": {"links": [{"label": e.label, "url": e.url} for e in queue.links]},
        "defaultResourceConfigID": queue.id,
    }


def _queues(source: Source, info: Info) -> list[Source]:
    place: Place = source["place"]
    found = queues.listed(context_of(info).call, place.entity_id)
    return [_queue_source(queue) for queue in found]


def _queue(source: Source, info: Info, name: str) -> Source | None:
    place: Place = source["place"]
    found = or_none(lambda: queues.find(context_of(info).call, place.entity, name))
    return None if found is None else _queue_source(found)


def _configuration(source: Source, info: Info, id: str) -> Source | None:
    call, entity_id = context_of(info).call, source["id"]
    found = or_none(lambda: queues.configuration(call, entity_id, id))
    if found is None:
        return None
    return {
        "id": found.id,
        "config": wandb_specs.config_told(found.resource, found.config),
        "resource": found.resource.value,
        "templateVariables": wandb_specs.variables_told(found.variables),
    }


def _create_config(_: None, info: Info, input: Input) -> Source:
    draft_id = queues.draft(
        context_of(info).call,
        input["entityName"],
        resource=input["resource"],
        config=_object(input, "config"),
        variables=_object(input, "templateVariables"),
    )
    return {"defaultResourceConfigID": draft_id, "success": True}


def _create_queue(_: None, info: Info, input: Input) -> Source:
    made = queues.create(
        context_of(info).call,
        input["entityName"],
        input["queueName"],
        draft_id=input.get("defaultResourceConfigID"),
        mode=input.get("prioritizationMode"),
        private=input["access"] == "USER",
    )
    return {"success": True, "queueID": made.id}


def _upsert_queue(_: None, info: Info, input: Input) -> Source:
    faults = queues.upsert(
        context_of(info).call,
        input["entityName"],
        input["queueName"],
        resource=input["resourceType"],
        config=_object(input, "resourceConfig"),
        variables=_object(input, "templateVariables"),
        mode=input.get("prioritizationMode"),
        links=_object(input, "externalLinks"),
    )
    return {"success": True, "configSchemaValidationErrors": faults}


def _delete_queues(_: None, info: Info, input: Input) -> Source:
    if len(input["queueIDs"]) > _MOST_DELETED:
        raise Invalid(f"queueIDs: {_MOST_DELETED} at most")
    queues.delete(context_of(info).call, input["queueIDs"])
    return _done(input)


# -- items ---------------------------------------------------------------------------------


def _item_source(row: Row) -> Source:
    state = ItemState(row["state"])
    has_begun = row["attempt"] > 0 or state.is_final
    failed = row["failure_stage"] is not None
    return {
        "row": row,
        "id": row["id"],
        "state": state.value,
        # From here on the client looks at the run; before, it waits for somebody to take the item.
        "associatedRunId": row["run_name"] if has_begun else None,
        "priority": row["priority"],
        "createdAt": from_ms(row["enqueued_at"]),
        "updatedAt": at_or_none(row["ended_at"]),
        "launchAgentId": row["agent_id"],
        "error": {"message": row["failure_message"], "stage": row["failure_stage"]}
        if failed
        else None,
    }


def _item(_: Source, info: Info, id: str) -> Source | None:
    found = or_none(lambda: looking.item(context_of(info).call, id))
    return None if found is None else _item_source(found)


def _items(
    source: Source, info: Info, first: int | None = None, after: str | None = None
) -> Source:
    limit = max(0, min(looking.USUAL if first is None else first, looking.MOST))
    found = looking.page(context_of(info).call, source["pk"], before=after, limit=limit)
    nodes = [_item_source(row) for row in found[:limit]]
    return {
        "edges": [{"node": node, "cursor": node["id"]} for node in nodes],
        "pageInfo": {
            "hasNextPage": len(found) > limit,
            "hasPreviousPage": False,
            "startCursor": nodes[0]["id"] if nodes else None,
            "endCursor": nodes[-1]["id"] if nodes else None,
        },
    }


def _item_spec(source: Source, info: Info) -> Any:
    row = source["row"]
    if "spec" not in row:  # a list is read without them
        row = looking.item(context_of(info).call, row["id"])
    return wandb_specs.told(from_text(row["spec"]), requeues=row["requeues"])


def _item_warnings(source: Source, info: Info) -> list[Source]:
    found = looking.warnings(context_of(info).call, source["row"])
    return [{"message": row["message"], "stage": row["stage"]} for row in found]


def _push(_: None, info: Info, input: Input) -> Source:
    queued = pushing.by_id(
        context_of(info).call, input["queueID"], _object(input, "runSpec"), **_beside(input)
    )
    return {"runQueueItemId": queued.id, "runSpec": json.dumps(queued.spec)}


def _push_by_name(_: None, info: Info, input: Input) -> Source:
    queued = pushing.by_name(
        context_of(info).call,
        input["entityName"],
        input["queueName"],
        _object(input, "runSpec"),
        **_beside(input),
    )
    return {"runQueueItemId": queued.id, "runSpec": json.dumps(queued.spec)}


def _beside(input: Input) -> dict[str, Any]:
    values = _object(input, "templateVariableValues")
    return {"values": values, "priority": input.get("priority")}


def _pop(_: None, info: Info, input: Input) -> Source | None:
    agent_id = input.get("launchAgentId")
    if agent_id is None:
        raise Invalid("launchAgentId: must be given: items are handed out to agents only")
    popped = popping.pop(context_of(info).call, input["entityName"], input["queueName"], agent_id)
    return None if popped is None else {"runQueueItemId": popped.id, "runSpec": popped.spec}


def _ack(_: None, info: Info, input: Input) -> Source:
    done = popping.ack(context_of(info).call, input["runQueueItemId"], input["runName"])
    return _done(input, success=done)


def _fail(_: None, info: Info, input: Input) -> Source:
    done = popping.fail(context_of(info).call, *_report(input))
    return _done(input, success=done)


def _warn(_: None, info: Info, input: Input) -> Source:
    done = popping.warn(context_of(info).call, *_report(input))
    return _done(input, success=done)


def _report(input: Input) -> tuple[str, str, str, list[str]]:
    files = input.get("filePaths") or []
    return input["runQueueItemId"], input["message"], input["stage"], files


def _delete_item(_: None, info: Info, input: Input) -> Source:
    call = context_of(info).call
    row = looking.item(call, input["runQueueItemId"])
    if row["queue_id"] != queues.by_id(call, input["queueID"]).id:
        raise NotFound(f"no item {input['runQueueItemId'][:64]!r} in this queue")
    if not ItemState(row["state"]).is_final:
        runs.cancel(call, row["id"])
    return _done(input)


# -- agents --------------------------------------------------------------------------------


def _agent(_: None, info: Info, id: str) -> Source | None:
    known = or_none(lambda: agents.look(context_of(info).call, id))
    if known is None:
        return None
    agent = known.agent
    return {
        "id": agent.id,
        "name": agent.name,
        "runQueues": list(known.queue_ids),
        "hostname": agent.hostname,
        "agentStatus": agent.status.value,
        "stopPolling": known.stop,
        "heartbeatAt": agent.last_seen_at,
        "agentConfig": json.dumps(known.config),
        "version": agent.version,
        "createdAt": agent.registered_at,
    }


def _create_agent(_: None, info: Info, input: Input) -> Source:
    agent = agents.register(
        context_of(info).call,
        input["entityName"],
        queue_ids=input["runQueues"],
        hostname=input["hostname"],
        config=_object(input, "agentConfig") or {},
        version=input.get("version") or "",
    )
    return {"launchAgentId": agent.id}


def _update_agent(_: None, info: Info, input: Input) -> Source:
    call, agent_id = context_of(info).call, input["launchAgentId"]
    if input.get("stopPolling"):
        agents.ask_to_stop(call, agent_id)
    if input.get("agentStatus") is not None:
        agents.say(call, agent_id, input["agentStatus"])
    return _done(input)


def _object(input: Input, field: str) -> Any:
    """Return what a field has as JSON in a string, None if it has nothing."""
    text = input.get(field)
    return None if text is None else wandb_specs.read_json(text, field)


def _done(input: Input, *, success: bool = True) -> Source:
    return {"success": success, "clientMutationId": input.get("clientMutationId")}


AREA = Area(
    {
        "Query": {"launchAgent": _agent},
        "Entity": {"defaultResourceConfig": _configuration},
        "Project": {"runQueues": _queues, "runQueue": _queue},
        "RunQueue": {"runQueueItems": _items, "runQueueItem": _item},
        "RunQueueItem": {"runSpec": _item_spec, "warnings": _item_warnings},
        "Mutation": {
            "createDefaultResourceConfig": _create_config,
            "createRunQueue": _create_queue,
            "upsertRunQueue": _upsert_queue,
            "deleteRunQueues": _delete_queues,
            "pushToRunQueue": _push,
            "pushToRunQueueByName": _push_by_name,
            "popFromRunQueue": _pop,
            "ackRunQueueItem": _ack,
            "failRunQueueItem": _fail,
            "updateRunQueueItemWarning": _warn,
            "deleteFromRunQueue": _delete_item,
            "createLaunchAgent": _create_agent,
            "updateLaunchAgent": _update_agent,
        },
    }
)
