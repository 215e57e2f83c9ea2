"""The container driver under the laws, on whatever engine; a real one, always."""

from __future__ import annotations

from pathlib import Path

import pytest

from runyard.domain.workloads import Workload
from runyard.drivers.base import Driver
from runyard.drivers.docker import DockerDriver
from runyard.drivers.docker_settings import DockerSettings, Pull
from runyard.testing.driver_laws import Connect, DriverLaws


class EngineLaws(DriverLaws):
    """`address` is the engine's, None for the usual one; `image` it has already."""

    address: str | None
    image: str

    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        return lambda: self.driver(tmp_path, self.address)

    @pytest.fixture
    def cut_off(self, tmp_path: Path) -> Driver:
        return self.driver(tmp_path, f"unix://{tmp_path}/no-engine.sock")

    def driver(self, root: Path, address: str | None) -> DockerDriver:
        return DockerDriver(root / "agent", DockerSettings(host=address, pull=Pull.MISSING))

    def shell(self, script: str, key: str) -> Workload:
        return Workload(key, ("/bin/sh", "-c"), (script,), image=self.image)
