"""Runs: making, changing and finding them."""

from __future__ import annotations

from typing import Any

from runyard.domain.runs import RunState, told_state
from runyard.server.graphql import ids
from runyard.server.graphql.context import Area
from runyard.store.db import Row
from runyard.store.values import from_ms, from_text


def run_source(row: Row) -> dict[str, Any]:
    """Return a Run of the protocol from a row of `services.tracking.runs`.

    `pk` is the id in the tables; `row` is for the areas that add fields of their own.
    """
    state = told_state(
        RunState(row["state"]), row["said_exit"], row["exit_code"], preempting=row["preempting"]
    )
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
        "stopped": row["stop_requested_at"] is not None,
        "shouldStop": row["stop_requested_at"] is not None,
        "failed": state in ("failed", "crashed"),
        "running": state == "running",
        "exitcode": row["exit_code"] if row["said_exit"] is None else row["said_exit"],
        "readOnly": False,
        "createdAt": from_ms(row["created_at"]),
        "updatedAt": from_ms(row["heartbeat_at"] or row["created_at"]),
        "heartbeatAt": from_ms(row["heartbeat_at"] or row["created_at"]),
        "user": {"id": row["author_id"], "name": row["author"], "username": row["author"]},
        "config": row["config"],
    }


AREA = Area({})
