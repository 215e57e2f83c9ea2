"""
A notebook as a program: its code cells in order, without what only a notebook understands.

The file is JSON with a documented shape, so reading it takes no notebook software.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from runyard.domain.errors import Invalid

# These cell magics change how Python is run, not the language of the cell.
_STILL_PYTHON: Final = frozenset({"%%capture", "%%prun", "%%time", "%%timeit", "%%python3"})
# Not `% b` nor `!= b`, which go on with a Python expression of the line before.
_MAGIC: Final = re.compile(r"(\s*)(?:!(?!=)|%%?[A-Za-z])")


def notebook_to_script(text: str) -> str:
    """Return the code cells of an `.ipynb` as one script; `!` and `%` lines are left out.

    A line inside a string keeps its `%`: only lines at the beginning of a statement are
    looked at, and a cell in another language (`%%bash`) is left out whole.

    Raises:
        Invalid: it is not a notebook of format 4, or not one in Python.
    """
    cells = _cells(text)
    scripts = [_cell(cell, number) for number, cell in enumerate(cells, start=1)]
    return "\n\n".join(script for script in scripts if script) + "\n"


def _cells(text: str) -> list[dict[str, Any]]:
    try:
        notebook = json.loads(text)
    except ValueError as error:
        raise Invalid(f"the notebook is not JSON: {error}") from error
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise Invalid(
            "the notebook has no list of cells (format 4)",
            hint="Open it and save it again with a current Jupyter.",
        )
    language = (notebook.get("metadata") or {}).get("kernelspec", {}).get("language", "python")
    if str(language).lower() != "python":
        raise Invalid(f"the notebook is in {language}, only Python is converted")
    return [c for c in notebook["cells"] if isinstance(c, dict) and c.get("cell_type") == "code"]


def _cell(cell: dict[str, Any], number: int) -> str:
    source = cell.get("source", "")
    lines = ("".join(source) if isinstance(source, list) else str(source)).splitlines()
    first = next((line.strip() for line in lines if line.strip()), "")
    if first.startswith("%%") and first.split()[0] not in _STILL_PYTHON:
        return ""
    kept = "\n".join(_python_lines(lines)).strip("\n")
    return f"# In[{number}]:\n{kept}" if kept.strip() else ""


def _python_lines(lines: list[str]) -> Iterator[str]:
    inside = ""  # the quotes of a string that goes over several lines
    goes_on = False
    for line in lines:
        magic = None if inside else _MAGIC.match(line)
        if magic and magic[1]:
            # `pass` keeps an `if` whose only line this was from being a syntax error.
            yield f"{magic[1]}pass"
        if magic or goes_on:
            goes_on = line.endswith("\\")
            continue
        inside = _open_string(line, inside)
        yield line


def _open_string(line: str, inside: str) -> str:
    at = 0
    while at < len(line):
        three = line[at : at + 3]
        if inside:
            if line[at] == "\\":
                at += 1
            elif three == inside:
                inside, at = "", at + 2
        elif three in ('"""', "'''"):
            inside, at = three, at + 2
        elif line[at] in "\"'":
            at = _end_of_short_string(line, at)
        elif line[at] == "#":
            break
        at += 1
    return inside


def _end_of_short_string(line: str, at: int) -> int:
    quote, at = line[at], at + 1
    while at < len(line) and line[at] != quote:
        at += 2 if line[at] == "\\" else 1
    return at
