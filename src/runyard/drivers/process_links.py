"""
Volumes of a process: links in the job's directory to the directories that it was given by name.

The directory holds what the job's author put there, links too, and nothing may be made or
replaced outside of it: no step on the way is followed if it is a link.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from typing import Final

from runyard.domain.errors import Rejected

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY
_NO_LINK: Final = _DIRECTORY | os.O_NOFOLLOW


def link(base: Path, links: Mapping[str, str]) -> None:
    """Make each link, a path within `base`, lead to its directory. Repeatable.

    Raises:
        Rejected: the job has something else in its place, or on the way to it.
        OSError: the disk's own trouble.
    """
    for path, source in links.items():
        *way, name = PurePosixPath(path).parts
        with ExitStack() as opened:
            here = os.open(base, _DIRECTORY)
            opened.callback(os.close, here)
            for step in way:
                here = _below(here, step, path)
                opened.callback(os.close, here)
            _place(here, name, source, path)


def check_unwritable(directories: Collection[str]) -> None:
    """Pass if a process of ours can only read these: nothing stands between it and the disk.

    Raises:
        Rejected: it could write.
    """
    for directory in directories:
        if os.access(directory, os.W_OK):
            raise Rejected(
                f"volumes: {directory} is read-only, and a process of this agent's user "
                "could write it",
                hint="take the right to write from the agent's user, or use a container",
            )


def _below(here: int, step: str, path: str) -> int:
    with suppress(FileExistsError):
        os.mkdir(step, dir_fd=here)
    try:
        return os.open(step, _NO_LINK, dir_fd=here)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        raise _in_the_way(path, f"its {step} is no directory") from error


def _place(here: int, name: str, source: str, path: str) -> None:
    try:
        os.symlink(source, name, dir_fd=here)
    except FileExistsError as error:
        with suppress(OSError):
            if os.readlink(name, dir_fd=here) == source:
                return
        raise _in_the_way(path, "it has something of that name") from error


def _in_the_way(path: str, what: str) -> Rejected:
    return Rejected(
        f"volumes: the link {path} cannot be made in the job's directory: {what}",
        hint="choose another path for the volume in the queue's configuration",
    )
