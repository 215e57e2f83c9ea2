"""A secret, from a server to a program, and every place where it must not be found (T14, T15).

Real server, real agent, real jobs that print their secret in all the ways that programs do.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import subprocess
import sys
import tarfile
import urllib.parse
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from bench.harness.yard import Yard
from tests.e2e.conftest import runyard, until

IMAGE = "python:3.11-slim"
SCRIPT = """
import base64, hashlib, json, os, pathlib, sys, time, urllib.parse

def show():
    for name in ("MY_SECRET", "WANDB_API_KEY"):
        text, data = os.environ[name], os.environ[name].encode()
        print("sha256", name, hashlib.sha256(data).hexdigest())
        print("plain", text, "repr", repr(text), "json", json.dumps(text))
        print("base64", base64.b64encode(data).decode(), base64.b64encode(data + bytes([10])))
        print("url", urllib.parse.quote(text), urllib.parse.quote_plus(text), data.hex())
        print(*("line " + line for line in text.splitlines()), sep=chr(10))
        print(text, file=sys.stderr, flush=True)
    print("shown", flush=True)

show()
go, deadline = pathlib.Path(sys.argv[1]), time.time() + 60
while not go.exists() and time.time() < deadline:
    time.sleep(0.05)
show()
"""


@pytest.fixture
def runs() -> Iterator[list[str]]:
    """Runs whose containers are to be gone in the end, however the test ends."""
    known: list[str] = []
    yield known
    for name in (name for run_id in known for name in containers(run_id)):
        docker("rm", "-f", name)


def needles(secret: str) -> list[bytes]:
    """What a search has to look for."""
    data = secret.encode()
    texts = [
        data, b64encode(data), b64encode(data + b"\n")[:-4], data.hex().encode(),
        urllib.parse.quote(secret).encode(), urllib.parse.quote_plus(secret).encode(),
        json.dumps(secret)[1:-1].encode(), repr(secret)[1:-1].encode(),
        *(line.encode() for line in secret.splitlines()),
    ]  # fmt: skip
    return sorted(set(texts))


class Search:
    """Looks for secrets in whatever it is shown, and remembers where it looked."""

    def __init__(self, *secrets: str) -> None:
        assert all(len(secret) > 20 for secret in secrets)
        self._needles = [needle for secret in secrets for needle in needles(secret)]
        self.looked: dict[str, int] = {}

    def finds(self, data: bytes) -> list[bytes]:
        return [needle for needle in self._needles if needle in data]

    def text(self, where: str, data: bytes | str) -> None:
        data = data.encode() if isinstance(data, str) else data
        self.looked[where] = self.looked.get(where, 0) + len(data)
        found = self.finds(data)
        assert not found, f"{where} has {found}"

    def file(self, where: str, path: Path) -> None:
        self.text(where, path.read_bytes())

    def processes(self) -> None:
        """The arguments of everything that runs on this machine."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                try:
                    self.text("process list", (entry / "cmdline").read_bytes())
                except OSError:
                    continue


@pytest.fixture
def value() -> str:
    first = f"s3cret/first+line of {secrets.token_hex(8)}"
    return f"{first}\nsecond 'line' \"too\" {secrets.token_hex(8)} \u00e4$(id)"


@pytest.fixture
def written(yard: Yard, tmp_path: Path, value: str) -> Yard:
    """A yard whose secret was written as a person would."""
    file = tmp_path / "value"
    file.write_bytes(value.encode())
    done = runyard(yard, "secret", "set", "mine", "--file", str(file), "--json")
    assert done.returncode == 0, done.stderr
    assert "s3cret" not in done.stdout + done.stderr
    return yard


def start(yard: Yard, resource: str, go: Path) -> str:
    """Submit the job to a queue that gives it the secret, and return its item when it runs."""
    config = {"secrets": {"MY_SECRET": "mine"}}
    words = ["--resource", resource, "--config", json.dumps(config)]
    assert runyard(yard, "queue", "create", "q", *words).returncode == 0
    home = yard.root / "agent-agent" / "config" / "runyard"
    home.mkdir(parents=True)
    (home / "agent.yaml").write_text(
        "verbosity: 2\nresources: {local-container: {pull: missing}}\n"
    )
    yard.add_agent("q")
    job = yard.add_job({"work.py": SCRIPT}, ["python", "work.py"])
    spec: dict[str, Any] = {"job": job, "overrides": {"args": [str(go)]}}
    with yard.api() as api:
        (item,) = api.submit(yard.entity, "q", [spec]).items
        until(lambda: bool(api.item(item.id).started_at))
    return item.id


def log_of(yard: Yard, item: str) -> bytes:
    return runyard(yard, "logs", item).stdout.encode()


