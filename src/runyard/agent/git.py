"""
Fetch one commit of a repository that nobody here has read.

git is given as little as possible: one commit is fetched into an empty repository that has
neither hooks nor templates, its tree is looked at before it is checked out, and submodules
are fetched one by one in the same way, never by `git submodule`, whose recursion has run
code from repositories more than once.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urljoin

from runyard.client.gitinfo import explain
from runyard.client.links import escaping_links
from runyard.domain import git_limits
from runyard.domain.errors import Rejected, TooMuch, Unavailable
from runyard.domain.sources import TRANSPORTS, check_commit, check_remote

Log = Callable[[bytes], Awaitable[None] | None]
_LONGEST_ANSWER: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class GitAccess:
    """
    How this agent reaches remotes, from its own configuration. `credentials="host"` uses the
    git and SSH configuration of the user it runs as. `insecure_hosts` may be reached by http.
    """

    credentials: Literal["host", "none"] = "host"
    known_hosts: str | None = None
    insecure_hosts: frozenset[str] = frozenset()
    seconds: float = 900
    max_bytes: int = 20 << 30
    max_files: int = 1_000_000
    max_submodules: int = 100


@dataclass(frozen=True, slots=True)
class _Call:
    """Everything that the steps of one fetch share."""

    access: GitAccess
    env: Mapping[str, str]
    log: Log
    counted: list[str]  # the submodules so far


@dataclass(frozen=True, slots=True)
class _Tree:
    """What a commit holds, as far as it decides whether it is checked out."""

    bytes: int
    files: int
    submodules: Mapping[str, str]  # path → commit


async def fetch(
    remote: str,
    commit: str,
    into: Path,
    *,
    submodules: bool = False,
    patch: bytes | None = None,
    env: Mapping[str, str],
    log: Log,
    access: GitAccess | None = None,
) -> None:
    """Put the commit's files, with the patch applied, into `into`, which this makes.

    `env` is the agent's own environment, of which git gets what it needs. The repository's
    `.git` stays, with the remote as `origin`, so that programs can tell where they come from.

    Raises:
        Invalid: the remote, the commit or a submodule's address is not allowed.
        Rejected: there is no such commit or no right to read it; a link leads out of the
            checkout; the patch does not apply.
        TooMuch: more bytes, files or submodules than `access` allows.
        Unavailable: the remote could not be reached, or took too long.
    """
    access = access or GitAccess()
    call = _Call(access, env, log, [])
    try:
        async with asyncio.timeout(access.seconds):
            await _fetch_one(call, remote, commit, into, submodules)
            if patch:
                await _apply(call, into, patch)
    except TimeoutError as error:
        raise Unavailable(f"fetching {remote} took longer than {access.seconds:.0f} s") from error
    links = await asyncio.to_thread(escaping_links, into)
    if links:
        raise Rejected(
            f"{remote} at {commit[:12]} has links that lead out of it: {', '.join(links[:3])}",
            hint="Replace the link by what it points to, commit and push.",
        )


async def _fetch_one(call: _Call, remote: str, commit: str, into: Path, submodules: bool) -> None:
    check_remote(remote, insecure_hosts=call.access.insecure_hosts)
    check_commit(commit)
    await asyncio.to_thread(into.mkdir, parents=True, exist_ok=True)
    protocols = (*TRANSPORTS, *(["http"] if remote.startswith("http://") else []))
    git = _Git(call, into, protocols, remote)
    object_format = "sha256" if len(commit) == 64 else "sha1"
    await git.run("init", "--quiet", "--template=", f"--object-format={object_format}")
    await _tell(call.log, f"git fetch {remote} {commit[:12]}\n")
    await _fetch_objects(git, remote, commit)
    tree = await _look(git, call.access, commit)
    await git.run("checkout", "--quiet", "--detach", "--force", commit, "--")
    head = (await git.run("rev-parse", "--verify", "HEAD")).decode().strip()
    if head != commit:
        raise Rejected(f"{remote}: checked out {head} where {commit} was asked for")
    await git.run("config", "remote.origin.url", remote)
    if submodules:
        await _fetch_submodules(call, git, remote, into, tree)


async def _fetch_objects(git: _Git, remote: str, commit: str) -> None:
    words = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
    code, _, said = await git.call(*words, "--depth=1", "--", remote, commit)
    if code and "unadvertised object" in said.lower():
        # Older servers give only what a name points to: fetch all names, then look for it.
        heads, tags = "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"
        code, _, said = await git.call(*words, "--", remote, heads, tags)
    if code and "not our ref" not in said:
        raise explain(remote, said)
    there, kind, _ = await git.call("cat-file", "-t", commit)
    if there or kind.strip() != b"commit":
        raise Rejected(
            f"git remote {remote} has no commit {commit}",
            hint="Push the commit, or make the job again from a branch that is there.",
        )


async def _look(git: _Git, access: GitAccess, commit: str) -> _Tree:
    """Read the commit's tree: its size, and where submodules belong."""
    answer = await git.run("ls-tree", "-r", "-l", "-z", "--full-tree", commit, "--")
    size, files, submodules = 0, 0, {}
    for line in filter(None, answer.split(b"\0")):
        attributes, _, path = line.partition(b"\t")
        _, kind, name, bytes_ = attributes.split()
        if kind == b"commit":
            submodules[os.fsdecode(path)] = name.decode()
            continue
        files, size = files + 1, size + int(bytes_)
    if size > access.max_bytes or files > access.max_files:
        raise TooMuch(
            f"commit {commit[:12]} holds {size:,} bytes in {files:,} files; this agent takes up "
            f"to {access.max_bytes:,} bytes and {access.max_files:,} files"
        )
    return _Tree(size, files, submodules)


