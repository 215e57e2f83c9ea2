"""`runyard version`."""

from __future__ import annotations

from runyard import __version__
from runyard.cli.options import Json
from runyard.cli.tree import examples, leaf

app = leaf()


@app.command(**examples("runyard version", "runyard version --json"))
def version(as_json: Json = False) -> None:
    """Print the version of this program."""
    if as_json:
        from runyard.cli.output import print_json

        print_json({"name": "runyard", "version": __version__})
    else:
        print(__version__)
