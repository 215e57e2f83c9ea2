"""`runyard user`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from runyard.cli.options import Json
from runyard.cli.tree import branch, examples

app = branch("Create, list, edit and disable users.")
Name = Annotated[str, typer.Argument(help="Name of the user.")]


@app.command(
    "create",
    **examples(
        "runyard user create ada", "runyard key create --user ada", "", "Both need an admin."
    ),
)
def create(
    name: Annotated[str, typer.Argument(help="Name; also the name of the user's own entity.")],
    admin: Annotated[bool, typer.Option("--admin", help="May administer the server.")] = False,
    email: Annotated[str | None, typer.Option("--email", help="Their e-mail address.")] = None,
    as_json: Json = False,
) -> None:
    """Create a user. Give them a key next: runyard key create --user NAME."""
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect

    with connect() as api:
        made = api.create_user(name, is_admin=admin, email=email)
    if as_json:
        print_model(made)
    else:
        say(f"Created user {made.name}. Make a key for them: runyard key create --user {made.name}")


@app.command("list", **examples("runyard user list", "runyard user list --json"))
def list_(as_json: Json = False) -> None:
    """List the users of the server, people and service accounts."""
    from runyard.cli.output import print_models, print_table
    from runyard.cli.session import connect

    with connect() as api:
        if as_json:
            print_models(api.users(kind=None))
            return
        rows = [
            (u.name, u.kind, u.team, u.is_admin, u.email, u.disabled_at, u.created_at)
            for u in api.users(kind=None)
        ]
    columns = ("name", "kind", "team", "admin", "email", "disabled", "created")
    print_table(columns, rows, none="No users.")


@app.command(
    "edit",
    **examples(
        "runyard user edit ada --email ada@example.org",
        "runyard user edit ada --admin",
        "",
        "Your own address you change yourself; all else takes an admin.",
    ),
)
def edit(
    name: Name,
    email: Annotated[
        str | None, typer.Option("--email", help="Their e-mail address; '' forgets it.")
    ] = None,
    admin: Annotated[
        bool | None, typer.Option("--admin/--no-admin", help="May administer the server, or not.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Change a user's e-mail address, or whether they administer the server."""
    from runyard.cli.edge import WrongUsage

    change: dict[str, Any] = {} if email is None else {"email": email or None}
    if admin is not None:
        change["is_admin"] = admin
    if not change:
        raise WrongUsage("nothing to change", hint="add --email, --admin or --no-admin")
    _change(name, change, as_json=as_json)


@app.command("disable", **examples("runyard user disable ada"))
def disable(name: Name, as_json: Json = False) -> None:
    """Let a user's keys and agents open nothing, at once, until they are enabled again."""
    _change(name, {"disabled": True}, as_json=as_json)


@app.command("enable", **examples("runyard user enable ada"))
def enable(name: Name, as_json: Json = False) -> None:
    """Let a user's keys count again."""
    _change(name, {"disabled": False}, as_json=as_json)


def _change(name: str, change: dict[str, Any], *, as_json: bool) -> None:
    from runyard.cli.output import print_fields, print_model
    from runyard.cli.session import connect
    from runyard.wire.rest_people import UserPatch

    with connect() as api:
        edited = api.edit_user(name, UserPatch(**change))
    if as_json:
        print_model(edited)
        return
    print_fields(
        {
            "User": edited.name,
            "Email": edited.email,
            "Admin": edited.is_admin,
            "Disabled": edited.disabled_at,
        }
    )
