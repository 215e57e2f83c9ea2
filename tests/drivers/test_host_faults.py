"""When a driver says that its host is at fault, and not the job."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest

from runyard.domain.errors import HostFault, Rejected, Unavailable
from runyard.domain.workloads import Phase, Workload
from runyard.drivers import process
from runyard.drivers.base import Unreached
from runyard.drivers.docker import DockerDriver
from runyard.drivers.docker_settings import DockerSettings
from runyard.drivers.process import ProcessDriver

pytestmark = pytest.mark.anyio
TRUE = Workload("ry-a-1", ("true",))


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[ProcessDriver]:
    driver = ProcessDriver(tmp_path / "agent", host_env={"PATH": os.environ["PATH"]})
    yield driver
    await driver.close()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, HostFault), (errno.EROFS, HostFault), (errno.EIO, HostFault),
        (errno.EDQUOT, HostFault), (errno.EAGAIN, Unavailable), (errno.EMFILE, Unavailable),
        (errno.EACCES, Rejected), (errno.ENOENT, Rejected),
    ],
)  # fmt: skip
async def test_why_a_process_cannot_be_started_decides_whose_fault_it_is(
    driver: ProcessDriver, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(kind) as caught:
        await driver.submit(TRUE)
    assert type(caught.value) is kind


async def test_a_wrapper_that_could_not_write_is_the_hosts_and_nothing_runs(
    driver: ProcessDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk a file can be made, and nothing written to it."""
    monkeypatch.setattr(process, "BIRTH", 0.2)
    home = tmp_path / "agent" / "workloads" / TRUE.key
    home.mkdir(parents=True)
    (home / "born").touch()
    handle = await driver.submit(TRUE)  # its wrapper finds the file, and leaves

    with pytest.raises(HostFault, match="is the disk full"):
        async with aclosing(driver.watch(handle)) as seen:
            assert [each.phase async for each in seen] == [Phase.QUEUED]
    await driver.stop(handle, grace=timedelta())
    await driver.discard(handle)
    assert not home.exists()


async def test_the_disk_of_processes_is_the_drivers_own(
    driver: ProcessDriver, tmp_path: Path
) -> None:
    assert await driver.disks() == [tmp_path / "agent"]


async def test_an_engine_that_is_not_there_has_begun_nothing(tmp_path: Path) -> None:
    driver = DockerDriver(
        tmp_path / "agent", DockerSettings(host=f"unix://{tmp_path}/none.sock"), host_env={}
    )
    for is_podman in (None, False):  # not asked yet, and as it was found when one was there
        driver._engine._podman = is_podman
        with pytest.raises(Unreached, match="no container engine"):
            await driver.submit(Workload("ry-a-1", image="busybox"))
    with pytest.raises(Unavailable):
        await driver.disks()
    await driver.close()


async def test_the_disk_of_an_engine_elsewhere_is_not_ours(tmp_path: Path) -> None:
    driver = DockerDriver(
        tmp_path / "agent", DockerSettings(host="tcp://192.0.2.1:2375"), host_env={}
    )
    assert await driver.disks() == ()
    await driver.close()
