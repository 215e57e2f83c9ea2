"""The REST API as methods with types. Blocking: for the command line, notebooks and scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from runyard.client.credentials import clean_url
from runyard.client.transport import PATIENCE, Params, Transport
from runyard.domain.errors import Invalid, NotFound, RunyardError
from runyard.wire import rest

M = TypeVar("M", bound=BaseModel)
PAGE = 200


class Api:
    """A connection to a Runyard server.

    Every method raises `runyard.domain.errors.RunyardError`: what the server said, or
    `Unavailable` if it could not be asked.

    Lists are iterators that fetch page after page, as long as somebody goes on reading.
    """

    def __init__(
        self, base_url: str, key: str, *, timeout: float = 30.0, patience: float = PATIENCE
    ) -> None:
        self.transport = Transport(clean_url(base_url), key, timeout=timeout, patience=patience)

    def __repr__(self) -> str:
        return f"Api({self.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def base_url(self) -> str:
        return self.transport.base_url

    def close(self) -> None:
        self.transport.close()

    # -- people --------------------------------------------------------------------------

    def me(self) -> rest.MeOut:
        return self._get("/me", rest.MeOut)

    def users(self) -> Iterator[rest.UserOut]:
        return self._pages("/users", rest.UserOut)

    def create_user(self, name: str, *, is_admin: bool = False) -> rest.UserOut:
        return self._post("/users", rest.UserOut, {"name": name, "is_admin": is_admin})

    def teams(self) -> Iterator[rest.TeamOut]:
        return self._pages("/teams", rest.TeamOut)

    def create_team(self, name: str) -> rest.TeamOut:
        return self._post("/teams", rest.TeamOut, {"name": name})

    def members(self, team: str) -> Iterator[rest.MemberOut]:
        return self._pages(_path("teams", team, "members"), rest.MemberOut)

    def set_member(self, team: str, user: str, role: str) -> rest.MemberOut:
        answer = self.transport.call(
            "PUT", _path("teams", team, "members", user), body={"role": role}
        )
        return self._read(rest.MemberOut, answer)

    def remove_member(self, team: str, user: str) -> None:
        self.transport.call("DELETE", _path("teams", team, "members", user))

    def keys(self, *, user: str | None = None, everybody: bool = False) -> Iterator[rest.KeyOut]:
        return self._pages("/keys", rest.KeyOut, {"user": user, "everybody": everybody or None})

    def create_key(
        self, name: str, *, user: str | None = None, expires_in_days: int | None = None
    ) -> rest.NewKeyOut:
        body = {"name": name, "user": user, "expires_in_days": expires_in_days}
        return self._post("/keys", rest.NewKeyOut, body)

    def revoke_key(self, key_id: str) -> None:
        self.transport.call("DELETE", _path("keys", key_id))

    # -- queues --------------------------------------------------------------------------

    def queues(self, *, entity: str | None = None) -> Iterator[rest.QueueOut]:
        return self._pages("/queues", rest.QueueOut, {"entity": entity})

    def queue(self, entity: str, name: str) -> rest.QueueOut:
        return self._get(_path("queues", entity, name), rest.QueueOut)

    def create_queue(self, queue: rest.QueueIn) -> rest.QueueOut:
        return self._post("/queues", rest.QueueOut, queue.model_dump())

    def edit_queue(self, entity: str, name: str, change: rest.QueuePatch) -> rest.QueueOut:
        answer = self.transport.call(
            "PATCH", _path("queues", entity, name), body=change.model_dump(exclude_none=True)
        )
        return self._read(rest.QueueOut, answer)

    def delete_queue(self, entity: str, name: str) -> None:
        self.transport.call("DELETE", _path("queues", entity, name))

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
            _path("queues", entity, queue, "items"),
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
        return self._get(_path("items", item_id), rest.ItemDetail)

    def cancel_item(self, item_id: str) -> rest.ItemOut:
        return self._post(_path("items", item_id, "cancel"), rest.ItemOut, None)

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

    def stop_run(self, run: rest.RunRef, reason: str = "") -> rest.RunOut:
        return self._post(run_path(run) + "/stop", rest.RunOut, {"reason": reason})

    # -- jobs and what they are made of --------------------------------------------------

    def jobs(
        self, *, entity: str | None = None, project: str | None = None
    ) -> Iterator[rest.JobOut]:
        return self._pages("/jobs", rest.JobOut, {"entity": entity, "project": project})

    def job_versions(self, entity: str, project: str, name: str) -> Iterator[rest.JobVersionOut]:
        """Newest first."""
        path = _path("jobs", entity, project, name, "versions")
        return self._pages(path, rest.JobVersionOut)

    def job_version(
        self, entity: str, project: str, name: str, alias: str = "latest"
    ) -> rest.JobVersionOut:
        path = _path("jobs", entity, project, name, "versions", alias)
        return self._get(path, rest.JobVersionOut)

    def save_job(self, entity: str, project: str, name: str, job: rest.JobIn) -> rest.JobVersionOut:
        """Save a version; the same content again makes no new one, so repeating is harmless."""
        path = _path("jobs", entity, project, name, "versions")
        answer = self.transport.call("POST", path, body=job.model_dump(), idempotent=True)
        return self._read(rest.JobVersionOut, answer)

    def has_blob(self, entity: str, digest: str) -> bool:
        try:
            self.transport.call("HEAD", _path("blobs", entity, digest))
        except NotFound:
            return False
        return True

    def put_blob(
        self, entity: str, digest: str, chunks: Iterable[bytes], size: int
    ) -> rest.BlobOut:
        answer = self.transport.upload(_path("blobs", entity, digest), chunks, size)
        return self._read(rest.BlobOut, answer)

    # -- agents --------------------------------------------------------------------------

    def agents(self, *, entity: str | None = None) -> Iterator[rest.AgentOut]:
        return self._pages("/agents", rest.AgentOut, {"entity": entity})

    def stop_agent(self, agent_id: str) -> None:
        """Ask it to take nothing more, finish what it runs, and leave."""
        self.transport.call("DELETE", _path("agents", agent_id))

    # -- the ways to ask -----------------------------------------------------------

    def _read(self, model: type[M], answer: bytes) -> M:
        try:
            return model.model_validate_json(answer)
        except ValidationError as error:
            raise RunyardError(
                f"{self.base_url} does not answer as a Runyard server does",
                hint="look at the address, and at the server's version: runyard whoami",
            ) from error

    def _get(self, path: str, model: type[M]) -> M:
        return self._read(model, self.transport.call("GET", path))

    def _post(self, path: str, model: type[M], body: Mapping[str, Any] | None) -> M:
        return self._read(model, self.transport.call("POST", path, body=body))

    def _pages(
        self, path: str, model: type[M], params: Params | None = None, limit: int | None = None
    ) -> Iterator[M]:
        asked: dict[str, str | int | bool | None] = dict(params or {})
        page_of = rest.Page[model]  # type: ignore[valid-type]
        left = limit
        while left is None or left > 0:
            asked["limit"] = PAGE if left is None else min(left, PAGE)
            page = self._read(page_of, self.transport.call("GET", path, params=asked))
            yield from page.data
            if page.next is None:
                return
            asked["cursor"] = page.next
            left = None if left is None else left - len(page.data)


def run_path(run: rest.RunRef) -> str:
    return _path("runs", run.entity, run.project, run.run_id)


def _path(*parts: str) -> str:
    """Join names to a path. Whatever is in a name stays inside it.

    Raises:
        Invalid: a name that clients resolve before they send, such as `..`.
    """
    for part in parts:
        if part in ("", ".", ".."):
            raise Invalid(f"{part!r} is not a name")
    return "".join(f"/{quote(part, safe=':@')}" for part in parts)
