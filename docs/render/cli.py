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
        parts += [*_parameters(command, context), _examples(command)]
    return "\n\n".join(part for part in parts if part) + "\n"


def commands(trunk: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield path, command and context of each command that can be typed.

    Groups are left out, but for those that do something by themselves.
    """
    yield from _walk("runyard", trunk, trunk.context_class(trunk, info_name="runyard"))


def _walk(path: str, command: Any, context: Any) -> Iterator[tuple[str, Any, Any]]:
    if not hasattr(command, "list_commands"):
        yield path, command, context
        return
    if command.invoke_without_command:
        yield path, command, context
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
        if getattr(parameter, "hidden", False) or "--help" in parameter.opts:
            continue
        record = parameter.get_help_record(context) or (parameter.name, "")
        # An argument is shown as in the line of usage; its kind says little there.
        shown = record[0] if parameter.opts[0].startswith("-") else record[0].partition(" <")[0]
        rows.append((f"`{shown}`", record[1]))
    return [table(("argument or option", "meaning"), rows)] if rows else []


def _examples(command: Any) -> str:
    lines = (command.epilog or "").replace("\b", "").strip().splitlines()[1:]
    text = "\n".join(line.strip() for line in lines)
    return f"```bash\n{text}\n```" if text else ""


INTRODUCTION = """\
Every command takes `--help`, and those that print something take `--json`. What is in brackets
may be left out. `RUNYARD_BASE_URL` and `RUNYARD_API_KEY` choose the server, before what
`runyard login` saved; `RUNYARD_ENTITY` and `RUNYARD_PROJECT` stand for `-e` and `-p`.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted; with `--follow`, the job's own.
Data goes to standard output, everything else to standard error. `runyard --install-completion`
completes commands and flags in your shell."""
