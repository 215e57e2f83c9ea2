"""
Files of secrets on the agent's host, for as long as a workload may need them.

They are in memory (tmpfs) where the host has such a place, below a directory that only the
agent's user may enter. Within it the files themselves can be read by everybody: that directory is
what a container gets, whose user may be any.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from runyard.domain.errors import HostFault

_SHM: Final = Path("/dev/shm")  # noqa: S108  # only below a directory of our own


def places(root: Path, environ: Mapping[str, str]) -> list[Path]:
    """Return the directories to try, the best first. `root` is the agent's own, on disk."""
    found = [_SHM / f"runyard-{os.getuid()}"] if _SHM.is_dir() else []
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        found.append(Path(runtime, "runyard"))
    return [*found, root / "secrets"]


class Vault:
    """A directory for each workload's key, in the first of `places` that is nobody else's.

    `owner` keeps the workloads of different agents apart.
    """

    def __init__(self, places: Sequence[Path], owner: str) -> None:
        self._places, self._owner = places, owner

    def directory(self, key: str) -> Path:
        """Return what to mount: where `write` puts the files of a workload.

        Raises:
            HostFault: there is no place for them.
        """
        for place in self._places:
            if _is_private(place):
                return place / self._owner / key / "files"
        raise HostFault(
            "there is no directory for secrets on this host; tried "
            + ", ".join(map(str, self._places)),
            hint="the agent's work_dir has to belong to the agent's user",
        )

    def write(self, key: str, values: Mapping[str, str]) -> Path:
        """Write the files; a file that is there is replaced as a whole. Return their directory.

        Raises:
            HostFault: it cannot be done on this host.
        """
        there = self.directory(key)
        try:
            there.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name, value in values.items():
                handle, new = tempfile.mkstemp(dir=there.parent)
                with os.fdopen(handle, "wb") as file:
                    file.write(value.encode())
                os.chmod(new, 0o444)
                Path(new).replace(there / name)
            there.chmod(0o755)  # who gets here has been let into the one above
        except OSError as error:
            raise HostFault(f"secrets cannot be written to {there}: {error.strerror}") from error
        return there

    def remove(self, key: str) -> None:
        """Delete the files of a workload, wherever they are. Repeatable."""
        for place in self._places:
            shutil.rmtree(place / self._owner / key, ignore_errors=True)

    def workloads(self) -> Collection[str]:
        """Return the keys of the workloads that have files."""
        found: set[str] = set()
        for place in self._places:
            with suppress(OSError):
                found |= {entry.name for entry in (place / self._owner).iterdir()}
        return found


def _is_private(place: Path) -> bool:
    """Make a directory, and tell whether nobody else can enter it: others may have made it."""
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = place.lstat()
    except OSError:
        return False
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if is_ours and stat.S_IMODE(found.st_mode) & 0o077:
        place.chmod(0o700)
    return is_ours
