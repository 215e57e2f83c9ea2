"""`runyard server`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from runyard.cli.tree import examples, leaf

app = leaf()
Home = Annotated[
    Path | None, typer.Option(help="Directory of its data; RUNYARD_HOME, or ~/.runyard.")
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        help="sqlite:///FILE or postgresql://USER@HOST/NAME; default: runyard.db in its home. "
        "A password belongs in RUNYARD_DATABASE_URL, where others do not see it.",
    ),
]


@app.command(
    **examples(
        "runyard server",
        "runyard server --host 0.0.0.0 --public-url https://runyard.example.org",
        "RUNYARD_DATABASE_URL=postgresql://… runyard server --port 8081",
    )
)
def server(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 127.0.0.1 lets nobody else in.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on: 8080; 0 takes any.")
    ] = None,
    home: Home = None,
    database_url: DatabaseUrl = None,
    public_url: Annotated[
        str | None, typer.Option(help="The address that people use, if a proxy is in between.")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json.")] = None,
) -> None:
    """Run the server until it is asked to stop.

    Every setting is also a variable, RUNYARD_HOST and so on; there are more of them in the
    docs, "Server configuration". The first start prints how to log in.
    """
    from runyard.cli.children import end_with_parent
    from runyard.server.main import serve
    from runyard.server.settings import ServerSettings

    end_with_parent()
    serve(
        ServerSettings.load(
            os.environ,
            host=host,
            port=port,
            home=home,
            database_url=database_url,
            public_url=public_url,
            log_format=log_format,
        )
    )
