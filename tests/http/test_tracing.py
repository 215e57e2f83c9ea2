"""Traces of items, sent to a real receiver of OTLP over HTTP that reads the protobuf."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from runyard.domain import tracing
from runyard.domain.errors import Invalid
from runyard.server.app import create_app
from runyard.server.settings import ServerSettings
from runyard.server.tracing import read_headers
from runyard.store.db import Database
from tests.http.conftest import Clock, World
from tests.http.test_metrics import of, running, samples

otlp = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

SECRET = "Bearer t0ken-of-the-collector"


class Receiver:
    """A collector: keeps every span, and refuses with `status` if told to."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: set[str] = set()
        self.status = 200

    def __enter__(self) -> Receiver:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.headers.append({k.lower(): v for k, v in self.headers.items()})
                receiver.paths.add(self.path)
                if receiver.status == 200:
                    receiver.take(otlp.ExportTraceServiceRequest.FromString(body))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, request: Any) -> None:
        for resource in request.resource_spans:
            self.resources.append(plain(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def trace(self, item_id: str) -> list[Any]:
        """Return the spans of an item, the root first, then by their beginning."""
        wanted = tracing.trace_id(item_id).to_bytes(16)
        found = [s for s in self.spans if s.trace_id == wanted]
        return sorted(found, key=lambda s: (s.parent_span_id != b"", s.start_time_unix_nano))


def plain(attributes: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}


@pytest.fixture(autouse=True)
def only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runyard.server.tracing.EVERY", 3600.0)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def settings(tmp_path: Path, receiver: Receiver) -> ServerSettings:
    headers = tmp_path / "headers"
    headers.write_text(f"# for the collector\n\nAuthorization: {SECRET}\nX-Scope: runyard\n")
    return ServerSettings(
        home=tmp_path / "home",
        sweep_interval_s=60,
        otlp_endpoint=receiver.url,
        otlp_headers_file=headers,
    )


def export(world: World) -> int:
    world.clock.ahead += timedelta(seconds=40)  # nothing is young any more
    tracer = world.server.monitor.tracer
    assert tracer is not None
    return world.http.portal.call(tracer.run_once)  # type: ignore[no-any-return]


def finish(world: World, agent: Any, exit_code: int = 0) -> dict[str, Any]:
    held = agent.claim()
    world.clock.ahead += timedelta(seconds=2)
    handle = {"driver": "d", "version": 1, "data": {}}
    agent.move(agent.to("keep", held, handle=handle, gpus=2))
    agent.move(agent.to("observe", held, phase="running"))
    world.clock.ahead += timedelta(seconds=60)
    agent.finish(held, exit_code)
    return held  # type: ignore[no-any-return]


def cancel(world: World) -> str:
    (made,) = world.submit()
    world.admin.ok("POST", f"/items/{made['id']}/cancel")
    return str(made["id"])


def test_an_item_is_one_trace_from_submission_to_end(world: World, receiver: Receiver) -> None:
    world.queue()
    agent = world.agent()
    spec = {
        "docker": {"docker_image": "busybox"},
        "project": "seg",
        "overrides": {"args": ["--password", "hunter2"], "run_config": {"key": "hunter3"}},
    }
    world.admin.ok("POST", "/queues/admin/q/items", json={"items": [spec]})
    world.clock.ahead += timedelta(seconds=10)
    held = finish(world, agent)
    assert export(world) == 1
    root, *children = receiver.trace(held["item_id"])
    assert root.name == "launch"
    assert [s.name for s in children] == ["queued", "leased", "starting", "running"]
    assert {s.parent_span_id for s in children} == {root.span_id}
    lasted = {s.name: (s.end_time_unix_nano - s.start_time_unix_nano) / 1e9 for s in children}
    assert lasted["queued"] == pytest.approx(10, abs=2)
    assert lasted["starting"] == pytest.approx(2, abs=2)
    assert lasted["running"] == pytest.approx(60, abs=2)
    assert root.start_time_unix_nano == children[0].start_time_unix_nano
    assert root.end_time_unix_nano == children[-1].end_time_unix_nano
    about = plain(root.attributes)
    assert about["runyard.item"] == held["item_id"]
    assert about["runyard.queue"] == "q"
    assert about["runyard.entity"] == about["runyard.team"] == about["runyard.author"] == "admin"
    assert (about["runyard.project"], about["runyard.outcome"]) == ("seg", "finished")
    assert about["process.exit.code"] == 0
    running_ = plain(children[-1].attributes)
    assert (running_["runyard.agent"], running_["runyard.attempt"]) == ("a", 1)
    assert running_["runyard.gpus"] == 2
    assert {r["service.name"] for r in receiver.resources} == {"runyard"}
    assert receiver.paths == {"/v1/traces"}
    assert receiver.headers[0]["authorization"] == SECRET
    assert receiver.headers[0]["x-scope"] == "runyard"
    for secret in ("hunter2", "hunter3", held["token"], held["run_token"]):
        assert secret not in str(receiver.spans)


def test_a_programs_own_spans_join_the_trace(world: World, receiver: Receiver) -> None:
    world.queue()
    agent = world.agent()
    world.submit()
    held = finish(world, agent)
    export(world)
    _, trace, parent, _ = tracing.traceparent(held["item_id"], held["attempt"]).split("-")
    *_, last = receiver.trace(held["item_id"])
    assert last.name == "running"
    assert (last.trace_id.hex(), last.span_id.hex()) == (trace, parent)


def test_each_attempt_has_its_spans_and_a_failure_its_status(
    world: World, receiver: Receiver
) -> None:
    world.queue()
    agent = world.agent()
    world.submit()
    held = agent.claim()
    agent.move(agent.to("observe", held, phase="running"))
    agent.move(agent.to("observe", held, phase="preempted"))
    assert export(world) == 0  # it has not ended
    held = finish(world, agent, exit_code=3)
    assert export(world) == 1
    root, *children = receiver.trace(held["item_id"])
    assert len({s.span_id for s in (root, *children)}) == 9
    running_ = [plain(s.attributes) for s in children if s.name == "running"]
    assert [(a["runyard.attempt"], a["runyard.outcome"]) for a in running_] == [
        (1, "preempted"), (2, "failed"),
    ]  # fmt: skip
    error = 2  # STATUS_CODE_ERROR
    assert [s.status.code for s in (root, children[-1])] == [error, error]
    assert {s.status.code for s in children[:-1]} == {0}
    about = plain(root.attributes)
    assert (about["runyard.failure.stage"], about["runyard.failure.reason"]) == (
        "run", "exit_code",
    )  # fmt: skip
    assert about["runyard.attempts"] == 2


def test_what_was_cancelled_before_it_ran_is_a_trace_too(world: World, receiver: Receiver) -> None:
    world.queue()
    item = cancel(world)
    assert export(world) == 1
    root, queued = receiver.trace(item)
    assert (queued.name, plain(root.attributes)["runyard.outcome"]) == ("queued", "killed")


def test_nothing_is_lost_while_the_collector_is_away(world: World, receiver: Receiver) -> None:
    world.queue()
    agent = world.agent()
    world.submit(2)
    receiver.status = 400
    first = finish(world, agent)
    assert export(world) == 0
    second = finish(world, agent)
    assert export(world) == 0
    figures = samples(world.admin("GET", "/metrics").text)
    assert (of(figures, "runyard_events_behind", follower="traces") or 0) > 0
    assert of(figures, "runyard_traces_exported_total", result="sent") is None
    receiver.status = 200
    assert export(world) == 2
    assert len(receiver.trace(first["item_id"])) == len(receiver.trace(second["item_id"])) == 5
    assert export(world) == 0


def test_a_restart_goes_on_where_the_last_server_was(
    database: Database, settings: ServerSettings, clock: Clock, receiver: Receiver
) -> None:
    with running(database, settings, clock) as world:
        world.queue()
        agent = world.agent()
        world.submit(3)
        finish(world, agent)
        assert export(world) == 1
        held = finish(world, agent)
    receiver.spans.clear()
    with running(database, settings, clock) as world:
        clock.ahead += timedelta(seconds=61)  # the lease of the one that is gone
        assert export(world) == 1
        assert len(receiver.trace(held["item_id"])) == 5
        assert len(receiver.spans) == 5


def test_of_two_servers_one_exports(
    database: Database, settings: ServerSettings, clock: Clock, receiver: Receiver
) -> None:
    if not database.is_postgres:
        return  # one server only
    other_database = Database(database.url.render_as_string(hide_password=False))
    with (
        running(database, settings, clock) as one,
        running(other_database, settings, clock) as two,
    ):
        one.queue()
        agent = one.agent()
        one.submit()
        finish(one, agent)
        assert export(one) == 1
        cancel(one)
        assert export(two) == 0  # the other has the lease
        assert export(one) == 1
        cancel(one)
        clock.ahead += timedelta(seconds=61)  # nothing was heard of it
        assert export(two) == 1
        assert export(one) == 0
        assert len(receiver.spans) == 5 + 2 + 2
    other_database.close()


def test_without_an_endpoint_nothing_is_exported(
    database: Database, tmp_path: Path, clock: Clock
) -> None:
    settings = ServerSettings(home=tmp_path / "home")
    assert create_app(settings, database=database, clock=clock).monitor.tracer is None


@pytest.mark.parametrize("line", ["no header", ": value", "Name:", "Na me: x", "N: a\x07b"])
def test_a_bad_line_of_headers_is_named_and_not_shown(tmp_path: Path, line: str) -> None:
    path = tmp_path / "headers"
    path.write_text(f"Authorization: {SECRET}\n{line}\n")
    with pytest.raises(Invalid, match="line 2") as raised:
        read_headers(path)
    assert SECRET not in str(raised.value)


def test_a_file_of_headers_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        read_headers(tmp_path / "nothing")


@pytest.mark.parametrize("url", ["collector:4318", "ftp://x", "http://", "http://x/?token=1"])
def test_only_an_address_is_an_endpoint(url: str) -> None:
    with pytest.raises(Invalid, match="otlp_endpoint"):
        ServerSettings.load({}, otlp_endpoint=url)


def test_the_usual_path_is_added_once() -> None:
    from runyard.server.spans import full_address

    for given in ("http://c:4318", "http://c:4318/", "http://c:4318/v1/traces"):
        assert full_address(given) == "http://c:4318/v1/traces"
    assert full_address("https://c/otlp") == "https://c/otlp/v1/traces"
