"""Talking with git, on the event loop that an agent runs on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import uvloop

from runyard.agent import git_process
from runyard.agent.git_process import Git, GitAccess


@pytest.mark.parametrize("stdin", [b"", b"not read by anyone" * 10_000])
def test_a_git_that_has_ended_before_it_is_spoken_to_has_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stdin: bytes
) -> None:
    git = Git(tmp_path, "https://git.example/a.git", GitAccess(), dict(os.environ))
    converse = git_process._converse

    async def late(process: git_process.Process, stdin: bytes) -> tuple[bytes, bytes]:
        await process.wait()
        return await converse(process, stdin)

    monkeypatch.setattr(git_process, "_converse", late)
    code, answer, _ = uvloop.run(git.call("version", stdin=stdin))
    assert (code, answer[:11]) == (0, b"git version")
