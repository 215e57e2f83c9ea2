"""
Jobs of every kind, built, pushed and run to their end by one agent, their builds seen by a user.

    RUNYARD_TEST_DOCKER=1 RUNYARD_TEST_REGISTRY=127.0.0.1:5000 \\
    RUNYARD_TEST_ACCELERATOR=127.0.0.1:5000/accelerator:debian pytest tests/e2e/test_build_kinds.py
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bench.harness.yard import Yard
from runyard.domain.jobs import SourceKind
from runyard.testing.git_server import git_server
from runyard.wire.rest import JobIn
from tests.builders.engine import accelerator
from tests.e2e.conftest import runyard
from tests.e2e.test_builds import PYTHON, Builders, docker, path_of

if not os.environ.get("RUNYARD_TEST_DOCKER"):
    pytest.skip("needs a Docker engine: RUNYARD_TEST_DOCKER=1 pytest", allow_module_level=True)

pytestmark = [pytest.mark.docker, pytest.mark.network, pytest.mark.timeout(300)]

SECRET = f"s3cret-{uuid.uuid4().hex}"
TRAIN = """
import os, sys
import six
print(six.__name__, os.environ["WANDB_DOCKER"], os.getcwd(), os.getuid(), *sys.argv[1:])
"""
# No layer of an earlier day has this file; the jobs of today may share one.
FILES = {"train.py": TRAIN, "requirements.txt": f"six  # {uuid.uuid4()}\n"}
ENTRY = ("python", "train.py")
OWN = f"""FROM {PYTHON}
RUN --mount=type=cache,target=/root/.cache/pip pip install six
RUN --mount=type=secret,id=token wc -c < /run/secrets/token > /token-size
COPY . /srv
WORKDIR /srv
ENTRYPOINT ["python", "train.py"]
"""
KINDS = ("git", "code", "git, accelerator", "code, accelerator")


@dataclass(frozen=True, slots=True)
class Shop:
    """An agent that builds, and all the items that it was given, by the name of their kind."""

    builders: Builders
    items: dict[str, str] = field(default_factory=dict)

    def built(self, kind: str) -> tuple[str, str]:
        """Return what a job has printed, and the log of its build as the command shows it."""
        item, printed, log = self.builders.ended(self.items[kind])
        assert item.exit_code == 0, (
            f"{item.failure.detail if item.failure else item}\n{log}{printed}"
        )
        shown = runyard(self.builders.yard, "logs", path_of(item.run), "--stage", "build")
        assert (shown.returncode, shown.stdout) == (0, log), shown.stderr
        return printed, log


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Everything is submitted at once, and built while the tests look at what is ready."""
    place = tmp_path_factory.mktemp("git")
    tls = certificate(place)
    with (
        pytest.MonkeyPatch.context() as patch,
        Yard() as yard,
        git_server(place / "repositories", tls=tls) as served,
    ):
        patch.setenv("GIT_SSL_CAINFO", str(tls[0]))
        patch.setenv("BUILD_TOKEN", SECRET)
        builders = Builders(yard, secrets={"token": {"env": "BUILD_TOKEN"}})
        try:
            builders.start()
            repository = served.repository("train.git")
            yield submitted(Shop(builders), repository.url, repository.commit(FILES))
        finally:
            builders.close()


def certificate(place: Path) -> tuple[Path, Path]:
    made, key = place / "certificate", place / "key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "1", "-subj", "/CN=git", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(made)],
        check=True, capture_output=True,
    )  # fmt: skip
    return made, key


def submitted(shop: Shop, remote: str, commit: str) -> Shop:
    make, yard = shop.builders.job, shop.builders.yard
    source = {"kind": "git", "remote": remote, "commit": commit, "entry_point": list(ENTRY)}
    with yard.api() as api:
        git = api.save_job(yard.entity, "default", "git", JobIn(source=source)).path
    jobs = {
        "git": git,
        "code": make(FILES, *ENTRY, name="code"),
        "own": make({**FILES, "Dockerfile": OWN}, name="own", dockerfile="Dockerfile"),
        "image": make({}, *ENTRY, name="image", kind=SourceKind.IMAGE, path=PYTHON),
    }
    on_accelerator = {"builder": {"accelerator": {"base_image": accelerator()}}}
    for kind, job in jobs.items():
        words = ["python", "-c", "print('as it is')"] if kind == "image" else None
        overrides = {"entry_point": words} if words else {"args": ["--lr", "1"]}
        shop.items[kind] = shop.builders.submit(job, overrides=overrides)
        if kind in ("git", "code"):
            shop.items[f"{kind}, accelerator"] = shop.builders.submit(
                job, overrides=overrides, **on_accelerator
            )
    return shop


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_built_pushed_and_run(shop: Shop, kind: str) -> None:
    printed, log = shop.built(kind)
    base = accelerator() if "accelerator" in kind else PYTHON
    target = log.partition("building ")[2].partition(" ")[0]
    assert f"building {target} from {base}@sha256:" in log
    assert "pip install" in log
    assert target.rpartition(":")[2] in shop.builders.tags
    image = docker("image", "inspect", "--format", "{{index .RepoDigests 0}}", target).strip()
    assert printed == f"six {image} /home/runyard 1000 --lr 1\n"


def test_the_jobs_with_an_accelerators_image_share_its_python(shop: Shop) -> None:
    for kind in ("git, accelerator", "code, accelerator"):
        assert "apt-get install" in shop.built(kind)[1]


def test_an_own_dockerfile_with_cache_mounts_and_a_secret(shop: Shop) -> None:
    printed, log = shop.built("own")
    image = printed.split()[1]
    assert image.startswith(f"{shop.builders.repository}@sha256:")
    assert printed == f"six {image} /srv 0 --lr 1\n"
    assert "RUN --mount=type=cache" in log
    assert SECRET not in log
    assert SECRET not in docker("history", "--no-trunc", image)
    size = docker("run", "--rm", "--entrypoint", "cat", image, "/token-size")
    assert int(size) == len(SECRET)


def test_an_image_job_runs_its_image_as_it_is(shop: Shop) -> None:
    assert shop.built("image") == ("as it is\n", "")
