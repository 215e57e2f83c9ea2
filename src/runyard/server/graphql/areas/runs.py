"""Runs: making, changing and finding them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from runyard.domain.run_configs import internal, wrapped
from runyard.domain.runs import RunState, told_state
from runyard.server.graphql import ids
from runyard.server.graphql.areas.people import user_source
from runyard.server.graphql.areas.projects import project_source
from runyard.server.graphql.context import Area, Info, context_of, or_none
from runyard.services.tracking import ending, finding, runs, upserting
from runyard.services.tracking.places import Place
from runyard.services.tracking.upserting import Told
from runyard.store.db import Row
from runyard.store.values import from_ms, from_text

Source = dict[str, Any]
_PAGE: Final = 50


def run_source(row: Row) -> Source:
    """Return what resolvers of a Run start from, made of a row of `services.tracking.runs`.

    `pk` is the id in the tables; `row` is for the areas that add fields of their own.
    """
    state = told_state(
        RunState(row["state"]), row["said_exit"], row["exit_code"], preempting=row["preempting"]
    )
    heard_at = from_ms(row["heartbeat_at"] or row["created_at"])
    stopping = row["stop_requested_at"] is not None
    return {
        "pk": row["pk"],
        "row": row,
        "id": ids.run_id(row["name"], row["project"], row["entity"]),
        "internalId": row["pk"],
        "projectId": str(ids.number_of(row["project_id"])),
        "name": row["name"],
        "displayName": row["display_name"] or row["name"],
        "description": row["description"],
        "notes": row["notes"],
        "tags": from_text(row["tags"]),
        "group": row["group_name"],
        "groupName": row["group_name"],
        "jobType": row["job_type"],
        "commit": row["git_commit"],
        "sweepName": row["sweep"],
        "state": state,
        "stopped": stopping,
        "shouldStop": stopping,
        "failed": state in ("failed", "crashed"),
        "running": state == "running",
        "exitcode": row["exit_code"] if row["said_exit"] is None else row["said_exit"],
        "readOnly": False,
        "createdAt": from_ms(row["created_at"]),
        "updatedAt": heard_at,
        "heartbeatAt": heard_at,
        "user": user_source(row["author_id"], row["author"]),
        "config": lambda: json.dumps(wrapped(json.loads(row["config"]))),
    }


def _project(source: Source, _: Info) -> Source:
    row = source["row"]
    place = Place(row["project_id"], row["project"], row["entity_id"], row["entity"])
    return project_source(place)


def _wandb_config(source: Source, _: Info, keys: Sequence[str] | None = None) -> str:
    return json.dumps(internal(json.loads(source["row"]["config"]), keys))


def _summary(source: Source, _: Info, keys: Sequence[str] | None = None) -> str:
    text: str = source["row"]["summary"]
    if keys is None:
        return text
    return json.dumps({k: v for k, v in json.loads(text).items() if k in keys})


# -- changing --------------------------------------------------------------------------------

_TOLD = {
    "entityName": "entity", "modelName": "project", "name": "name", "displayName": "display_name",
    "notes": "notes", "description": "description", "tags": "tags", "groupName": "group_name",
    "jobType": "job_type", "commit": "git_commit", "host": "host", "jobProgram": "program",
    "jobRepo": "repo", "config": "config", "summaryMetrics": "summary", "state": "state",
    "sweep": "sweep",
}  # fmt: skip


def _upsert(_: None, info: Info, input: Mapping[str, Any]) -> Source:
    context = context_of(info)
    by_id = ids.run_of(input["id"]) if input.get("id") else None
    told = Told(
        by_id=by_id,
        author=context.headers.get("x-wandb-username"),
        **{ours: input[theirs] for theirs, ours in _TOLD.items() if theirs in input},
    )
    row, is_new = upserting.upsert(context.call, told)
    return {
        "bucket": run_source(row),
        "inserted": is_new,
        "clientMutationId": input.get("clientMutationId"),
    }


def _stop(_: None, info: Info, input: Mapping[str, Any]) -> Source:
    ending.stop(context_of(info).call, *ids.run_of(input["id"]))
    return _done(input)


def _delete(_: None, info: Info, input: Mapping[str, Any]) -> Source:
    with_artifacts = bool(input.get("deleteArtifacts"))
    ending.delete(context_of(info).call, *ids.run_of(input["id"]), with_artifacts=with_artifacts)
    return _done(input)


def _set_state(_: None, info: Info, input: Mapping[str, Any]) -> Source:
    ending.set_state(context_of(info).call, *ids.run_of(input["id"]), input["state"])
    return _done(input)


def _rewind(_: None, info: Info, input: Mapping[str, Any]) -> Source:
    row = ending.rewind(
        context_of(info).call, input.get("entityName"), input.get("projectName"),
        input["runName"], input["metricName"], input["metricValue"],
    )  # fmt: skip
    return {"rewoundRun": run_source(row)}


def _done(input: Mapping[str, Any]) -> Source:
    return {"success": True, "clientMutationId": input.get("clientMutationId")}


# -- finding ---------------------------------------------------------------------------------


def _run(
    source: Source,
    info: Info,
    name: str,
    missingOk: bool | None = None,  # noqa: ARG001  what is not there is null in any case
    desc: str | None = None,  # noqa: ARG001  the client's own check sends 10 MB of it
) -> Source | None:
    place: Place = source["place"]
    call = context_of(info).call
    row = or_none(lambda: runs.find(call, place.entity, place.name, name))
    return None if row is None else run_source(row)


def _runs(
    source: Source,
    info: Info,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> Source:
    search = finding.search(context_of(info).call, source["place"], filters, order)
    found = search.page(after, _PAGE if first is None else first)
    edges = [
        {"node": run_source(row), "cursor": cursor}
        for row, cursor in zip(found.rows, found.cursors, strict=False)
    ]
    end = found.cursors[-1] if found.cursors else None
    return {
        "edges": edges,
        "pageInfo": {"endCursor": end, "hasNextPage": found.has_more},
        "totalCount": search.count,
    }


def _run_count(source: Source, info: Info, filters: str | None = None) -> int:
    return finding.search(context_of(info).call, source["place"], filters, None).count()


AREA = Area(
    {
        "Mutation": {
            "upsertBucket": _upsert,
            "stopRun": _stop,
            "deleteRun": _delete,
            "updateRunState": _set_state,
            "rewindRun": _rewind,
        },
        "Project": {
            "run": _run,
            "bucket": _run,
            "runs": _runs,
            "buckets": _runs,
            "runCount": _run_count,
        },
        "Run": {
            "project": _project,
            "wandbConfig": _wandb_config,
            "summaryMetrics": _summary,
        },
    }
)
