"""`runyard user`."""

from __future__ import annotations

from typing import Annotated

import typer

from runyard.cli.options import Json
from runyard.cli.tree import branch, examples

app = branch("Create and list users.")


@app.command(
    "create",
    **examples(
        "runyard user create ada", "runyard key create --user ada", "", "Both need an admin."
    ),
)
def create(
    name: Annotated[str, typer.Argument(help="Name; also the name of the user's own entity.")],
    admin: Annotated[bool, typer.Option("--admin", help="May administer the server.")] = False,
    as_json: Json = False,
) -> None:
    """Create a user. Give them a key next: runyard key create --user NAME."""
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect

    with connect() as api:
        made = api.create_user(name, is_admin=admin)
    if as_json:
        print_model(made)
    else:
        say(f"Created user {made.name}. Make a key for them: runyard key create --user {made.name}")


@app.command("list", **examples("runyard user list", "runyard user list --json"))
def list_(as_json: Json = False) -> None:
    """List the users of the server."""
    from runyard.cli.output import print_models, print_table
    from runyard.cli.session import connect

    with connect() as api:
        if as_json:
            print_models(api.users())
            return
        rows = [(user.name, user.is_admin, user.created_at) for user in api.users()]
    print_table(("name", "admin", "created"), rows, none="No users.")
