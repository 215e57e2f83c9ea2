"""git and uv on a disk that is too small for them: real tools, a real file system."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runyard.agent.archives import CodeCache
from runyard.agent.environments import Environments
from runyard.agent.faults import fault_of
from runyard.agent.git import GitAccess, fetch
from runyard.agent.health import takes_a_file
from runyard.domain.errors import HostFault
from runyard.testing.git_server import GitServer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a disk takes root; CI has it")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Return a function that mounts a disk of so many KiB."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(kib: int) -> Path:
        words = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)]
        subprocess.run(words, check=True)
        return place

    yield mount
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_an_environment_without_room_is_the_hosts_fault(tmp_path: Path, disk) -> None:
    (tmp_path / "requirements.txt").write_text("anyio\n")
    making = Environments(disk(12) / "envs").for_directory(
        tmp_path, python=None, log=lambda _: None
    )
    with pytest.raises(Exception) as caught:  # noqa: PT011  # uv's error or the system's
        asyncio.run(making)
    assert fault_of(caught.value).is_hosts, caught.value


def test_a_commit_without_room_is_the_hosts_fault(server: GitServer, disk) -> None:
    repository = server.repository("big.git")
    commit = repository.commit({f"part{n}": os.urandom(200_000).hex() for n in range(4)})
    into = disk(700) / "files"
    with pytest.raises(HostFault, match="git cannot write"):
        asyncio.run(
            fetch(
                repository.url, commit, into,
                env=dict(os.environ), log=lambda _: None,
                access=GitAccess(insecure_hosts=frozenset({server.host})),
            )
        )  # fmt: skip


def test_code_without_room_is_the_hosts_fault(disk) -> None:
    async def download(into: Path) -> None:
        into.write_bytes(bytes(1 << 20))

    cache = CodeCache(disk(256) / "code")
    with pytest.raises(OSError, match="No space left") as caught:
        asyncio.run(cache.get(f"sha256:{'0' * 64}", download))
    assert fault_of(caught.value).is_hosts


def test_a_full_disk_takes_no_file(disk) -> None:
    with pytest.raises(OSError, match="No space left"):
        takes_a_file(disk(32))