def look_everywhere(yard: Yard, search: Search, item: str) -> None:
    with yard.api() as api:
        search.text("item", api.item(item).model_dump_json())
        search.text("queue", api.queue(yard.entity, "q").model_dump_json())
        search.text("secrets", "".join(s.model_dump_json() for s in api.secrets()))
    search.text("log of the job", log_of(yard, item))
    home = yard.root / "server0"
    for part in ("runyard.db", "runyard.db-wal"):
        search.file("database", home / part)
    for program in (*yard.servers, *yard.agents):
        search.file("logs of server and agent", program._log)
    search.processes()
    backup = yard.root / "backup.tar"
    env = {**os.environ, "RUNYARD_HOME": str(home), "RUNYARD_FILES_DIR": str(yard.root / "files")}
    words = [sys.executable, "-m", "runyard.cli.main", "db", "backup", str(backup), "--yes"]
    subprocess.run(words, env=env, check=True, capture_output=True)
    search.file("backup", backup)
    with tarfile.open(backup) as tar:
        assert "tables/secrets" in tar.getnames()
        assert not [name for name in tar.getnames() if name.endswith("secrets.key")]


@pytest.fixture
def go(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "go"
    yield file
    file.touch()


def hashes(yard: Yard, item: str) -> dict[str, str]:
    """Return what the job printed of what it was given."""
    lines = [line.split() for line in log_of(yard, item).decode().splitlines()]
    return {line[1]: line[2] for line in lines if line[:1] == ["sha256"]}


def check_given(yard: Yard, item: str, value: str, token: str) -> None:
    """The program really had its secret, and the key of its own run, which the server knows."""
    given = hashes(yard, item)
    assert given["MY_SECRET"] == hashlib.sha256(value.encode()).hexdigest()
    assert given["WANDB_API_KEY"] == hashlib.sha256(token.encode()).hexdigest()
    with closing(sqlite3.connect(yard.root / "server0" / "runyard.db")) as database:
        ask = "SELECT kind FROM credentials WHERE hash = ?"
        assert database.execute(ask, (given["WANDB_API_KEY"],)).fetchall() == [("run",)]


def on_disk(yard: Yard, search: Search) -> list[Path]:
    """Return the files in which an agent, or a server, has a secret."""
    places = [yard.root, Path(f"/dev/shm/runyard-{os.getuid()}")]
    found = []
    for path in (path for place in places for path in place.rglob("*")):
        with suppress(OSError):
            if path.is_file() and search.finds(path.read_bytes()):
                found.append(path)
    return found


def is_private(path: Path) -> bool:
    """Whether nobody but its owner can get at a file."""
    return any(p.stat().st_mode & 0o077 == 0 for p in (path, *path.parents) if p != Path("/"))


def shown(yard: Yard, item: str, times: int) -> bool:
    return log_of(yard, item).decode().splitlines().count("shown") == times


def test_T14_a_process_gets_its_secret_and_nobody_else_finds_it(
    written: Yard, value: str, go: Path
) -> None:
    item = start(written, "local-process", go)
    until(lambda: shown(written, item, 1))
    token = environment_of("work.py")["WANDB_API_KEY"]
    check_given(written, item, value, token)
    search = Search(value, token)
    look_everywhere(written, search, item)
    there = on_disk(written, search)
    assert there  # what an agent notes for its successor, and what the job prints
    assert all(is_private(path) for path in there)
    (agent,) = written.agents
    agent.end()
    agent.start()  # the next one has to know what it may not show
    go.touch()
    until(lambda: shown(written, item, 2))
    with written.api() as api:
        until(lambda: bool(api.item(item).ended_at))
        assert api.item(item).status == "Finished"
    look_everywhere(written, search, item)
    until(lambda: not on_disk(written, search))
    assert all(search.looked.values()), search.looked
    assert b"****" in log_of(written, item)


@pytest.mark.docker
@pytest.mark.skipif(
    not os.environ.get("RUNYARD_TEST_DOCKER"), reason="needs a Docker engine: RUNYARD_TEST_DOCKER=1"
)
def test_T14_a_container_gets_its_secret_and_nobody_else_finds_it(
    written: Yard, value: str, go: Path, runs: list[str]
) -> None:
    item = start(written, "local-container", go)  # it does not see that file, and is stopped
    until(lambda: shown(written, item, 1))
    with written.api() as api:
        run = api.item(item).run
    runs.append(run.run_id)
    (name,) = containers(run.run_id)
    token = docker("exec", name, "cat", "/run/runyard/secrets/WANDB_API_KEY")
    check_given(written, item, value, token.decode())
    search = Search(value, token.decode())
    search.text("docker inspect", docker("inspect", name))
    look_everywhere(written, search, item)
    assert all(is_private(path) for path in on_disk(written, search))
    with written.api() as api:
        api.stop_run(run)
        until(lambda: bool(api.item(item).ended_at))
    until(lambda: not containers(run.run_id))
    look_everywhere(written, search, item)
    until(lambda: not on_disk(written, search))
    assert all(search.looked.values()), search.looked


def environment_of(word: str) -> dict[str, str]:
    """Return the variables of the process that has a word among its arguments."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal() and word.encode() in (entry / "cmdline").read_bytes():
                variables = (entry / "environ").read_text().split("\0")
                found = dict(line.split("=", 1) for line in variables if "=" in line)
                if "MY_SECRET" in found:
                    return found
    raise AssertionError(f"no process with {word}")


def containers(run_id: str) -> list[str]:
    of_run = ("--filter", f"label=runyard.run-id={run_id}", "--format", "{{.Names}}")
    return docker("ps", "-a", *of_run).decode().split()


def docker(*words: str) -> bytes:
    return subprocess.run(["docker", *words], capture_output=True, check=True).stdout
