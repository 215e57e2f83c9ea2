"""
Whose fault it is that an attempt failed: the job's, or its host's. Pure.

What is the host's goes to another agent, and counts against this one. So only what a job cannot
bring about by itself is the host's, and what is in doubt is the job's: an item that fails is
seen by its owner, where a healthy host that is set aside is missed by everybody.
"""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from runyard.builders.base import BuildFailed
from runyard.domain.errors import HostFault, RunyardError

# A full or broken disk, or a system without files, memory or processes left to give.
_ERRNOS: Final = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOMEM, errno.EMFILE,
        errno.ENFILE, errno.ESTALE,
    }
)  # fmt: skip
# uv's own words, with the number of the system's error; what a package's build prints comes
# after a mark of its own.
_UV: Final = re.compile(
    r"^\s*(?:error:|cause:|caused by:|[├╰]─▶).*\(os error (\d+)\)\s*$", re.MULTILINE | re.IGNORECASE
)
_BUILD: Final = re.compile(r"^\s*\[(?:stdout|stderr)\]", re.MULTILINE)
# git's own words; a remote's have its name before them.
_GIT: Final = re.compile(
    r"^(?:fatal|error): (?!remote).*(?:no space left on device|out of diskspace|disk quota exceeded"
    r"|read-only file system|input/output error|unable to write file)",
    re.MULTILINE | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Fault:
    """`message` is for the submitter; `detail`, if there is one, for whoever mends the agent."""

    message: str
    is_hosts: bool
    detail: str | None = None


def fault_of(error: Exception) -> Fault:
    """Return what `error`, raised somewhere in an attempt, means."""
    host = next((e for e in _chain(error) if _is_hosts(e)), None)
    if isinstance(error, RunyardError):
        said = error.lines if isinstance(error, BuildFailed) else None
        return Fault(words(error), host is not None, said or None)
    if isinstance(host, RunyardError):
        return Fault(words(host), is_hosts=True, detail=_trace(error))
    if isinstance(host, OSError):
        where = f": {host.filename}" if host.filename else ""
        what = f"the agent's host cannot go on: {_plain(host)}{where}"
        return Fault(what, is_hosts=True, detail=_trace(error))
    return Fault("internal error of the agent; see the detail", False, _trace(error))


def uv_blames_host(said: str) -> bool:
    """Whether uv failed by the disk, and not by what it was asked for."""
    own = _BUILD.split(said, maxsplit=1)[0]
    return any(int(number) in _ERRNOS for number in _UV.findall(own))


def git_blames_host(said: str) -> bool:
    """Whether git failed by the disk, and not by what it was asked for."""
    return bool(_GIT.search(said))


def words(error: RunyardError) -> str:
    """Return what the submitter is told: the message, each violation it lacks, the hint."""
    lines = [error.message]
    lines += [str(v) for v in error.violations if v.message not in error.message]
    return "\n".join([*lines, error.hint] if error.hint else lines)


def _is_hosts(error: BaseException) -> bool:
    if isinstance(error, HostFault):
        return True
    # A connection's errors carry numbers, too, and say nothing of this host's disk.
    return (
        isinstance(error, OSError)
        and not isinstance(error, ConnectionError)
        and error.errno in _ERRNOS
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, what it was raised from, and, of several at once, each of them."""
    seen: set[int] = set()
    open_ends = [error]
    while open_ends:
        this = open_ends.pop()
        if id(this) in seen:
            continue
        seen.add(id(this))
        yield this
        if isinstance(this, BaseExceptionGroup):
            open_ends += this.exceptions
        if this.__cause__ is not None:
            open_ends.append(this.__cause__)


def _plain(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
