"""Who uses a volume, across attempts, restarts and agents; and that nobody sweeps it then."""

from __future__ import annotations

import asyncio
import errno
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runyard.agent.config import AgentConfig
from runyard.agent.loading import load
from runyard.agent.volume_settings import VolumeSettings
from runyard.agent.volumes import Volumes
from runyard.domain.errors import HostFault, Invalid

pytestmark = pytest.mark.anyio


def volumes(root: Path, **settings: Any) -> Volumes:
    made = {name: VolumeSettings(**each) for name, each in settings.items()}
    return Volumes(made, root / "agent" / "volumes", every=0.05, after=0.01)


async def swept(table: Volumes, name: str = "pip") -> bool:
    return await table.sweep(name, datetime.now(UTC)) is not None


def fill(root: Path) -> Path:
    file = root / "agent" / "volumes" / "pip" / "file"
    file.write_bytes(b"x" * 10_000)
    return file


async def test_a_volume_without_a_path_is_the_agents_own(tmp_path: Path) -> None:
    table = volumes(tmp_path, pip={}, data={"path": str(tmp_path / "data"), "read_only": True})
    assert table.table["pip"].path == str(tmp_path / "agent" / "volumes" / "pip")
    await table.hold("k", ["pip"])
    made = tmp_path / "agent" / "volumes" / "pip"
    assert stat.S_IMODE(made.stat().st_mode) == 0o777  # whoever a container runs as
    assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700
    with pytest.raises(HostFault, match=r"volume data: .* is not there"):
        await table.hold("k", ["data"])
    assert not (tmp_path / "data").exists()


async def test_nothing_is_swept_while_a_job_uses_it(tmp_path: Path) -> None:
    table = volumes(tmp_path, pip={"quota_mb": 0})
    await table.hold("a", ["pip"])
    await table.hold("b", ["pip"])
    file = fill(tmp_path)
    assert not await swept(table)
    table.free("a")
    assert not await swept(table)
    assert file.exists()
    table.free("b")
    table.free("b")
    assert await swept(table)
    assert not file.exists()


async def test_an_adopted_job_uses_its_volumes_still(tmp_path: Path) -> None:
    before = volumes(tmp_path, pip={"quota_mb": 0})
    await before.hold("a", ["pip"])
    file = fill(tmp_path)
    after = volumes(tmp_path, pip={"quota_mb": 0})
    after.recall("a", ["pip", "one-that-was-renamed"])
    before.free("a")  # the process is gone
    assert not await swept(after)
    after.free("a")
    assert await swept(after)
    assert not file.exists()


