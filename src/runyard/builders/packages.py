"""
Which packages an image needs: read from the files at the root of the build context.

The first of these decides: requirements.txt, pyproject.toml, a conda environment, and
requirements.frozen.txt, which tells what was there in the run that the job was made from. The files
that decide are copied and installed before the code, so that a change of code alone installs
nothing again; where they refer to the code itself, all of it goes first.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from runyard.client.requirements import read_list
from runyard.client.runtimes import dependency_file, project_dependencies
from runyard.domain.errors import Rejected
from runyard.domain.images import Install, Method

FROZEN: Final = "requirements.frozen.txt"
CONDA: Final = ("environment.yml", "environment.yaml")
MARK: Final = "runyard: not installed: "  # what `bootstrap_packages` prints
_LOCAL: Final = ("path", "directory", "editable", "virtual")  # sources in a uv.lock
_ELSEWHERE: Final = ("sources", "index", "index-url", "extra-index-url", "find-links")
# BuildKit numbers its steps and tells the time before each line that one prints.
_FAILED: Final = re.compile(rf"(?:#\d+ (?:[\d.]+ )?)?{MARK}([\x21-\x7e]{{1,200}})\s*")


def detect(directory: Path, *, within: Path | None = None) -> Install:
    """Return what is installed for the code in a directory; `within` is the whole job's.

    The files of the answer are by path in `within`.

    Raises:
        Rejected: a list of requirements includes a file that is missing or lies outside.
    """
    root = within or directory
    _check_links(directory, root)
    file = dependency_file(directory)
    if file == "requirements.txt":
        return _listed(Method.REQUIREMENTS, directory, file, root)
    if file == "pyproject.toml":
        return _project(directory, root)
    for name in CONDA:
        if (directory / name).is_file():
            text = (directory / name).read_text(encoding="utf-8", errors="replace")
            names_files = re.search(r"-\s*[\"']?(?:-[rce]\b|--[a-z]|\.{1,2}/|file:)", text)
            return _of(Method.CONDA, directory, (name,), root, whole=names_files is not None)
    if (directory / FROZEN).is_file():
        return _listed(Method.FROZEN, directory, FROZEN, root)
    return Install()


def listed(directory: Path) -> list[str]:
    """Return the requirements that pyproject.toml lists, one line each."""
    return [" ".join(line.split()) for line in project_dependencies(directory) or ()]


def failed(line: bytes) -> str | None:
    """Return the package that a line of a build's log says was left out, if it says so."""
    said = _FAILED.fullmatch(line.decode(errors="replace").strip())
    return said[1] if said else None


def _check_links(directory: Path, root: Path) -> None:
    for name in ("requirements.txt", "pyproject.toml", "uv.lock", *CONDA, FROZEN):
        if not Path(os.path.realpath(directory / name)).is_relative_to(os.path.realpath(root)):
            raise Rejected(
                f"{name} is a link that leaves the job's directory",
                hint="Put the file itself in its place.",
            )


def _listed(method: Method, directory: Path, file: str, root: Path) -> Install:
    read = read_list(directory, file, within=root)
    return _checked(Install(method, read.files, not read.shared), root, directory / file)


def _project(directory: Path, root: Path) -> Install:
    uv = _uv_settings(directory / "pyproject.toml")
    if (directory / "uv.lock").is_file():
        files = ("pyproject.toml", "uv.lock")
        local = _locks_local(directory / "uv.lock") or "workspace" in uv
        return _of(Method.UV_LOCK, directory, files, root, whole=local)
    whole = any(
        re.search(r"@\s*(?:file:|\.)", line.partition(";")[0]) for line in listed(directory)
    )
    if any(key in uv for key in _ELSEWHERE):
        whole = whole or any(_is_local(source) for source in _sources(uv))
        return _of(Method.UV_PROJECT, directory, ("pyproject.toml",), root, whole=whole)
    return _of(Method.PROJECT, directory, ("pyproject.toml",), root, whole=whole)


def _of(
    method: Method, directory: Path, files: tuple[str, ...], root: Path, *, whole: bool
) -> Install:
    below = os.path.relpath(os.path.realpath(directory), os.path.realpath(root))
    names = tuple(os.path.normpath(os.path.join(below, file)) for file in files)
    found = Install(method, names, whole)
    for file in files:
        found = _checked(found, root, directory / file)
    return found


def _checked(install: Install, root: Path, file: Path) -> Install:
    """A link would be copied apart from what it leads to: then all is copied together."""
    plain = os.path.join(os.path.realpath(root), os.path.relpath(file, root))
    if os.path.realpath(file) == plain:
        return install
    return Install(install.method, install.files, whole=True)


def _uv_settings(file: Path) -> Mapping[str, Any]:
    tool = tomllib.loads(file.read_text(encoding="utf-8")).get("tool")
    uv = tool.get("uv") if isinstance(tool, dict) else None
    return uv if isinstance(uv, dict) else {}


def _sources(uv: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    sources = uv.get("sources")
    for given in sources.values() if isinstance(sources, dict) else ():
        for source in given if isinstance(given, list) else [given]:
            if isinstance(source, dict):
                yield source


def _is_local(source: Mapping[str, Any]) -> bool:
    return "path" in source or "workspace" in source


def _locks_local(lock: Path) -> bool:
    try:
        packages = tomllib.loads(lock.read_text(encoding="utf-8")).get("package", [])
    except (ValueError, RecursionError):
        return False  # uv says best what is wrong with it
    if not isinstance(packages, list):
        return False
    sources = (package.get("source") for package in packages if isinstance(package, dict))
    return any(
        source.get(key) not in (None, ".")
        for source in sources
        if isinstance(source, dict)
        for key in _LOCAL
    )
