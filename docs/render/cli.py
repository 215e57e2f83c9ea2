"""Every command of `runyard`, with its arguments and options, from the typer application."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from . import table


def page(app: typer.Typer) -> str:
    parts = [
        "# Command line",
        "Every command takes `--help`. What is in brackets may be left out.",
    ]
    for path, command, context in commands(app):
        parts += [f"## `{path}`", _help(command), _usage(path, command, context)]
        parts += _parameters(command, context)
    return "\n\n".join(part for part in parts if part) + "\n"


def commands(app: typer.Typer) -> Iterator[tuple[str, Any, Any]]:
    """Yield path, command and context of each command that can be typed, groups left out."""
    root = typer.main.get_command(app)
    yield from _walk("runyard", root, root.context_class(root, info_name="runyard"))


def _walk(path: str, command: Any, context: Any) -> Iterator[tuple[str, Any, Any]]:
    if not hasattr(command, "list_commands"):
        yield path, command, context
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        if child is None or child.hidden:
            continue
        below = child.context_class(child, info_name=name, parent=context)
        yield from _walk(f"{path} {name}", child, below)


def _help(command: Any) -> str:
    return inspect.cleandoc(command.help or "").replace("\f", "")


def _usage(path: str, command: Any, context: Any) -> str:
    pieces = " ".join(command.collect_usage_pieces(context))
    return f"```text\n{path} {pieces}\n```"


def _parameters(command: Any, context: Any) -> list[str]:
    rows = []
    for parameter in command.get_params(context):
        if getattr(parameter, "hidden", False):
            continue
        if record := parameter.get_help_record(context):
            rows.append((f"`{record[0]}`", record[1]))
        else:
            rows.append((f"`{parameter.make_metavar(context)}`", getattr(parameter, "help", "")))
    return [table(("option", "meaning"), rows)] if rows else []
