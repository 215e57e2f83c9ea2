"""Caches that a host's jobs share, with the real tracking client: who downloads what, how often."""

from __future__ import annotations

import http.client
import re
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from bench.harness.yard import Yard
from runyard.client import follow
from tests.e2e.conftest import until
from tests.wandb.conftest import PYTHON

MAKER = """
import os, wandb
os.environ["WANDB_CACHE_DIR"] = os.path.abspath("own-cache")  # not the one that is shared
run = wandb.init(config={"made": True})
data = wandb.Artifact("data", type="dataset")
with data.new_file("weights.bin", mode="wb") as file:
    file.write(b"w" * 3_000_000)
with data.new_file("deep/labels.txt") as file:
    file.write("cat dog")
run.log_artifact(data).wait()
"""
USER = """
import os, pathlib, time, wandb
print("CACHE", os.environ.get("WANDB_CACHE_DIR"), flush=True)
run = wandb.init()
data = run.use_artifact("data:latest")
data.manifest
meeting = pathlib.Path(run.config["meeting"])  # all begin to download at one moment
(meeting / run.id).touch()
while len(os.listdir(meeting)) < run.config["number"]:
    time.sleep(0.001)
got = pathlib.Path(data.download())
assert (got / "weights.bin").read_bytes() == b"w" * 3_000_000
assert (got / "deep" / "labels.txt").read_text() == "cat dog"
print("READ", flush=True)
"""


class Counting(BaseHTTPRequestHandler):
    """Hands everything on to a server, and counts by file what is fetched from its storage."""

    protocol_version = "HTTP/1.1"
    target = ("", 0)
    counts: Counter[str]

    def answer(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(size) if size else None
        if self.command == "GET" and (found := re.match(r"/storage/.*/([^/?]+)$", self.path)):
            self.counts[found[1]] += 1
        line = http.client.HTTPConnection(*self.target, timeout=120)
        line.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            line.putheader(name, value)
        line.endheaders(body)
        told = line.getresponse()
        data = told.read()
        self.send_response(told.status)
        for name, value in told.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        line.close()

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = answer

    def log_message(self, format: str, *args: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that leave in the middle."""


@contextmanager
def counting(url: str) -> Iterator[tuple[str, Counter[str]]]:
    """Yield an address before a server, and how often each file was fetched through it."""
    parts, counts = urlsplit(url), Counter[str]()
    handler = type("Handler", (Counting,), {"target": (parts.hostname, parts.port),
                                            "counts": counts})  # fmt: skip
    with Quiet(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", counts
        server.shutdown()


class Host:
    """A host whose jobs share artifacts, reaching its server through what counts."""

    def __init__(self, yard: Yard, url: str, counts: Counter[str], shared: str) -> None:
        self.yard, self.counts = yard, counts
        self.cache = yard.root / "cache"
        self._settings = f"cache: {{path: {self.cache}, shared: [{shared}], shared_mb: 100}}\n"
        yard.urls[0] = url
        self.serve("agent")

    def serve(self, agent: str) -> None:
        """Start an agent of the yard's entity, and log the artifact in its project."""
        where = self.yard.root / f"agent-{agent}" / "config" / "runyard"
        where.mkdir(parents=True)
        (where / "agent.yaml").write_text(self._settings)
        self.yard.add_queue("gpu")
        self.maker = self.yard.add_job({"work.py": MAKER}, [PYTHON, "work.py"])
        self.user = self.yard.add_job({"work.py": USER}, [PYTHON, "work.py"])
        self.yard.add_agent("gpu", entity=self.yard.entity, name=agent, max_jobs=10)
        self.yard.wait_agents("gpu")
        self.run(self.maker)

    def id_of(self, name: str) -> str:
        """Return the id by which the tracking client writes an artifact into a config."""
        query = 'query($e: String, $n: String!) {project(entityName: $e, name: "default") {'
        query += "artifact(name: $n) {id}}}"
        answer = httpx2.post(
            f"{self.yard.urls[0]}/graphql",
            json={"query": query, "variables": {"e": self.yard.entity, "n": name}},
            headers={"authorization": f"Bearer {self.yard.key}"},
        )
        return str(answer.json()["data"]["project"]["artifact"]["id"])

    def run(self, job: str, number: int = 1, *, named: bool = False, known: str = "") -> list[str]:
        meeting = Path(tempfile.mkdtemp(dir=self.yard.root))
        config: dict[str, object] = {"meeting": str(meeting), "number": number}
        if named:
            config["dataset"] = f"wandb-artifact://{self.yard.entity}/default/data:latest"
        if known:
            config["version"] = {"_type": "artifactVersion", "id": known}
        spec = {"job": job, "overrides": {"run_config": config}}
        with self.yard.api() as api:
            items = [i.id for i in api.submit(self.yard.entity, "gpu", [spec] * number).items]
            until(lambda: all(api.item(i).ended_at for i in items), seconds=180)
            said = []
            for one in map(api.item, items):
                text = b"".join(follow.log(api, one.run)).decode()
                assert one.status == "Finished", (one.failure, one.warnings, text[-3000:])
                assert not one.warnings, one.warnings
                said.append(text)
            return said


@pytest.fixture
def host(yard: Yard, request: pytest.FixtureRequest) -> Iterator[Host]:
    with counting(yard.urls[0]) as (url, counts):
        yield Host(yard, url, counts, getattr(request, "param", "wandb-artifacts"))


@pytest.fixture
def yard() -> Iterator[Yard]:
    with Yard() as made:
        yield made


def test_ten_jobs_that_name_one_artifact_download_it_once(host: Host) -> None:
    said = host.run(host.user, 10, named=True)
    mine = host.cache / "teams" / host.yard.entity / "wandb-artifacts"
    assert all("READ" in one and f"CACHE {mine}" in one for one in said)
    assert (host.counts["weights.bin"], host.counts["labels.txt"]) == (1, 1)
    host.run(host.user, 2)  # and those that do not name it find it, too
    assert (host.counts["weights.bin"], host.counts["labels.txt"]) == (1, 1)


def test_ten_jobs_whose_program_alone_names_the_artifact(host: Host) -> None:
    host.run(host.user, 10)
    first = host.counts["weights.bin"]
    assert 1 <= first <= 10  # the client locks nothing; how many depends on the moment
    host.run(host.user, 3)
    assert host.counts["weights.bin"] == first  # all after the first find it


def test_T21_two_teams_do_not_share(host: Host) -> None:
    first = host.yard.entity
    host.run(host.user, 2, named=True)
    assert host.counts["weights.bin"] == 1
    with host.yard.api() as api:
        host.yard.entity = api.create_team("blue").name
    host.serve("another")
    said = host.run(host.user, 2, known=host.id_of("data:latest"))
    assert host.counts["weights.bin"] == 2
    teams = host.cache / "teams"
    assert all(f"CACHE {teams / 'blue' / 'wandb-artifacts'}" in one for one in said)
    assert {path.name for path in teams.iterdir()} == {first, "blue"}


@pytest.mark.parametrize("host", [""], indirect=True)
def test_nothing_is_shared_unless_the_operator_says_so(host: Host) -> None:
    program = "import os\nprint('CACHE', os.environ.get('WANDB_CACHE_DIR'))"
    job = host.yard.add_job({"work.py": program}, [PYTHON, "work.py"])
    assert host.run(job, named=True) == ["CACHE None\n"]
    assert host.counts["weights.bin"] == 0
    assert not host.cache.exists()
