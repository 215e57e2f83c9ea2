"""
Running other programs for our own work: git, uv, builders. Nothing of them outlives its caller.

A program is started in a session of its own, so that its helpers can be ended with it. Being
cancelled between the start and the first line of output is the awkward moment: asyncio would
give the half-made process up, and its helpers with it. So the start itself is never cancelled;
the caller's block is, as soon as there is something to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Final

_LONGEST_LINE: Final = 1 << 20


@contextlib.asynccontextmanager
async def running(
    argv: Sequence[str],
    *,
    directory: Path,
    env: Mapping[str, str],
    talks: bool = False,
) -> AsyncGenerator[Process, None]:
    """Run a program while the block lasts; leaving it early kills the program and its helpers.

    Output and messages come through one pipe, unless the program `talks`: then it has an input,
    and messages come apart.

    Raises:
        FileNotFoundError: no such program.
    """
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *argv,
            cwd=directory,
            env=dict(env),
            stdin=PIPE if talks else DEVNULL,
            stdout=PIPE,
            stderr=PIPE if talks else STDOUT,
            start_new_session=True,
            limit=_LONGEST_LINE,
        )
    )
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await _end(await starting)
        raise
    try:
        yield process
    finally:
        if process.returncode is None:
            await _end(process)


async def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
