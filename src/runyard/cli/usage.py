"""`runyard usage`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from runyard.cli.options import Entity, Json
from runyard.cli.tree import examples, leaf
from runyard.domain.errors import Invalid

if TYPE_CHECKING:
    from runyard.wire.rest_usage import UsageFigures, UsageOut

app = leaf()
_AGO: Final = re.compile(r"(\d{1,6})([hdw])")
_HOURS: Final = {"h": 1, "d": 24, "w": 24 * 7}


@app.command(
    **examples(
        "runyard usage",
        "runyard usage --by user,queue --since 30d",
        "runyard usage -e vision --by project --interval month --since 2026-01-01",
        "runyard usage --by user,job --csv > usage.csv",
    )
)
def usage(
    by: Annotated[
        str,
        typer.Option(
            help="How to tell it apart: user, team, entity, queue, project, job; or `a,b`.",
        ),
    ] = "user",
    since: Annotated[
        str, typer.Option(help="From when on: 12h, 30d, 4w ago, or a date, say 2026-01-31 (UTC).")
    ] = "30d",
    until: Annotated[
        str | None, typer.Option(help="Until when, written in the same way; default: now.")
    ] = None,
    interval: Annotated[
        str | None, typer.Option(help="A line for each `day` or `month`, in UTC.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="Only what this user submitted.")] = None,
    entity: Entity = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV to stdout.")] = False,
    as_json: Json = False,
) -> None:
    """Report what was used: runs, hours and GPU hours of attempts, whatever became of them.

    `team` is whose project it is, `entity` whose queue it is. You are told of your own use, and
    of what you may see with the permission `see_audit`; --entity narrows it.
    """
    from runyard.cli.output import print_model
    from runyard.cli.session import connect
    from runyard.client.printable import clean

    if as_csv and as_json:
        raise Invalid("--csv and --json are two ways to print the same; choose one")
    now = datetime.now(UTC)
    asked: dict[str, Any] = {
        "group": tuple(word.strip() for word in by.split(",") if word.strip()),
        "entity": entity,
        "user": user,
        "since": when(since, now, "--since"),
        "until": when(until, now, "--until") if until else now,
        "interval": interval,
    }
    with connect() as api:
        if as_csv:
            for line in api.usage_csv(**asked).splitlines():
                print(clean(line))
            return
        found = api.usage(**asked)
    if as_json:
        print_model(found)
    else:
        _print(found)


def when(text: str, now: datetime, flag: str) -> datetime:
    """Read `30d` as so long ago, or a date or time as itself; without a zone it is UTC.

    Raises:
        Invalid: it is neither.
    """
    if ago := _AGO.fullmatch(text):
        try:
            return now - timedelta(hours=int(ago[1]) * _HOURS[ago[2]])
        except OverflowError:
            raise Invalid(f"{flag}: {text!r} is before all time") from None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(
            f"{flag}: {text!r} is neither a time ago nor a date", hint="30d, or 2026-01-31"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _print(found: UsageOut) -> None:
    from runyard.cli.output import print_table

    head = [found.interval] if found.interval else []
    rows = [
        [
            *([line.period.strftime("%Y-%m-%d")] if line.period else []),
            *(line.by.get(name, "") for name in found.group),
            *_figures(line),
        ]
        for line in found.lines
    ]
    if rows and len(head) + len(found.group):
        blank = [""] * (len(head) + len(found.group) - 1)
        rows.append(["total", *blank, *_figures(found.total)])
    print_table(
        [*head, *found.group, "runs", "attempts", "hours", "running", "gpu hours"],
        rows,
        none="Nothing was used in this time by anybody of whom you may know.",
    )


def _figures(figures: UsageFigures) -> list[str]:
    return [
        str(figures.runs),
        str(figures.attempts),
        f"{figures.hours:.2f}",
        f"{figures.running_hours:.2f}",
        f"{figures.gpu_hours:.2f}",
    ]
