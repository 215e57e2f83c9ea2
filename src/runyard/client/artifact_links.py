"""
The files of an artifact, asked for with the token of the run that will use it.

So nothing is fetched for a job that the job could not have fetched itself.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import httpx2
import msgspec

from runyard.client.problems import error_from
from runyard.domain.artifact_uses import Use
from runyard.domain.errors import NotFound, RunyardError, Unavailable

_PAGE: Final = 500  # files that are asked for at once
_PIECE: Final = 1 << 18
_FIELDS: Final = """
  digestAlgorithm
  files(first: $first, after: $after) {
    pageInfo { hasNextPage endCursor }
    edges { node { digest sizeBytes storagePath directUrl } }
  }
"""
_BY_ID: Final = (
    "query($id: ID!, $first: Int!, $after: String) { artifact(id: $id) {" + _FIELDS + "} }"
)
_BY_NAME: Final = (
    "query($entity: String!, $project: String!, $name: String!, $first: Int!, $after: String) {"
    " project(entityName: $entity, name: $project) { artifact(name: $name) {" + _FIELDS + "} } }"
)


@dataclass(frozen=True, slots=True)
class Link:
    """A file of an artifact: its MD5 in hex, its size, and where it can be had for a while."""

    md5: str
    size: int
    url: str


class ArtifactLinks:
    """A connection for one run. Close it, or use it in a `with` block."""

    def __init__(
        self, base_url: str, token: str, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._url, self._token = f"{base_url}/graphql", token
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(60.0, connect=10.0),
            transport=transport,
            trust_env=transport is None,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def files(self, use: Use) -> AsyncIterator[Link]:
        """Yield the files that the server has of an artifact: not what lies elsewhere, nor what
        is named by another digest than the tracking client's usual one.

        Raises:
            RunyardError: no such artifact for this run, or the server does not tell.
        """
        after: str | None = None
        while True:
            found = await self._ask(use, after)
            if found.get("digestAlgorithm") != "MANIFEST_MD5":
                return
            files = found["files"]
            for edge in files["edges"]:
                if link := _link(edge["node"]):
                    yield link
            if not files["pageInfo"]["hasNextPage"]:
                return
            after = files["pageInfo"]["endCursor"]

    async def download(self, file: Link, write: Callable[[bytes], object]) -> None:
        """Hand a file's content to `write`, piece by piece.

        Raises:
            RunyardError: it cannot be had, or what came is not what was logged.
        """
        digest, left = hashlib.md5(usedforsecurity=False), file.size
        as_stored = {"accept-encoding": "identity"}  # and no key: the link is one
        try:
            async with self._http.stream("GET", file.url, headers=as_stored) as response:
                if not response.is_success:
                    raise RunyardError(f"its link answered {response.status_code}")
                async for piece in response.aiter_bytes(_PIECE):
                    left -= len(piece)
                    if left < 0:
                        break
                    digest.update(piece)
                    write(piece)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            # Not in the error's own words, which may have the link and its signature.
            raise Unavailable(f"its link cannot be followed: {type(error).__name__}") from error
        if left != 0 or digest.hexdigest() != file.md5:
            raise RunyardError("what came is not what was logged")

    async def _ask(self, use: Use, after: str | None) -> Mapping[str, Any]:
        named = {"entity": use.entity, "project": use.project, "name": use.name}
        body = {
            "query": _BY_ID if use.id else _BY_NAME,
            "variables": {
                **({"id": use.id} if use.id else named), "first": _PAGE, "after": after,
            },
        }  # fmt: skip
        headers = {"authorization": f"Bearer {self._token}"}
        try:
            response = await self._http.post(self._url, json=body, headers=headers)
        except httpx2.HTTPError as error:
            raise Unavailable(f"cannot reach the server: {type(error).__name__}") from error
        if not response.is_success:
            raise error_from(response.status_code, response.content)
        try:
            data = msgspec.json.decode(response.content).get("data") or {}
            found = data.get("artifact") if use.id else (data.get("project") or {}).get("artifact")
        except (msgspec.DecodeError, AttributeError) as error:
            raise RunyardError("the server does not answer as a Runyard server does") from error
        if not found:
            raise NotFound("there is no such artifact that this run may see")
        return dict(found)


def _link(node: Mapping[str, Any]) -> Link | None:
    if not node or node["storagePath"] is None:
        return None
    try:
        md5 = base64.b64decode(node["digest"] or "", validate=True)
    except binascii.Error:
        return None
    return Link(md5.hex(), int(node["sizeBytes"]), node["directUrl"]) if len(md5) == 16 else None