async def _fetch_submodules(call: _Call, git: _Git, remote: str, into: Path, tree: _Tree) -> None:
    if not tree.submodules:
        return
    urls = await _submodule_urls(git)
    for path, commit in sorted(tree.submodules.items()):
        if path not in urls:
            continue  # as git does: a submodule without an address is an empty directory
        call.counted.append(path)
        if len(call.counted) > call.access.max_submodules:
            raise TooMuch(f"{remote} has more than {call.access.max_submodules} submodules")
        place = into / _check_submodule_path(into, path)
        address = _submodule_address(remote, urls[path])
        check_remote(address, insecure_hosts=call.access.insecure_hosts)
        await _fetch_one(call, address, commit, place, submodules=True)


async def _submodule_urls(git: _Git) -> dict[str, str]:
    """Read `.gitmodules` from the commit, not from the disk: path → address."""
    words = ("config", "--blob", "HEAD:.gitmodules", "-z", "--get-regexp", r"\.(path|url)$")
    code, answer, _ = await git.call(*words)
    if code:
        return {}
    paths: dict[str, str] = {}
    urls: dict[str, str] = {}
    for line in filter(None, answer.split(b"\0")):
        key, _, value = line.decode(errors="surrogateescape").partition("\n")
        name, _, field = key.rpartition(".")
        (paths if field == "path" else urls)[name] = value
    return {paths[name]: url for name, url in urls.items() if name in paths}


def _check_submodule_path(into: Path, path: str) -> str:
    """Return the path if it is a plain one and no link stands in its way."""
    parts = path.split("/")
    odd = any(ord(char) < 32 or char in "\x7f\\" for char in path)
    if odd or any(p in ("", ".", "..") or p.lower() == ".git" for p in parts) or path[0] == "-":
        raise Rejected(f"submodule path {path!r} is not allowed")
    root = os.path.realpath(into)
    if os.path.realpath(into / path) != os.path.join(root, *parts):
        raise Rejected(f"submodule path {path!r} leads over a symbolic link")
    return path


def _submodule_address(remote: str, url: str) -> str:
    """Return the submodule's address; `../other` is relative to the repository's own."""
    if not url.startswith(("./", "../")):
        return url
    if "://" in remote:
        scheme, _, rest = remote.rstrip("/").partition("://")
        return scheme + urljoin(f"https://{rest}/", url).removeprefix("https")
    host, _, path = remote.partition(":")
    joined = os.path.normpath(os.path.join(path, url))
    if joined.startswith(".."):
        raise Rejected(f"submodule address {url!r} leads above {remote}")
    return f"{host}:{joined}"


async def _apply(call: _Call, into: Path, patch: bytes) -> None:
    await _tell(call.log, "git apply: uncommitted changes of the submitter\n")
    git = _Git(call, into, (), "")
    code, _, said = await git.call("apply", "--whitespace=nowarn", "-", stdin=patch)
    if code:
        raise Rejected(
            f"the job's patch of uncommitted changes does not apply: {said.strip()[-500:]}",
            hint="Commit and push the changes, then make the job again.",
        )


@dataclass(frozen=True, slots=True)
class _Git:
    """git in one directory, with the limits of `git_limits` and nothing else."""

    call_: _Call
    directory: Path
    protocols: tuple[str, ...]
    remote: str

    async def run(self, *words: str) -> bytes:
        """Return what git prints; it not working is an error to show."""
        code, answer, said = await self.call(*words)
        if code:
            raise Rejected(f"git {words[0]} failed: {said.strip()[-500:]}")
        return answer

    async def call(self, *words: str, stdin: bytes | None = None) -> tuple[int, bytes, str]:
        """Return exit code, output and messages. Cancelling kills git and its helpers."""
        access = self.call_.access
        env = git_limits.environment(
            self.call_.env,
            self.protocols,
            credentials=access.credentials == "host",
            known_hosts=access.known_hosts,
        )
        try:
            process = await asyncio.create_subprocess_exec(
                "git",
                *git_limits.options(self.protocols),
                *words,
                cwd=self.directory,
                # So that no repository above the directory is ever taken for this one.
                env={**env, "GIT_CEILING_DIRECTORIES": str(self.directory.parent)},
                stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise Rejected("git is not installed on the agent's host") from error
        try:
            answer, said = await _converse(process, stdin)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        return process.returncode or 0, answer, said.decode(errors="replace")


async def _converse(process: Process, stdin: bytes | None) -> tuple[bytes, bytes]:
    """Return all that a process prints, but never hold more than its repository may make it."""
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.TaskGroup() as group:
        answer = group.create_task(_read(process.stdout))
        said = group.create_task(_read(process.stderr))
        if process.stdin is not None:
            with suppress(BrokenPipeError, ConnectionResetError):
                process.stdin.write(stdin or b"")
                await process.stdin.drain()
            process.stdin.close()
    await process.wait()
    return answer.result(), said.result()


async def _read(stream: asyncio.StreamReader) -> bytes:
    parts, size = [], 0
    while part := await stream.read(1 << 16):
        size += len(part)
        if size > _LONGEST_ANSWER:
            raise Rejected(f"git printed more than {_LONGEST_ANSWER:,} bytes")
        parts.append(part)
    return b"".join(parts)


async def _tell(log: Log, text: str) -> None:
    waiting = log(text.encode())
    if waiting is not None:
        await waiting
