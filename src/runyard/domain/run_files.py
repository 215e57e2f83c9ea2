"""Names of a run's files: relative paths that stay within the run, wherever they are saved."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from runyard.domain.errors import Invalid

MOST: Final = 10_000  # names in one request
_LONGEST: Final = 1024  # bytes in UTF-8
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SEPARATOR: Final = re.compile(r"[/\\]")


def normal(name: str) -> str:
    """Return a name as it is kept: `./a//b.txt` is `a/b.txt`.

    Raises:
        Invalid: it leads out of its run, or is no text that a path can have.
    """
    if _CONTROL.search(name):
        raise _refused(name, "it has a control character")
    if name.startswith(("/", "\\")) or ".." in _SEPARATOR.split(name):
        raise _refused(name, "it leads out of its run")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    kept = "/".join(parts)
    if not parts or name.endswith("/"):
        raise _refused(name, "it names no file")
    if len(kept.encode()) > _LONGEST:
        raise _refused(name, f"it is longer than {_LONGEST} bytes")
    return kept


def good(names: Sequence[str]) -> dict[str, str]:
    """Return those names that are names, each with what it is kept as.

    Raises:
        Invalid: none of them is, or they are too many.
    """
    if len(names) > MOST:
        raise Invalid(f"{len(names)} files at once; {MOST} may be named in one request")
    kept, wrong = {}, None
    for name in names:
        try:
            kept[name] = normal(name)
        except Invalid as error:
            wrong = error
    if wrong is not None and not kept:
        raise wrong
    return kept


def _refused(name: str, why: str) -> Invalid:
    return Invalid(f"{name[:200]!r} cannot be the name of a run's file: {why}")
