"""`runyard logs`, and `runyard run logs`, which is the same."""

from __future__ import annotations

from typing import Annotated

import typer

from runyard.cli.tree import examples, leaf

app = leaf()


@app.command(
    **examples(
        "runyard logs 8k2m4x1p",
        "runyard logs -f vision/digits/8k2m4x1p",
        "runyard logs 8k2m4x1p --tail 20",
        "runyard logs 8k2m4x1p --offset 1048576 --raw > rest.log",
    )
)
def logs(
    run: Annotated[str, typer.Argument(help="A run, ENTITY/PROJECT/RUN, or the id of an item.")],
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Go on until the run ends; leave with its exit code."),
    ] = False,
    offset: Annotated[int, typer.Option(min=0, help="Begin at this byte.")] = 0,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=0, help="Begin with the last N lines.")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Bytes as they are, with all control characters.")
    ] = False,
) -> None:
    """Print what a run has printed, from its first byte or any other.

    What would steer the terminal is taken out, unless --raw is given.
    """
    from runyard.cli import following
    from runyard.cli.edge import WrongUsage
    from runyard.cli.session import connect, find_run
    from runyard.client import follow as source

    if offset and tail is not None:
        raise WrongUsage("--offset and --tail: give one of them")
    with connect() as api:
        found = find_run(api, run)
        if tail is not None:
            offset = source.offset_of_tail(api, found, tail)
        if follow:
            raise typer.Exit(following.follow(api, found, raw=raw, offset=offset))
        following.write(source.log(api, found, offset=offset), raw=raw)
