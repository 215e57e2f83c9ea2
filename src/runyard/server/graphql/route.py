"""`POST /graphql`: where the tracking client asks and tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from runyard.domain.access import Kind
from runyard.domain.errors import Invalid
from runyard.server.auth import Body, actor_of, opens
from runyard.server.graphql.areas import AREAS
from runyard.server.graphql.context import Parts
from runyard.server.graphql.documents import load_schema
from runyard.server.graphql.execution import Executor
from runyard.server.graphql.scalars import install
from runyard.server.nesting import check_depth
from runyard.server.settings import ServerSettings

_HEADERS: Final = ("x-wandb-username", "x-wandb-user-email", "user-agent")


class _Asked(msgspec.Struct):
    query: str
    variables: dict[str, Any] | None = None
    operationName: str | None = None


class GraphqlRoute:
    def __init__(self, parts: Parts) -> None:
        self._settings = parts.settings
        schema = load_schema()
        install(schema)
        self._executor = Executor(schema, AREAS, parts)
        self._decode = msgspec.json.Decoder(_Asked)

    @opens(Kind.USER, Kind.RUN, body=Body.PROTOCOL, protocol=True)
    async def answer(self, request: Request) -> Response:
        """Execute one document."""
        asked = self._read(await request.body())
        answer = await self._executor.execute(
            actor_of(request.scope),
            asked.query,
            asked.variables or {},
            asked.operationName or None,
            base_url=base_url(request, self._settings),
            headers={name: request.headers[name] for name in _HEADERS if name in request.headers},
        )
        return Response(
            _encoded(answer.body), status_code=answer.status, media_type="application/json"
        )

    def _read(self, body: bytes) -> _Asked:
        try:
            asked = self._decode.decode(body)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise Invalid(f"the body is not a GraphQL request in JSON: {error}") from None
        check_depth(asked.variables or {})
        return asked


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:  # half a character, as in what a program cut text into
        return json.dumps(body).encode()


def base_url(request: Request, settings: ServerSettings) -> str:
    """Return this server's address for links: the configured one, else the one that was asked.

    The Host header was checked already (T4). Something between may rewrite it: that is what
    `public_url` is for.
    """
    if settings.public_url:
        return settings.public_url.rstrip("/")
    url = urlsplit(str(request.base_url))
    return f"{url.scheme}://{url.netloc}"
