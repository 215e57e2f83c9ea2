"""`runyard agent`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from runyard.cli.options import Entity, Json
from runyard.cli.tree import examples, own_branch

app = own_branch()


@app.callback(
    **examples(
        "runyard agent -q default",
        "runyard agent -q gpu -q nightly --max-jobs 4",
        "runyard agent -c agent.yaml -v",
        "runyard agent list",
    ),
)
def agent(
    ctx: typer.Context,
    queues: Annotated[
        list[str] | None,
        typer.Option(
            "--queue",
            "-q",
            metavar="QUEUE",
            help="Serve this queue. Repeatable; replaces the file's.",
        ),
    ] = None,
    entity: Annotated[
        str | None,
        typer.Option("--entity", "-e", metavar="ENTITY", help="Whose queues; default: your own."),
    ] = None,
    max_jobs: Annotated[
        int | None,
        typer.Option("--max-jobs", "-j", metavar="N", help="Jobs at a time; -1 is without limit."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="Settings; default: ~/.config/runyard/agent.yaml.",
        ),
    ] = None,
    log_file: Annotated[
        str | None,
        typer.Option(
            "--log-file", "-l", metavar="FILE", help="Where its own log goes; - is stderr."
        ),
    ] = None,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose", "-v", count=True, show_default=False, help="Say more; twice: everything."
        ),
    ] = 0,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The agent's name, unique in its entity; default: the host's."
        ),
    ] = None,
    exit_when_idle: Annotated[
        bool, typer.Option("--exit-when-idle", help="Leave when nothing runs or waits.")
    ] = False,
    url: Annotated[str | None, typer.Option("--url", "-u", hidden=True)] = None,
) -> None:
    """Serve queues on this machine: take what waits, run it, report.

    Flags win over the variables RUNYARD_AGENT_*, and those over the file. A first Ctrl-C lets
    running jobs end, a second one leaves them running for the next agent of this name. Exit
    codes: 0 when all is done, 1 if it cannot go on, 3 if another process took its name.
    """
    if ctx.invoked_subcommand is not None:
        return
    from runyard.cli.children import end_with_parent
    from runyard.cli.edge import WrongUsage

    if url:
        raise WrongUsage("--url: the server is chosen by login", hint=f"runyard login {url}")
    end_with_parent()
    given: dict[str, Any] = {
        "queues": queues,
        "entity": entity,
        "max_jobs": max_jobs,
        "log_file": log_file,
        "verbosity": min(verbose, 2) or None,
        "name": name,
        "exit_when_idle": exit_when_idle or None,
    }
    from runyard.agent.config import load
    from runyard.agent.main import main

    flags = {field: value for field, value in given.items() if value is not None}
    raise typer.Exit(main(load(os.environ, file=config, flags=flags)))


@app.command("list", **examples("runyard agent list", "runyard agent list -e vision --json"))
def list_(entity: Entity = None, as_json: Json = False) -> None:
    """List agents: what they serve, what they run, and when they were last heard of."""
    from runyard.cli.output import ago, print_models, print_table
    from runyard.cli.session import connect

    with connect() as api:
        found = api.agents(entity=entity)
        if as_json:
            print_models(found)
            return
        rows = [
            (
                a.id,
                f"{a.entity}/{a.name}",
                a.status if a.live or a.status == "KILLED" else "LOST",
                a.queues,
                f"{a.running} of {'any' if a.max_jobs < 0 else a.max_jobs}",
                a.hostname,
                ago(a.last_seen_at),
            )
            for a in found
        ]
    columns = ("id", "agent", "status", "queues", "running", "host", "heard ago")
    print_table(columns, rows, none="No agents. Start one here: runyard agent -q QUEUE")


@app.command("stop", **examples("runyard agent list", "runyard agent stop ID"))
def stop(agent_id: Annotated[str, typer.Argument(metavar="ID", help="See: agent list.")]) -> None:
    """Ask an agent to take nothing more, to finish what it runs, and to leave."""
    from runyard.cli.output import say
    from runyard.cli.session import connect

    with connect() as api:
        api.stop_agent(agent_id)
    say(f"Agent {agent_id} leaves when its jobs have ended.")
