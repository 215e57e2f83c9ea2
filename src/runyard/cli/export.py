"""`runyard export`."""

from __future__ import annotations

from typing import Annotated

import typer

from runyard.cli.options import Json
from runyard.cli.tree import examples, leaf

app = leaf()


@app.command(
    **examples(
        "runyard export > platform.yaml",
        "runyard export --entity vision --entity speech",
        "runyard export --json | jq .teams",
    )
)
def export(
    entities: Annotated[
        list[str] | None,
        typer.Option(
            "--entity",
            "-e",
            metavar="NAME",
            help="A team or user; default: all that you may see. Repeatable.",
        ),
    ] = None,
    jobs: Annotated[
        bool, typer.Option("--jobs", help="Jobs, too, if their source is an image or in git.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print teams, members, queues and more as YAML that `runyard apply` takes.

    Secrets are named, their values are not in it; nor are keys, items and runs.
    """  # fmt: skip
    from runyard.cli.output import print_json, say
    from runyard.cli.session import connect
    from runyard.sdk.platform import exporting

    with connect() as api:
        document = exporting.export(api, entities or (), jobs=jobs, told=say)
    if as_json:
        print_json(document)
    else:
        print(exporting.to_yaml(document), end="")
