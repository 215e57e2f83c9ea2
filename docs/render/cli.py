"""Every command of `runyard`, with its arguments and options, from the tree of commands."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from . import table


def page(trunk: Any) -> str:
    parts = ["# Command line", INTRODUCTION]
    for path, command, context in commands(trunk):
        parts += [f"## `{path}`", _help(command), _usage(path, command, context)]
        parts += _parameters(command, context)
    return "\n\n".join(part for part in parts if part) + "\n"


def commands(trunk: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield path, command and context of each command that can be typed, groups left out."""
    yield from _walk("runyard", trunk, trunk.context_class(trunk, info_name="runyard"))


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


INTRODUCTION = """\
Every command takes `--help`, and those that print something take `--json`. What is in brackets
may be left out. `RUNYARD_BASE_URL` and `RUNYARD_API_KEY` choose the server, before what
`runyard login` saved; `RUNYARD_ENTITY` and `RUNYARD_PROJECT` stand for `-e` and `-p`.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted; with `--follow`, the job's own.
Data goes to standard output, everything else to standard error. `runyard --install-completion`
completes commands and flags in your shell."""
