"""`runyard agent`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from runyard.cli.tree import examples, leaf

app = leaf()


@app.command(
    **examples(
        "runyard agent -q default",
        "runyard agent -q gpu -q nightly --max-jobs 4",
        "runyard agent -c agent.yaml -v",
    )
)
def agent(
    queues: Annotated[
        list[str] | None,
        typer.Option("--queue", "-q", help="Serve this queue. Repeatable; replaces the file's."),
    ] = None,
    entity: Annotated[
        str | None, typer.Option("--entity", "-e", help="Whose queues; default: your own.")
    ] = None,
    max_jobs: Annotated[
        int | None, typer.Option("--max-jobs", "-j", help="Jobs at a time; -1 is without limit.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Settings; default: ~/.config/runyard/agent.yaml."),
    ] = None,
    log_file: Annotated[
        str | None, typer.Option("--log-file", "-l", help="Where its own log goes; - is stderr.")
    ] = None,
    verbose: Annotated[
        int,
        typer.Option("--verbose", "-v", count=True, help="Say more; twice: everything."),
    ] = 0,
    name: Annotated[
        str | None,
        typer.Option(help="The agent's name, unique in its entity; default: the host's."),
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
