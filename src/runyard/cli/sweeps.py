"""`runyard sweep`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from runyard.cli.options import All, Json, Limit
from runyard.cli.tree import branch, examples

if TYPE_CHECKING:
    from runyard.wire.rest_sweeps import SweepDetail

app = branch("List, show, pause, resume and end sweeps.")
Sweep = Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep: ENTITY/PROJECT/SWEEP.")]


@app.command(
    "list", **examples("runyard sweep list ann/digits", "runyard sweep list ann/digits --json")
)
def list_(
    project: Annotated[str, typer.Argument(metavar="ENTITY/PROJECT")],
    limit: Limit = 50,
    everything: All = False,
    as_json: Json = False,
) -> None:
    """List the sweeps of a project, the newest first."""
    from runyard.cli.output import ago, print_models, print_table
    from runyard.cli.session import connect

    entity, name = _parts(project, 2)
    with connect() as api:
        found = list(api.sweeps(entity, name, None if everything else limit))
    if as_json:
        print_models(found)
        return
    rows = [
        (
            s.sweep,
            s.name or "",
            s.state,
            s.method,
            s.runs if s.expected is None else f"{s.runs}/{s.expected}",
            "" if s.best is None else f"{s.metric} {s.best:g}",
            ago(s.created_at),
        )
        for s in found
    ]
    columns = ("sweep", "name", "state", "method", "runs", "best", "age")
    print_table(columns, rows, none="No sweeps. Make one: wandb sweep sweep.yaml")


@app.command(
    "show",
    **examples(
        "runyard sweep show ann/digits/4f8k2m1x", "runyard sweep show ann/digits/4f8k2m1x --json"
    ),
)
def show(sweep: Sweep, as_json: Json = False) -> None:
    """Show a sweep with its configuration."""
    from runyard.cli.output import print_fields, print_model
    from runyard.cli.session import connect

    entity, project, name = _parts(sweep, 3)
    with connect() as api:
        found = api.sweep(entity, project, name)
    if as_json:
        print_model(found)
        return
    print_fields(
        {
            "Sweep": f"{found.entity}/{found.project}/{found.sweep}",
            "Name": found.name,
            "State": found.state,
            "Method": found.method,
            "Runs": found.runs,
            "Expected runs": found.expected,
            "Metric": f"{found.metric} ({found.goal})" if found.metric else None,
            "Best": found.best,
            "Agents": found.agents,
            "Scheduler": found.scheduler,
            "Description": found.description,
            "Created": found.created_at,
            "Heard of": found.heartbeat_at,
            "Config": found.config,
        }
    )


@app.command("pause", **examples("runyard sweep pause ann/digits/4f8k2m1x"))
def pause(sweep: Sweep, as_json: Json = False) -> None:
    """Begin no more runs until the sweep is resumed."""
    _set(sweep, "PAUSED", as_json=as_json)


@app.command("resume", **examples("runyard sweep resume ann/digits/4f8k2m1x"))
def resume(sweep: Sweep, as_json: Json = False) -> None:
    """Go on with a sweep that was paused, or has ended."""
    _set(sweep, "RUNNING", as_json=as_json)


@app.command("stop", **examples("runyard sweep stop ann/digits/4f8k2m1x"))
def stop(sweep: Sweep, as_json: Json = False) -> None:
    """End a sweep; runs that have begun go on to their end."""
    _set(sweep, "FINISHED", as_json=as_json)


@app.command("cancel", **examples("runyard sweep cancel ann/digits/4f8k2m1x"))
def cancel(sweep: Sweep, as_json: Json = False) -> None:
    """End a sweep and all of its runs."""
    _set(sweep, "CANCELED", as_json=as_json)


def _set(sweep: str, state: str, *, as_json: bool) -> None:
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect

    entity, project, name = _parts(sweep, 3)
    with connect() as api:
        found: SweepDetail = api.set_sweep_state(entity, project, name, state)
    if as_json:
        print_model(found)
        return
    say(f"{found.entity}/{found.project}/{found.sweep} is {found.state.lower()}.")


def _parts(text: str, n: int) -> list[str]:
    from runyard.cli.edge import WrongUsage

    parts = text.split("/")
    if len(parts) != n or not all(parts):
        wanted = "/".join(("ENTITY", "PROJECT", "SWEEP")[:n])
        raise WrongUsage(f"{text!r} is not {wanted}", hint="see them: runyard sweep list --help")
    return parts