async def test_other_agents_of_the_host_are_seen(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    code = (
        "import asyncio, sys; from pathlib import Path;"
        "from runyard.agent.volumes import Volumes;"
        "from runyard.agent.volume_settings import VolumeSettings;"
        "v = Volumes({'pip': VolumeSettings(path=sys.argv[1])}, Path(sys.argv[2]));"
        "asyncio.run(v.hold('k', ['pip'])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(shared), str(tmp_path / "other" / "volumes")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        table = volumes(tmp_path, pip={"path": str(shared), "quota_mb": 0})
        assert not await swept(table)
        await table.hold("mine", ["pip"])  # both may use it at once
        table.free("mine")
        other.stdin.close()
    assert await swept(table)


async def test_where_there_are_no_locks_the_agents_own_jobs_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("fcntl.flock", no_locks)
    table = volumes(tmp_path, pip={"quota_mb": 0})
    await table.hold("a", ["pip"])
    assert not await swept(table)
    table.free("a")
    assert await swept(table)


async def test_a_sweep_that_is_under_way_makes_way_for_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = volumes(tmp_path, pip={"quota_mb": 0})
    await table.hold("a", ["pip"])
    table.free("a")
    started = asyncio.Event()
    loop = asyncio.get_running_loop()
    calls = []

    def slow(root: Path, **limits: Any) -> None:
        loop.call_soon_threadsafe(started.set)
        while not limits["wanted"]():
            calls.append(1)
        return None

    monkeypatch.setattr("runyard.agent.volumes.sweep", slow)
    sweeping = asyncio.create_task(table.sweep("pip", datetime.now(UTC)))
    await started.wait()
    async with asyncio.timeout(5):
        await table.hold("b", ["pip"])
    assert sweeping.done() or await sweeping is None
    table.free("b")


async def test_what_has_limits_is_swept_in_the_background_when_its_jobs_have_ended(
    tmp_path: Path,
) -> None:
    table = volumes(tmp_path, pip={"quota_mb": 0}, free={})
    await table.hold("a", ["pip", "free"])
    file = fill(tmp_path)
    carrying = asyncio.create_task(table.carry())
    await asyncio.sleep(0.2)
    assert file.exists()
    table.free("a")
    async with asyncio.timeout(5):
        while file.exists():
            await asyncio.sleep(0.01)
    carrying.cancel()
    assert (tmp_path / "agent" / "volumes" / "free").exists()


async def test_trouble_with_a_sweep_is_logged_and_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = volumes(tmp_path, pip={"quota_mb": 0})
    await table.hold("a", ["pip"])
    tries = []

    def broken(*_: object, **__: object) -> None:
        tries.append(1)
        raise PermissionError(13, "no")

    monkeypatch.setattr("runyard.agent.volumes.sweep", broken)
    table.free("a")
    carrying = asyncio.create_task(table.carry())
    async with asyncio.timeout(5):
        while len(tries) < 2:
            await asyncio.sleep(0.01)
    assert not carrying.done()
    carrying.cancel()


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        ({"a": "/x", "b": "/x/y"}, "is within the volume a"),
        ({"a": "/x", "b": "/x"}, "is within the volume"),
        ({"a": "{root}"}, "holds the agent's own directory"),
        ({"a": "{root}/agent"}, "holds the agent's own directory"),
        ({"a": "/"}, "holds the agent's own directory"),
        ({"a": "{root}/link/agent"}, "holds the agent's own directory"),
    ],
)
async def test_T11_volumes_are_apart_from_each_other_and_from_the_agent(
    paths: dict[str, str], told: str, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    made = {name: {"path": path.format(root=tmp_path)} for name, path in paths.items()}
    with pytest.raises(Invalid, match=told):
        volumes(tmp_path, **made)


def config(tmp_path: Path, text: str) -> AgentConfig:
    file = tmp_path / "agent.yaml"
    file.write_text(text)
    return load({"XDG_CONFIG_HOME": str(tmp_path)}, file=file)


async def test_settings_have_a_short_form(tmp_path: Path) -> None:
    read = config(
        tmp_path,
        "volumes:\n  data: /srv/data:ro\n  out: /srv/out\n  pip:\n"
        "  hf: {quota_mb: 100, keep_days: 3, queues: [gpu], preset: huggingface}\n",
    ).volumes
    assert read["data"] == VolumeSettings(path="/srv/data", read_only=True)
    assert read["out"] == VolumeSettings(path="/srv/out")
    assert read["pip"] == VolumeSettings()
    assert read["hf"].preset == "huggingface"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("volumes: {a: relative}", "absolute path"),
        ("volumes: {a: /x/../y}", "absolute path"),
        ("volumes: {a: {quota: 3}}", "volumes.a.quota"),
        ("volumes: {'../a': /x}", "1 to 64 letters"),
        ("volumes: {a: {path: /x, read_only: true, quota_mb: 3}}", "not cleaned up"),
        ("volumes: {a: {read_only: true}}", "read_only needs a path"),
        ("volumes: {a: {quota_mb: -1}}", "volumes.a.quota_mb"),
        ("resources: {local-container: {volumes: {a: /x}}}", "agent's own `volumes`"),
    ],
)
async def test_settings_that_are_wrong_are_refused(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid) as raised:
        config(tmp_path, text)
    assert told in raised.value.message
