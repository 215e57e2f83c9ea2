"""
What commands print: data to stdout, words to stderr.

On a terminal tables have colours; in a pipe they are plain columns. `--json` prints the data
as the server's API has it, and nothing else.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from runyard.client.printable import clean

if TYPE_CHECKING:
    from pydantic import BaseModel

_COLOURS: Final = {
    "Finished": "green", "Running": "cyan", "Starting": "cyan", "Building": "cyan",
    "Failed": "red", "Crashed": "red", "Agent lost": "red", "Killed": "yellow",
    "Stopping": "yellow", "Preempted": "yellow", "Idle": "yellow",
}  # fmt: skip


def say(message: str) -> None:
    """Tell the user something that is no data."""
    print(clean(message), file=sys.stderr, flush=True)


def print_json(data: Any) -> None:
    json.dump(data, sys.stdout, indent=2, ensure_ascii=False)
    print()


def print_model(model: BaseModel) -> None:
    print_json(model.model_dump(mode="json"))


def print_models(models: Iterable[BaseModel]) -> None:
    print_json([model.model_dump(mode="json") for model in models])


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print one thing, a field a line; what is empty is left out."""
    shown = {
        name: _text(value) for name, value in fields.items() if value not in (None, "", {}, [])
    }
    width = max(map(len, shown), default=0) + 2
    for name, value in shown.items():
        first, *more = value.splitlines() or [""]
        print(f"{name + ':':<{width}}{first}")
        for line in more:
            print(" " * width + line)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, none: str) -> None:
    """Print rows below their names, or `none` to stderr if there are no rows."""
    cells = [[_text(value) for value in row] for row in rows]
    if not cells:
        say(none)
        return
    if is_terminal():
        _rich_table(columns, cells)
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in ([name.upper() for name in columns], *cells):
        print("  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)).rstrip())


def is_terminal() -> bool:
    """Tell whether stdout is read by a person."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def ago(when: datetime | None, now: datetime | None = None) -> str:
    """Return a time as the distance to it: 5s, 3m, 2h, 4d."""
    if when is None:
        return ""
    seconds = max(0, int(((now or datetime.now(UTC)) - when).total_seconds()))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        case dict():
            return json.dumps(value, indent=2, ensure_ascii=False)
        case list() | tuple():
            return ", ".join(map(_text, value))
        case _:
            return clean(str(value))


def _rich_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name.upper(), overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    Console().print(table)
