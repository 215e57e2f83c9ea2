"""Symbolic links that lead out of a tree: refused where code is packed, unpacked and fetched."""

from __future__ import annotations

import os


def escape(root: str, path: str) -> str | None:
    """Return where the link at `path` leads if that is not within `root`, else None.

    Both are absolute, `root` without links in it. An absolute target always counts as outside,
    since trees are copied.
    """
    target = os.readlink(path)
    # By its words, since the copy lies elsewhere; and for real, since links lead over links.
    worded = os.path.normpath(os.path.join(os.path.dirname(path), target))
    if os.path.isabs(target) or not _within(root, worded):
        return target
    return None if _within(root, os.path.realpath(path)) else target


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


def _within(root: str, path: str) -> bool:
    return path == root or path.startswith(root + os.sep)
