"""
The programs that build images: what they are given, what they are asked, how they are followed.

They get a directory of their own, readable by nobody else and removed at the end, and of the
agent's environment only what is named here: what a step of a build can see, its author can print.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from asyncio.subprocess import Process
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runyard.builders.base import Log, Order, Secret
from runyard.client.printable import Printable
from runyard.domain.errors import HostFault, Rejected, Unavailable
from runyard.host.commands import running

# Where to find programs, and the way to registries and engines.
_PASSED: Final = (
    "PATH", "TMPDIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy",
    "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip
_LONGEST_ANSWER: Final = 4 << 20
_LONGEST_TAIL: Final = 64 << 10  # characters
_PATIENCE: Final = 60.0  # seconds for an answer; an engine under load is slow


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """The end of what it says about a failure."""
        return (self.err.strip() or self.out.strip())[-500:]


@dataclass(frozen=True, slots=True)
class Desk:
    """A build's own directory: logins, secrets, and what the program writes down."""

    path: Path

    @property
    def image_id(self) -> Path:
        return self.path / "iid"

    @property
    def digest(self) -> Path:
        return self.path / "digest"

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        return path

    def options(self, order: Order, dockerfile: Path) -> list[str]:
        """Return the options that docker and buildah have in common."""
        options = [
            "--file", str(dockerfile), "--tag", order.target.tagged,
            "--iidfile", str(self.image_id), "--build-arg", f"RUNYARD_TEAM={order.team}",
        ]  # fmt: skip
        if order.platform:
            options += ["--platform", order.platform]
        for key, value in sorted(order.labels.items()):
            options += ["--label", f"{key}={value}"]
        if order.fresh:
            options += ["--no-cache"]
        return options

    def secret_options(self, secrets: Sequence[Secret]) -> list[str]:
        """Write the secrets to files, and return the options that name these."""
        options: list[str] = []
        for number, secret in enumerate(secrets):
            if not secret.id or any(sign in secret.id for sign in ",="):
                raise Rejected(f"a build cannot mount a secret by the id {secret.id!r}")
            path = self.write(f"secret-{number}", secret.value)
            options += ["--secret", f"id={secret.id},src={path}"]
        return options


class Tail:
    """The end of what a program prints."""

    def __init__(self) -> None:
        self.text = ""

    def feed(self, text: str) -> None:
        self.text = (self.text + text)[-_LONGEST_TAIL:]

    @property
    def last_line(self) -> str:
        return self.text.strip().rpartition("\n")[2]


@contextmanager
def desk() -> Iterator[Desk]:
    with tempfile.TemporaryDirectory(prefix="runyard-build-") as path:
        yield Desk(Path(path))


def passed_on(env: Mapping[str, str], *more: str) -> dict[str, str]:
    """Return what a program may have of the agent's environment."""
    return {name: env[name] for name in (*_PASSED, *more) if env.get(name)}


async def ask(argv: Sequence[str], env: Mapping[str, str]) -> Answer:
    """Run a program for its answer.

    Raises:
        HostFault: there is no such program.
        Unavailable: it does not answer.
    """
    try:
        async with (
            asyncio.timeout(_PATIENCE),
            running(argv, directory=Path("/"), env=env, talks=True) as process,
        ):
            out, err = await _both(process)
            code = await process.wait()
    except FileNotFoundError as error:
        raise HostFault(f"{argv[0]} is not installed on the agent's host") from error
    except TimeoutError as error:
        raise Unavailable(f"{argv[0]} {argv[1]} gives no answer for {_PATIENCE:g} s") from error
    return Answer(code, out.decode(errors="replace"), err.decode(errors="replace"))


async def follow(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    directory: Path,
    log: Log,
    read: Callable[[str], None],
    grace: float = 0,
) -> int:
    """Run a program, pass its output on as it comes, without controls, and return its exit code.

    Cancelling kills it with its helpers; with `grace`, they are asked to end first, and have these
    seconds to put things away.

    Raises:
        HostFault: there is no such program.
    """
    printable = Printable()

    def pass_on(text: str) -> None:
        if text:
            log(text.encode())
            read(text)

    try:
        async with running(argv, directory=directory, env=env) as process:
            assert process.stdout is not None
            try:
                while part := await process.stdout.read(1 << 16):
                    pass_on(printable.feed(part))
                pass_on(printable.rest())
                return await process.wait()
            except asyncio.CancelledError:
                if grace:
                    await _ask_to_end(process, process.stdout, grace)
                raise
    except FileNotFoundError as error:
        raise HostFault(f"{argv[0]} is not installed on the agent's host") from error


async def _ask_to_end(process: Process, stdout: asyncio.StreamReader, grace: float) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(TimeoutError):
        async with asyncio.timeout(grace):
            await asyncio.gather(_all(stdout), process.wait())


async def _both(process: Process) -> tuple[bytes, bytes]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.close()
    return await asyncio.gather(_all(process.stdout), _all(process.stderr))


async def _all(stream: asyncio.StreamReader) -> bytes:
    """Read to the end, and keep the beginning."""
    kept = b""
    while part := await stream.read(1 << 16):
        kept += part[: _LONGEST_ANSWER - len(kept)]
    return kept
