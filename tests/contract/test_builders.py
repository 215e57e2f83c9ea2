"""
The builders of a host under the laws: BuildKit, docker's legacy builder, buildah; all of them real.

    RUNYARD_TEST_DOCKER=1 pytest tests/contract/test_builders.py     # python:3.11-slim is there
    RUNYARD_TEST_PODMAN=1 pytest tests/contract/test_builders.py     # localhost/python:3.11-slim is

Both need a registry that takes images over plain http and has python:3.11-slim:
RUNYARD_TEST_REGISTRY, 127.0.0.1:5000 if it is not set. The legacy builder is what is left to a
client that has no BuildKit: the client on PATH is made one by a program before it, which refuses
what such a client refuses.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from runyard.builders.base import Builder, BuildFailed
from runyard.builders.buildah import BuildahBuilder
from runyard.builders.docker import DockerBuilder
from runyard.domain.errors import Rejected
from runyard.testing.builder_laws import OWN, BuilderLaws, Log, Make, made_public

REGISTRY = os.environ.get("RUNYARD_TEST_REGISTRY", "127.0.0.1:5000")
ENV = {**os.environ, "AWS_SECRET_ACCESS_KEY": OWN, "RUNYARD_API_KEY": OWN}
needs_docker = pytest.mark.skipif(
    not os.environ.get("RUNYARD_TEST_DOCKER"), reason="needs a Docker engine"
)
needs_podman = pytest.mark.skipif(
    not os.environ.get("RUNYARD_TEST_PODMAN"), reason="needs buildah and podman"
)


class EngineBuilderLaws(BuilderLaws):
    """`run` starts a container that is removed at its end; `save` writes an image's archive."""

    registry = REGISTRY
    run: tuple[str, ...]
    save: tuple[str, ...]

    def runs(self, image: str, command: str) -> str:
        argv = [*self.run, "--entrypoint", "/bin/sh", image, "-c", command]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def content(self, image: str) -> bytes:
        saved = subprocess.run([*self.save, image], check=True, capture_output=True).stdout
        found = b""
        with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
            for member in archive:
                file = archive.extractfile(member)
                part = file.read() if file else b""
                found += gzip.decompress(part) if part[:2] == b"\x1f\x8b" else part
        return found

    @pytest.mark.network
    async def test_a_package_that_does_not_exist_is_named_and_nothing_is_pushed(
        self, builder: Builder, tmp_path: Path, log: Log
    ) -> None:
        make = Make(tmp_path, f"{REGISTRY}/python:3.11-slim", REGISTRY)
        order = make("RUN pip install runyard-no-such-package-x", push=True)
        with pytest.raises(BuildFailed) as caught:
            await builder.build(order, log=log)
        assert caught.value.message.endswith("no such version of it: runyard-no-such-package-x")
        assert made_public(order.target) is None


class DockerLaws(EngineBuilderLaws):
    base = "python:3.11-slim"
    run = ("docker", "run", "--rm")
    save = ("docker", "save")

    @pytest.fixture
    def cut_off(self, tmp_path: Path) -> Builder:
        return DockerBuilder(f"unix://{tmp_path}/no-engine.sock", ENV)


@needs_docker
@pytest.mark.docker
class TestBuildKit(DockerLaws):
    @pytest.fixture
    def builder(self) -> Builder:
        return DockerBuilder(env=ENV)

    async def test_it_mounts(self, builder: Builder) -> None:
        assert await builder.mounts()


@needs_docker
@pytest.mark.docker
class TestLegacyBuilder(DockerLaws):
    @pytest.fixture
    def builder(self, tmp_path: Path) -> Builder:
        client = tmp_path / "bin" / "docker"
        client.parent.mkdir()
        client.write_text(
            "#!/bin/sh\n"
            '[ "$1" != buildx ] && [ "$DOCKER_BUILDKIT" != 1 ] || '
            "{ echo ERROR: the buildx component is missing >&2; exit 1; }\n"
            f'exec {shutil.which("docker")} "$@"\n'
        )
        client.chmod(0o700)
        return DockerBuilder(env={**ENV, "PATH": f"{client.parent}:{ENV['PATH']}"})

    async def test_it_does_not_mount(self, builder: Builder) -> None:
        assert not await builder.mounts()


