"""
The server, put together: the one place where its parts meet.

    Outermost ─▶ Guard ─▶ Gate ─▶ BodyLimit ─▶ routes ─▶ Edge ─▶ services, one transaction each
                                                 │
                                     Hub ◀── announced, after each commit
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from runyard import __version__
from runyard.server import (
    log_routes,
    openapi,
    probes,
    problems,
    protocol_routes,
    rest_agents,
    rest_alerts,
    rest_artifacts,
    rest_audit,
    rest_hooks,
    rest_images,
    rest_invitations,
    rest_jobs,
    rest_login,
    rest_operating,
    rest_people,
    rest_queues,
    rest_runs,
    rest_secrets,
    rest_sweeps,
    rest_teams,
    rest_tracking,
    rest_usage,
    sealing,
    starting,
    storage_routes,
    streams,
)
from runyard.server.agent_routes import AgentRoutes
from runyard.server.artifact_files import ArtifactFiles
from runyard.server.auth import Door, Gate, Keys, inventory
from runyard.server.edge import SERVER, Edge, utc_now
from runyard.server.file_stream import FileStream
from runyard.server.garbage import EVERY, Collector
from runyard.server.graphql.context import Parts
from runyard.server.graphql.route import GraphqlRoute
from runyard.server.guard import BodyLimit, Guard, Outermost
from runyard.server.job_mirror import EVERY_S, JobMirror
from runyard.server.metrics import Metrics
from runyard.server.monitoring import Monitor
from runyard.server.notifying import create_notifier
from runyard.server.presence import FLUSH_EVERY, Presence
from runyard.server.settings import ServerSettings
from runyard.server.storage import Storage, open_store
from runyard.server.submissions import Submissions
from runyard.server.sweeper import Sweeper, every, note_life
from runyard.server.testing_routes import TestingRoutes
from runyard.server.wakeups import Hub
from runyard.store.db import Database
from runyard.store.files import Files
from runyard.store.notify import Listener


class Server:
    """An ASGI application, and the parts that whoever runs it needs in hand."""

    def __init__(
        self,
        settings: ServerSettings,
        database: Database,
        *,
        clock: Callable[[], datetime],
        say: Callable[[str], None],
    ) -> None:
        assert settings.files_dir is not None
        self.settings, self.database, self._say = settings, database, say
        self.hub = Hub()
        self.metrics = Metrics(most_queues=settings.metrics_queues)
        self.sealer = sealing.sealer(settings)
        self.edge = Edge(database, self.metrics, clock=clock, sealer=self.sealer)
        self.keys = Keys(self.edge)
        self.presence = Presence(self.edge)
        self.sweeper = Sweeper(self.edge, self.metrics, timedelta(seconds=settings.silence_s))
        self.files = Files(settings.files_dir)
        self.storage = Storage(open_store(settings, clock), settings)
        self.parts = Parts(self.edge, self.storage, settings)
        self.job_mirror = JobMirror(self.edge, self.storage.store, self.files)
        self.collector = Collector(self.edge, self.storage, self.metrics, settings)
        self.notifier = create_notifier(self.edge, self.metrics, settings)
        self.monitor = Monitor(self.edge, self.hub, self.metrics, settings)
        self.api = self._routes()
        self.doors = inventory(self.api.router.routes)
        self._app = self._wrapped(self.api, self.doors)
        self.about_to_answer: Callable[[], None] = lambda: None
        database.announced = self._announced

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def _routes(self) -> FastAPI:
        app = FastAPI(
            title="Runyard",
            version=__version__,
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            lifespan=lambda _: self._life(),
        )
        problems.install(app)
        openapi.install(app)
        for path, method, endpoint in self._hot():
            app.router.routes.append(Route(path, endpoint, methods=[method]))
        storage_routes.add(app, self.edge, self.storage)
        rest_people.add(app, self.edge)
        rest_login.add(app, self.edge, self.settings)
        rest_teams.add(app, self.edge)
        rest_invitations.add(app, self.edge)
        rest_queues.add(app, self.edge)
        rest_operating.add(app, self.edge)
        rest_runs.add(app, self.edge)
        rest_sweeps.add(app, self.edge)
        rest_secrets.add(app, self.edge)
        rest_jobs.add(app, self.edge, self.files, self.settings, self.job_mirror)
        rest_agents.add(app, self.edge)
        rest_images.add(app, self.edge)
        rest_artifacts.add(app, self.edge, self.storage, self.settings)
        rest_tracking.add(app, self.edge)
        rest_alerts.add(app, self.edge)
        rest_usage.add(app, self.edge)
        rest_hooks.add(app, self.edge, self.notifier)
        follower = streams.Follower(
            self.edge, self.hub, self.keys, self.metrics, most=self.settings.max_streams
        )
        streams.add(app, follower)
        log_routes.add(app, follower)
        rest_audit.add(app, follower)
        probes.add(app, self.edge, self.hub, self.monitor)
        if self.settings.testing_switch:
            app.router.routes += TestingRoutes(self.edge).routes()
        app.router.routes += protocol_routes.routes()
        return app

    def _hot(self) -> list[tuple[str, str, Callable[..., Any]]]:
        agents = AgentRoutes(
            self.edge, self.hub, self.presence, self.metrics, self.files, self.settings
        )
        submissions = Submissions(self.edge, self.metrics)
        stream = FileStream(self.edge, self.storage, self.settings)
        one = "/api/v1/agents/{agent_id}"
        return [
            (f"{one}/poll", "POST", agents.poll),
            (f"{one}/moves", "POST", agents.moves),
            (f"{one}/logs", "POST", agents.logs),
            (f"{one}/check", "POST", agents.check),
            (f"{one}/doomed-images", "POST", agents.doomed),
            (f"{one}/blobs/{{item_id}}/{{digest}}", "GET", agents.blob),
            (one, "DELETE", agents.leave),
            ("/api/v1/agents", "POST", agents.register),
            ("/graphql", "POST", GraphqlRoute(self.parts).answer),
            ("/files/{entity}/{project}/{run}/file_stream", "POST", stream.take),
            *ArtifactFiles(self.parts).routes(),
            ("/api/v1/queues/{entity}/{queue}/items", "POST", submissions.submit),
        ]

    def _wrapped(self, app: FastAPI, doors: Sequence[tuple[Route, Door]]) -> ASGIApp:
        gate = Gate(BodyLimit(app, self.settings), doors, self.keys)
        outer = Outermost(Guard(gate, self.settings), self.metrics)

        async def lifespan_aside(scope: Scope, receive: Receive, send: Send) -> None:
            await (app if scope["type"] == "lifespan" else outer)(scope, receive, send)

        return lifespan_aside

    @contextlib.asynccontextmanager
    async def _life(self) -> AsyncIterator[None]:
        self.hub.start()
        await anyio.to_thread.run_sync(starting.prepare, self.database)
        await anyio.to_thread.run_sync(sealing.warm, self.sealer)
        kept = starting.kept_key(self.settings)
        secret, is_first = await self.edge.write(
            SERVER, lambda call: starting.own_key(call, self.settings, kept)
        )
        await self.storage.unlock(self.edge)
        if told := starting.hand_over(self.settings, secret, is_first=is_first):
            self._say(told)
        await self.monitor.begin()
        listener = self._listener()
        tasks = [
            asyncio.create_task(every(FLUSH_EVERY, lambda: note_life(self.presence, self.keys))),
            asyncio.create_task(every(self.settings.sweep_interval_s, self.sweeper.run_once)),
            asyncio.create_task(every(EVERY_S, self.job_mirror.run_once)),
            asyncio.create_task(every(EVERY, self.collector.run_once)),
            *(asyncio.create_task(task) for task in self.notifier.tasks()),
            *(asyncio.create_task(task) for task in self.monitor.tasks()),
        ]
        self.about_to_answer()
        try:
            yield
        finally:
            self.hub.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.monitor.close()
            await self.job_mirror.close()
            await note_life(self.presence, self.keys)
            if listener is not None:
                await anyio.to_thread.run_sync(listener.stop)

    def _announced(self, topics: Mapping[str, int]) -> None:
        if "credentials" in topics:
            self.keys.forget()  # here and now: the next request may follow at once
        if not self.database.is_postgres:
            self.hub.announced(topics)

    def _listener(self) -> Listener | None:
        """Hear all servers of the database, this one included, by one channel."""
        if not self.database.is_postgres:
            return None
        listener = Listener(self.database, self._heard, self._missed)
        listener.start()
        return listener

    def _heard(self, topics: Mapping[str, int]) -> None:
        if "credentials" in topics:
            self.keys.forget()
        self.hub.announced(topics)

    def _missed(self) -> None:
        self.keys.forget()
        self.hub.missed()


def create_app(
    settings: ServerSettings,
    *,
    database: Database | None = None,
    clock: Callable[[], datetime] = utc_now,
    say: Callable[[str], None] = print,
) -> Server:
    """Put a server together. The database is first touched when its lifespan begins.

    `say` is given what the first start tells the operator: how to log in.
    """
    opened = database or Database(settings.database_url)
    return Server(settings, opened, clock=clock, say=say)


def create_openapi() -> dict[str, Any]:
    """Return the OpenAPI document; nothing is opened or written for it."""
    settings = ServerSettings(home=Path("unused"), database_url="sqlite:///unused.db")
    return create_app(settings).api.openapi()
