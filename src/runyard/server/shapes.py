"""From rows and domain values to the bodies of answers."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from runyard.domain.agents import LOST_AFTER, Agent
from runyard.domain.items import ItemState, Parked
from runyard.domain.jobs import JobVersion
from runyard.domain.queues import Queue
from runyard.domain.run_configs import INTERNAL, plain_json
from runyard.domain.run_names import plain_name
from runyard.domain.runs import RunState
from runyard.domain.status import Shown, shown
from runyard.services.queues import Counts
from runyard.store.agents import Listed
from runyard.store.db import Row
from runyard.store.values import at_or_none, from_ms, from_text
from runyard.wire import rest


class Now:
    """What is shown depends on beside the row: the time, which queues are served, how much the
    stages of items have printed, and which attempts build an image."""

    def __init__(
        self,
        at: datetime,
        served: Collection[str] = (),
        printed: Mapping[str, Mapping[str, int]] | None = None,
        building: Collection[tuple[str, int]] = (),
    ) -> None:
        self._at, self._served, self._printed = at, served, printed or {}
        self._building = building

    def status(self, row: Row) -> Shown:
        seen = at_or_none(row["agent_seen_at"])
        return shown(
            ItemState(row["state"]) if row["state"] is not None else None,
            RunState(row["run_state"]),
            parked=row["parked"] and Parked(row["parked"]),
            stopping=row["stop_requested_at"] is not None,
            queue_served=row["queue_id"] in self._served,
            agent_live=seen is None or self._at - seen < LOST_AFTER,
            building=(row["id"], row["attempt"]) in self._building,
        )

    def item(self, row: Row) -> rest.ItemOut:
        return rest.ItemOut.model_construct(**self._item(row))

    def item_detail(
        self, row: Row, warnings: Sequence[Row], events: Sequence[Row]
    ) -> rest.ItemDetail:
        return rest.ItemDetail.model_construct(
            **self._item(row),
            spec=from_text(row["spec"]),
            warnings=[
                rest.WarningOut(at=from_ms(w["at"]), stage=w["stage"], message=w["message"])
                for w in warnings
            ],
            events=[event(e) for e in events],
        )

    def _item(self, row: Row) -> dict[str, Any]:
        return {
            "id": row["id"],
            "queue": row["queue"],
            "queue_entity": row["queue_entity"],
            "state": row["state"],
            "status": self.status(row).value,
            "priority": row["priority"],
            "attempt": row["attempt"],
            "requeues": row["requeues"],
            "retries": row["retries"],
            "parked": row["parked"],
            "parked_why": row["parked_why"],
            "ready_at": at_or_none(row["ready_at"]),
            "expires_at": at_or_none(row["expires_at"]),
            "run": run_ref(row),
            "job": row["job"],
            "author": row["author"],
            "agent": row["agent"],
            "created_at": from_ms(row["created_at"]),
            "enqueued_at": from_ms(row["enqueued_at"]),
            "started_at": at_or_none(row["started_at"]),
            "ended_at": at_or_none(row["ended_at"]),
            "exit_code": row["exit_code"],
            "reason": row["reason"],
            "failure": _failure(row),
            "stage_logs": dict(self._printed.get(row["id"], {})),
        }

    def run(self, row: Row) -> rest.RunOut:
        return rest.RunOut(
            entity=row["target"],
            project=row["project"],
            run_id=row["run_name"],
            name=row["display_name"],
            state=row["run_state"],
            status=self.status(row).value,
            author=row["author"],
            job=row["job"],
            item_id=row["id"],
            queue=row["queue"],
            config=told_json(row["config"]),
            summary=told_json(row["summary"]),
            notes=row["notes"],
            tags=from_text(row["tags"]),
            group=row["group_name"],
            job_type=row["job_type"],
            sweep=row["sweep"],
            heartbeat_at=at_or_none(row["heartbeat_at"]),
            created_at=from_ms(row["created_at"]),
            started_at=at_or_none(row["started_at"]),
            ended_at=at_or_none(row["run_ended_at"]),
            exit_code=row["exit_code"],
            reason=row["reason"],
            stop_requested_at=at_or_none(row["stop_requested_at"]),
            log_bytes=row["log_size"],
            log_truncated=row["log_truncated"],
            stage_logs=dict(self._printed.get(row["id"], {})),
        )


def run_ref(row: Row) -> rest.RunRef:
    return rest.RunRef(
        entity=row["target"],
        project=row["project"],
        run_id=plain_name(row["run_name"]),
        name=row["display_name"],
    )


def told_json(text: str) -> dict[str, Any]:
    """Return what a program told, without what its client notes for itself, in strict JSON."""
    told = {key: value for key, value in json.loads(text).items() if key != INTERNAL}
    return plain_json(told)  # type: ignore[no-any-return]


def _failure(row: Row) -> rest.FailureOut | None:
    if row["failure_stage"] is None:
        return None
    return rest.FailureOut(
        stage=row["failure_stage"],
        message=row["failure_message"] or "",
        detail=row["failure_detail"] or "",
    )


def event(row: Row) -> rest.EventOut:
    return rest.EventOut(
        seq=row["seq"],
        at=from_ms(row["at"]),
        item_id=row["item_id"],
        queue=row["queue"],
        run_id=plain_name(row["run_name"]),
        was=row["was"],
        became=row["became"],
        actor=row["actor"],
        detail=row["detail"],
    )


def queue(found: Queue, counts: Counts) -> rest.QueueOut:
    pending, running, agents = counts
    return rest.QueueOut(
        id=found.id,
        entity=found.entity,
        name=found.name,
        resource=found.resource.value,
        config=dict(found.config),
        variables={name: v.to_json() for name, v in found.variables.items()},
        policy=found.policy.to_json(),
        links=[rest.LinkModel(label=link.label, url=link.url) for link in found.links],
        description=found.description,
        mode=found.mode.value,
        mode_by=found.mode_by,
        mode_why=found.mode_why,
        created_at=found.created_at,
        created_by=found.created_by,
        pending=pending,
        running=running,
        agents=agents,
    )


def job(row: Row, aliases: Sequence[str]) -> rest.JobOut:
    return rest.JobOut(
        entity=row["entity"],
        project=row["project"],
        name=row["name"],
        description=row["description"],
        latest=row["latest"],
        aliases=list(aliases),
        created_at=from_ms(row["created_at"]),
    )


def job_version(version: JobVersion, *, created: bool = False) -> rest.JobVersionOut:
    return rest.JobVersionOut(
        path=version.path,
        entity=version.entity,
        project=version.project,
        name=version.name,
        version=version.version,
        aliases=list(version.aliases),
        source=version.source.to_json(),
        description=version.description,
        created_by=version.created_by,
        created_at=version.created_at,
        input_schemas=dict(version.input_schemas),
        created=created,
    )


def agent(listed: Listed, now: datetime) -> rest.AgentOut:
    found, queues, running, config = listed
    return rest.AgentOut(
        id=found.id,
        entity=found.entity,
        name=found.name,
        hostname=found.hostname,
        version=found.version,
        status=_agent_status(found, now),
        live=found.is_live(now),
        queues=queues,
        max_jobs=found.max_jobs,
        running=running,
        registered_at=found.registered_at,
        last_seen_at=found.last_seen_at,
        stop_requested_at=found.stop_requested_at,
        strikes=found.strikes,
        set_aside_at=found.set_aside_at,
        set_aside_why=found.set_aside_why,
        config=config,
    )


def _agent_status(found: Agent, now: datetime) -> str:
    return found.status.value if found.is_live(now) else "KILLED"