@needs_podman
@pytest.mark.podman
class TestBuildah(EngineBuilderLaws):
    base = "localhost/python:3.11-slim"
    run = ("podman", "run", "--rm", "--tls-verify=false")
    save = ("podman", "save", "--format", "docker-archive")

    @pytest.fixture
    def builder(self) -> Builder:
        return BuildahBuilder(ENV)

    async def test_a_runtime_keeps_the_hosts_processes_apart(self, make: Make, log: Log) -> None:
        builder = BuildahBuilder({**ENV, "BUILDAH_ISOLATION": "oci"})
        built = await builder.build(make("RUN readlink /proc/self/ns/pid > /made"), log=log)
        own = os.readlink("/proc/self/ns/pid")
        assert self.runs(built.run, "cat /made").strip() not in ("", own)

    async def test_T8_a_step_does_not_leave_its_chroot_for_the_hosts_files(
        self, builder: Builder, make: Make, log: Log, tmp_path: Path
    ) -> None:
        (tmp_path / "of-the-host").write_text("private")
        way_out = (
            "import os; os.mkdir('/in'); top = os.open('/', os.O_RDONLY); os.chroot('/in'); "
            "os.fchdir(top); [os.chdir('..') for _ in range(99)]; os.chroot('.'); "
            f"print(open('{tmp_path}/of-the-host').read())"
        )
        order = make(f'RUN echo stays; python3 -c "{way_out}"')
        with pytest.raises(BuildFailed):
            await builder.build(order, log=log)
        assert "stays" in log.text
        assert "private" not in log.text.replace(order.dockerfile.read_text(), "")

    @pytest.mark.parametrize(
        "mount",
        [
            "type=cache,id=../../../../../../etc,target=/there",
            "type=bind,source=/link,target=/there",
            "target=/there,source=/link",
            'type=cache,"id=../../../../../../etc",target=/there',
        ],
    )
    async def test_T8_no_mount_of_a_step_leads_to_the_hosts_files(
        self, builder: Builder, make: Make, log: Log, mount: str
    ) -> None:
        order = make(f"RUN --mount={mount} cat /there/hostname /there/passwd")
        (order.context / "link").symlink_to("/etc")
        with pytest.raises(Rejected):
            await builder.build(order, log=log)
        assert "root:" not in log.text

    async def test_T8_nor_does_one_that_a_base_image_left_for_later(
        self, builder: Builder, make: Make, log: Log
    ) -> None:
        mount = "--mount=type=cache,id=../../../../../../etc,target=/there"
        base = make("RUN true")
        base.dockerfile.write_text(f"FROM {self.base}\nONBUILD RUN {mount} cat /there/passwd\n")
        argv = ["buildah", "build", "--isolation=chroot", "--format=docker", "--pull=false"]
        argv += ["-t", base.target.tagged, "-f", str(base.dockerfile), str(base.context)]
        subprocess.run(argv, check=True, capture_output=True)
        order = make("RUN true")
        order.dockerfile.write_text(f"FROM {base.target.tagged}\n")
        order = replace(order, insecure=frozenset())
        try:
            with pytest.raises(Rejected):
                await builder.build(order, log=log)
        finally:
            await builder.remove(base.target)
        assert "root:" not in log.text

    @pytest.mark.parametrize("end", ["cancelled", "failed"])
    async def test_no_working_container_is_left(
        self, storage: dict[str, str], make: Make, log: Log, end: str
    ) -> None:
        order = make(f"RUN echo up; {'sleep 600' if end == 'cancelled' else 'exit 1'}")
        building = asyncio.create_task(BuildahBuilder(storage).build(order, log=log))
        await log.shows("up\n")
        if end == "cancelled":
            assert working_containers(storage)
            building.cancel()
        await asyncio.gather(building, return_exceptions=True)
        assert not working_containers(storage)

    @pytest.fixture
    def storage(self, tmp_path: Path) -> dict[str, str]:
        """An environment with a storage of this test's own, which has the usual one's images."""
        info = subprocess.run(["buildah", "info"], check=True, capture_output=True).stdout
        store = json.loads(info)["store"]
        config = tmp_path / "storage.conf"
        config.write_text(
            f'[storage]\ndriver = "{store["GraphDriverName"]}"\n'
            f'graphroot = "{tmp_path}/graph"\nrunroot = "{tmp_path}/run"\n'
            f'[storage.options]\nadditionalimagestores = ["{store["GraphRoot"]}"]\n'
        )
        return {**ENV, "CONTAINERS_STORAGE_CONF": str(config)}


def working_containers(env: dict[str, str]) -> list[str]:
    argv = ["buildah", "containers", "-q"]
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=env).stdout.split()
