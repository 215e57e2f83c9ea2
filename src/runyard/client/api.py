"""The REST API as methods with types. Blocking: for the command line, notebooks and scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from runyard.client.agents import AgentsApi
from runyard.client.artifacts import ArtifactsApi
from runyard.client.hooks import HooksApi
from runyard.client.images import ImagesApi
from runyard.client.operating import OperatingApi
from runyard.client.parts import path
from runyard.client.people import PeopleApi
from runyard.client.secrets import SecretsApi
from runyard.client.sweeps import SweepsApi
from runyard.client.usage import UsageApi
from runyard.domain.errors import NotFound
from runyard.wire import rest
from runyard.wire.rest_tracking import MetricsOut


class Api(
    AgentsApi,
    ArtifactsApi,
    HooksApi,
    ImagesApi,
    PeopleApi,
    SecretsApi,
    SweepsApi,
    UsageApi,
    OperatingApi,
):
    """A connection to a Runyard server.

    Every method raises `runyard.domain.errors.RunyardError`: what the server said, or
    `Unavailable` if it could not be asked.

    Lists are iterators that fetch page after page, as long as somebody goes on reading.
    """

    # -- queues --------------------------------------------------------------------------

    def queues(self, *, entity: str | None = None) -> Iterator[rest.QueueOut]:
        return self._pages("/queues", rest.QueueOut, {"entity": entity})

    def queue(self, entity: str, name: str) -> rest.QueueOut:
        return self._get(path("queues", entity, name), rest.QueueOut)

    def create_queue(self, queue: rest.QueueIn) -> rest.QueueOut:
        return self._post("/queues", rest.QueueOut, queue.model_dump())

    def edit_queue(self, entity: str, name: str, change: rest.QueuePatch) -> rest.QueueOut:
        answer = self.transport.call(
            "PATCH", path("queues", entity, name), body=change.model_dump(exclude_none=True)
        )
        return self._read(rest.QueueOut, answer)

    def delete_queue(self, entity: str, name: str) -> None:
        self.transport.call("DELETE", path("queues", entity, name))

    # -- items and runs ------------------------------------------------------------------

    def submit(
        self,
        entity: str,
        queue: str,
        specs: Sequence[Mapping[str, Any]],
        *,
        dry_run: bool = False,
        minimal: bool = False,
        agent: str | None = None,
    ) -> rest.SubmitOut:
        """Queue all specs or none. Sent again after trouble, they are still queued once.

        `dry_run` stops before anything is stored. `minimal` leaves the resolved specs out of
        the answer. `agent`: only the agent of that name may take them.
        """
        answer = self.transport.call(
            "POST",
            path("queues", entity, queue, "items"),
            params={"dry_run": dry_run or None, "minimal": minimal or None, "agent": agent},
            body={"items": [dict(spec) for spec in specs]},
            idempotent=True,
        )
        return self._read(rest.SubmitOut, answer)

    def items(
        self,
        *,
        entity: str | None = None,
        queue: str | None = None,
        state: str | None = None,
        author: str | None = None,
        limit: int | None = None,
    ) -> Iterator[rest.ItemOut]:
        params = {"entity": entity, "queue": queue, "state": state, "author": author}
        return self._pages("/items", rest.ItemOut, params, limit)

    def item(self, item_id: str) -> rest.ItemDetail:
        return self._get(path("items", item_id), rest.ItemDetail)

    def cancel_item(self, item_id: str) -> rest.ItemOut:
        return self._post(path("items", item_id, "cancel"), rest.ItemOut, None)

    def runs(
        self,
        *,
        entity: str | None = None,
        project: str | None = None,
        state: str | None = None,
        author: str | None = None,
        run_id: str | None = None,
        limit: int | None = None,
    ) -> Iterator[rest.RunOut]:
        params = {
            "entity": entity,
            "project": project,
            "state": state,
            "author": author,
            "name": run_id,
        }
        return self._pages("/runs", rest.RunOut, params, limit)

    def run(self, run: rest.RunRef) -> rest.RunOut:
        return self._get(run_path(run), rest.RunOut)

    def run_metrics(self, run: rest.RunRef) -> MetricsOut:
        """Return the keys that a run has logged with their last values, and its summary."""
        return self._get(run_path(run) + "/metrics", MetricsOut)

    def stop_run(self, run: rest.RunRef, reason: str = "") -> rest.RunOut:
        return self._post(run_path(run) + "/stop", rest.RunOut, {"reason": reason})

    # -- jobs and what they are made of --------------------------------------------------

    def jobs(
        self, *, entity: str | None = None, project: str | None = None
    ) -> Iterator[rest.JobOut]:
        return self._pages("/jobs", rest.JobOut, {"entity": entity, "project": project})

    def job_versions(self, entity: str, project: str, name: str) -> Iterator[rest.JobVersionOut]:
        """Newest first."""
        versions = path("jobs", entity, project, name, "versions")
        return self._pages(versions, rest.JobVersionOut)

    def job_version(
        self, entity: str, project: str, name: str, alias: str = "latest"
    ) -> rest.JobVersionOut:
        versions = path("jobs", entity, project, name, "versions", alias)
        return self._get(versions, rest.JobVersionOut)

    def save_job(self, entity: str, project: str, name: str, job: rest.JobIn) -> rest.JobVersionOut:
        """Save a version; the same content again makes no new one, so repeating is harmless."""
        versions = path("jobs", entity, project, name, "versions")
        body = job.model_dump(exclude_none=True)
        answer = self.transport.call("POST", versions, body=body, idempotent=True)
        return self._read(rest.JobVersionOut, answer)

    def has_blob(self, entity: str, digest: str) -> bool:
        try:
            self.transport.call("HEAD", path("blobs", entity, digest))
        except NotFound:
            return False
        return True

    def put_blob(
        self, entity: str, digest: str, chunks: Iterable[bytes], size: int
    ) -> rest.BlobOut:
        answer = self.transport.upload(path("blobs", entity, digest), chunks, size)
        return self._read(rest.BlobOut, answer)

    # -- agents --------------------------------------------------------------------------

    def agents(self, *, entity: str | None = None) -> Iterator[rest.AgentOut]:
        return self._pages("/agents", rest.AgentOut, {"entity": entity})

    def stop_agent(self, agent_id: str) -> None:
        """Ask it to take nothing more, finish what it runs, and leave."""
        self.transport.call("DELETE", path("agents", agent_id))


def run_path(run: rest.RunRef) -> str:
    return path("runs", run.entity, run.project, run.run_id)
