"""The process driver under the laws; see `runyard.testing.driver_laws`."""

from __future__ import annotations

from pathlib import Path

import pytest

from runyard.domain.workloads import Workload
from runyard.drivers.process import ProcessDriver
from runyard.testing.driver_laws import Connect, DriverLaws


class TestProcessDriver(DriverLaws):
    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        return lambda: ProcessDriver(tmp_path / "agent")

    def shell(self, script: str, key: str) -> Workload:
        return Workload(key, ("/bin/sh", "-c"), (script,))
