"""
What the client learns from git: the commit that a ref means now, and what a checkout holds.

A ref is resolved once, when the job is made; from then on only the commit counts.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runyard.domain import git_limits
from runyard.domain.errors import Invalid, NotFound, Rejected, RunyardError, TooMuch, Unavailable
from runyard.domain.sources import (
    TRANSPORTS,
    check_ref,
    check_remote,
    is_commit,
    without_credentials,
)

MAX_PATCH: Final = 10 << 20
_DEFAULT_BRANCHES: Final = ("main", "master")
_UNREACHABLE: Final = (
    "could not resolve host", "couldn't connect", "failed to connect", "connection refused",
    "connection timed out", "connection reset", "connection closed", "network is unreachable",
    "operation timed out", "no route to host", "temporary failure in name resolution",
    "name or service not known", "early eof", "returned error: 429", "returned error: 5",
    "remote end hung up unexpectedly", "rpc failed",
)  # fmt: skip
_NOT_ALLOWED: Final = (
    "authentication failed", "could not read username", "could not read password",
    "permission denied", "repository not found", "not found", "access denied",
    "host key verification failed", "returned error: 401", "returned error: 403",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Resolved:
    """A commit, and the branch or tag that it was found by ("" if the commit was given)."""

    commit: str
    ref: str


@dataclass(frozen=True, slots=True)
class Checkout:
    """
    A directory under git, for provenance: `remote` ("" if there is none) without credentials,
    `path` from the repository's root, `patch` of changes to tracked files (untracked files are
    not in it). `pushed` is whether a remote branch has the commit, as far as is known here.
    """

    remote: str
    commit: str
    branch: str
    path: str
    patch: bytes
    pushed: bool


def resolve(
    remote: str,
    ref: str | None,
    *,
    host_env: Mapping[str, str],
    insecure_hosts: Collection[str] = (),
    seconds: float = 60,
) -> Resolved:
    """Ask the remote which commit a branch or tag is at; with none: `main`, else `master`.

    A full commit id is returned as it is: only fetching can tell whether the remote has it.

    Raises:
        Invalid: the remote or ref is not allowed.
        NotFound: the remote has no such branch or tag; the message names some that it has.
        Rejected: the remote refuses these credentials, or is not there.
        Unavailable: the remote could not be asked.
    """
    check_remote(remote, insecure_hosts=insecure_hosts)
    if ref and is_commit(check_ref(ref)):
        return Resolved(ref, "")
    found = _list(remote, host_env, seconds)
    for name in (ref,) if ref else _DEFAULT_BRANCHES:
        # A branch before a tag, and of an annotated tag the commit that it is on.
        for full in (f"refs/heads/{name}", f"refs/tags/{name}^{{}}", f"refs/tags/{name}", name):
            if full in found:
                return Resolved(found[full], name)
    raise NotFound(_no_ref(remote, ref), hint=_refs_there(found))


def inspect(path: Path, *, max_patch: int = MAX_PATCH) -> Checkout | None:
    """Describe the checkout that `path` is in; None if it is in none or has no commit yet.

    Raises:
        TooMuch: the uncommitted changes are more than `max_patch` bytes.
    """
    commit = _ask(path, "rev-parse", "--verify", "--quiet", "HEAD")
    if not commit:
        return None
    remote = _ask(path, "config", "--get", "remote.origin.url")
    return Checkout(
        remote=without_credentials(remote),
        commit=commit,
        branch=_ask(path, "branch", "--show-current"),
        path=_ask(path, "rev-parse", "--show-prefix").rstrip("/"),
        patch=_patch(path, max_patch),
        pushed=bool(_ask(path, "branch", "--remotes", "--contains", commit)),
    )


def explain(remote: str, said: str) -> RunyardError:
    """Return the error for what git printed when it could not talk to the remote."""
    lines = [line for line in said.strip().splitlines() if line.strip()]
    words = " / ".join(lines[-4:])[-1000:] or "git said nothing"
    lower = said.lower()
    if any(sign in lower for sign in _NOT_ALLOWED):
        return Rejected(
            f"git remote {remote}: {words}",
            hint="If it exists, this machine has no right to read it: set up a credential helper "
            f"or an SSH key here, then check with: git ls-remote {remote}",
        )
    if any(sign in lower for sign in _UNREACHABLE):
        return Unavailable(f"git remote {remote} cannot be reached: {words}")
    return Rejected(f"git remote {remote}: {words}", hint=f"Try: git ls-remote {remote}")


def _list(remote: str, host_env: Mapping[str, str], seconds: float) -> dict[str, str]:
    protocols = {*TRANSPORTS, remote.partition("://")[0]} & {*TRANSPORTS, "http"}
    argv = ["git", *git_limits.options(protocols), "ls-remote", "--", remote]
    env = git_limits.environment(host_env, protocols, credentials=True)
    try:
        done = subprocess.run(
            argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"git remote {remote} did not answer in {seconds:.0f} s") from error
    except FileNotFoundError as error:
        raise Invalid("git is not installed here", hint="Install git, then try again.") from error
    if done.returncode:
        raise explain(remote, done.stderr.decode(errors="replace"))
    lines = done.stdout.decode(errors="replace").splitlines()
    return {name: commit for commit, _, name in (line.partition("\t") for line in lines)}


def _no_ref(remote: str, ref: str | None) -> str:
    if ref is None:
        return f"git remote {remote} has neither a branch main nor master"
    short = len(ref) >= 7 and all(c in "0123456789abcdef" for c in ref)
    more = "; a commit is given by all its 40 digits" if short else ""
    return f"git remote {remote} has no branch or tag {ref!r}{more}"


def _refs_there(found: Mapping[str, str]) -> str:
    names = [
        name.removeprefix(prefix)
        for prefix in ("refs/heads/", "refs/tags/")
        for name in found
        if name.startswith(prefix) and not name.endswith("^{}")
    ]
    if not names:
        return "The repository is empty: push a branch first."
    more = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    return f"It has: {', '.join(names[:10])}{more}. Name one with --git-hash."


def _ask(path: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(path), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError:  # no git, so nothing to tell
        return ""
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""


def _patch(path: Path, max_patch: int) -> bytes:
    argv = [
        "git", "-C", str(path), "diff", "--binary", "--full-index", "--no-color", "--no-ext-diff",
        "--no-textconv", "--no-relative", "--ignore-submodules=dirty",
        "--src-prefix=a/", "--dst-prefix=b/", "HEAD", "--",
    ]  # fmt: skip
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        patch = process.stdout.read(max_patch + 1)
        if len(patch) > max_patch:
            process.kill()
    if len(patch) > max_patch:
        raise TooMuch(
            f"the uncommitted changes in {path} are more than {max_patch >> 20} MiB",
            hint="Commit and push them, or see what is large: git diff --stat HEAD",
        )
    return patch
