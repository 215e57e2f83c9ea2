"""Which builder it is, by what the host has."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from runyard.builders.buildah import BuildahBuilder
from runyard.builders.choosing import choose
from runyard.builders.docker import DockerBuilder
from runyard.domain.errors import Rejected

pytestmark = pytest.mark.anyio

ENGINE = json.dumps({"ID": "E", "Name": "h", "DockerRootDir": "/"})
STORE = json.dumps({"host": {"hostname": "h"}, "store": {"GraphRoot": "/s"}})
DOCKER = f"""#!/bin/sh
case "$1" in
info) echo '{ENGINE}';;
version) echo '{{"Components": []}}';;
esac
"""
AWAY = "#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2; exit 1\n"
BUILDAH = f"#!/bin/sh\necho '{STORE}'\n"
BROKEN = "#!/bin/sh\necho 'Error: no subuid ranges' >&2; exit 125\n"


def host(path: Path, **programs: str) -> dict[str, str]:
    for name, text in programs.items():
        (path / name).write_text(text)
        (path / name).chmod(0o755)
    return {"PATH": str(path)}


@pytest.mark.parametrize(
    ("programs", "chosen"),
    [
        ({"docker": DOCKER, "buildah": BUILDAH}, DockerBuilder),
        ({"docker": AWAY, "buildah": BUILDAH}, BuildahBuilder),
        ({"buildah": BUILDAH}, BuildahBuilder),
        ({"docker": AWAY, "buildah": BROKEN}, type(None)),
        ({}, type(None)),
    ],
)
async def test_auto_is_the_first_that_works(
    tmp_path: Path, programs: dict[str, str], chosen: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    builder = await choose("auto", host=None, env=host(tmp_path, **programs))
    assert type(builder) is chosen


@pytest.mark.parametrize(
    ("isolation", "is_chosen"), [("", False), ("chroot", False), ("oci", True)]
)
async def test_T21_auto_is_no_builder_whose_steps_reach_what_root_has(
    tmp_path: Path, isolation: str, is_chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    env = {**host(tmp_path, buildah=BUILDAH), "BUILDAH_ISOLATION": isolation}
    assert (await choose("auto", host=None, env=env) is not None) is is_chosen
    assert await choose("buildah", host=None, env=env) is not None


@pytest.mark.parametrize("name", ["none", "noop"])
async def test_none_builds_nothing(tmp_path: Path, name: str) -> None:
    env = host(tmp_path, docker=DOCKER)
    assert await choose(name, host=None, env=env) is None


@pytest.mark.parametrize("name", ["docker", "buildah"])
async def test_one_that_is_said_and_cannot_work_says_what_to_install(
    tmp_path: Path, name: str
) -> None:
    builder = await choose(name, host=None, env=host(tmp_path))
    assert builder is not None
    assert builder.name == name
    with pytest.raises(Rejected, match=f"{name} is not installed") as caught:
        await builder.check()
    assert "install" in caught.value.hint


async def test_buildah_that_does_not_work_is_quoted(tmp_path: Path) -> None:
    builder = await choose("buildah", host=None, env=host(tmp_path, buildah=BROKEN))
    assert builder is not None
    with pytest.raises(Rejected, match="no subuid ranges"):
        await builder.check()


async def test_builders_of_clusters_are_not_of_a_host(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="'kaniko' builds in a cluster"):
        await choose("kaniko", host=None, env=host(tmp_path))
