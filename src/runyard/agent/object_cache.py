"""
The tracking client's cache of artifacts, as it lies on the disk: by content, named by MD5.

    <cache>/artifacts/obj/md5/<2 digits>/<30 digits>

The client takes what is there if its size is right. Jobs may write the directory, so nothing in
it is believed here: no link is followed, neither on the way nor at its end (T21).
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_WAY: Final = ("artifacts", "obj", "md5")
_NO_LINK: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def has(cache: Path, md5: str, size: int) -> bool:
    """Tell whether the client would find this file, and note that it is going to be used."""
    try:
        here = _opened(cache, (*_WAY, md5[:2]))
    except OSError:
        return False
    try:
        seen = os.stat(md5[2:], dir_fd=here, follow_symlinks=False)
        if not stat.S_ISREG(seen.st_mode) or seen.st_size != size:
            return False
        with suppress(OSError):  # it may be another user's
            times = (time.time_ns(), seen.st_mtime_ns)
            os.utime(md5[2:], ns=times, dir_fd=here, follow_symlinks=False)
    except OSError:
        return False
    finally:
        os.close(here)
    return True


def put(cache: Path, md5: str, file: str) -> None:
    """Move a file, which is of the same file system, to where the client finds it, all at once.

    Raises:
        OSError: something else is in its place, or on the way.
    """
    here = _opened(cache, (*_WAY, md5[:2]), makes=True)
    try:
        os.chmod(file, 0o644)
        os.rename(file, md5[2:], dst_dir_fd=here)
    finally:
        os.close(here)


def _opened(cache: Path, way: tuple[str, ...], *, makes: bool = False) -> int:
    here = os.open(cache, _NO_LINK)
    for step in way:
        try:
            is_new = makes and _made(here, step)
            below = os.open(step, _NO_LINK, dir_fd=here)
        finally:
            os.close(here)
        here = below
        if is_new:
            os.fchmod(here, 0o777)  # whoever the next container runs as
    return here


def _made(here: int, step: str) -> bool:
    try:
        os.mkdir(step, dir_fd=here)
    except FileExistsError:
        return False
    return True
