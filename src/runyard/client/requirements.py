"""
What a directory of code says about its Python packages, read without installing anything.

The texts that decide what is installed are gathered, `-r` and `-c` files included; the same
texts make the same environment. Where something else decides too (a package that lies in the
directory itself, a list at a URL), the environment is the attempt's own and not shared.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runyard.client.runtimes import dependency_file, project_dependencies
from runyard.domain.errors import Rejected

_INCLUDE = re.compile(r"(?:-r|-c|--requirements?|--constraints?)(?:[ =]\s*|(?<=-[rc]))(\S+)")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# `-e .`, `./package`, `name @ file:…`, `--find-links wheels`: all lie in the directory.
_LOCAL = re.compile(
    r"(?:-e|--editable)\b|\.{1,2}(?:/|$|\[)|[^\s#]+/[^\s@]*$|\S+\.(?:whl|tar\.gz|zip)$"
    r"|.*@\s*(?:file:|\.)|file:"
)
_FIND_LINKS = re.compile(r"(?:-f|--find-links)[ =]\s*(\S+)")
_MOST_FILES: Final = 50


@dataclass(frozen=True, slots=True)
class Requirements:
    """`file` is what to install from; `texts` what decides the result; see above for `shared`.

    `files` are those that the texts are of, by path in the directory.
    """

    file: str
    texts: tuple[str, ...]
    shared: bool
    files: tuple[str, ...] = ()


def read_requirements(directory: Path) -> Requirements | None:
    """Return what the directory asks for: requirements.txt, else pyproject.toml, else None.

    Raises:
        Rejected: a file is named that is missing or lies outside of the directory.
    """
    file = dependency_file(directory)
    if file is None:
        return None
    return _of_project(directory) if file == "pyproject.toml" else read_list(directory, file)


def read_list(directory: Path, file: str, *, within: Path | None = None) -> Requirements:
    """Return what a list of requirements in the directory asks for, with all that it includes.

    It may include what lies in `within`, which is the directory itself if it is not given; `files`
    are by path in that.

    Raises:
        Rejected: a file is named that is missing or lies outside.
    """
    root = Path(os.path.realpath(within or directory))
    first = os.path.join(os.path.relpath(os.path.realpath(directory), root), file)
    read: dict[str, str] = {}
    shared = _gather(root, first, "", read)
    names = tuple(sorted(read))
    return Requirements(file, tuple(f"{name}\n{read[name]}" for name in names), shared, names)


def _of_project(directory: Path) -> Requirements:
    import tomllib  # only where there is such a file

    data = tomllib.loads((directory / "pyproject.toml").read_text(encoding="utf-8"))
    tool = data.get("tool", {}).get("uv", {})
    listed = project_dependencies(directory) or []
    shared = "sources" not in tool and not any(_is_local(line) for line in listed)
    text = json.dumps([listed, tool], default=str, sort_keys=True)
    return Requirements("pyproject.toml", (text,), shared, ("pyproject.toml",))


def _gather(root: Path, file: str, named_in: str, read: dict[str, str]) -> bool:
    """Read a file and all that it includes into `read`; return whether the result is shared."""
    name = _inside(root, file, named_in)
    if name in read:
        return True
    if len(read) >= _MOST_FILES:
        raise Rejected(f"requirements.txt includes more than {_MOST_FILES} files")
    try:
        read[name] = (root / name).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise Rejected(
            f"{named_in} names {file!r}, which is not in the job's directory",
            hint="Is it left out by .runyardignore or .gitignore?",
        ) from error
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise Rejected(f"{name} cannot be read as a list of requirements: {error}") from error
    shared = True
    for line in _lines(read[name]):
        included = _INCLUDE.fullmatch(line)
        if included and not _URL.match(included[1]):
            below = os.path.join(os.path.dirname(name), included[1])
            shared = _gather(root, below, name, read) and shared
        else:
            shared = shared and not included and not _is_local(line)
    return shared


def _is_local(line: str) -> bool:
    links = _FIND_LINKS.match(line)
    if links:
        return not _URL.match(links[1]) and not os.path.isabs(links[1])
    if line.startswith("-") and not line.startswith(("-e", "--editable")):
        return False
    return _LOCAL.match(line.partition(";")[0].strip()) is not None


def _inside(root: Path, file: str, named_in: str) -> str:
    real = os.path.realpath(root / file)
    if os.path.isabs(file) or os.path.commonpath([root, real]) != str(root):
        raise Rejected(
            f"{named_in or file}: {file!r} lies outside of the job's directory",
            hint="Move the file into the directory, or list its lines in requirements.txt.",
        )
    return os.path.relpath(real, root)


def _lines(text: str) -> Iterator[str]:
    for line in re.sub(r"\\\r?\n", "", text).splitlines():
        bare = re.sub(r"(^|\s)#.*$", "", line).strip()
        if bare:
            yield bare
