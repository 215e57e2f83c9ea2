"""`POST /files/{entity}/{project}/{run}/file_stream`: what a run's program tells while it runs."""

from __future__ import annotations

import zlib
from functools import partial
from typing import Any, Final

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from runyard.domain.access import Kind
from runyard.domain.errors import Invalid, TooMuch
from runyard.server.auth import Body, actor_of, opens
from runyard.server.edge import Edge
from runyard.server.settings import ServerSettings
from runyard.server.storage import Storage
from runyard.services.tracking import streaming
from runyard.services.tracking.streaming import Limits, Said

_LARGE: Final = 64 << 10  # bytes that take long enough to read to be worth a thread
_MOST_UPLOADED: Final = 10_000  # names


class Unsupported(Invalid):
    """The body is in a form that this route does not read."""

    status = 415
    code = "unsupported"


class _Lines(msgspec.Struct):
    offset: int | None = None
    content: list[str] | None = None


class _Files(msgspec.Struct):
    history: _Lines | None = msgspec.field(name="wandb-history.jsonl", default=None)
    events: _Lines | None = msgspec.field(name="wandb-events.jsonl", default=None)
    summary: _Lines | None = msgspec.field(name="wandb-summary.json", default=None)
    output: _Lines | None = msgspec.field(name="output.log", default=None)


class _Body(msgspec.Struct):
    files: _Files | None = None
    uploaded: list[str] | None = None
    preempting: bool | None = None
    complete: bool | None = None
    exitcode: int | None = None


class FileStream:
    def __init__(self, edge: Edge, storage: Storage, settings: ServerSettings) -> None:
        self._edge, self._storage = edge, storage
        self._limits = Limits(rows=settings.max_history_bytes, console=settings.max_log_bytes)
        self._most = settings.max_protocol_bytes
        self._decode = msgspec.json.Decoder(_Body).decode

    @opens(Kind.USER, Kind.RUN, body=Body.PROTOCOL, protocol=True)
    async def take(self, request: Request) -> Response:
        """Keep lines of a run's history, system metrics and console, and what else is told."""
        form = request.headers.get("content-type", "application/json").partition(";")[0].strip()
        if form.lower() != "application/json":
            raise Unsupported(f"the body is {form[:100]!r}, which is not read here; send JSON")
        packed = request.headers.get("content-encoding", "identity").lower()
        read = partial(self._read, await request.body(), packed)
        large = len(read.args[0]) > _LARGE
        said = await anyio.to_thread.run_sync(read) if large else read()
        names = request.path_params
        entity, project, run = names["entity"], names["project"], names["run"]
        taken = await self._edge.write(
            actor_of(request.scope),
            lambda call: streaming.take(call, entity, project, run, said, self._limits),
        )
        if taken.uploaded:
            await anyio.to_thread.run_sync(
                self._storage.settle, self._edge, taken.run_pk, taken.uploaded
            )
        told: dict[str, Any] = {"exitcode": said.exit_code, "limits": {}, "stopped": taken.stopped}
        return Response(msgspec.json.encode(told), media_type="application/json")

    def _read(self, body: bytes, packed: str) -> Said:
        if packed == "gzip":
            body = _inflated(body, self._most)
        elif packed != "identity":
            raise Unsupported(f"the body is packed as {packed[:100]!r}; send it as gzip or plain")
        told = self._told(body) if body else _Body()
        uploaded = told.uploaded or []
        if len(uploaded) > _MOST_UPLOADED:
            raise Invalid(f"uploaded: more than {_MOST_UPLOADED} names")
        files = told.files or _Files()
        summary = files.summary.content if files.summary else None
        return streaming.said(
            history=_part(files.history),
            events=_part(files.events),
            console=_part(files.output),
            summary=summary[-1] if summary else None,
            uploaded=uploaded,
            preempting=bool(told.preempting),
            exit_code=_exit_code(told.exitcode or 0) if told.complete else None,
        )

    def _told(self, body: bytes) -> _Body:
        try:
            return self._decode(body)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise Invalid(f"the body is no request of a file stream: {error}") from None


def _part(lines: _Lines | None) -> tuple[int, list[str]] | None:
    if lines is None or not lines.content:
        return None
    return lines.offset or 0, lines.content


def _exit_code(code: int) -> int:
    """Return an exit code that fits; Windows tells negative ones as large numbers."""
    signed = code - 2**32 if 2**31 <= code < 2**32 else code
    if not -(2**31) <= signed < 2**31:
        raise Invalid(f"exitcode: {code} is none that a program can have")
    return signed


def _inflated(body: bytes, most: int) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    try:
        data = stream.decompress(body, most + 1)
    except zlib.error as error:
        raise Invalid(f"the body is not gzip: {error}") from None
    if len(data) > most:
        raise TooMuch(f"the body is larger than {most} bytes when it is unpacked")
    if not stream.eof:
        raise Invalid("the body is not gzip: it ends too early")
    return data
