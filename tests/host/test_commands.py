"""Programs that the agent runs for itself, ended at every moment."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from runyard.host.commands import running

SCRIPT = "sleep 600 & echo $! >child; echo started; wait"


def ended(pid: int) -> bool:
    """Whether a killed process is gone or a zombie, which it is a moment after the signal."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True
        if ") Z " in state:
            return True
        time.sleep(0.01)
    return False


def test_a_program_is_followed_to_its_end(tmp_path: Path) -> None:
    async def story() -> None:
        argv = ("/bin/sh", "-c", "echo out; echo err >&2; exit 3")
        async with running(argv, directory=tmp_path, env={}) as process:
            assert process.stdout is not None
            assert await process.stdout.read() == b"out\nerr\n"
            assert await process.wait() == 3

    asyncio.run(story())


@pytest.mark.parametrize("turns", range(0, 12))
def test_cancelled_at_any_moment_it_leaves_no_process(tmp_path: Path, turns: int) -> None:
    """A cancellation may come before the start, in its midst, or long after it."""

    async def work() -> None:
        env = {"PATH": os.environ["PATH"]}
        argv = ("/bin/sh", "-c", SCRIPT)
        async with running(argv, directory=tmp_path, env=env) as process:
            assert process.stdout is not None
            await process.stdout.read()

    async def story() -> None:
        task = asyncio.create_task(work())
        for _ in range(turns):
            await asyncio.sleep(0.002 if turns > 8 else 0)
        task.cancel()
        async with asyncio.timeout(10):
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(story())
    child = tmp_path / "child"
    if child.exists() and (pid := child.read_text().strip()):
        assert ended(int(pid))


def test_leaving_the_block_ends_it(tmp_path: Path) -> None:
    async def story() -> int:
        argv = ("/bin/sleep", "600")
        async with running(argv, directory=tmp_path, env={}) as process:
            return process.pid

    with pytest.raises(ProcessLookupError):
        os.kill(asyncio.run(story()), 0)
