"""`runyard logs`, and `runyard run logs`, which is the same."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from runyard.cli.tree import examples, leaf

app = leaf()


class Stage(StrEnum):
    """What has a log of its own, beside the run's program."""

    BUILD = "build"


@app.command(
    **examples(
        "runyard logs 8k2m4x1p",
        "runyard logs -f vision/digits/8k2m4x1p",
        "runyard logs 8k2m4x1p --tail 20",
        "runyard logs 8k2m4x1p --stage build",
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
    stage: Annotated[
        Stage | None,
        typer.Option(
            "--stage", help="What was printed before the program ran: build, of its image."
        ),
    ] = None,
) -> None:
    """Print what a run has printed, from its first byte or any other.

    What would steer the terminal is taken out, unless --raw is given. With --follow, what the
    build of its image prints is shown too, on stderr, until the program runs.
    """
    from runyard.cli import build_output, following
    from runyard.cli.edge import WrongUsage
    from runyard.cli.output import say
    from runyard.cli.session import connect, find_run
    from runyard.client import follow as source

    if offset and tail is not None:
        raise WrongUsage("--offset and --tail: give one of them")
    of = stage.value if stage else ""
    with connect() as api:
        found = find_run(api, run)
        if tail is not None:
            offset = source.offset_of_tail(api, found, tail, of)
        if follow and not stage:
            raise typer.Exit(following.follow(api, found, raw=raw, offset=offset))
        following.write(source.log(api, found, offset=offset, follow=follow, stage=of), raw=raw)
        now = api.run(found)
        if stage and not source.size(now, of):
            say("Nothing was built for this run" + ("." if source.is_past(now, of) else " so far."))
        elif not stage and not now.log_bytes and (where := build_output.where(now)):
            say(f"The run has printed nothing; what was built for it has: {where}")
