"""`runyard role`."""

from __future__ import annotations

from typing import Annotated

import typer

from runyard.cli.options import Json
from runyard.cli.tree import branch, examples

app = branch("Make roles of a team from permissions.")
Team = Annotated[str, typer.Argument(help="Name of the team.")]
Role = Annotated[str, typer.Argument(help="Name of the role.")]


@app.command("list", **examples("runyard role list vision"))
def list_(team: Team, as_json: Json = False) -> None:
    """List the roles that members of a team can have: built-in ones, and its own."""
    from runyard.cli.output import print_models, print_table
    from runyard.cli.session import connect

    with connect() as api:
        if as_json:
            print_models(api.roles(team))
            return
        rows = [
            (role.name, role.built_in, role.permissions, role.description)
            for role in api.roles(team)
        ]
    print_table(("role", "built in", "permissions", "description"), rows, none="No roles.")


@app.command("permissions", **examples("runyard role permissions"))
def permissions(as_json: Json = False) -> None:
    """List the permissions that roles are made of."""
    from runyard.cli.output import print_json, print_table
    from runyard.domain.access import Action

    if as_json:
        print_json([{"permission": a.permission, "meaning": a.value} for a in Action])
        return
    print_table(
        ("permission", "who has it may, of a team,"),
        [(action.permission, action.value) for action in Action],
        none="",
    )


@app.command(
    "set",
    **examples(
        "runyard role set vision releaser --may submit --may cancel --may save_jobs",
        "runyard role set vision people --may manage_members --description 'adds people'",
    ),
)
def set_(
    team: Team,
    role: Role,
    may: Annotated[
        list[str] | None,
        typer.Option(
            "--may", metavar="PERMISSION", help="See: role permissions. Repeatable; `see` is given."
        ),
    ] = None,
    description: Annotated[str, typer.Option(help="What the role is for.")] = "",
    as_json: Json = False,
) -> None:
    """Make a role, or change it for all who have it: it may then do this and no more.

    You can give only what you may do yourself.
    """
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect

    with connect() as api:
        made = api.set_role(team, role, may or [], description=description)
    if as_json:
        print_model(made)
    else:
        say(f"Role {made.name} of {team} may: {', '.join(made.permissions)}.")


@app.command("delete", **examples("runyard role delete vision releaser"))
def delete(team: Team, role: Role) -> None:
    """Delete a role that nobody has."""
    from runyard.cli.output import say
    from runyard.cli.session import connect

    with connect() as api:
        api.delete_role(team, role)
    say(f"Deleted role {role} of {team}.")
