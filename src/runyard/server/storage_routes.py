"""
Files that we serve ourselves: where the links of `LocalStore` lead.

The link is the credential. What people upload is theirs to name and to fill, so no answer is ever
a page of ours: it is an attachment, in a sandbox, whatever its type. Any site may read what a link
opens (tools in a browser do); only here, and only with the link.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from email.utils import formatdate
from functools import partial
from typing import BinaryIO, Final

import anyio.to_thread
from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from runyard.domain.errors import NotFound, RunyardError
from runyard.server import problems
from runyard.server.auth import Body, signed
from runyard.server.edge import SERVER, Edge
from runyard.server.storage import Storage
from runyard.services.call import Call
from runyard.store.objects.base import run_file_key
from runyard.store.objects.content import attachment
from runyard.store.objects.links import PREFIX, Deed, Grant
from runyard.store.objects.local import Incoming, LocalStore
from runyard.store.tracking import files

_AT_ONCE: Final = 1 << 20  # bytes gathered before a thread hashes and writes them, or read
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_SHARED: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag, Content-Length, Content-Range, Content-Disposition",
}
_PREFLIGHT: Final = {
    **_SHARED,
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "Range",
    "Access-Control-Max-Age": "3600",
}
_HARMLESS: Final = {
    **_SHARED,
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "Accept-Ranges": "bytes",
}


def add(app: FastAPI, edge: Edge, storage: Storage) -> None:
    """Add the routes, if files lie with us and not in an outside store."""
    if isinstance(storage.store, LocalStore):
        routes = _Routes(edge, storage.store)
        methods = ["PUT", "GET", "HEAD", "OPTIONS"]
        path = PREFIX + "/{token}/{name:path}"
        app.router.routes.append(Route(path, routes.answer, methods=methods))


class _Routes:
    def __init__(self, edge: Edge, store: LocalStore) -> None:
        self._edge, self._store = edge, store

    @signed(body=Body.FILE)
    async def answer(self, request: Request) -> Response:
        """Take or give the file of a link."""
        try:
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=_PREFLIGHT)
            if request.method == "PUT":
                return await self._put(request)
            return await self._get(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except RunyardError as error:
            answer = problems.response(error, request.scope["runyard.request_id"])
            answer.headers.update(_SHARED)
            return answer

    async def _put(self, request: Request) -> Response:
        name = request.path_params["name"]
        grant = self._store.signer.read(request.path_params["token"], name, Deed.PUT, Deed.PART)
        incoming = await _take(request, partial(self._incoming, grant))
        if grant.deed is Deed.PUT and grant.key.startswith("runs/"):
            await self._note(grant, name, incoming)
        return Response(status_code=200, headers={**_SHARED, "ETag": f'"{incoming.md5}"'})

    def _incoming(self, grant: Grant) -> Incoming:
        if grant.deed is Deed.PART:
            return self._store.incoming_part(grant)
        return self._store.incoming(grant.key, grant.md5)

    async def _note(self, grant: Grant, name: str, incoming: Incoming) -> None:
        """Raises: NotFound: the file was deleted meanwhile, and its bytes are now."""
        run_id = grant.key.split("/")[1]

        def note(call: Call) -> bool:
            is_known = files.note(
                call.tx, run_id, name, size=incoming.size, md5=incoming.md5, now=call.now
            )
            # The row is held now. Of two who bring a file at once, the one counts whose bytes are
            # there: it has noted them before us, or is about to.
            if is_known and not incoming.is_in_place():
                raise _Replaced
            return is_known

        try:
            is_named = grant.key == run_file_key(run_id, name)
            is_known = is_named and await self._edge.write(SERVER, note)
        except _Replaced:
            return
        if not is_known:
            await anyio.to_thread.run_sync(self._store.delete, [grant.key])
            raise NotFound("this file was deleted after the link was made")

    async def _get(self, request: Request) -> Response:
        name = request.path_params["name"]
        grant = self._store.signer.read(request.path_params["token"], name, Deed.GET)
        wanted = request.headers.get("range")
        file, size, modified, data = await anyio.to_thread.run_sync(
            self._opened, grant.key, wanted is not None
        )
        how, kind = attachment(name)
        headers = {
            **_HARMLESS,
            "Content-Type": kind,
            "Content-Disposition": how,
            "Last-Modified": formatdate(modified, usegmt=True),
        }
        if data is not None and request.method == "GET":
            return Response(data, headers=headers)
        start, end, status = _part(wanted, size)
        if status != 200:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        if status == 416:
            headers["Content-Range"] = f"bytes */{size}"
        headers["Content-Length"] = str(end - start)
        if request.method == "HEAD" or status == 416:
            await anyio.to_thread.run_sync(file.close)
            return Response(status_code=status, headers=headers)
        return StreamingResponse(_pieces(file, start, end), status, headers)

    def _opened(self, key: str, in_part: bool) -> tuple[BinaryIO, int, float, bytes | None]:
        """Return an open file, its size and time; a small one whole, and closed, in one go."""
        file = self._store.open(key)
        try:
            found = os.fstat(file.fileno())
            data = None
            if found.st_size <= _AT_ONCE and not in_part:
                data = file.read()
                file.close()
        except BaseException:
            file.close()
            raise
        return file, found.st_size, found.st_mtime, data


class _Replaced(Exception):
    """The file has other bytes by now than those that were to be noted; nothing was."""


async def _take(request: Request, begin: Callable[[], Incoming]) -> Incoming:
    """Put what comes in its place; a small file in one go of a thread."""
    incoming: Incoming | None = None
    gathered = bytearray()
    try:
        async for piece in request.stream():
            gathered += piece
            if len(gathered) >= _AT_ONCE:
                if incoming is None:
                    incoming = await anyio.to_thread.run_sync(begin)
                await anyio.to_thread.run_sync(incoming.write, bytes(gathered))
                gathered.clear()
        return await anyio.to_thread.run_sync(_finish, incoming, begin, bytes(gathered))
    except BaseException:
        if incoming is not None:
            incoming.close()
        raise


def _finish(incoming: Incoming | None, begin: Callable[[], Incoming], rest: bytes) -> Incoming:
    with incoming or begin() as open_:
        open_.write(rest)
        open_.finish()
    return open_


async def _pieces(file: BinaryIO, start: int, end: int) -> AsyncIterator[bytes]:
    read: Callable[[int], bytes] = file.read
    with closing(file):
        await anyio.to_thread.run_sync(file.seek, start)
        while start < end:
            piece = await anyio.to_thread.run_sync(read, min(_AT_ONCE, end - start))
            if not piece:
                return
            start += len(piece)
            yield piece


def _part(wanted: str | None, size: int) -> tuple[int, int, int]:
    """Return from where to where (exclusive), and the status: 200 where no one range is asked."""
    found = _RANGE.fullmatch(wanted.replace(" ", "")) if wanted else None
    if found is None or not (found[1] or found[2]):
        return 0, size, 200
    if not found[1]:  # the last so many bytes
        start, end = max(0, size - int(found[2])), size
    else:
        start = int(found[1])
        end = min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < start:
            return 0, size, 200
    return (0, 0, 416) if start >= size else (start, end, 206)
