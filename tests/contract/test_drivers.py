"""Our drivers under the laws; see `runyard.testing.driver_laws`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runyard.domain.workloads import Workload
from runyard.drivers.base import Driver
from runyard.drivers.docker import DockerDriver
from runyard.drivers.docker_settings import DockerSettings, Pull
from runyard.drivers.process import ProcessDriver
from runyard.testing.driver_laws import Connect, DriverLaws


class TestProcessDriver(DriverLaws):
    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        return lambda: ProcessDriver(tmp_path / "agent")

    def shell(self, script: str, key: str) -> Workload:
        return Workload(key, ("/bin/sh", "-c"), (script,))


def _engine(root: Path, address: str | None) -> DockerDriver:
    return DockerDriver(root, DockerSettings(host=address, pull=Pull.MISSING))


class _ContainerLaws(DriverLaws):
    address: str | None = None  # the usual one
    image = "python:3.11-slim"

    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        return lambda: _engine(tmp_path / "agent", self.address)

    @pytest.fixture
    def cut_off(self, tmp_path: Path) -> Driver:
        return _engine(tmp_path / "agent", f"unix://{tmp_path}/no-engine.sock")

    def shell(self, script: str, key: str) -> Workload:
        return Workload(key, ("/bin/sh", "-c"), (script,), image=self.image)


@pytest.mark.docker
@pytest.mark.skipif(
    not os.environ.get("RUNYARD_TEST_DOCKER"),
    reason="needs a Docker engine that has python:3.11-slim: RUNYARD_TEST_DOCKER=1 pytest",
)
class TestDockerDriver(_ContainerLaws):
    keeps_bytes = False  # the engine's json-file log is UTF-8


@pytest.mark.podman
@pytest.mark.skipif(
    not os.environ.get("RUNYARD_TEST_PODMAN"),
    reason="needs podman's socket: RUNYARD_TEST_PODMAN=unix:///run/podman/podman.sock pytest",
)
class TestPodman(_ContainerLaws):
    address = os.environ.get("RUNYARD_TEST_PODMAN")
    image = "localhost/python:3.11-slim"
