"""`runyard key`."""

from __future__ import annotations

from typing import Annotated

import typer

from runyard.cli.options import Json
from runyard.cli.tree import branch, examples

app = branch("Create, list and revoke API keys.")
Of = Annotated[str | None, typer.Option("--user", help="Somebody else's; needs an admin.")]


@app.command(
    "create",
    **examples(
        "runyard key create laptop",
        "runyard key create ci --expires-in-days 90 > key.txt",
        "runyard key create --user ada",
    ),
)
def create(
    name: Annotated[str, typer.Argument(help="What it is for, to know it again.")] = "key",
    user: Of = None,
    expires_in_days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="When it ends; default: never.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Create a key and print it, this once: the server keeps only a hash of it."""
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect

    with connect() as api:
        made = api.create_key(name, user=user, expires_in_days=expires_in_days)
    if as_json:
        print_model(made)
        return
    say(f"Key {made.id} of {made.user}. It is shown once:")
    print(made.key)


@app.command("list", **examples("runyard key list", "runyard key list --everybody"))
def list_(
    user: Of = None,
    everybody: Annotated[
        bool, typer.Option("--everybody", help="All users'; needs an admin.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List keys: their beginnings, never the keys."""
    from runyard.cli.output import ago, print_models, print_table
    from runyard.cli.session import connect

    with connect() as api:
        if as_json:
            print_models(api.keys(user=user, everybody=everybody))
            return
        rows = [
            (k.id, k.name, k.user, f"{k.prefix}…", k.created_at, k.expires_at, ago(k.last_used_at))
            for k in api.keys(user=user, everybody=everybody)
        ]
    columns = ("id", "name", "user", "key", "created", "expires", "used ago")
    print_table(columns, rows, none="No keys. Create one: runyard key create NAME")


@app.command("revoke", **examples("runyard key list", "runyard key revoke ID"))
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="See: key list.")]) -> None:
    """End the validity of a key, at once."""
    from runyard.cli.output import say
    from runyard.cli.session import connect

    with connect() as api:
        api.revoke_key(key_id)
    say(f"Key {key_id} is revoked.")
