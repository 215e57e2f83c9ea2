"""Where an agent keeps files of secrets, and whom it lets in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runyard.domain.errors import HostFault
from runyard.drivers.vault import Vault, places

NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root makes another's directory")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_T14_the_way_to_the_files_is_closed_and_the_files_are_open(tmp_path: Path) -> None:
    vault = Vault([tmp_path / "top"], "agent")
    there = vault.write("key-1", {"A": "s3cret", "B": "\u00e4\n"})
    assert there == vault.directory("key-1")
    assert mode(tmp_path / "top") == 0o700
    assert (mode(there), mode(there / "A")) == (0o755, 0o444)
    assert (there / "B").read_text() == "\u00e4\n"
    assert sorted(os.listdir(there)) == ["A", "B"]
    assert os.listdir(there.parent) == ["files"]


def test_writing_again_replaces_and_removing_again_is_harmless(tmp_path: Path) -> None:
    vault = Vault([tmp_path / "top"], "agent")
    vault.write("key-1", {"A": "old"})
    there = vault.write("key-1", {"A": "new"})
    assert (there / "A").read_text() == "new"
    assert set(vault.workloads()) == {"key-1"}
    vault.remove("key-1")
    vault.remove("key-1")
    assert set(vault.workloads()) == set()


def test_agents_see_their_own_workloads_alone(tmp_path: Path) -> None:
    one, other = Vault([tmp_path / "top"], "one"), Vault([tmp_path / "top"], "other")
    one.write("key-1", {"A": "s3cret"})
    assert set(other.workloads()) == set()
    other.remove("key-1")
    assert set(one.workloads()) == {"key-1"}


def test_T14_a_place_that_stands_open_is_closed_first(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir(mode=0o777)
    (tmp_path / "top").chmod(0o777)
    Vault([tmp_path / "top"], "agent").write("key-1", {"A": "s3cret"})
    assert mode(tmp_path / "top") == 0o700


def test_T14_a_link_that_somebody_laid_there_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "top").symlink_to(tmp_path / "theirs")
    there = Vault([tmp_path / "top", tmp_path / "own"], "agent").write("key-1", {"A": "s3cret"})
    assert there.is_relative_to(tmp_path / "own")
    assert os.listdir(tmp_path / "theirs") == []


@as_root
def test_T14_anothers_directory_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir(mode=0o700)
    os.chown(tmp_path / "top", NOBODY, NOBODY)
    there = Vault([tmp_path / "top", tmp_path / "own"], "agent").write("key-1", {"A": "s3cret"})
    assert there.is_relative_to(tmp_path / "own")


def test_without_any_place_the_host_is_at_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostFault, match="no directory for secrets"):
        Vault([tmp_path / "file"], "agent").write("key-1", {"A": "s3cret"})


def test_what_an_earlier_process_put_elsewhere_is_found_and_removed(tmp_path: Path) -> None:
    earlier = Vault([tmp_path / "a"], "agent")
    earlier.write("key-1", {"A": "s3cret"})
    now = Vault([tmp_path / "b", tmp_path / "a"], "agent")
    assert set(now.workloads()) == {"key-1"}
    now.remove("key-1")
    assert set(earlier.workloads()) == set()


def test_memory_comes_before_the_disk(tmp_path: Path) -> None:
    tried = places(tmp_path, {"XDG_RUNTIME_DIR": "/run/user/7"})
    assert tried[-2:] == [Path("/run/user/7/runyard"), tmp_path / "secrets"]
    if Path("/dev/shm").is_dir():
        assert tried[0] == Path(f"/dev/shm/runyard-{os.getuid()}")
