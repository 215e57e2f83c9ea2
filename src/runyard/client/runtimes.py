"""Which Python and which packages a directory of code asks for."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from runyard.domain.sources import check_runtime

DEPENDENCY_FILES: Final = ("requirements.txt", "pyproject.toml")
_MAJOR_MINOR = re.compile(r"\s*(?:python-?)?(3\.\d+)\b")


def dependency_file(root: Path) -> str | None:
    """Return the file that an environment is made from; None: the agent's own Python is used.

    A `pyproject.toml` counts if it has `[project].dependencies`, and only when there is no
    `requirements.txt`.
    """
    if (root / "requirements.txt").is_file():
        return "requirements.txt"
    return "pyproject.toml" if project_dependencies(root) is not None else None


def project_dependencies(root: Path) -> list[str] | None:
    """Return `[project].dependencies` of `pyproject.toml`; None if there are none or no file.

    A file that is not TOML has none: linters keep their settings there too, and uv names the
    mistake better where it matters.
    """
    import tomllib  # only where there is such a file

    try:
        data = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except (
        FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError, RecursionError,
    ):  # fmt: skip
        return None
    project = data.get("project")
    listed = project.get("dependencies") if isinstance(project, dict) else None
    return [str(item) for item in listed] if isinstance(listed, list) and listed else None


def python_version(
    runtime: str | None,
    read: Callable[[str], str | None],
    *,
    local: str = f"{sys.version_info.major}.{sys.version_info.minor}",
) -> str:
    """Return the job's Python as "3.N": what was asked for, else what the code says, else `local`.

    `read` returns the text of a file at the root of the code, None if there is none. Of
    `runtime.txt` and then `.python-version` the first line counts, without its patch number.

    Raises:
        Invalid: `runtime` is not of the form 3.N.
    """
    if runtime:
        return check_runtime(runtime)
    for name in ("runtime.txt", ".python-version"):
        lines = (read(name) or "").strip().splitlines()
        found = _MAJOR_MINOR.match(lines[0]) if lines else None
        if found:
            return found[1]
    return local


def reader(root: Path) -> Callable[[str], str | None]:
    """Return the `read` of `python_version` for a directory."""

    def read(name: str) -> str | None:
        path = root / name
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None

    return read
