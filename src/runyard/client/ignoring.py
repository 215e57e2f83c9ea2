"""
Which files of a directory belong to a job: `.runyardignore` and `.gitignore`, at every level.

Both files are read as git reads its own. What `.runyardignore` says, at any level, beats every
`.gitignore`, so `!model.bin` brings back what git leaves out; and a deeper file beats one above
it. As with git, nothing comes back from within a directory that is left out itself.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

EVERYWHERE: Final = frozenset({".git", ".venv", "__pycache__"})
AT_THE_ROOT: Final = frozenset({".runyard", "wandb"})


@dataclass(frozen=True, slots=True)
class Ignoring:
    """The rules that hold in one directory; `prefix` is its path from the root, with a slash."""

    prefix: str = ""
    ours: tuple[tuple[str, GitIgnoreSpec], ...] = ()  # deepest first, each with its prefix
    gits: tuple[tuple[str, GitIgnoreSpec], ...] = ()

    def enter(self, directory: str, prefix: str) -> Ignoring:
        """Return the rules in `directory` (a path on disk), which lies at `prefix`."""
        ours = _read(os.path.join(directory, ".runyardignore"), prefix)
        gits = _read(os.path.join(directory, ".gitignore"), prefix)
        return replace(self, prefix=prefix, ours=ours + self.ours, gits=gits + self.gits)

    def leaves_out(self, name: str, *, is_dir: bool) -> bool:
        # Lower case, since some file systems take .GIT for .git, and agents refuse both.
        if name.lower() in EVERYWHERE or (is_dir and not self.prefix and name in AT_THE_ROOT):
            return True
        if not self.ours and not self.gits:
            return False
        path = f"{self.prefix}{name}{'/' if is_dir else ''}"
        for prefix, spec in self.ours + self.gits:
            said = spec.check_file(path[len(prefix) :]).include
            if said is not None:
                return said
        return False


def _read(path: str, prefix: str) -> tuple[tuple[str, GitIgnoreSpec], ...]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except (FileNotFoundError, IsADirectoryError):
        return ()
    from pathspec import GitIgnoreSpec  # 20 ms that a directory without rules need not pay

    return ((prefix, GitIgnoreSpec.from_lines(lines)),)
