"""A real server on a real database: in this process mostly, on a port where waiting counts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from starlette.testclient import TestClient

from runyard.server.app import Server, create_app
from runyard.server.main import serving
from runyard.server.settings import ServerSettings
from runyard.services import accounts
from runyard.store.db import Database
from runyard.wire import agent as wire

# What is not under /api/v1; of these the tracking client's own.
_ELSEWHERE = (
    "/healthz", "/ready", "/metrics", "/api", "/graphql", "/storage", "/files/", "/artifacts",
    "/sdk/", "/oidc/", "/authorize", "/{entity:entity}",
)  # fmt: skip
IMAGE = {"docker": {"docker_image": "busybox"}}


class Clock:
    """The server's clock; it runs, and tests may put it forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Caller:
    """An HTTP client with one credential."""

    def __init__(self, http: Any, key: str | None) -> None:
        self.http, self.key = http, key

    def __call__(self, method: str, path: str, **more: Any) -> Any:
        headers = dict(more.pop("headers", {}))
        if self.key is not None:
            headers.setdefault("Authorization", f"Bearer {self.key}")
        if not path.startswith(_ELSEWHERE):
            path = f"/api/v1{path}"
        return self.http.request(method, path, headers=headers, **more)

    def ok(self, method: str, path: str, **more: Any) -> Any:
        answer = self(method, path, **more)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None


class World:
    """The server, its admin, and short words for what tests do."""

    def __init__(self, server: Server, http: Any, clock: Clock) -> None:
        self.server, self.http, self.clock = server, http, clock
        key = server.database.write(
            lambda tx: accounts.admin_key(server.edge.call(tx, accounts_server()), "admin", "test")
        )
        self.admin = Caller(http, key)

    def caller(self, key: str | None) -> Caller:
        return Caller(self.http, key)

    def user(self, name: str, *, is_admin: bool = False) -> Caller:
        self.admin.ok("POST", "/users", json={"name": name, "is_admin": is_admin})
        return self.caller(self.admin.ok("POST", "/keys", json={"user": name})["key"])

    def queue(self, name: str = "q", entity: str | None = None, who: Caller | None = None) -> None:
        body = {"name": name, "entity": entity, "resource": "local-container"}
        (who or self.admin).ok("POST", "/queues", json=body)

    def submit(
        self, n: int = 1, queue: str = "admin/q", who: Caller | None = None, **params: Any
    ) -> list[dict[str, Any]]:
        body = {"items": [IMAGE] * n}
        made = (who or self.admin).ok("POST", f"/queues/{queue}/items", json=body, params=params)
        return made["items"]  # type: ignore[no-any-return]

    def agent(
        self, name: str = "a", queues: tuple[str, ...] = ("q",), who: Caller | None = None,
        entity: str | None = None,
    ) -> Agent:  # fmt: skip
        body = {"name": name, "hostname": "h", "version": "1", "queues": list(queues),
                "max_jobs": -1, "entity": entity}  # fmt: skip
        made = (who or self.admin).ok("POST", "/agents", json=body)
        return Agent(self.caller(made["token"]), made)


class Agent:
    """The agent's side of the wire."""

    def __init__(self, caller: Caller, registered: dict[str, Any]) -> None:
        self.caller, self.registered = caller, registered
        self.id = registered["agent_id"]

    def poll(self, slots: int = 1, wait_s: float = 0, holding: tuple[str, ...] = ()) -> Any:
        body = {"slots": slots, "wait_s": wait_s, "holding": list(holding)}
        return self.caller.ok("POST", f"/agents/{self.id}/poll", json=body)

    def move(self, *moves: dict[str, Any]) -> Any:
        return self.caller.ok("POST", f"/agents/{self.id}/moves", json={"moves": moves})["results"]

    def claim(self) -> dict[str, Any]:
        (held,) = self.poll()["leased"]
        (answer,) = self.move(self.to("claim", held))
        assert answer["code"] == "", answer
        return {**held, "run_token": answer["run_token"]}

    def to(self, kind: str, held: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"kind": kind, "item_id": held["item_id"], "token": held["token"], **more}

    def finish(self, held: dict[str, Any], exit_code: int = 0) -> None:
        (answer,) = self.move(self.to("observe", held, phase="exited", exit_code=exit_code))
        assert answer["code"] == "", answer

    def log(self, held: dict[str, Any], offset: int, data: bytes) -> wire.Logged:
        chunk = wire.LogChunk(
            item_id=held["item_id"], token=held["token"], offset=offset, data=data
        )
        answer = self.caller(
            "POST",
            f"/agents/{self.id}/logs",
            content=msgspec.msgpack.encode(wire.Logs([chunk])),
            headers={"Content-Type": "application/msgpack"},
        )
        assert answer.status_code == 200, answer.text
        return msgspec.msgpack.decode(answer.content, type=wire.LogsDone).results[0]


def accounts_server() -> Any:
    from runyard.server.edge import SERVER

    return SERVER


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(tmp_path: Path) -> ServerSettings:
    return ServerSettings(home=tmp_path / "home", sweep_interval_s=60, max_streams=5)


@pytest.fixture
def world(database: Database, settings: ServerSettings, clock: Clock) -> Iterator[World]:
    """A server in this process, on SQLite and on PostgreSQL."""
    server = create_app(settings, database=database, clock=clock, say=lambda _: None)
    with TestClient(server, base_url="http://localhost") as http:
        yield World(server, http, clock)


@pytest.fixture
def live(database: Database, settings: ServerSettings, clock: Clock) -> Iterator[World]:
    """A server on a port of its own, for what waits and streams."""
    server = create_app(settings, database=database, clock=clock, say=lambda _: None)
    with on_a_port(server, settings) as url, httpx2.Client(base_url=url, timeout=60) as http:
        yield World(server, http, clock)


@contextmanager
def on_a_port(server: Server, settings: ServerSettings, port: int = 0) -> Iterator[str]:
    # The protocol by name, or asyncio leaves Nagle's algorithm on, and each answer waits 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    port = listening.getsockname()[1]
    process = serving(server, settings.model_copy(update={"port": port}))
    # A server has a process of its own, and uvloop. Dozens of them that end one after the other in
    # threads of one process have crashed the interpreter within uvloop's last callbacks.
    process.config.loop = "asyncio"
    thread = threading.Thread(target=process.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not process.started:
            assert thread.is_alive(), "the server did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.should_exit = True
        thread.join(20)
        listening.close()
        assert not thread.is_alive(), "the server did not stop"
