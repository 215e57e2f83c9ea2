"""Whether the server lives, serves, and what it counts; and what it can be asked for."""

from __future__ import annotations

import anyio.to_thread
from fastapi import FastAPI, Response

from runyard import __version__
from runyard.domain.access import Kind
from runyard.domain.errors import Conflict, Unavailable
from runyard.server.auth import opens, public
from runyard.server.edge import Edge
from runyard.server.metrics import Metrics
from runyard.server.paging import Caller
from runyard.server.wakeups import Hub
from runyard.services import queues
from runyard.services.call import Call
from runyard.store import migrate
from runyard.wire import rest

_QUEUES = 1000


def add(app: FastAPI, edge: Edge, hub: Hub, metrics: Metrics) -> None:
    @app.get("/healthz", tags=["server"])
    @public
    async def healthz() -> dict[str, str]:
        """Answer, as long as the process does."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["server"])
    @public
    async def readyz() -> dict[str, str]:
        """Answer with 200 if requests can be served: the database is there and its schema fits."""
        if hub.closing:
            raise Unavailable("the server is leaving")
        try:
            await anyio.to_thread.run_sync(migrate.check, edge.database)
        except Conflict as error:
            raise Unavailable(error.message, hint=error.hint) from error
        return {"status": "ok"}

    @app.get("/api/v1/server", tags=["server"])
    @opens(Kind.USER, Kind.AGENT, Kind.RUN)
    async def server() -> rest.ServerOut:
        """Tell the server's version and kind of database."""
        kind = "postgresql" if edge.database.is_postgres else "sqlite"
        return rest.ServerOut(version=__version__, database=kind)

    @app.get(
        "/metrics",
        tags=["server"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    @opens(Kind.USER)
    async def figures(caller: Caller) -> Response:
        """Tell figures to Prometheus; queues are those that the key's owner may see."""

        def depths(call: Call) -> dict[tuple[str, str], tuple[int, int, int]]:
            found = queues.page(call, None, after="", limit=_QUEUES)
            return {(q.entity, q.name): counts for q, counts in found}

        text = metrics.text(await edge.read(caller, depths))
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/api/v1/openapi.json", include_in_schema=False)
    @public
    async def openapi() -> dict[str, object]:
        return app.openapi()
