"""
The directory that an agent's drivers keep their things in, and its name.

The name is random and made once. It is in every handle, so that a handle which reaches the
wrong host, or an agent whose root was moved, is told apart from a workload that has vanished.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from runyard.domain.errors import Rejected
from runyard.domain.workloads import Handle

_ID = ".root-id"
_KEY = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def root_id(root: Path) -> str:
    """Return the name of `root`, making both when they are missing.

    Raises:
        Rejected: it cannot be made or read.
    """
    file = root / _ID
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with file.open("x") as new:
                new.write(secrets.token_hex(6) + "\n")
        except FileExistsError:
            pass
        name = file.read_text().strip()
    except OSError as error:
        raise Rejected(
            f"the agent's directory {root} cannot be used: {error.strerror}",
            hint="make it writable for the agent's user, or set `root` in the agent's file",
        ) from error
    if not name:  # another process is between making and writing it, or the disk was full
        raise Rejected(f"{file} is empty", hint=f"remove it and start the agent again: rm {file}")
    return name


def check_key(key: str) -> str:
    """Return `key` if it is safe as a file and container name.

    Raises:
        Rejected: it is not; keys come from the server, so nothing else may be assumed of them.
    """
    if not _KEY.fullmatch(key):
        raise Rejected(f"workload key {key!r}: only a-z, 0-9 and -, at most 63 characters")
    return key


def key_of(handle: Handle, *, driver: str, root: str) -> str:
    """Return the key in a handle that `driver` made under `root`.

    Raises:
        Rejected: the handle is another driver's, another host's, or of a newer version.
    """
    if handle.driver != driver or handle.version != 1:
        raise Rejected(
            f"a handle of {handle.driver} version {handle.version} was given to {driver} version 1",
            hint="update the agent",
        )
    if handle.data.get("root") != root:
        raise Rejected(
            f"this workload was started under root {handle.data.get('root')}, not {root}",
            hint="start the agent on the host, and with the `root`, that it had before",
        )
    return check_key(handle.data.get("key", ""))
