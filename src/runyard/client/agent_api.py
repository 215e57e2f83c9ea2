"""
The agent's calls to the server: typed, over one pool of connections, without retries.

Whoever calls decides how long to insist; here a call succeeds, or raises the error that the
server raised, or `Unavailable` when the server could not be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import msgspec

from runyard.client.problems import error_from
from runyard.domain.errors import Unavailable
from runyard.wire.agent import (
    AnyMove,
    AskDoomed,
    Doomed,
    DoomedImages,
    LogChunk,
    Logged,
    Logs,
    LogsDone,
    Moved,
    Moves,
    MovesDone,
    Poll,
    Polled,
    Register,
    Registered,
)
from runyard.wire.health import Check, Checked, Checks

T = TypeVar("T")

_JSON = {"content-type": "application/json"}
_MSGPACK = {"content-type": "application/msgpack"}
_ANSWER_WITHIN = 30.0  # seconds, for everything but a poll, which may hang that much longer
_to_json = msgspec.json.Encoder().encode
_to_msgpack = msgspec.msgpack.Encoder().encode


class AgentApi:
    """One agent's line to its server. `register` comes first: it brings the agent's token."""

    def __init__(
        self, base_url: str, key: str, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._root = f"{base_url}/api/v1"
        self._urls: dict[str, httpx2.URL] = {}  # taking them apart costs more than sending
        self._http = httpx2.AsyncClient(
            headers={"authorization": f"Bearer {key}"},
            timeout=httpx2.Timeout(_ANSWER_WITHIN, connect=10.0),
            limits=httpx2.Limits(max_keepalive_connections=8, keepalive_expiry=60.0),
            transport=transport,
            trust_env=transport is None,
        )
        self._me = ""

    async def register(self, request: Register) -> Registered:
        """Become the process that counts under this name.

        Raises:
            Unauthenticated, Forbidden, Invalid, Unavailable.
        """
        registered = await self._post("/agents", _to_json(request), Registered)
        self._me = f"/agents/{registered.agent_id}"
        self._urls.clear()
        self._http.headers["authorization"] = f"Bearer {registered.token}"
        return registered

    async def poll(self, poll: Poll) -> Polled:
        """Renew what is held and wait up to `poll.wait_s` for news.

        Raises:
            StaleEpoch: another process has this agent's name now.
            Unavailable.
        """
        patience = httpx2.Timeout(poll.wait_s + _ANSWER_WITHIN, connect=10.0)
        return await self._post(f"{self._me}/poll", _to_json(poll), Polled, patience=patience)

    async def move(self, moves: Sequence[AnyMove]) -> list[Moved]:
        """Make the moves in their order, in one transaction; return one answer for each.

        Raises:
            StaleEpoch, Unavailable.
        """
        body = _to_json(Moves(list(moves)))
        return (await self._post(f"{self._me}/moves", body, MovesDone)).results

    async def log(self, chunks: Sequence[LogChunk]) -> list[Logged]:
        """Hand in output; the answers say how much of each log the server has now.

        Raises:
            StaleEpoch, Unavailable.
        """
        body = _to_msgpack(Logs(list(chunks)))
        return (await self._post(f"{self._me}/logs", body, LogsDone, headers=_MSGPACK)).results

    async def check(self, checks: Sequence[Check]) -> Checked:
        """Hand in what was found of this host; the answer says whether the agent is in use.

        Raises:
            StaleEpoch, Unavailable.
        """
        body = _to_json(Checks(checks=list(checks)))
        return await self._post(f"{self._me}/check", body, Checked)

    async def doomed(self, asked: AskDoomed) -> list[Doomed]:
        """Say which images were deleted; return those to delete next, of one place and repository.

        Raises:
            StaleEpoch, Unavailable.
        """
        body = _to_json(asked)
        return (await self._post(f"{self._me}/doomed-images", body, DoomedImages)).images

    async def blob(self, item_id: str, digest: str, into: Path) -> None:
        """Write an archive or patch of an item that this agent holds to the file `into`.

        Raises:
            NotFound: the item names no such blob, or is not held.
            Unavailable.
        """
        try:
            url = f"{self._root}{self._me}/blobs/{item_id}/{digest}"
            async with self._http.stream("GET", url) as response:
                if not response.is_success:
                    raise _error(response, await response.aread())
                with into.open("wb") as file:
                    async for piece in response.aiter_bytes(1 << 18):
                        file.write(piece)
        except httpx2.RequestError as error:
            raise _unreachable(error) from error

    async def retire(self) -> None:
        """Say goodbye: leases go back, claims stay for the next process of this name.

        Raises:
            Unavailable.
        """
        try:
            response = await self._http.delete(self._root + self._me, timeout=5.0)
        except httpx2.RequestError as error:
            raise _unreachable(error) from error
        if not response.is_success:
            raise _error(response, response.content)

    async def close(self) -> None:
        await self._http.aclose()

    async def _post(
        self,
        path: str,
        body: bytes,
        answer: type[T],
        *,
        headers: dict[str, str] = _JSON,
        patience: httpx2.Timeout | None = None,
    ) -> T:
        more: dict[str, Any] = {"timeout": patience} if patience else {}
        if path not in self._urls:
            self._urls[path] = httpx2.URL(self._root + path)
        try:
            response = await self._http.post(
                self._urls[path], content=body, headers=headers, **more
            )
        except httpx2.RequestError as error:
            raise _unreachable(error) from error
        if not response.is_success:
            raise _error(response, response.content)
        is_json = response.headers.get("content-type", "").startswith("application/json")
        decode = msgspec.json.decode if is_json else msgspec.msgpack.decode
        try:
            return decode(response.content, type=answer)
        except msgspec.MsgspecError as error:
            # A proxy's page, or a server of another version: nothing was decided by it.
            raise Unavailable(f"{path}: the answer was not understood: {error}") from error


def _error(response: httpx2.Response, body: bytes) -> Exception:
    error = error_from(response.status_code, body, response.headers.get("retry-after"))
    if response.status_code >= 500 and not isinstance(error, Unavailable):
        # The server's own fault, and it may be gone in a moment: keep what we have, ask again.
        return Unavailable(error.message)
    return error


def _unreachable(error: Exception) -> Unavailable:
    what = str(error) or type(error).__name__
    return Unavailable(f"cannot reach the server: {what}", retry_after=timedelta(seconds=1))
