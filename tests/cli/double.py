"""
A server small enough to read: the REST API's routes as the command line uses them.

It speaks with the real wire types over a real socket, keeps everything in memory, and can be
told to misbehave: refuse, break off in the middle of a log, answer as a proxy would.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from runyard.domain.errors import Conflict, Invalid, NotFound, RunyardError, Unauthenticated
from runyard.domain.queues import PRIORITIES
from runyard.wire import rest, rest_operating, rest_people
from runyard.wire.rest_tracking import Metric, MetricsOut

KEY = "ry_a-key-for-tests"
T0 = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class Run:
    """A submission, its log so far, and how it stands. `pieces` appear one after another."""

    item_id: str
    spec: dict[str, Any]
    queue: str
    pinned: str | None = None
    state: str = "pending"
    status: str = "Queued"
    exit_code: int | None = None
    reason: str = ""
    log: bytes = b""
    built: bytes = b""  # what the build of its image has printed
    started: bool = False
    priority: int = 2
    held: str = ""  # why

    def ref(self) -> rest.RunRef:
        return rest.RunRef(entity="ada", project="default", run_id=f"run-{self.item_id}")

    def out(self) -> rest.RunOut:
        return rest.RunOut(
            **self.ref().model_dump(),
            state=self.state,
            status=self.status,
            author="ada",
            job=self.spec.get("job"),
            item_id=self.item_id,
            queue=self.queue,
            config={},
            created_at=T0,
            started_at=T0 if self.started else None,
            ended_at=T0 if self.over else None,
            exit_code=self.exit_code,
            reason=self.reason,
            stop_requested_at=None,
            log_bytes=len(self.log),
            stage_logs={"build": len(self.built)} if self.built else {},
        )

    @property
    def over(self) -> bool:
        return self.state in ("finished", "failed", "killed", "crashed")

    def item(self) -> rest.ItemDetail:
        run = self.out()
        item_state = {"finished": "FINISHED", "failed": "FAILED", "killed": "CANCELLED"}
        return rest.ItemDetail(
            id=self.item_id,
            queue=self.queue,
            queue_entity="ada",
            state=item_state.get(self.state, "CLAIMED" if self.started else "PENDING"),
            status=self.status,
            priority=self.priority,
            parked="held" if self.held else None,
            parked_why=self.held,
            attempt=int(self.started),
            requeues=0,
            run=self.ref(),
            job=run.job,
            author="ada",
            agent=None,
            created_at=T0,
            enqueued_at=T0,
            started_at=run.started_at,
            ended_at=run.ended_at,
            exit_code=self.exit_code,
            reason=self.reason,
            failure=None,
            stage_logs=run.stage_logs,
            spec=self.spec,
            warnings=[],
            events=[],
            waiting=None if self.started or self.over else self.waiting(),
        )

    def waiting(self) -> rest.WaitingOut:
        if self.held:
            return rest.WaitingOut(why=f"{self.held}; release it")
        return rest.WaitingOut(why="it is behind 2 other items", ahead=2, starts_at=T0)


def explained(queue: rest.QueueOut, more: dict[str, Any]) -> rest_operating.ExplainedOut:
    """A queue of which little is known, and what a test says of it."""
    usual = {
        "rules": [], "agents": {"live": 0, "leasing": 0, "slots": 0, "taken": 0}, "running": 0,
        "waiting": 0, "held": 0, "backing_off": 0, "typical_s": None, "users": [], "next": [],
    }  # fmt: skip
    same = {name: getattr(queue, name) for name in ("entity", "mode", "mode_by", "mode_why")}
    return rest_operating.ExplainedOut.model_validate(
        {**usual, **same, "queue": queue.name, **more}
    )


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Double:
    """The server and its state. `on_submit` decides what becomes of a run."""

    runs: dict[str, Run] = field(default_factory=dict)
    queues: dict[str, rest.QueueOut] = field(default_factory=dict)
    jobs: dict[str, list[rest.JobVersionOut]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    keys: list[rest_people.KeyOut] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    answers: list[tuple[int, bytes]] = field(default_factory=list)  # given before any other
    cut_log_after: int | None = None  # bytes of one connection, which then breaks
    end_log_after: int | None = None  # bytes of one answer, which then ends as if all was said
    keep_alive_s: float = 0.05
    aside: str = ""  # why the one agent is set aside
    explained: dict[str, Any] = field(default_factory=dict)  # what `explain` answers besides
    refused: dict[str, str] = field(default_factory=dict)  # items that `select` does not change
    answered: dict[str, bytes] = field(default_factory=dict)  # by Idempotency-Key
    on_submit: Callable[[Run], None] = lambda run: None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __enter__(self) -> Double:
        for name, resource in (("default", "local-process"), ("gpu", "local-container")):
            self.add_queue(rest.QueueIn(name=name, resource=resource))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
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

    def seen(self, method: str, path: str) -> list[Request]:
        return [r for r in self.requests if r.method == method and r.path.startswith(path)]

    def add_queue(self, new: rest.QueueIn) -> rest.QueueOut:
        if new.name in self.queues:
            raise Conflict(f"there is a queue {new.name!r} in ada already")
        self.queues[new.name] = rest.QueueOut(
            id=new.name,
            entity=new.entity or "ada",
            name=new.name,
            resource=new.resource,
            config=new.config,
            variables=new.variables,
            policy=new.policy,
            created_at=T0,
            created_by="ada",
        )
        return self.queues[new.name]

    def move(self, run: Run, **changes: Any) -> None:
        """Change a run, as its agent would, and wake whoever looks on."""
        with self.changed:
            for name, value in changes.items():
                setattr(run, name, value)
            self.changed.notify_all()

    def end(self, run: Run, exit_code: int | None = 0, *, log: bytes = b"") -> None:
        """Let a run begin, print `log`, and end."""
        state = "finished" if exit_code == 0 else "failed"
        reason = "" if exit_code == 0 else f"exit code {exit_code}"
        self.move(
            run, state=state, status=state.capitalize(), exit_code=exit_code,
            log=run.log + log, started=True, reason=reason,
        )  # fmt: skip


def _handler(double: Double) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            request = Request(
                method=self.command,
                path=unquote(parts.path).removeprefix("/api/v1"),
                query={k: v[0] for k, v in parse_qs(parts.query).items()},
                headers={k.lower(): v for k, v in self.headers.items()},
                body=self.rfile.read(int(self.headers.get("content-length", 0))),
            )
            double.requests.append(request)
            if double.answers:
                self.reply(*double.answers.pop(0))
                return
            try:
                self.route(request)
            except RunyardError as error:
                problem = rest.Problem(
                    title=error.code,
                    status=error.status,
                    detail=error.message,
                    code=error.code,
                    hint=error.hint,
                    violations=[{"path": v.path, "message": v.message} for v in error.violations],
                )
                self.reply(error.status, problem.model_dump_json().encode())

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_any

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def give(self, model: Any, status: int = 200) -> None:
            self.reply(status, model.model_dump_json().encode())

        def page(self, found: list[Any], request: Request) -> None:
            begin = int(request.query.get("cursor", 0))
            end = begin + int(request.query.get("limit", 50))
            page = {
                "data": [one.model_dump(mode="json") for one in found[begin:end]],
                "next": str(end) if end < len(found) else None,
            }
            self.reply(200, json.dumps(page).encode())

        def route(self, request: Request) -> None:
            if request.headers.get("authorization") != f"Bearer {KEY}":
                raise Unauthenticated("the key is not valid")
            words = request.path.strip("/").split("/")
            getattr(self, f"on_{words[0]}")(request, words[1:])

        def on_me(self, request: Request, words: list[str]) -> None:
            self.give(
                rest_people.MeOut(
                    kind="user", name="ada", is_admin=True, entity="ada",
                    teams=[rest_people.MembershipOut(team="vision", role="member")],
                    server_version="0",
                )
            )  # fmt: skip

        def on_keys(self, request: Request, words: list[str]) -> None:
            if request.method == "GET":
                self.page(double.keys, request)
                return
            known = {
                "id": str(len(double.keys)), "name": request.json()["name"], "user": "ada",
                "prefix": "ry_x", "created_at": T0, "expires_at": None, "last_used_at": None,
            }  # fmt: skip
            double.keys.append(rest_people.KeyOut(**known))
            self.give(rest_people.NewKeyOut(**known, key="ry_shown-once"), 201)

        def on_queues(self, request: Request, words: list[str]) -> None:
            if not words:
                if request.method == "POST":
                    self.give(double.add_queue(rest.QueueIn(**request.json())), 201)
                else:
                    self.page(list(double.queues.values()), request)
                return
            queue = double.queues.get(words[1])
            if queue is None:
                raise NotFound(f"no queue {words[1]!r} in ada; near: default", hint="queue list")
            if words[2:] == ["items"]:
                self.submit(request, queue)
            elif words[2:]:
                self.operate(request, queue, words[2])
            elif request.method == "PATCH":
                change = rest.QueuePatch(**request.json()).model_dump(exclude_none=True)
                double.queues[queue.name] = queue.model_copy(update=change)
                self.give(double.queues[queue.name])
            elif request.method == "DELETE":
                del double.queues[queue.name]
                self.reply(204, b"")
            else:
                self.give(queue)

        def operate(self, request: Request, queue: rest.QueueOut, verb: str) -> None:
            modes = {"pause": "paused", "drain": "draining", "resume": "open"}
            if verb in modes:
                by = "" if verb == "resume" else "ada"
                told = {"mode": modes[verb], "mode_by": by, "mode_why": request.json()["reason"]}
                double.queues[queue.name] = queue.model_copy(update=told)
                self.give(double.queues[queue.name])
            elif verb == "explain":
                self.give(explained(queue, double.explained))
            else:
                self.select(rest_operating.SelectIn(**request.json()))

        def select(self, body: rest_operating.SelectIn) -> None:
            """Two items at a time, the oldest first."""
            ids = [run.item_id for run in double.runs.values() if not run.started and not run.over]
            ids = [one for one in ids if one > (body.after or "")]
            some = ids[:2]
            self.give(
                rest_operating.SelectedOut(
                    changed=[one for one in some if one not in double.refused],
                    refused={one: double.refused[one] for one in some if one in double.refused},
                    next=some[-1] if len(ids) > 2 else None,
                    dry_run=body.dry_run,
                )
            )

        def submit(self, request: Request, queue: rest.QueueOut) -> None:
            key = request.headers["idempotency-key"]
            if key not in double.answered:
                double.answered[key] = self.submitted(request, queue)
            self.reply(201, double.answered[key])

        def submitted(self, request: Request, queue: rest.QueueOut) -> bytes:
            items = []
            for spec in request.json()["items"]:
                if spec.get("priority") == "high":
                    raise Invalid("priority: this queue has no priorities", hint="leave it out")
                run = Run(
                    str(len(double.runs)), spec, queue.name, pinned=request.query.get("agent")
                )
                if "dry_run" not in request.query:
                    double.runs[run.item_id] = run
                items.append(rest.SubmittedItem(id=run.item_id, run=run.ref(), spec=spec))
                if "dry_run" not in request.query:
                    double.on_submit(run)
            return rest.SubmitOut(items=items).model_dump_json().encode()

        def on_items(self, request: Request, words: list[str]) -> None:
            if not words:
                self.page([run.item() for run in double.runs.values()], request)
                return
            run = double.runs.get(words[0])
            if run is None:
                raise NotFound(f"no item {words[0]!r} that you may see")
            body = json.loads(request.body) if request.body else {}
            match words[1:]:
                case ["cancel"]:
                    double.move(run, state="killed", status="Killed", reason="cancelled")
                case ["hold"]:
                    double.move(run, held=": ".join(filter(None, ["held by ada", body["reason"]])))
                case ["release"] if not run.held:
                    raise Conflict(f"item {run.item_id} is not held")
                case ["release"]:
                    double.move(run, held="")
                case ["priority"]:
                    double.move(run, priority=PRIORITIES[body["priority"]])
                case ["move"]:
                    double.move(run, queue=body["queue"])
                case ["retry"]:
                    made = Run(str(len(double.runs)), {**run.spec, **body["changes"]}, run.queue)
                    double.runs[made.item_id] = made
                    self.give(
                        rest.SubmittedItem(id=made.item_id, run=made.ref(), spec=made.spec), 201
                    )
                    return
            self.give(run.item())

        def on_runs(self, request: Request, words: list[str]) -> None:
            if not words:
                wanted = request.query.get("name")
                found = [run.out() for run in double.runs.values()]
                self.page([run for run in found if wanted in (None, run.run_id)], request)
                return
            run = double.runs.get(words[2].removeprefix("run-"))
            if run is None or words[:2] != ["ada", "default"]:
                raise NotFound(f"no run {'/'.join(words[:3])}")
            match words[3:]:
                case ["stop"]:
                    double.move(run, state="killed", status="Killed", reason="stopped")
                    self.give(run.out())
                case ["logs"]:
                    self.log(run, request)
                case ["events"]:
                    self.events(run)
                case ["metrics"]:
                    loss = Metric(key="loss", types={"number": 20}, last=0.25, rising=False)
                    told = {"summary": {"loss": "NaN"}, "system": {}}
                    self.give(MetricsOut(rows=20, last_step=19, metrics=[loss], **told))
                case _:
                    self.give(run.out())

        def chunks(self, kind: str) -> Callable[[bytes], None]:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()

            def write(data: bytes) -> None:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()

            return write

        def log(self, run: Run, request: Request) -> None:
            offset, left = int(request.query.get("offset", 0)), double.cut_log_after
            builds = request.query.get("stage") == "build"
            write = self.chunks("application/octet-stream")
            while True:
                with double.changed:
                    data, over = run.log[offset:], run.over
                    if builds:
                        data, over = run.built[offset:], run.over or run.state == "running"
                    if not data and not over and "follow" in request.query:
                        double.changed.wait(double.keep_alive_s)
                        continue
                if left is not None and len(data) >= left:
                    write(data[:left])
                    self.close_connection = True
                    self.connection.shutdown(2)
                    return
                if data:
                    data = data[: double.end_log_after]
                    write(data)
                    offset += len(data)
                if over or double.end_log_after is not None or "follow" not in request.query:
                    self.wfile.write(b"0\r\n\r\n")
                    return

        def events(self, run: Run) -> None:
            write = self.chunks("text/event-stream")
            last = ""
            try:
                while True:
                    now = run.out().model_dump_json()
                    if now != last:
                        write(b"event: run\ndata: " + now.encode() + b"\n\n")
                        last = now
                    else:
                        write(b": still here\n\n")
                    if run.over:
                        self.wfile.write(b"0\r\n\r\n")
                        return
                    with double.changed:
                        double.changed.wait(double.keep_alive_s)
            except OSError:
                self.close_connection = True  # whoever looked on has gone

        def on_agents(self, request: Request, words: list[str]) -> None:
            if words and request.method == "DELETE":
                self.reply(204, b"")
                return
            if words[1:] == ["set-aside"]:
                reason = json.loads(request.body)["reason"]
                double.aside = f"set aside by ada: {reason}"
            elif words[1:] == ["readmit"]:
                double.aside = ""
            agent = rest.AgentOut(
                id="a1", entity="ada", name="box", hostname="box", version="0", status="POLLING",
                live=bool(double.aside), queues=["default", "gpu"], max_jobs=-1, running=0,
                registered_at=T0, last_seen_at=T0, stop_requested_at=None, strikes=0,
                set_aside_at=T0 if double.aside else None, set_aside_why=double.aside, config={},
            )  # fmt: skip
            if words:
                self.give(agent)
            else:
                self.page([agent], request)

        def on_blobs(self, request: Request, words: list[str]) -> None:
            digest = words[1]
            if request.method == "PUT":
                double.blobs[digest] = request.body
                self.give(rest.BlobOut(digest=digest, size=len(request.body)), 201)
            elif digest in double.blobs:
                self.reply(200, b"")
            else:
                raise NotFound("not uploaded")

        def on_jobs(self, request: Request, words: list[str]) -> None:
            if not words:
                self.page([self.job(versions) for versions in double.jobs.values()], request)
                return
            path = "/".join(words[:3])
            versions = double.jobs.setdefault(path, [])
            if request.method == "POST":
                self.give(self.save(path, versions, rest.JobIn(**request.json())), 201)
                return
            if words[3:] == ["versions"]:
                self.page(versions[::-1], request)
                return
            wanted = words[4] if len(words) > 4 else "latest"
            for version in versions[::-1]:
                if wanted in (f"v{version.version}", *version.aliases):
                    self.give(version)
                    return
            raise NotFound(f"job {path} has no version {wanted!r}")

        def save(
            self, path: str, versions: list[rest.JobVersionOut], job: rest.JobIn
        ) -> rest.JobVersionOut:
            if versions and versions[-1].source == job.source:
                return versions[-1].model_copy(update={"created": False})
            entity, project, name = path.split("/")
            version = rest.JobVersionOut(
                path=f"{path}:v{len(versions)}", entity=entity, project=project, name=name,
                version=len(versions), aliases=["latest", *job.aliases], source=job.source,
                description=job.description, created_by="ada", created_at=T0, created=True,
            )  # fmt: skip
            versions.append(version)
            return version

        def job(self, versions: list[rest.JobVersionOut]) -> rest.JobOut:
            newest = versions[-1]
            return rest.JobOut(
                entity=newest.entity, project=newest.project, name=newest.name,
                description=newest.description, latest=newest.version, aliases=newest.aliases,
                created_at=T0,
            )  # fmt: skip

    return Handler


def wait_until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)
