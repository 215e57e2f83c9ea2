"""`runyard logout`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from runyard.cli.tree import examples, leaf

app = leaf()


@app.command(**examples("runyard logout", "runyard logout https://runyard.example.org"))
def logout(
    url: Annotated[
        str | None, typer.Argument(help="Address of the server; default: the one in use.")
    ] = None,
) -> None:
    """Forget the key of a server on this machine. The key itself stays valid.

    To end its validity: runyard key revoke ID.
    """
    from runyard.cli.output import say
    from runyard.client.credentials import forget

    gone = forget(os.environ, url)
    say(f"The key for {gone} is forgotten." if gone else "No key was saved; nothing to forget.")
