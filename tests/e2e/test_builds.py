"""
Images that a real agent builds with a real engine and pushes to a real registry, and runs.

    RUNYARD_TEST_DOCKER=1 RUNYARD_TEST_REGISTRY=127.0.0.1:5000 pytest tests/e2e/test_builds.py

The registry is one that the engine trusts; it has python:3.11-slim.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.harness.yard import Yard
from runyard.client import follow, making
from runyard.domain.jobs import SourceKind
from runyard.testing.git_server import git_server
from runyard.wire.rest import JobIn, RunRef
from tests.e2e.conftest import runyard, until

pytestmark = pytest.mark.docker

QUEUE = "containers"
REGISTRY = os.environ.get("RUNYARD_TEST_REGISTRY", "127.0.0.1:5000")
PYTHON = f"{REGISTRY}/python:3.11-slim"
SCRIPT = """
import os, sys
print("hello from", os.environ["WANDB_DOCKER"], os.getcwd(), os.getuid(), *sys.argv[1:])
"""
OWN = f"""FROM {PYTHON}
RUN --mount=type=cache,target=/var/cache/own echo kept >> /var/cache/own/file && echo a step ran
COPY . /srv
WORKDIR /srv
ENTRYPOINT ["python", "train.py", "from the Dockerfile"]
"""


class Builders:
    """A server, a registry's repository of our own, and an agent that builds for it."""

    def __init__(self, yard: Yard, **settings: Any) -> None:
        self.yard = yard
        self.name = f"runyard-e2e-{uuid.uuid4().hex[:10]}"
        self.repository = f"{REGISTRY}/{self.name}"
        self.settings = {
            "type": "docker", "destination": self.repository, "base_image": PYTHON, **settings,
        }  # fmt: skip
        yard.add_queue(QUEUE, "local-container")

    def start(self, name: str = "agent", *, max_jobs: int = -1) -> None:
        where = self.yard.root / f"agent-{name}" / "config" / "runyard"
        where.mkdir(parents=True, exist_ok=True)
        config = {"builder": {k: v for k, v in self.settings.items() if v}}
        (where / "agent.yaml").write_text(yaml.safe_dump(config))
        self.yard.add_agent(QUEUE, name=name, max_jobs=max_jobs)
        self.yard.wait_agents(QUEUE, len(self.yard.agents))

    def job(self, files: dict[str, str], *words: str, **changes: Any) -> str:
        source = self.yard.root / f"source-{uuid.uuid4().hex[:6]}"
        for name, text in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
        kind = changes.pop("kind", SourceKind.CODE)
        path = changes.pop("path", str(source))
        recipe = making.Recipe(
            kind=kind, path=path, name=changes.pop("name", "e2e"), entry_point=words, **changes
        )
        with self.yard.api() as api, making.drafted(recipe, environ=os.environ) as draft:
            return making.save(api, self.yard.entity, "default", draft).path

    def submit(self, job: str, **spec: Any) -> str:
        with self.yard.api() as api:
            (made,) = api.submit(self.yard.entity, QUEUE, [{"job": job, **spec}]).items
        return made.id

    def ended(self, item_id: str) -> tuple[Any, str, str]:
        """Return the item at its end, what its program printed, and what its build did."""
        with self.yard.api() as api:
            until(lambda: api.item(item_id).ended_at is not None, seconds=240)
            item = api.item(item_id)
            printed = b"".join(follow.log(api, item.run)).decode()
            built = b"".join(follow.log(api, item.run, stage="build")).decode()
            return item, printed, built

    def run(self, job: str, **spec: Any) -> tuple[Any, str, str]:
        return self.ended(self.submit(job, **spec))

    @property
    def tags(self) -> list[str]:
        try:
            with urllib.request.urlopen(f"http://{REGISTRY}/v2/{self.name}/tags/list") as answer:
                return json.load(answer)["tags"] or []
        except urllib.error.HTTPError:
            return []

    @property
    def agent_log(self) -> str:
        return (self.yard.root / "agent-agent" / "agent.log").read_text()

    def close(self) -> None:
        for program in self.yard.agents:
            program.end(signal.SIGTERM)
        listed = docker("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
        for line in listed.splitlines():
            name, _, image = line.partition(" ")
            if name.startswith(self.repository):
                docker("rmi", "--force", image)


def path_of(run: RunRef) -> str:
    return f"{run.entity}/{run.project}/{run.run_id}"


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False).stdout


@pytest.fixture
def builders(yard: Yard) -> Iterator[Builders]:
    made = Builders(yard)
    yield made
    made.close()


def test_code_is_built_once_and_its_second_launch_fetches_and_builds_nothing(
    builders: Builders,
) -> None:
    builders.start()
    files = {"train.py": SCRIPT, "requirements.txt": ""}
    job = builders.job(files, "python", "train.py")
    item, printed, built = builders.run(job, overrides={"args": ["one"]})
    assert item.exit_code == 0, (item.failure, printed, built)
    (tag,) = builders.tags
    assert f"building {builders.repository}:{tag} from {PYTHON}@sha256:" in built
    assert "COPY" in built
    image = built.splitlines()[-1].split()[1].removesuffix(":")
    assert image.startswith(f"{builders.repository}@sha256:")
    assert printed == f"hello from {image} /home/runyard 1000 one\n"

    blobs = list((builders.yard.root / "agent-agent").rglob("attempts/*"))
    assert blobs == []
    item, printed, built = builders.run(job, overrides={"args": ["two"]})
    assert item.exit_code == 0, item.failure
    assert printed == f"hello from {image} /home/runyard 1000 two\n"
    assert built == f"{builders.repository}:{tag} is there: nothing to build\n"
    assert builders.tags == [tag]
    assert "builds with docker for " + builders.repository in builders.agent_log

    shown = runyard(builders.yard, "logs", "--stage", "build", path_of(item.run))
    assert shown.stdout == built, shown.stderr


