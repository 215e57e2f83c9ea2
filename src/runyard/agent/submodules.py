"""What a repository says of its submodules: read from the commit, checked before it is used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from runyard.domain.errors import Rejected

if TYPE_CHECKING:
    from pathlib import Path

    from runyard.agent.git_process import Git


async def addresses(git: Git) -> dict[str, str]:
    """Return path → address from the `.gitmodules` of the commit, not of the disk."""
    words = ("config", "--blob", "HEAD:.gitmodules", "-z", "--get-regexp", r"\.(path|url)$")
    code, answer, _ = await git.call(*words)
    if code:
        return {}
    paths: dict[str, str] = {}
    urls: dict[str, str] = {}
    for line in filter(None, answer.split(b"\0")):
        key, _, value = os.fsdecode(line).partition("\n")
        name, _, field = key.rpartition(".")
        (paths if field == "path" else urls)[name] = value
    return {paths[name]: url for name, url in urls.items() if name in paths}


def place(into: Path, path: str) -> Path:
    """Return where the submodule's files belong.

    Raises:
        Rejected: the path is not a plain one, or a link stands in its way.
    """
    parts = path.split("/")
    odd = any(ord(char) < 32 or char in "\x7f\\" for char in path) or path.startswith("-")
    if odd or any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        raise Rejected(f"submodule path {path!r} is not allowed")
    if os.path.realpath(into / path) != os.path.join(os.path.realpath(into), *parts):
        raise Rejected(f"submodule path {path!r} leads over a symbolic link")
    return into / path


def absolute(remote: str, url: str) -> str:
    """Return the submodule's address; `../other` is relative to its repository's own.

    Raises:
        Rejected: it leads above the remote's root.
    """
    if not url.startswith(("./", "../")):
        return url
    scheme, mark, rest = remote.rstrip("/").partition("://")
    if mark:
        return scheme + urljoin(f"https://{rest}/", url).removeprefix("https")
    host, _, path = remote.partition(":")
    joined = os.path.normpath(os.path.join(path, url))
    if joined.startswith(".."):
        raise Rejected(f"submodule address {url!r} leads above {remote}")
    return f"{host}:{joined}"
