"""Routes of output: read from a byte on, and followed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Final

from fastapi import FastAPI, Query, Request
from starlette.responses import Response

from runyard.domain.access import Kind
from runyard.server.auth import opens
from runyard.server.logs import Log, LogName, StageName, read
from runyard.server.streams import Follower, Named, Stream, Watch
from runyard.services import runs

Offset = Annotated[int, Query(ge=0, le=2**62, description="First byte to return.")]
MostBytes = Annotated[int | None, Query(ge=1, description="Most bytes to return; default: all.")]
Follow = Annotated[bool, Query(description="Wait for more, until the run has ended or is silent.")]

LOG_SILENCE: Final = 30.0  # seconds: a silent log ends, since text has no comments; ask again


def add(app: FastAPI, follower: Follower) -> None:
    @app.get(
        "/api/v1/runs/{entity}/{project}/{run}/logs",
        tags=["runs"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    @opens(Kind.USER, Kind.RUN, lasting=True)
    async def read_log(
        entity: Named,
        project: Named,
        run: Named,
        request: Request,
        offset: Offset = 0,
        limit_bytes: MostBytes = None,
        follow: Follow = False,
        stage: StageName = "",
    ) -> Response:
        """Return output from a byte on. `X-Runyard-Log-Size` is how much there was at the start.

        A stage's output is followed until the program runs, or the run has ended.
        """
        watch = follower.watch(request)
        log = LogName((entity, project, run), stage)
        return await _log_stream(follower, watch, log, offset, limit_bytes, follow=follow)

    @app.get(
        "/api/v1/items/{item_id}/logs",
        tags=["items"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    @opens(Kind.USER, lasting=True)
    async def read_item_log(
        item_id: Named,
        request: Request,
        offset: Offset = 0,
        limit_bytes: MostBytes = None,
        follow: Follow = False,
        stage: StageName = "",
    ) -> Response:
        """Return output of an item's run, as the run's own route does."""
        watch = follower.watch(request)
        place = await watch.look(lambda call: runs.item_place(call, item_id))
        log = LogName(place, stage)
        return await _log_stream(follower, watch, log, offset, limit_bytes, follow=follow)


async def _log_stream(
    follower: Follower,
    watch: Watch,
    name: LogName,
    offset: int,
    limit_bytes: int | None,
    *,
    follow: bool,
) -> Stream:
    first = await watch.look(lambda call: read(call, name, offset))
    end = None if limit_bytes is None else offset + limit_bytes
    pieces = _log_pieces(follower, watch, name, first, offset, end, follow=follow)
    headers = {"X-Runyard-Log-Size": str(first.size)}
    return Stream(follower, watch.actor, pieces, "text/plain; charset=utf-8", headers)


async def _log_pieces(
    follower: Follower,
    watch: Watch,
    name: LogName,
    log: Log,
    offset: int,
    end: int | None,
    *,
    follow: bool,
) -> AsyncIterator[bytes]:
    with follower.hub.bell([f"run:{log.run}"]) as bell:
        while True:
            data = log.data if end is None else log.data[: end - offset]
            if data:
                offset += len(data)
                yield data
            elif not follow or log.is_over or not await watch.rest(bell, LOG_SILENCE):
                return
            if end is not None and offset >= end:
                return
            log = await watch.look(partial(read, name=name, offset=offset))
