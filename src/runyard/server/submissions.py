"""
Submitting over HTTP: a batch is decoded once, checked by the services, and answered by bytes.

A plain route and msgspec, since a submission of a thousand is ordinary here. The answer is
kept with the Idempotency-Key in the transaction that queued the items, so a request that is
sent again after trouble is answered as the first one was.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from runyard.domain.access import Actor, Kind
from runyard.domain.errors import Invalid, Violation
from runyard.server.auth import actor_of, opens
from runyard.server.edge import Edge
from runyard.server.metrics import Metrics
from runyard.server.nesting import check_depth
from runyard.services import submitting
from runyard.services.call import Call
from runyard.services.submitting import Submitted
from runyard.store import idempotency

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_MOST: Final = 5000


class Submit(msgspec.Struct, forbid_unknown_fields=True):
    """Launch specs, all queued or none. Keys as in the docs, "Launch spec"."""

    items: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1, max_length=_MOST)]


class _DryRun(Exception):
    """Carries the answer out of a transaction that must leave nothing."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer


class Submissions:
    def __init__(self, edge: Edge, metrics: Metrics) -> None:
        self._edge, self._metrics = edge, metrics
        self._decode = msgspec.json.Decoder(Submit).decode

    @opens(Kind.USER)
    async def submit(self, request: Request) -> Response:
        """Queue one item for each launch spec, or none of them."""
        actor, query = actor_of(request.scope), request.query_params
        body = await request.body()
        specs = self._read(body)
        dry_run = _flag(query.get("dry_run"), "dry_run")
        asked = _Asked(
            entity=request.path_params["entity"],
            queue=request.path_params["queue"],
            specs=specs,
            agent=query.get("agent"),
            minimal=_flag(query.get("minimal"), "minimal"),
            key=_key(request),
            digest=hashlib.sha256(f"{request.url.path}?{query}\n".encode() + body).hexdigest(),
        )
        if dry_run:
            return _json(await self._rehearse(actor, asked), 200)
        answer, replayed = await self._edge.write(actor, asked.submit)
        if replayed:
            return _json(answer, 201, {"Idempotent-Replay": "true"})
        self._metrics.submitted.inc(len(specs))
        return _json(answer, 201)

    def _read(self, body: bytes) -> list[dict[str, Any]]:
        try:
            specs = self._decode(body).items
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at `$")
            where = path.rstrip("`").lstrip(".") or "items"
            raise Invalid(
                f"{where}: {message}",
                hint='the body is {"items": [SPEC, …]}, with 1 to 5000 launch specs',
                violations=[Violation(where, message)],
            ) from None
        except msgspec.MsgspecError as error:
            raise Invalid(f"the body is not JSON: {error}") from None
        except RecursionError:
            raise Invalid("the body is nested too deep") from None
        check_depth(*specs)
        return specs

    async def _rehearse(self, actor: Actor, asked: _Asked) -> bytes:
        def work(call: Call) -> None:
            # All the way, then back: what submitting makes on its way must not stay either.
            raise _DryRun(asked.answer(asked.queued(call, dry_run=True), dry_run=True))

        try:
            await self._edge.write(actor, work)
        except _DryRun as done:
            return done.answer
        raise AssertionError("unreachable")


class _Asked(msgspec.Struct, frozen=True):
    entity: str
    queue: str
    specs: list[dict[str, Any]]
    agent: str | None
    minimal: bool
    key: str | None
    digest: str

    def submit(self, call: Call) -> tuple[bytes, bool]:
        """Return the answer, and whether it was given before."""
        user = call.actor.user_id
        if self.key is not None:
            known = idempotency.answer(call.tx, user, self.key, self.digest)
            if known is not None:
                return known.encode(), True
        answer = self.answer(self.queued(call, dry_run=False), dry_run=False)
        if self.key is not None:
            idempotency.remember(call.tx, user, self.key, self.digest, answer.decode(), call.now)
        return answer, False

    def queued(self, call: Call, *, dry_run: bool) -> list[Submitted]:
        return submitting.submit(
            call, self.entity, self.queue, self.specs, pinned_agent=self.agent, dry_run=dry_run
        )

    def answer(self, submitted: list[Submitted], *, dry_run: bool) -> bytes:
        return msgspec.json.encode(
            {"items": [self._shape(s) for s in submitted], "dry_run": dry_run}
        )

    def _shape(self, submitted: Submitted) -> dict[str, Any]:
        spec = submitted.spec
        run = {name: spec[name] for name in ("entity", "project", "run_id", "name")}
        return {
            "id": submitted.id,
            "run": run,
            "spec": None if self.minimal else spec,
            "warnings": submitted.warnings,
        }


def _json(body: bytes, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, "application/json")


def _flag(text: str | None, name: str) -> bool:
    if text in (None, "false", "0"):
        return False
    if text in ("", "true", "1"):
        return True
    raise Invalid(f"{name}: {text!r} is neither true nor false")


def _key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise Invalid("Idempotency-Key: 1 to 255 printable characters without spaces")
    return key
