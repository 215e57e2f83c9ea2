"""`runyard run`."""

from __future__ import annotations

from typing import Annotated

import typer

from runyard.cli import logs
from runyard.cli.options import All, Entity, Json, Limit, Project
from runyard.cli.tree import branch, examples

app = branch("List, show and stop runs; read their logs.")
app.command(
    "logs",
    **examples(
        "runyard run logs 8k2m4x1p",
        "runyard run logs -f 8k2m4x1p",
        "runyard run logs ITEM --tail 20",
    ),
)(logs.logs)
Run = Annotated[
    str, typer.Argument(metavar="RUN", help="A run, ENTITY/PROJECT/RUN, or the id of an item.")
]


@app.command(
    "list",
    **examples(
        "runyard run list",
        "runyard run list -p digits --state running",
        "runyard run list --all --json",
    ),
)
def list_(
    entity: Entity = None,
    project: Project = None,
    state: Annotated[
        str | None,
        typer.Option(
            help="pending, running, preempted, finished, failed, killed or crashed; or `a,b`.",
        ),
    ] = None,
    author: Annotated[str | None, typer.Option(help="Only of this user.")] = None,
    limit: Limit = 50,
    everything: All = False,
    as_json: Json = False,
) -> None:
    """List runs, the newest first."""
    from runyard.cli.output import ago, print_models, print_table
    from runyard.cli.session import connect

    with connect() as api:
        found = api.runs(
            entity=entity,
            project=project,
            state=state.lower() if state else None,
            author=author,
            limit=None if everything else limit,
        )
        if as_json:
            print_models(found)
            return
        rows = [
            (
                f"{r.entity}/{r.project}/{r.run_id}",
                r.name or "",
                r.status,
                r.job or "",
                r.author,
                ago(r.created_at),
                "" if r.exit_code is None else r.exit_code,
            )
            for r in found
        ]
    columns = ("run", "name", "status", "job", "author", "age", "exit")
    print_table(columns, rows, none="No runs. Submit one: runyard launch --help")


@app.command("show", **examples("runyard run show 8k2m4x1p", "runyard run show ITEM --json"))
def show(run: Run, as_json: Json = False) -> None:
    """Show a run."""
    from runyard.cli.output import print_fields, print_model
    from runyard.cli.session import connect, find_run

    with connect() as api:
        found = api.run(find_run(api, run))
    if as_json:
        print_model(found)
        return
    print_fields(
        {
            "Run": f"{found.entity}/{found.project}/{found.run_id}",
            "Name": found.name,
            "Status": found.status,
            "Reason": found.reason,
            "Exit code": found.exit_code,
            "Author": found.author,
            "Job": found.job,
            "Queue": found.queue,
            "Item": found.item_id,
            "Created": found.created_at,
            "Started": found.started_at,
            "Ended": found.ended_at,
            "Stop asked": found.stop_requested_at,
            "Heard of": found.heartbeat_at,
            "Group": found.group,
            "Job type": found.job_type,
            "Sweep": found.sweep,
            "Tags": ", ".join(found.tags),
            "Notes": found.notes,
            "Log": f"{found.log_bytes:,} bytes{', cut' if found.log_truncated else ''}",
            "Config": found.config,
            "Summary": found.summary,
        }
    )


@app.command(
    "metrics",
    **examples("runyard run metrics 8k2m4x1p", "runyard run metrics 8k2m4x1p --json"),
)
def metrics(run: Run, as_json: Json = False) -> None:
    """Show what a run's program has logged: each key with its last number."""
    from runyard.cli.output import print_model, print_table
    from runyard.cli.session import connect, find_run

    with connect() as api:
        found = api.run_metrics(find_run(api, run))
    if as_json:
        print_model(found)
        return
    rows = [
        (m.key, "" if m.last is None else f"{m.last:g}", sum(m.types.values()), ", ".join(m.types))
        for m in found.metrics
    ]
    none = "The run has logged nothing that is kept as rows: wandb.log() in its program does."
    print_table(("key", "last", "values", "types"), rows, none=none)


@app.command(
    "stop",
    **examples("runyard run stop 8k2m4x1p", 'runyard run stop 8k2m4x1p --reason "wrong data"'),
)
def stop(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...")],
    reason: Annotated[str, typer.Option(help="Why, for whoever looks at the run.")] = "",
    as_json: Json = False,
) -> None:
    """Stop runs: first asked to leave, after the queue's grace ended by force.

    A run that has not begun is taken out of its queue.
    """
    from runyard.cli.output import print_models, say
    from runyard.cli.session import connect, find_run

    with connect() as api:
        stopped = [api.stop_run(find_run(api, run), reason) for run in runs]
    if as_json:
        print_models(stopped)
        return
    for one in stopped:
        say(f"{one.entity}/{one.project}/{one.run_id} is {one.status}.")