def test_a_commit_is_built_and_run(
    builders: Builders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "certificate", tmp_path / "key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "1", "-subj", "/CN=git", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    with git_server(tmp_path / "repositories", tls=(certificate, key)) as served:
        repository = served.repository("train.git")
        source = {
            "kind": "git",
            "remote": repository.url,
            "commit": repository.commit({"sub/train.py": SCRIPT}),
            "entry_point": ["python", "train.py"],
            "build_context": "sub",
        }
        monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
        builders.start()
        with builders.yard.api() as api:
            entity = builders.yard.entity
            job = api.save_job(entity, "default", "commit", JobIn(source=source)).path
        item, printed, built = builders.run(job)
        assert item.exit_code == 0, (item.failure, printed, built)
        assert "/home/runyard/sub 1000" in printed
        before = served.requests
        item, _, built = builders.run(job)
        assert item.exit_code == 0
        assert (served.requests, "nothing to build" in built) == (before, True)


def test_an_own_dockerfile_with_a_cache_mount_is_built_once(builders: Builders) -> None:
    builders.start()
    job = builders.job({"train.py": SCRIPT, "Dockerfile": OWN}, dockerfile="Dockerfile")
    item, printed, built = builders.run(job)
    assert item.exit_code == 0, (item.failure, printed, built)
    assert "a step ran" in built
    assert printed.endswith("/srv 0 from the Dockerfile\n")
    _, printed, built = builders.run(job)
    assert printed.endswith("/srv 0 from the Dockerfile\n")
    assert built.endswith("is there: nothing to build\n")


def test_a_dockerfile_beside_the_program_decides(builders: Builders) -> None:
    builders.start()
    files = {"sub/train.py": SCRIPT, "sub/Dockerfile.wandb": OWN, "other.py": ""}
    item, printed, built = builders.run(builders.job(files, "python", "sub/train.py"))
    assert item.exit_code == 0, (item.failure, printed, built)
    assert printed.endswith("/srv 0\n")
    assert "the job has a Dockerfile of its own: sub/Dockerfile.wandb" in built


def test_an_image_job_is_left_as_it_is(builders: Builders) -> None:
    builders.start()
    job = builders.job({}, "python", "-c", "print(1)", kind=SourceKind.IMAGE, path=PYTHON)
    item, printed, built = builders.run(job)
    assert (item.exit_code, printed, built) == (0, "1\n", ""), item.failure
    assert builders.tags == []


def test_an_engines_own_image_runs_where_there_is_no_registry(yard: Yard) -> None:
    builders, image = Builders(yard, destination=None), ""
    try:
        builders.start()
        job = builders.job({"train.py": SCRIPT + f"\nprint({uuid.uuid4().hex!r})"},
                           "python", "train.py")  # fmt: skip
        item, printed, built = builders.run(job)
        assert item.exit_code == 0, (item.failure, printed, built)
        image = printed.split()[2]
        assert image.startswith("sha256:")
        _, again, built = builders.run(job)
        assert again == printed
        assert built.endswith("is there: nothing to build\n")
    finally:
        builders.close()
        docker("rmi", "--force", image)


@pytest.mark.network
def test_a_requirement_that_does_not_exist_fails_the_build_with_its_name(
    builders: Builders,
) -> None:
    builders.start()
    files = {"train.py": SCRIPT, "requirements.txt": "runyard-no-such-package==1.0\n"}
    item, printed, built = builders.run(builders.job(files, "python", "train.py"))
    assert (item.state, item.failure.stage) == ("FAILED", "build")
    assert "runyard-no-such-package" in item.failure.message.splitlines()[0]
    assert "No matching distribution found" in built
    assert (printed, builders.tags) == ("", [])


def test_a_stop_ends_the_build_at_once(builders: Builders) -> None:
    builders.start()
    files = {
        "train.py": SCRIPT,
        "Dockerfile": f"FROM {PYTHON}\nRUN echo begun && sleep 300 # {uuid.uuid4()}\n",
    }
    item_id = builders.submit(builders.job(files, dockerfile="Dockerfile"))
    with builders.yard.api() as api:
        item = api.item(item_id)
        until(lambda: b"begun\n" in b"".join(follow.log(api, item.run, stage="build")))
        began = time.monotonic()
        api.stop_run(item.run)
    item, _, _ = builders.ended(item_id)
    assert time.monotonic() - began < 60
    assert builders.tags == []
    assert "sleep 300" not in docker("ps", "--no-trunc")


def test_an_agent_that_is_killed_in_a_build_builds_it_when_it_is_back(builders: Builders) -> None:
    builders.start()
    # The engine goes on with a step whose client was killed, and lets the next one join it.
    step = f"RUN echo first && sleep 8 # {uuid.uuid4()}"
    files = {"train.py": SCRIPT, "Dockerfile": OWN.replace("COPY", f"{step}\nCOPY")}
    item_id = builders.submit(builders.job(files, dockerfile="Dockerfile"))
    with builders.yard.api() as api:
        item = api.item(item_id)
        until(lambda: b" first\n" in b"".join(follow.log(api, item.run, stage="build")))
    agent = builders.yard.agents[0]
    agent.end()
    agent.start()
    item, printed, built = builders.ended(item_id)
    assert item.exit_code == 0, (item.failure, printed, built)
    assert built.count(f"building {builders.repository}:") == 2
    assert len(builders.tags) == 1
