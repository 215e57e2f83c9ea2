"""Run git in one directory: the limits of `domain.git_limits`, bounded output, no leftovers."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from runyard.agent.faults import git_blames_host
from runyard.domain import git_limits
from runyard.domain.errors import HostFault, Rejected, TooMuch
from runyard.domain.sources import TRANSPORTS
from runyard.host.commands import running

_LONGEST_ANSWER: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class GitAccess:
    """
    How this agent reaches remotes, from its own configuration. `credentials="host"` uses the
    git and SSH configuration of the user it runs as; "none" reaches public repositories only.
    `insecure_hosts` ("host" or "host:port") may be reached by plain http. One fetch, with its
    submodules, takes at most `seconds` and checks out at most so many bytes and files.
    """

    credentials: Literal["host", "none"] = "host"
    known_hosts: str | None = None
    insecure_hosts: frozenset[str] = frozenset()
    seconds: float = 900
    max_bytes: int = 20 << 30
    max_files: int = 1_000_000
    max_submodules: int = 100


@dataclass(frozen=True, slots=True)
class Git:
    """git in `directory`, for one remote. `env` is the agent's own environment."""

    directory: Path
    remote: str
    access: GitAccess
    env: Mapping[str, str] = field(repr=False)

    async def run(self, *words: str) -> bytes:
        """Return what git prints.

        Raises:
            Rejected: it did not work.
        """
        code, answer, said = await self.call(*words)
        if code:
            raise Rejected(f"git {words[0]} failed: {said.strip()[-500:]}")
        return answer

    async def call(self, *words: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
        """Return exit code, output and messages. Cancelling kills git and its helpers.

        Raises:
            HostFault: there is no git on this host, or no room for it to write.
        """
        insecure = ("http",) if self.remote.startswith("http://") else ()
        protocols = (*TRANSPORTS, *insecure)
        env = git_limits.environment(
            self.env,
            protocols,
            credentials=self.access.credentials == "host",
            known_hosts=self.access.known_hosts,
        )
        # So that no repository above the directory is ever taken for this one.
        env = {**env, "GIT_CEILING_DIRECTORIES": str(self.directory.parent)}
        argv = ("git", *git_limits.options(protocols), *words)
        try:
            async with running(argv, directory=self.directory, env=env, talks=True) as process:
                answer, said = await _converse(process, stdin)
        except FileNotFoundError as error:
            raise HostFault("git is not installed on the agent's host") from error
        code, told = process.returncode or 0, said.decode(errors="replace")
        if code and git_blames_host(told):
            raise HostFault(f"git cannot write on the agent's host: {told.strip()[-500:]}")
        return code, answer, told


async def _converse(process: Process, stdin: bytes) -> tuple[bytes, bytes]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    reading = asyncio.gather(_read(process.stdout), _read(process.stderr))
    # It may have ended already, or not want to read it.
    if stdin and not process.stdin.is_closing():
        with suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(stdin)
            await process.stdin.drain()
    process.stdin.close()
    answer, said = await reading
    await process.wait()
    return answer, said


async def _read(stream: asyncio.StreamReader) -> bytes:
    parts, size = [], 0
    while part := await stream.read(1 << 16):
        size += len(part)
        if size > _LONGEST_ANSWER:  # how much git prints is up to the repository
            raise TooMuch(f"git printed more than {_LONGEST_ANSWER:,} bytes")
        parts.append(part)
    return b"".join(parts)
