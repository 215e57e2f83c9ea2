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
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runyard.agent import submodules as modules
from runyard.agent.git_process import Git, GitAccess
from runyard.client.gitinfo import explain
from runyard.client.links import escaping_links
from runyard.domain.errors import Rejected, TooMuch, Unavailable
from runyard.domain.sources import check_commit, check_remote

__all__ = ["GitAccess", "fetch"]

Log = Callable[[bytes], Awaitable[None] | None]


@dataclass(slots=True)
class _Fetch:
    """What the steps of one fetch share; the sums are over its submodules as well."""

    access: GitAccess
    env: Mapping[str, str] = field(repr=False)
    log: Log
    bytes: int = 0
    files: int = 0
    submodules: int = 0


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
    Half of it may be there when an error is raised.

    Raises:
        Invalid: the remote, the commit or a submodule's address is not allowed.
        Rejected: there is no such commit or no right to read it; a link leads out of the
            checkout; the patch does not apply.
        TooMuch: more bytes, files or submodules than `access` allows.
        Unavailable: the remote could not be reached, or took too long.
    """
    access = access or GitAccess()
    try:
        async with asyncio.timeout(access.seconds):
            await _fetch_one(_Fetch(access, env, log), remote, commit, into, submodules)
            if patch:
                await _tell(log, "git apply: uncommitted changes of the submitter\n")
                await _apply(Git(into, "", access, env), patch)
    except TimeoutError as error:
        raise Unavailable(f"fetching {remote} took longer than {access.seconds:g} s") from error
    links = await asyncio.to_thread(escaping_links, into)
    if links:
        raise Rejected(
            f"{remote} at {commit[:12]} has links that lead out of it: {', '.join(links[:3])}",
            hint="Replace the link by what it points to, commit and push.",
        )


async def _fetch_one(this: _Fetch, remote: str, commit: str, into: Path, submodules: bool) -> None:
    check_remote(remote, insecure_hosts=this.access.insecure_hosts)
    check_commit(commit)
    await asyncio.to_thread(into.mkdir, parents=True, exist_ok=True)
    git = Git(into, remote, this.access, this.env)
    object_format = "sha256" if len(commit) == 64 else "sha1"
    await git.run("init", "--quiet", "--template=", f"--object-format={object_format}")
    await _tell(this.log, f"git fetch {remote} {commit[:12]}\n")
    await _fetch_objects(git, commit)
    inner = await _look(this, git, commit)
    await git.run("checkout", "--quiet", "--detach", "--force", commit, "--")
    head = (await git.run("rev-parse", "--verify", "HEAD")).decode().strip()
    if head != commit:
        raise Rejected(f"{remote}: checked out {head} where {commit} was asked for")
    await git.run("config", "remote.origin.url", remote)
    if submodules and inner:
        await _fetch_submodules(this, git, inner)


async def _fetch_objects(git: Git, commit: str) -> None:
    words = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
    code, _, said = await git.call(*words, "--depth=1", "--", git.remote, commit)
    if code and "unadvertised object" in said.lower():
        # Older servers give only what a name points to: fetch all names, then look for it.
        heads, tags = "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"
        code, _, said = await git.call(*words, "--", git.remote, heads, tags)
    if code and "not our ref" not in said:
        raise explain(git.remote, said)
    missing, kind, _ = await git.call("cat-file", "-t", commit)
    if missing or kind.strip() != b"commit":
        raise Rejected(
            f"git remote {git.remote} has no commit {commit}",
            hint="Push the commit, or make the job again from a branch that is there.",
        )


async def _look(this: _Fetch, git: Git, commit: str) -> dict[str, str]:
    """Count what the commit would put on the disk, and return its submodules: path → commit."""
    answer = await git.run("ls-tree", "-r", "-l", "-z", "--full-tree", commit, "--")
    found = {}
    for line in filter(None, answer.split(b"\0")):
        attributes, _, path = line.partition(b"\t")
        _, kind, name, size = attributes.split()
        if kind == b"commit":
            found[os.fsdecode(path)] = name.decode()
        else:
            this.files, this.bytes = this.files + 1, this.bytes + int(size)
    most = this.access
    if this.bytes > most.max_bytes or this.files > most.max_files:
        raise TooMuch(
            f"{git.remote} at {commit[:12]} holds {this.bytes:,} bytes in {this.files:,} files; "
            f"this agent takes up to {most.max_bytes:,} bytes and {most.max_files:,} files"
        )
    return found


async def _fetch_submodules(this: _Fetch, git: Git, inner: Mapping[str, str]) -> None:
    addresses = await modules.addresses(git)
    # As with git, one without an address stays an empty directory.
    for path, commit in sorted((p, c) for p, c in inner.items() if p in addresses):
        this.submodules += 1
        if this.submodules > this.access.max_submodules:
            raise TooMuch(f"{git.remote}: more than {this.access.max_submodules} submodules")
        place = modules.place(git.directory, path)
        address = modules.absolute(git.remote, addresses[path])
        await _fetch_one(this, address, commit, place, submodules=True)


async def _apply(git: Git, patch: bytes) -> None:
    code, _, said = await git.call("apply", "--whitespace=nowarn", "-", stdin=patch)
    if code:
        raise Rejected(
            f"the job's patch of uncommitted changes does not apply: {said.strip()[-500:]}",
            hint="Commit and push the changes, then make the job again.",
        )


async def _tell(log: Log, text: str) -> None:
    waiting = log(text.encode())
    if waiting is not None:
        await waiting
