"""`runyard up`."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand

from runyard.cli.tree import examples, leaf

app = leaf()
_COMMAND: Final = "runyard.command"


class UpCommand(TyperCommand):
    """Leaves what follows `--` to the command that is run beside the server."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[_COMMAND] = args[end + 1 :]
        return super().parse_args(ctx, args[:end])

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


@app.command(
    cls=UpCommand,
    **examples(
        "runyard up",
        "runyard up --port 9000 --no-agent",
        "runyard up --detach;  runyard up --stop",
        'runyard up -- runyard launch -u . -E "python train.py" -q default --follow',
    ),
)
def up(
    ctx: typer.Context,
    host: Annotated[
        str, typer.Option(help="Address to listen on. 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8080,
    agent: Annotated[bool, typer.Option("--agent/--no-agent", help="Start an agent too.")] = True,
    max_jobs: Annotated[
        int | None,
        typer.Option("--max-jobs", "-j", help="Jobs at a time; default: one for each CPU."),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return, and let them run on.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop what --detach has left.")] = False,
) -> None:
    """Start a server and an agent on this machine, with a database that needs no set-up.

    Everything is kept in RUNYARD_HOME (~/.runyard). The agent serves the queue `default`, and
    the queue `docker` where a Docker engine answers. Ctrl-C stops both: running jobs are ended
    in an orderly way first. With COMMAND, that is run beside them; they stop when it ends, and
    its exit code is ours.
    """
    from runyard.cli.uping import Plan, down, run

    if stop:
        raise typer.Exit(down())
    plan = Plan(
        host=host,
        port=port,
        agent=agent,
        max_jobs=max_jobs,
        detach=detach,
        command=ctx.meta.get(_COMMAND, []),
    )
    raise typer.Exit(run(plan))
