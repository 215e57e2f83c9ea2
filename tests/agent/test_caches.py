"""Caches that jobs share: each team's own, within their limit, and whole for whoever runs."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runyard.agent import sweeping
from runyard.agent.cache_settings import CacheSettings
from runyard.agent.caches import OURS, TeamCaches
from runyard.agent.loading import load
from runyard.agent.volumes import Volumes
from runyard.domain.errors import HostFault, Invalid
from runyard.domain.volumes import Shared

pytestmark = pytest.mark.anyio
NOW = datetime(2030, 1, 1, tzinfo=UTC)
MB = 1 << 20


def caches(root: Path, **settings: Any) -> TeamCaches:
    given = {"shared": ["pip", "wandb-artifacts"], "shared_mb": 2, **settings}
    return TeamCaches(
        CacheSettings(path=str(root), **given), root / "unused", every=0.05, after=0.01
    )


def mounts(table: TeamCaches, team: str) -> list[str]:
    return [mount.name for mount in table.shared.mounts(team, (), container=True)]


def put(path: Path, *, days: float, size: int = MB) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    used = (NOW - timedelta(days=days)).timestamp()
    os.utime(path, (used, used))
    return path


async def test_each_team_has_its_own(tmp_path: Path) -> None:
    table = caches(tmp_path / "new" / "cache")
    for key, team in (("a", "red"), ("b", "blue"), ("c", "../red")):
        await table.hold(key, mounts(table, team))
    teams = tmp_path / "new" / "cache" / "teams"
    assert len(os.listdir(teams)) == 3
    assert {"red", "blue"} < set(os.listdir(teams))
    assert stat.S_IMODE(teams.stat().st_mode) == 0o700
    for kind in ("pip", "wandb-artifacts"):
        assert stat.S_IMODE((teams / "red" / kind).stat().st_mode) == 0o777
    assert stat.S_IMODE((teams / "red" / OURS).stat().st_mode) == 0o700


async def test_what_a_tool_makes_in_a_cache_is_open_to_the_next_container(tmp_path: Path) -> None:
    table = caches(tmp_path)
    await table.hold("a", mounts(table, "red"))
    pip = tmp_path / "teams" / "red" / "pip"
    if not os.listxattr(pip):
        pytest.skip("this file system has no access lists")
    subprocess.run(["mkdir", "-p", "http/deep"], cwd=pip, check=True, umask=0o077)
    assert stat.S_IMODE((pip / "http" / "deep").stat().st_mode) == 0o777


async def test_the_oldest_go_first_until_the_limit_holds_over_all_teams(tmp_path: Path) -> None:
    table = caches(tmp_path)
    teams = tmp_path / "teams"
    await table.hold("a", [*mounts(table, "red"), *mounts(table, "blue")])
    table.free("a")
    old = put(teams / "red" / "pip" / "old", days=9)
    older = put(teams / "blue" / "wandb-artifacts" / "older", days=20)
    kept = [put(teams / "red" / "pip" / "new", days=0), put(teams / "blue" / "pip" / "n", days=3)]
    done = await table.sweep(NOW)
    assert done is not None
    assert done.size <= 2 * MB
    assert not old.exists()
    assert not older.exists()
    assert all(path.exists() for path in kept)
    assert (teams / "blue" / "wandb-artifacts").is_dir()


async def test_a_running_job_keeps_what_its_team_used_lately(tmp_path: Path) -> None:
    table = caches(tmp_path, shared_mb=0)
    teams = tmp_path / "teams"
    await table.hold("a", mounts(table, "red"))
    await table.hold("b", mounts(table, "blue"))
    table.free("b")
    lately = put(teams / "red" / "pip" / "deep" / "lately", days=0.5)
    unused = put(teams / "red" / "pip" / "unused", days=2)
    empty = teams / "red" / "pip" / "just-made"
    empty.mkdir()
    others = put(teams / "blue" / "pip" / "lately", days=0.5)
    await table.sweep(NOW)
    assert (lately.exists(), unused.exists(), others.exists()) == (True, False, False)
    assert empty.is_dir()  # a job may be about to put something there
    table.free("a")
    await table.sweep(NOW)
    assert not lately.exists()


async def test_jobs_of_another_agent_count_too(tmp_path: Path) -> None:
    ours, theirs = caches(tmp_path, shared_mb=0), caches(tmp_path, shared_mb=0)
    await theirs.hold("x", mounts(theirs, "red"))
    file = put(tmp_path / "teams" / "red" / "pip" / "lately", days=0.5)
    await ours.sweep(NOW)
    assert file.exists()
    theirs.free("x")
    await ours.sweep(NOW)
    assert not file.exists()


async def test_an_adopted_job_counts_still(tmp_path: Path) -> None:
    before = caches(tmp_path, shared_mb=0)
    await before.hold("a", mounts(before, "red"))
    after = caches(tmp_path, shared_mb=0, shared=[])  # the operator changed the settings
    after.recall("a", [*mounts(before, "red"), "pip"])
    before.free("a")
    file = put(tmp_path / "teams" / "red" / "pip" / "lately", days=0.5)
    await after.sweep(NOW)
    assert file.exists()
    after.free("a")
    await after.sweep(NOW)
    assert not file.exists()


async def test_limits_are_held_in_the_background(tmp_path: Path) -> None:
    table = caches(tmp_path, shared_mb=0)
    await table.hold("a", mounts(table, "red"))
    file = put(tmp_path / "teams" / "red" / "pip" / "file", days=2000)
    task = asyncio.create_task(table.carry())
    async with asyncio.timeout(30):
        while file.exists():
            await asyncio.sleep(0.01)
    task.cancel()


async def test_what_was_never_finished_goes_after_a_day(tmp_path: Path) -> None:
    table = caches(tmp_path, shared_mb=0)
    await table.hold("a", mounts(table, "red"))
    table.free("a")
    ours = tmp_path / "teams" / "red" / OURS
    coming, left = put(ours / "incoming" / "a", days=0.5), put(ours / "incoming" / "b", days=2)
    await table.sweep(NOW)
    assert (coming.exists(), left.exists()) == (True, False)
    assert (ours / "lock").exists()


async def test_a_link_in_the_place_of_a_cache_is_not_followed(tmp_path: Path) -> None:
    table = caches(tmp_path / "cache")
    await table.hold("a", mounts(table, "red"))
    (tmp_path / "outside").mkdir(mode=0o700)
    pip = tmp_path / "cache" / "teams" / "red" / "pip"
    pip.rmdir()
    pip.symlink_to(tmp_path / "outside")
    with pytest.raises(HostFault, match="cannot be made"):
        await table.hold("b", mounts(table, "red"))
    assert stat.S_IMODE((tmp_path / "outside").stat().st_mode) == 0o700


def test_nothing_is_shared_unless_the_operator_says_so(tmp_path: Path) -> None:
    settings = load({}).cache
    assert settings.shared == []
    assert TeamCaches(settings, tmp_path).shared == Shared(str(tmp_path))
    file = tmp_path / "agent.yaml"
    file.write_text("cache: {path: /var/cache/runyard, shared: [pip, uv, pip], shared_mb: 50000}")
    settings = load({}, file=file).cache
    assert TeamCaches(settings, tmp_path).shared == Shared(
        "/var/cache/runyard/teams", ("pip", "uv")
    )
    for wrong in ("path: cache", "path: /a/../b", "shared: [conda]", "shared_mb: -1"):
        file.write_text(f"cache: {{{wrong}}}")
        with pytest.raises(Invalid, match="field cache"):
            load({}, file=file)


def test_no_volume_holds_the_caches(tmp_path: Path) -> None:
    config = load({}, flags={"volumes": {"all": str(tmp_path)}})
    table = caches(tmp_path / "cache")
    with pytest.raises(Invalid, match=r"cache\.path: .* is within the volume all"):
        Volumes(config.volumes, Path("/elsewhere/agent/volumes"), caches=table)


async def test_volumes_and_caches_are_held_together(tmp_path: Path) -> None:
    table = caches(tmp_path / "cache", shared_mb=0)
    config = load({}, flags={"volumes": {"data": {}}})
    held = Volumes(config.volumes, tmp_path / "agent" / "volumes", caches=table)
    await held.hold("a", ["data", *mounts(table, "red")])
    file = put(tmp_path / "cache" / "teams" / "red" / "pip" / "lately", days=0.5)
    await table.sweep(NOW)
    assert file.exists()
    held.free("a")
    await table.sweep(NOW)
    assert not file.exists()


async def test_a_job_that_starts_stops_the_sweep_of_its_team(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = caches(tmp_path, shared_mb=0)
    names, loop = mounts(table, "red"), asyncio.get_running_loop()
    await table.hold("a", names)
    table.free("a")
    files = [put(tmp_path / "teams" / "red" / "pip" / f"{n}", days=0.5) for n in range(9)]
    remove, began = sweeping._remove, list[Any]()

    def removing(*args: Any) -> None:
        remove(*args)
        if not began:
            began.append(asyncio.run_coroutine_threadsafe(table.hold("b", names), loop))
            while not table._teams["red"].users:
                time.sleep(0.001)

    monkeypatch.setattr(sweeping, "_remove", removing)
    await table.sweep(NOW)
    await asyncio.wrap_future(began[0])
    assert sum(file.exists() for file in files) == 8
