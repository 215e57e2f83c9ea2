"""The tree of commands for typer: branches are imported when somebody looks at them."""

from __future__ import annotations

import difflib
import importlib
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

from runyard.cli.main import COMMANDS, overview

_PLAIN: Final[dict[str, Any]] = {
    "add_completion": False,  # the trunk has it for all
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
}
CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Branch(TyperGroup):
    """A group of commands that shows its help when nothing was chosen."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        names = self.list_commands(ctx)
        if not ctx.resilient_parsing and not args[0].startswith("-") and args[0] not in names:
            near = difflib.get_close_matches(args[0], names, n=1)
            ctx.fail(f"no command {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


class Serving(Branch):
    """A group that does something by itself, too: `runyard agent`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return TyperGroup.parse_args(self, ctx, args)


class Trunk(Branch):
    """`runyard` itself."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module = importlib.import_module(f"runyard.cli.{place.module}")
        command = get_command(module.app)
        command.name = cmd_name
        command.short_help = place.help
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        formatter.write(overview() + "\n")


def branch(help: str) -> typer.Typer:
    """Return a group of commands, to be filled."""
    return typer.Typer(cls=Branch, help=help, **_PLAIN)


def own_branch() -> typer.Typer:
    """Return a group that does something by itself; its callback tells what."""
    return typer.Typer(cls=Serving, invoke_without_command=True, **_PLAIN)


def leaf() -> typer.Typer:
    """Return the place for a command without sub-commands."""
    return typer.Typer(**_PLAIN)


def examples(*lines: str) -> dict[str, Any]:
    """Return what `Typer.command` needs to print examples below the flags, line by line."""
    return {
        "epilog": "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines),
        "context_settings": CONTEXT,
    }


app = typer.Typer(
    name="runyard",
    cls=Trunk,
    add_completion=True,
    rich_markup_mode=None,
    context_settings=CONTEXT,
    pretty_exceptions_enable=False,
)


@app.callback()
def runyard() -> None:
    """Queues, agents and runs for machine-learning jobs, on your own machines."""


def trunk() -> TyperGroup:
    """Return the whole tree."""
    root = get_command(app)
    assert isinstance(root, TyperGroup)
    return root
