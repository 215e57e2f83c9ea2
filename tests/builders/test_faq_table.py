"""
The table of what is done to a job of each kind, cell by cell, in images that were really built.

    source                   apt Python   packages   user, directory   code   entry point
    git                      -            yes        yes               yes    yes
    code                     -            yes        yes               yes    yes
    git, accelerator image   yes          yes        yes               yes    yes
    code, accelerator image  yes          yes        yes               yes    yes
    image                    -            -          -                 -      -

    RUNYARD_TEST_DOCKER=1 RUNYARD_TEST_ACCELERATOR=<Debian without Python> pytest …
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runyard.agent.build_settings import BuilderSettings
from runyard.agent.planning import Builds
from runyard.agent.rendering import Draft, Grants, draft
from runyard.builders import context
from runyard.builders.base import Order
from runyard.builders.docker import DockerBuilder
from runyard.domain.images import HOME, ImageRef
from runyard.drivers.base import Capabilities
from runyard.wire.agent import Held
from tests.agent.double import spec
from tests.builders.engine import (
    PYTHON,
    accelerator,
    docker,
    fails,
    history,
    inside,
    inspected,
    named,
)

if not os.environ.get("RUNYARD_TEST_DOCKER"):
    pytest.skip("needs a Docker engine: RUNYARD_TEST_DOCKER=1 pytest", allow_module_level=True)

pytestmark = [pytest.mark.docker, pytest.mark.network, pytest.mark.timeout(600)]

TRAIN = "import sys, six\nprint('trained with', six.__name__, *sys.argv[1:])\n"
ENTRY = ("python", "train.py")
SOURCES = {
    "git": {"kind": "git", "remote": "https://git.example/a.git", "commit": "1" * 40},
    "code": {"kind": "code", "archive": f"sha256:{'0' * 64}"},
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: the base image, and what was built upon it."""

    image: str
    base: str
    on_accelerator: bool
    log: bytearray = field(default_factory=bytearray)


def drafted(source: dict[str, Any], config: dict[str, Any]) -> Draft:
    resource = "local-container"
    given = spec(source=source, config=config, resource=resource, overrides={"entry_point": ENTRY})
    if source["kind"] == "image":
        given["overrides"]["entry_point"] = None
    held = Held(item_id="i1", token="t", key="ry-i1-1", attempt=1, requeues=0, spec=given)
    able = Capabilities(needs_image=True, takes_gpus=True, host_bound=True)
    builds = Builds(BuilderSettings(), "docker")
    return draft(held, able, Grants({}), base_url="http://s", builds=builds)


def fetched(kind: str, root: Path) -> Path:
    root.mkdir()
    (root / "train.py").write_text(TRAIN)
    (root / "requirements.txt").write_text("six\n")
    (root / "lib").mkdir()
    (root / "lib/data.txt").write_text("data\n")
    if kind == "git":
        for words in (["init", "-q"], ["add", "-A"]):
            subprocess.run(["git", *words], cwd=root, check=True)
    return root


@pytest.fixture(
    scope="module", params=["git", "code", "git, accelerator image", "code, accelerator image"]
)
def row(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Row]:
    kind, _, on_accelerator = request.param.partition(", ")
    base = accelerator() if on_accelerator else PYTHON
    config = {"builder": {"accelerator": {"base_image": base}}} if on_accelerator else {}
    wish = drafted(SOURCES[kind], config).wish
    assert wish is not None
    place = tmp_path_factory.mktemp("row")
    files = context.choose(fetched(kind, place / "job"), entry_point=wish.plan.entry_point)
    builder, log = DockerBuilder(), bytearray()

    async def build(target: str) -> str:
        recipe = context.recipe(
            wish.plan, files, mounts=await builder.mounts(), cache=wish.plan.team
        )
        written = context.write(recipe, files, place / "into")
        order = Order(
            written.context, written.dockerfile, ImageRef.parse(target), push=False, team="ann"
        )
        return (await builder.build(order, log=log.extend)).run

    with named() as target:
        yield Row(asyncio.run(build(target)), base, bool(on_accelerator), log)


def test_python_is_installed_by_apt_with_an_accelerator_image_only(row: Row) -> None:
    said = any("apt-get install" in step for step in history(row.image))
    assert said == row.on_accelerator
    there = not fails("run", "--rm", "--entrypoint", "dpkg", row.image, "-s", "python3")
    assert there == row.on_accelerator
    if row.on_accelerator:
        assert fails("run", "--rm", "--entrypoint", "python3", row.base, "--version")
        assert inside(row.image, "ls /var/lib/apt/lists") == ""


def test_python_packages_are_installed(row: Row) -> None:
    assert inside(row.image, "python -c 'import six; print(six.__file__)'").startswith("/env/lib")
    assert fails("run", "--rm", "--entrypoint", "python3", row.base, "-c", "import six")


def test_packages_are_installed_before_the_code_is_copied(row: Row) -> None:
    steps = list(reversed(history(row.image)))
    install = next(at for at, step in enumerate(steps) if "pip install" in step)
    copies = [at for at, step in enumerate(steps) if "COPY" in step]
    assert copies[-1] > install > copies[-2]


def test_the_user_and_its_directory_are_there(row: Row) -> None:
    found = inspected(row.image)["Config"]
    assert (found["User"], found["WorkingDir"]) == ("1000:0", HOME)
    assert inside(row.image, "id -u; id -g; id -un; pwd; echo ~").split() == [
        "1000", "0", "runyard", HOME, HOME,
    ]  # fmt: skip
    write = "touch .cache/a b lib/c && echo written"
    assert inside(row.image, write) == "written"
    assert inside(row.image, write, "--user", "123456:0") == "written"


def test_the_code_is_there_and_is_the_users(row: Row) -> None:
    assert inside(row.image, "cat train.py") == TRAIN.strip()
    owners = inside(row.image, "stat -c '%n %u:%g' train.py lib lib/data.txt")
    assert owners.split("\n") == ["train.py 1000:0", "lib 1000:0", "lib/data.txt 1000:0"]


def test_the_entry_point_is_the_jobs(row: Row) -> None:
    found = inspected(row.image)["Config"]
    assert (found["Entrypoint"], found["Cmd"] or []) == (list(ENTRY), [])
    assert docker("run", "--rm", row.image, "--lr", "1") == "trained with six --lr 1\n"


def test_an_image_job_runs_its_image_as_it_is() -> None:
    made = drafted({"kind": "image", "image": PYTHON}, {})
    assert (made.wish, made.installs, made.workload.image) == (None, False, PYTHON)
    assert (made.workload.entry_point, made.workload.working_dir) == ((), "")
