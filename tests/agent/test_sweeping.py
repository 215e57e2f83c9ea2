"""Making room: what goes first, what never goes, and where it never looks."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from runyard.agent.sweeping import sweep, unit_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)
KIB = 1024


def put(root: Path, name: str, *, days: float = 0, kib: int = 64) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(kib * KIB))
    used = (NOW - timedelta(days=days)).timestamp()
    os.utime(path, (used, used))
    return path


def left(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


def test_the_least_recently_used_go_first_until_the_rest_fits(tmp_path: Path) -> None:
    for days in (1, 5, 3):
        put(tmp_path, f"a/{days}/f", days=days)
    done = sweep(tmp_path, quota=150 * KIB, keep=None, now=NOW)
    assert left(tmp_path) == {
        "a",
        "a/1",
        "a/1/f",
        "a/3",
        "a/3/f",
    }  # and the empty directory is gone
    assert (done.removed, done.freed, done.size) == (1, 64 * KIB, 128 * KIB)
    assert not sweep(tmp_path, quota=150 * KIB, keep=None, now=NOW).removed


def test_reading_a_file_counts_as_using_it(tmp_path: Path) -> None:
    old = put(tmp_path, "old", days=9)
    os.utime(old, (NOW.timestamp(), (NOW - timedelta(days=9)).timestamp()))
    put(tmp_path, "newer", days=2)
    sweep(tmp_path, quota=64 * KIB, keep=None, now=NOW)
    assert left(tmp_path) == {"old"}


def test_what_is_older_than_keep_goes_whatever_fits(tmp_path: Path) -> None:
    put(tmp_path, "old", days=31)
    put(tmp_path, "new", days=29)
    sweep(tmp_path, quota=None, keep=timedelta(days=30), now=NOW)
    assert left(tmp_path) == {"new"}
    sweep(tmp_path, quota=0, keep=None, now=NOW)
    assert left(tmp_path) == set()
    assert tmp_path.is_dir()


def test_T11_links_are_never_followed_out(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "volume"
    precious = put(outside, "precious/file", days=90)
    root.mkdir()
    (root / "dir").symlink_to(outside)
    (root / "file").symlink_to(precious)
    (root / "up").symlink_to("..")
    for link in root.iterdir():
        os.utime(link, (0, 0), follow_symlinks=False)
    done = sweep(root, quota=0, keep=timedelta(days=1), now=NOW)
    assert precious.exists()
    assert (done.removed, left(root)) == (3, set())  # the links themselves are old, too


def test_T11_a_directory_that_becomes_a_link_on_the_way_is_not_entered(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "volume"
    precious = put(outside, "f", days=90)
    put(root, "a/f", days=90)
    asked = []

    def swapped() -> bool:
        asked.append(1)
        if len(asked) == 3:  # the files are known, and the first is about to go
            (root / "a").rename(root / "b")
            (root / "a").symlink_to(outside)
        return False

    done = sweep(root, quota=0, keep=None, now=NOW, wanted=swapped)
    assert (root / "a").is_symlink()
    assert precious.exists()
    assert done.errors


def test_a_link_alone_makes_no_room_and_stays(tmp_path: Path) -> None:
    put(tmp_path, "blob", days=1)
    (tmp_path / "snapshot").symlink_to("blob")
    os.utime(tmp_path / "snapshot", (0, 0), follow_symlinks=False)
    sweep(tmp_path, quota=10 * KIB, keep=None, now=NOW)
    assert left(tmp_path) == {"snapshot"}


def test_it_is_called_off_when_a_job_needs_the_directory(tmp_path: Path) -> None:
    for n in range(5):
        put(tmp_path, f"{n}", days=n)
    asked = []

    def wanted() -> bool:
        asked.append(1)
        return len(asked) > 3

    done = sweep(tmp_path, quota=0, keep=None, now=NOW, wanted=wanted)
    assert not done.is_whole
    assert (done.removed, len(left(tmp_path))) == (2, 3)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may delete everything")
def test_what_cannot_go_is_told_and_the_rest_goes(tmp_path: Path) -> None:
    put(tmp_path, "locked/f", days=3)
    put(tmp_path, "free", days=2)
    (tmp_path / "locked").chmod(0o500)
    done = sweep(tmp_path, quota=0, keep=None, now=NOW)
    (tmp_path / "locked").chmod(0o700)
    assert done.errors == ["locked/f: Permission denied"]
    assert left(tmp_path) == {"locked", "locked/f"}


def test_an_archive_that_uv_has_unpacked_goes_whole_or_not_at_all(tmp_path: Path) -> None:
    for name, days in (("one/numpy/a.py", 1), ("one/numpy/b.py", 9), ("two/c.py", 8)):
        put(tmp_path, f"archive-v0/{name}", days=days)
    put(tmp_path, "wheels-v5/old", days=9)
    sweep(tmp_path, quota=130 * KIB, keep=None, now=NOW, unit=partial(unit_of, "uv"))
    assert {path for path in left(tmp_path) if "." in path} == {
        "archive-v0/one/numpy/a.py",
        "archive-v0/one/numpy/b.py",
    }
    sweep(tmp_path, quota=0, keep=None, now=NOW, unit=partial(unit_of, "uv"))
    assert not (tmp_path / "archive-v0").exists()  # uv asks for the directory


def test_what_is_spared_stays_though_it_is_over_the_limit(tmp_path: Path) -> None:
    for days in (1, 5, 3):
        put(tmp_path, str(days), days=days)
    (tmp_path / "empty").mkdir()
    cutoff = (NOW - timedelta(days=4)).timestamp()
    done = sweep(tmp_path, quota=0, keep=None, now=NOW, spared=lambda _, used: used >= cutoff)
    assert left(tmp_path) == {"1", "3", "empty"}
    assert (done.removed, done.is_whole) == (1, True)
