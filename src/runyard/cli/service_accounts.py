"""`runyard service-account`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from runyard.cli.options import Json, Yes
from runyard.cli.tree import branch, examples

if TYPE_CHECKING:
    from runyard.wire.rest_people import ServiceAccountOut

app = branch("Names and keys for programs: agents, pipelines.")
Team = Annotated[str, typer.Argument(help="Name of the team.")]
Name = Annotated[str, typer.Argument(help="Name of the service account.")]
Role = Annotated[str, typer.Option("--role", help="What it may do: agent, submitter, …")]
Queues = Annotated[
    list[str] | None,
    typer.Option("--queue", "-q", metavar="QUEUE", help="It may touch these alone. Repeatable."),
]


@app.command(
    "create",
    **examples(
        "runyard service-account create vision cluster-a --role agent --queue gpu",
        "runyard key create cluster-a --for cluster-a --expires 90d",
    ),
)
def create(
    team: Team, name: Name, role: Role = "agent", queue: Queues = None, as_json: Json = False
) -> None:
    """Make a service account of a team. Make a key for it next: runyard key create --for NAME."""
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect

    with connect() as api:
        made = api.create_service_account(team, name, role=role, queues=queue or None)
    if as_json:
        print_model(made)
        return
    say(f"Created service account {made.name} of {made.team}: {made.role}, {_queues(made)}.")
    say(f"Make a key for it: runyard key create --for {made.name} --expires 90d")


@app.command("list", **examples("runyard service-account list vision"))
def list_(team: Team, as_json: Json = False) -> None:
    """List the service accounts of a team."""
    from runyard.cli.output import print_models, print_table
    from runyard.cli.session import connect

    with connect() as api:
        if as_json:
            print_models(api.service_accounts(team))
            return
        rows = [
            (one.name, one.role, _queues(one), _state(one), one.created_at)
            for one in api.service_accounts(team)
        ]
    columns = ("name", "role", "queues", "state", "created")
    none = f"No service accounts. Create one: runyard service-account create {team} NAME"
    print_table(columns, rows, none=none)


@app.command(
    "edit",
    **examples(
        "runyard service-account edit vision cluster-a --queue gpu --queue cpu",
        "runyard service-account edit vision cluster-a --any-queue --role submitter",
    ),
)
def edit(
    team: Team,
    name: Name,
    role: Annotated[str | None, typer.Option("--role", help="What it may do from now on.")] = None,
    queue: Queues = None,
    any_queue: Annotated[
        bool, typer.Option("--any-queue", help="It may touch all queues of its team.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Change the role or the queues of a service account, at once."""
    from runyard.cli.edge import WrongUsage

    if queue and any_queue:
        raise WrongUsage("--queue and --any-queue contradict each other")
    change: dict[str, Any] = {} if role is None else {"role": role}
    if queue or any_queue:
        change["queues"] = queue or None
    if not change:
        raise WrongUsage("nothing to change", hint="add --role, --queue or --any-queue")
    _change(team, name, change, as_json=as_json)


@app.command("disable", **examples("runyard service-account disable vision cluster-a"))
def disable(team: Team, name: Name, as_json: Json = False) -> None:
    """Let the keys of a service account open nothing, until it is enabled again."""
    _change(team, name, {"disabled": True}, as_json=as_json)


@app.command("enable", **examples("runyard service-account enable vision cluster-a"))
def enable(team: Team, name: Name, as_json: Json = False) -> None:
    """Let the keys of a service account count again."""
    _change(team, name, {"disabled": False}, as_json=as_json)


@app.command("delete", **examples("runyard service-account delete vision cluster-a --yes"))
def delete(team: Team, name: Name, yes: Yes = False) -> None:
    """Delete a service account with all its keys. Its name stays taken, for its history."""
    from runyard.cli.output import say
    from runyard.cli.questions import confirm
    from runyard.cli.session import connect

    with connect() as api:
        confirm(f"Delete service account {name} of {team}? Its keys end at once.", yes=yes)
        api.delete_service_account(team, name)
    say(f"Deleted service account {name} of {team}.")


def _change(team: str, name: str, change: dict[str, Any], *, as_json: bool) -> None:
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect
    from runyard.wire.rest_people import ServiceAccountPatch

    with connect() as api:
        edited = api.edit_service_account(team, name, ServiceAccountPatch(**change))
    if as_json:
        print_model(edited)
    else:
        say(f"{edited.name} of {team} is {_state(edited)}: {edited.role}, {_queues(edited)}.")


def _queues(one: ServiceAccountOut) -> str:
    if one.queues is None:
        return "any queue"
    return ", ".join(one.queues) or "no queue"


def _state(one: ServiceAccountOut) -> str:
    return "enabled" if one.disabled_at is None else "disabled"
