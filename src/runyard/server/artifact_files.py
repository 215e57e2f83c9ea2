"""
Content of artifacts by its MD5, where the tracking client looks when a link did not work.

The address says whose content it is, and for nothing else: it is given to whoever may see a version
that holds it, by a new link.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from runyard.domain.access import Kind
from runyard.domain.errors import NotFound
from runyard.server.auth import actor_of, opens
from runyard.server.graphql.context import Parts
from runyard.server.graphql.route import base_url
from runyard.services.artifacts import finding

_IN: Final = "/artifactsV2/{region}/{entity}/{project}/{collection}"
_CONTENT: Final = "{md5}/{name}"
_HEX: Final = frozenset("0123456789abcdef")


class ArtifactFiles:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> Iterator[tuple[str, str, Callable[..., Any]]]:
        """Yield the addresses. The version that brought the content first may be left empty, and
        the one that is downloaded may stand before it."""
        for between in ("{birth}", "", "{artifact}/{birth}", "{artifact}/"):
            yield f"{_IN}/{between}/{_CONTENT}", "GET", self.in_collection
        yield "/artifacts/{entity}/{md5}", "GET", self.of_entity

    @opens(Kind.USER, Kind.RUN, protocol=True)
    async def in_collection(self, request: Request) -> Response:
        """Lead to content that a version in a collection holds."""
        at = request.path_params
        return await self._lead(request, at["name"], at["project"], at["collection"])

    @opens(Kind.USER, Kind.RUN, protocol=True)
    async def of_entity(self, request: Request) -> Response:
        """Lead to content that some version of an entity holds."""
        return await self._lead(request, request.path_params["md5"])

    async def _lead(
        self, request: Request, name: str, project: str | None = None, collection: str | None = None
    ) -> Response:
        entity, md5 = request.path_params["entity"], request.path_params["md5"]
        if len(md5) != 32 or set(md5) - _HEX:
            raise NotFound("this is no content of an artifact: it has no MD5 in hexadecimal")
        owner_id = await self._parts.edge.read(
            actor_of(request.scope),
            lambda call: finding.holder(call, entity, md5, project, collection),
        )
        base = base_url(request, self._parts.settings)
        return RedirectResponse(
            self._parts.storage.get_blob(owner_id, md5, name=name, base=base), status_code=307
        )
