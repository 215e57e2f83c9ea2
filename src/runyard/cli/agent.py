"""`runyard agent`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runyard.cli.options import Entity, Json
from runyard.cli.tree import examples, own_branch

if TYPE_CHECKING:
    from runyard.client.api import Api
    from runyard.wire.rest import AgentOut

app = own_branch()
Name = Annotated[
    str, typer.Argument(metavar="AGENT", help="NAME, ENTITY/NAME or an id; see: agent list.")
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="Settings; default: ~/.config/runyard/agent.yaml."
    ),
]


@app.callback(
    **examples(
        "runyard agent -q default",
        "runyard agent -q gpu -q nightly --max-jobs 4",
        "runyard agent -c agent.yaml -v",
        "runyard agent list",
        "runyard agent check",
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
    config: ConfigFile = None,
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
    from runyard.agent.loading import load
    from runyard.agent.main import main

    flags = {field: value for field, value in given.items() if value is not None}
    raise typer.Exit(main(load(os.environ, file=config, flags=flags)))


@app.command("list", **examples("runyard agent list", "runyard agent list -e vision --json"))
def list_(entity: Entity = None, as_json: Json = False) -> None:
    """List agents: what they serve, what they run, and when they were last heard of."""
    from runyard.cli.output import ago, print_models, print_table, say
    from runyard.cli.session import connect

    with connect() as api:
        found = list(api.agents(entity=entity))
        if as_json:
            print_models(found)
            return
        rows = [
            (
                a.id,
                f"{a.entity}/{a.name}",
                _status(a),
                a.queues,
                f"{a.running} of {'any' if a.max_jobs < 0 else a.max_jobs}",
                a.hostname,
                ago(a.last_seen_at),
            )
            for a in found
        ]
    columns = ("id", "agent", "status", "queues", "running", "host", "heard ago")
    print_table(columns, rows, none="No agents. Start one here: runyard agent -q QUEUE")
    for a in found:
        if a.set_aside_at is not None:
            say(f"{a.entity}/{a.name} takes nothing since {ago(a.set_aside_at)}: {a.set_aside_why}")


@app.command("stop", **examples("runyard agent stop gpu-box-1", "runyard agent stop vision/box"))
def stop(agent: Name, entity: Entity = None) -> None:
    """Ask an agent to take nothing more, to finish what it runs, and to leave."""
    from runyard.cli.output import say
    from runyard.cli.session import connect

    with connect() as api:
        found = _found(api, agent, entity)
        api.stop_agent(found.id)
    say(f"Agent {found.entity}/{found.name} leaves when its jobs have ended.")


@app.command(
    "set-aside",
    **examples('runyard agent set-aside gpu-box-1 --reason "new driver tonight"'),
)
def set_aside(
    agent: Name,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, for those who wonder.")
    ] = "",
    entity: Entity = None,
    as_json: Json = False,
) -> None:
    """Have an agent take nothing more until somebody readmits it. What it runs goes on."""
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect

    with connect() as api:
        found = api.set_agent_aside(_found(api, agent, entity).id, reason=reason)
    if as_json:
        print_model(found)
    else:
        say(f"Agent {found.entity}/{found.name} takes nothing more; what it runs goes on.")
        say(f"Undo it: runyard agent readmit {found.entity}/{found.name}")


@app.command(
    "readmit", **examples("runyard agent readmit gpu-box-1", "runyard agent readmit vision/box")
)
def readmit(agent: Name, entity: Entity = None, as_json: Json = False) -> None:
    """Let an agent that was set aside take items again, whatever its checks say."""
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect

    with connect() as api:
        found = api.readmit_agent(_found(api, agent, entity).id)
    if as_json:
        print_model(found)
    else:
        say(f"Agent {found.entity}/{found.name} takes items again.")


@app.command(
    "check",
    **examples("runyard agent check", "runyard agent check -c agent.yaml -r local-container"),
)
def check(
    config: ConfigFile = None,
    resources: Annotated[
        list[str] | None,
        typer.Option(
            "--resource",
            "-r",
            metavar="RESOURCE",
            help="Check what this resource needs. Repeatable; default: local-process and those "
            "of the file.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check this machine as an agent does that was set aside: disks, engines, tools, GPUs.

    Leaves with exit code 1 if something is amiss. Needs no server.
    """
    import asyncio

    from runyard.agent.checking import check_host
    from runyard.agent.loading import load
    from runyard.cli.output import print_json, print_table

    settings = load(os.environ, file=config)
    wanted = resources or list(dict.fromkeys(["local-process", *settings.resources]))
    found = asyncio.run(check_host(settings, wanted))
    if as_json:
        print_json([{"name": c.name, "ok": c.ok, "detail": c.detail} for c in found])
    else:
        rows = [(c.name, "ok" if c.ok else "FAILED", c.detail) for c in found]
        print_table(("check", "result", "found"), rows, none="Nothing to check.")
    raise typer.Exit(0 if all(c.ok for c in found) else 1)


def _status(agent: AgentOut) -> str:
    if not agent.live:
        return agent.status if agent.status == "KILLED" else "LOST"
    return agent.status if agent.set_aside_at is None else "SET ASIDE"


def _found(api: Api, text: str, entity: str | None) -> AgentOut:
    """Return the agent that somebody means by its name, `ENTITY/NAME` or id.

    Raises:
        NotFound: no such agent that the user may see. Invalid: several have that name.
    """
    from runyard.domain.errors import Invalid, NotFound

    head, slash, name = text.rpartition("/")
    owner = head if slash else entity
    found = [a for a in api.agents(entity=owner) if a.name == name or (a.id == name and not slash)]
    if not found:
        raise NotFound(f"no agent {text!r} that you may see", hint="runyard agent list")
    if len(found) > 1:
        paths = ", ".join(f"{a.entity}/{a.name}" for a in found)
        raise Invalid(f"agent {text!r} may be any of {paths}", hint="give the whole of one of them")
    return found[0]
