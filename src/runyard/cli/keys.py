"""`runyard key`."""

from __future__ import annotations

from typing import Annotated

import typer

from runyard.cli.options import Json
from runyard.cli.tree import branch, examples

app = branch("Create, list and revoke API keys.")
Of = Annotated[
    str | None, typer.Option("--user", help="Somebody else's; takes an admin of the server.")
]


@app.command(
    "create",
    **examples(
        "runyard key create laptop",
        "runyard key create ci --expires 90d > key.txt",
        "runyard key create --user ada",
        "runyard key create --for cluster-a --expires 90d",
    ),
)
def create(
    name: Annotated[str, typer.Argument(help="What it is for, to know it again.")] = "key",
    user: Of = None,
    service: Annotated[
        str | None,
        typer.Option("--for", metavar="NAME", help="A service account of a team of yours."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", help="When it ends: 12h, 90d; default: never.")
    ] = None,
    expires_in_days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="The same, in days.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Create a key and print it, this once: the server keeps only a hash of it."""
    from runyard.cli.edge import WrongUsage
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect
    from runyard.cli.times import seconds

    if user and service:
        raise WrongUsage("--user and --for name two owners of one key")
    if expires and expires_in_days:
        raise WrongUsage("--expires and --expires-in-days say the same twice")
    lasting = seconds(expires, "--expires") if expires else None
    with connect() as api:
        made = api.create_key(
            name, user=user or service, expires_in_days=expires_in_days, expires_in_s=lasting
        )
    if as_json:
        print_model(made)
        return
    say(f"Key {made.id} of {made.user}. It is shown once:")
    print(made.key)


@app.command("list", **examples("runyard key list", "runyard key list --everybody"))
def list_(
    user: Annotated[
        str | None,
        typer.Option("--user", "--for", help="Somebody else's, or a service account's."),
    ] = None,
    everybody: Annotated[
        bool, typer.Option("--everybody", help="All users'; needs an admin.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List keys, expired ones too: their beginnings, never the keys."""
    from runyard.cli.output import ago, print_models, print_table
    from runyard.cli.session import connect

    with connect() as api:
        if as_json:
            print_models(api.keys(user=user, everybody=everybody))
            return
        rows = [
            (
                k.id, k.name, k.user, f"{k.prefix}…", k.created_at,
                "expired" if k.expired else k.expires_at, ago(k.last_used_at),
            )
            for k in api.keys(user=user, everybody=everybody)
        ]  # fmt: skip
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
