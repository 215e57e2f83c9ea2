"""Whether the server lives, serves, and what it counts; and what it can be asked for."""

from __future__ import annotations

from collections.abc import Callable

import anyio.to_thread
from fastapi import FastAPI, Response

from runyard import __version__
from runyard.domain.access import Kind
from runyard.domain.errors import Conflict, Unavailable
from runyard.server.auth import opens, public
from runyard.server.edge import Edge
from runyard.server.metrics import Visible
from runyard.server.monitoring import Monitor
from runyard.server.paging import Caller
from runyard.server.wakeups import Hub
from runyard.services.call import Call
from runyard.store import gauges, migrate
from runyard.wire import rest


def add(app: FastAPI, edge: Edge, hub: Hub, monitor: Monitor) -> None:
    @app.get("/healthz", tags=["server"])
    @public
    async def healthz() -> dict[str, str]:
        """Answer, as long as the process does."""
        return {"status": "ok"}

    @app.get("/ready", include_in_schema=False)
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
    @opens(Kind.USER, Kind.RUN)
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

        standing = await monitor.gauges.standing()
        may_see = await edge.read(caller, _sight)
        more = [monitor.metrics.queues.registry, *([standing] if standing else [])]
        text = monitor.metrics.text(*(Visible(each, may_see) for each in more))
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/api/v1/openapi.json", include_in_schema=False)
    @public
    async def openapi() -> dict[str, object]:
        return app.openapi()


def _sight(call: Call) -> Callable[[str, str | None], bool]:
    """Return what tells whether the caller may know of an entity's queue, or of its agents."""
    owners, queues = call.visible(), call.actor.queues
    if owners is None:
        return lambda _entity, _queue: True
    names = gauges.names(call.tx, owners)
    return lambda entity, queue: (
        entity in names and (queues is None or (queue is not None and queue in queues))
    )
