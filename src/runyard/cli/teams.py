"""`runyard team`."""

from __future__ import annotations

from typing import Annotated

import typer

from runyard.cli.options import Json
from runyard.cli.tree import branch, examples

app = branch("Create teams and choose their members.")
Team = Annotated[str, typer.Argument(help="Name of the team.")]
User = Annotated[str, typer.Argument(help="Name of the user.")]


@app.command("create", **examples("runyard team create vision"))
def create(team: Team, as_json: Json = False) -> None:
    """Create a team. You become its admin."""
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect

    with connect() as api:
        made = api.create_team(team)
    if as_json:
        print_model(made)
    else:
        say(f"Created team {made.name}. Add members: runyard team add {made.name} USER")


@app.command("list", **examples("runyard team list", "runyard team list --json"))
def list_(as_json: Json = False) -> None:
    """List the teams that you may see."""
    from runyard.cli.output import print_models, print_table
    from runyard.cli.session import connect

    with connect() as api:
        if as_json:
            print_models(api.teams())
            return
        rows = [(team.name, team.created_at) for team in api.teams()]
    print_table(("name", "created"), rows, none="No teams. Create one: runyard team create NAME")


@app.command("members", **examples("runyard team members vision"))
def members(team: Team, as_json: Json = False) -> None:
    """List the members of a team and their roles."""
    from runyard.cli.output import print_models, print_table
    from runyard.cli.session import connect

    with connect() as api:
        if as_json:
            print_models(api.members(team))
            return
        rows = [(member.user, member.role) for member in api.members(team)]
    print_table(("user", "role"), rows, none="No members.")


@app.command(
    "add", **examples("runyard team add vision ada", "runyard team add vision ada --role admin")
)
def add(
    team: Team,
    user: User,
    role: Annotated[
        str, typer.Option(help="What the member may do, up to your own role. See: role list.")
    ] = "member",
    as_json: Json = False,
) -> None:
    """Make a user a member of a team, or change the role of one."""
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect

    with connect() as api:
        member = api.set_member(team, user, role)
    if as_json:
        print_model(member)
    else:
        say(f"{member.user} is now {member.role} of {team}.")


@app.command("remove", **examples("runyard team remove vision ada"))
def remove(team: Team, user: User) -> None:
    """Take a user out of a team. Their runs stay."""
    from runyard.cli.output import say
    from runyard.cli.session import connect

    with connect() as api:
        api.remove_member(team, user)
    say(f"{user} is no longer in {team}.")
