"""Symbolic links that lead out of a tree: refused where code is packed, unpacked and fetched."""

from __future__ import annotations

import os


def escape(root: str, path: str) -> str | None:
    """Return where the link at `path` leads if that is not within `root`, else None.

    Both are absolute, `root` without links in it. An absolute target always counts as outside,
    since trees are copied.
    """
    target = os.readlink(path)
    # By its words, since a copy has another name; and for real, since links lead over links.
    words = os.path.join(os.path.relpath(os.path.dirname(path), root), target)
    if os.path.isabs(target) or _climbs_out(words):
        return target
    real = os.path.realpath(path)
    return None if real == root or real.startswith(root + os.sep) else target


def escaping_links(directory: str | os.PathLike[str]) -> list[str]:
    """Return `path -> target` of all links that lead out of the directory; `.git` is skipped."""
    root, found = os.path.realpath(directory), []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name != ".git"]
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            if os.path.islink(path) and (target := escape(root, path)) is not None:
                found.append(f"{os.path.relpath(path, root)} -> {target}")
    return found


def _climbs_out(path: str) -> bool:
    depth = 0
    for part in path.split(os.sep):
        depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
        if depth < 0:
            return True
    return False
