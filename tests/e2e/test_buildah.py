"""
Images built by buildah and run by podman, by a real agent that has no docker.

    RUNYARD_TEST_PODMAN=unix:///tmp/podman.sock RUNYARD_TEST_REGISTRY=127.0.0.1:5000 \\
    pytest tests/e2e/test_buildah.py

needs localhost/python:3.11-slim, and a registry that takes images over plain http.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.harness.yard import Yard
from runyard.domain.jobs import SourceKind
from tests.e2e.conftest import runyard, until
from tests.e2e.test_builds import REGISTRY, Builders, path_of

pytestmark = [pytest.mark.podman, pytest.mark.timeout(240)]

TRAIN = """
import os, sys
print("hello from", os.environ["WANDB_DOCKER"], os.getcwd(), os.getuid(), *sys.argv[1:])
"""
ENTRY = ("python", "train.py")
OWN = """
RUN --mount=type=cache,target=/var/cache/own echo kept >> /var/cache/own/file && echo a step ran
COPY . /srv
WORKDIR /srv
ENTRYPOINT ["python", "train.py"]
"""


@pytest.fixture(scope="module")
def podman_socket() -> Iterator[str]:
    """A service of podman's that takes images over plain http, as an operator would allow it."""
    if not os.environ.get("RUNYARD_TEST_PODMAN"):
        pytest.skip("needs podman's socket: RUNYARD_TEST_PODMAN=unix:///path/podman.sock pytest")
    with tempfile.TemporaryDirectory(prefix="runyard-podman-") as path:  # short enough for a socket
        place = Path(path)
        registries = place / "registries.conf"
        registries.write_text(f'[[registry]]\nlocation = "{REGISTRY}"\ninsecure = true\n')
        address = f"unix://{place}/socket"
        with subprocess.Popen(
            ["podman", "system", "service", "--time=0", address],
            env={**os.environ, "CONTAINERS_REGISTRIES_CONF": str(registries)},
            cwd="/",
        ) as service:
            until((place / "socket").exists)
            yield address
            service.terminate()


@pytest.fixture
def without_docker(podman_socket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing on PATH is docker's, and the engine is podman's socket."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for folder in os.environ["PATH"].split(os.pathsep):
        for program in Path(folder).glob("*"):
            link = programs / program.name
            if not program.name.startswith("docker") and not link.is_symlink():
                link.symlink_to(program)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("DOCKER_HOST", podman_socket)


@pytest.fixture(params=["pushed", "of this host"])
def builders(
    request: pytest.FixtureRequest, yard: Yard, without_docker: None
) -> Iterator[Builders]:
    """What is pushed is built upon an image of the registry, what is not upon one of podman's."""
    if request.param == "pushed":
        made = Builders(yard, type="buildah", insecure_registries=[REGISTRY])
    else:
        made = Builders(
            yard, type="buildah", base_image="localhost/python:3.11-slim", destination=""
        )
    yield made
    for program in yard.agents:
        program.end()
    for image in json.loads(podman("images", "--format", "json")):
        if any(name.startswith(made.repository) for name in image.get("Names") or ()):
            podman("rmi", "--force", image["Id"])


def podman(*words: str) -> str:
    done = subprocess.run(["podman", *words], capture_output=True, text=True, check=False)
    return done.stdout


@pytest.mark.network
def test_jobs_are_built_once_and_run_without_docker(builders: Builders) -> None:
    builders.start()
    base, pushed = builders.settings["base_image"], bool(builders.settings["destination"])
    mark = f"# {uuid.uuid4()}\n"
    code = {"train.py": TRAIN + mark} | ({"requirements.txt": f"six {mark}"} if pushed else {})
    own = {"train.py": TRAIN + mark, "Dockerfile": f"FROM {base}{OWN}"}
    jobs = {
        "/home/runyard 1000": builders.job(code, *ENTRY, name="code"),
        "/srv 0": builders.job(own, name="own", dockerfile="Dockerfile"),
    }
    for where, job in jobs.items():
        item, printed, built = builders.run(job, overrides={"args": ["one"]})
        assert item.exit_code == 0, f"{item.failure}\n{built}{printed}"
        image = built.splitlines()[-1].split()[1].removesuffix(":")
        assert image.startswith(f"{builders.repository}@sha256:" if pushed else "sha256:")
        assert printed == f"hello from {image} {where} one\n"
        assert "with buildah" in built
        assert "COPY" in built

        item, printed, built = builders.run(job, overrides={"args": ["two"]})
        assert printed == f"hello from {image} {where} two\n", f"{item.failure}\n{built}"
        assert built.endswith("is there: nothing to build\n")
        shown = runyard(builders.yard, "logs", path_of(item.run), "--stage", "build")
        assert (shown.returncode, shown.stdout) == (0, built), shown.stderr
        podman("rmi", "--force", image)
    assert len(builders.tags) == (len(jobs) if pushed else 0)
    assert "builds with buildah" in builders.agent_log


def test_an_image_job_runs_its_image_as_it_is(yard: Yard, without_docker: None) -> None:
    builders = Builders(yard, type="buildah", destination="")
    builders.start()
    image = "localhost/python:3.11-slim"
    job = builders.job({}, "python", "-c", "print(1)", kind=SourceKind.IMAGE, path=image)
    item, printed, built = builders.run(job)
    assert (item.exit_code, printed, built) == (0, "1\n", ""), item.failure


@pytest.mark.network
def test_a_requirement_that_does_not_exist_is_named_and_nothing_is_pushed(
    yard: Yard, without_docker: None
) -> None:
    builders = Builders(yard, type="buildah", insecure_registries=[REGISTRY])
    builders.start()
    files = {"train.py": TRAIN, "requirements.txt": "runyard-no-such-package==1.0\n"}
    item, printed, built = builders.run(builders.job(files, *ENTRY))
    assert (item.state, item.failure.stage) == ("FAILED", "build")
    assert "runyard-no-such-package" in item.failure.message.splitlines()[0]
    assert "No matching distribution found" in built
    assert (printed, builders.tags) == ("", [])
