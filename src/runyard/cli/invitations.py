"""`runyard invite`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from runyard.cli.options import Json
from runyard.cli.tree import branch, examples

app = branch("Invite people to a team, or to the server.")


@app.command(
    "create",
    **examples(
        "runyard invite create vision",
        "runyard invite create vision --role operator --email ada@example.org --expires 2d",
        "runyard invite create",
    ),
)
def create(
    team: Annotated[
        str | None,
        typer.Argument(help="Name of the team; left out, a user of the server (for its admins)."),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option("--role", help="What they may do, up to your own; default: member."),
    ] = None,
    email: Annotated[
        str, typer.Option("--email", help="For whom it is, to know it again. Nothing is sent.")
    ] = "",
    expires: Annotated[str, typer.Option("--expires", help="How long it is good.")] = "7d",
    as_json: Json = False,
) -> None:
    """Make an invitation for one person and print its token, this once."""
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect
    from runyard.cli.times import seconds
    from runyard.wire.rest_people import InvitationIn

    lasting = seconds(expires, "--expires")
    with connect() as api:
        asked = InvitationIn.model_construct(
            team=team, role=role, email=email, expires_in_s=lasting
        )
        made = api.invite(asked)
        base_url = api.base_url
    if as_json:
        print_model(made)
        return
    to = f"{made.team}, as {made.role}" if made.team else "this server"
    say(f"Invitation {made.id} to {to}, good for {expires} and once. Its token, shown this once:")
    print(made.token)
    say("Send it by a way that you trust. Whoever has it types:")
    say(f"  runyard invite accept --name NAME --base-url {base_url}")


@app.command("list", **examples("runyard invite list vision", "runyard invite list --json"))
def list_(
    team: Annotated[
        str | None, typer.Argument(help="Name of the team; left out, all (for admins).")
    ] = None,
    as_json: Json = False,
) -> None:
    """List invitations and what became of them."""
    from runyard.cli.output import print_models, print_table
    from runyard.cli.session import connect

    with connect() as api:
        if as_json:
            print_models(api.invitations(team=team))
            return
        rows = [
            (i.id, i.team, i.role, i.email, i.state, i.created_by, i.expires_at)
            for i in api.invitations(team=team)
        ]
    columns = ("id", "team", "role", "for", "state", "by", "expires")
    print_table(columns, rows, none="No invitations. Make one: runyard invite create TEAM")


@app.command("revoke", **examples("runyard invite list vision", "runyard invite revoke ID"))
def revoke(
    invitation: Annotated[str, typer.Argument(metavar="ID", help="See: invite list.")],
) -> None:
    """Take an invitation back. Who came by it stays."""
    from runyard.cli.output import say
    from runyard.cli.session import connect

    with connect() as api:
        api.revoke_invitation(invitation)
    say(f"Invitation {invitation} is revoked.")


@app.command(
    "accept",
    **examples(
        "runyard invite accept --name ada --base-url https://runyard.example.org",
        "runyard invite accept --name ada --base-url https://runyard.example.org < token.txt",
        "runyard invite accept TOKEN",
        "",
        "The last is for who is logged in, and joins the team.",
    ),
)
def accept(
    token: Annotated[
        str | None,
        typer.Argument(
            help="The token. Others can see it in the list of processes: better leave it out, "
            "and be asked for it or pipe it in."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Be a new user of this name, and log in.")
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            "--base-url",
            envvar="RUNYARD_BASE_URL",
            help="Address of the server; default: the one in use.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Become a user by an invitation and log in or, without --name, join its team as yourself."""
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect
    from runyard.client import credentials
    from runyard.client.api import Api

    if name is None:
        with connect() as api:
            joined = api.join(token or _ask())
        if as_json:
            print_model(joined)
        else:
            say(f"{joined.user} is now {joined.role} of {joined.team}.")
        return
    address = credentials.clean_url(base_url) if base_url else credentials.find(os.environ).base_url
    with Api(address, "none") as api:  # an invitation is redeemed by its token alone
        redeemed = api.redeem(token or _ask(), name)
    found = credentials.Credentials(address, redeemed.key.key, "invitation")
    path = credentials.save(os.environ, found)
    if as_json:
        print_model(
            redeemed.model_copy(update={"key": redeemed.key.model_copy(update={"key": ""})})
        )
        return
    where = f", {redeemed.role} of {redeemed.team}" if redeemed.team else ""
    say(f"You are {redeemed.user}{where}. Logged in to {address}; the key is in {path}.")


def _ask() -> str:
    from runyard.cli.edge import WrongUsage

    if sys.stdin.isatty():
        return str(typer.prompt("Token of the invitation", hide_input=True, err=True)).strip()
    token = sys.stdin.readline().strip()
    if not token:
        raise WrongUsage("no token was given", hint="runyard invite accept --name NAME < FILE")
    return token
