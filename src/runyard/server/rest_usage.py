"""The route of the usage report, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Query, Response
from pydantic import AwareDatetime

from runyard.domain.access import Kind
from runyard.domain.errors import Invalid
from runyard.domain.usage import Figures, Group, Interval, Window
from runyard.server.auth import opens
from runyard.server.edge import Edge
from runyard.server.paging import Caller
from runyard.services import usage
from runyard.services.call import Call
from runyard.services.usage import Report
from runyard.wire.rest_usage import UsageFigures, UsageLine, UsageOut

_HOUR: Final = 3_600_000
_DEFAULT: Final = timedelta(days=30)
_FIGURES: Final = ("runs", "attempts", "hours", "running_hours", "gpu_hours")
# What a spreadsheet takes for the beginning of a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def add(app: FastAPI, edge: Edge) -> None:
    @app.get(
        "/api/v1/usage",
        tags=["usage"],
        responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
        response_model=UsageOut,
    )
    @opens(Kind.USER)
    async def get_usage(
        caller: Caller,
        entity: Annotated[
            str | None,
            Query(
                max_length=128,
                description="Only in queues and projects of this user or team; default: all of "
                "which you may know.",
            ),
        ] = None,
        user: Annotated[
            str | None, Query(max_length=128, description="Only what this user submitted.")
        ] = None,
        group: Annotated[
            str,
            Query(
                max_length=100,
                description="How to tell it apart: any of `user`, `team` (whose project it is), "
                "`entity` (whose queue it is), `queue`, `project`, `job`, separated by commas; "
                "empty is one line for all.",
            ),
        ] = "user",
        since: Annotated[
            AwareDatetime | None, Query(description="Default: 30 days before `until`.")
        ] = None,
        until: Annotated[AwareDatetime | None, Query(description="Default: now.")] = None,
        interval: Annotated[
            Interval | None,
            Query(description="A line for each day or month, in UTC; default: for all the time."),
        ] = None,
        format: Annotated[Literal["json", "csv"], Query(description="`json` or `csv`.")] = "json",
    ) -> Any:
        """Report what attempts used: runs, hours and GPU hours.

        Your own use is always told; that of others to those with the permission `see_audit`.
        """
        groups = Group.parse(group)

        def report(call: Call) -> Report:
            window = _window(since, until, interval, call.now)
            return usage.report(call, window, groups, entity=entity, user=user)

        made = await edge.read(caller, report)
        if format == "json":
            return _shaped(made)
        return Response(
            as_csv(made),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": 'attachment; filename="usage.csv"'},
        )


def _window(
    since: datetime | None, until: datetime | None, interval: Interval | None, now: datetime
) -> Window:
    try:
        end = (until or now).astimezone(UTC)
        begin = since.astimezone(UTC) if since else end - _DEFAULT
    except OverflowError:
        raise Invalid("since, until: in UTC this is before or after all time") from None
    return Window(begin, end, interval)


def _shaped(made: Report) -> UsageOut:
    lines = [
        UsageLine(
            period=period,
            by={g.value: name for g, name in zip(made.groups, names, strict=True)},
            **_figures(figures),
        )
        for (period, names), figures in made.lines.items()
    ]
    return UsageOut(
        since=made.window.since,
        until=made.window.until,
        group=[g.value for g in made.groups],
        interval=made.window.interval,
        lines=lines,
        total=UsageFigures(**_figures(made.total)),
    )


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        "runs": figures.runs,
        "attempts": figures.attempts,
        "hours": round(figures.held_ms / _HOUR, 6),
        "running_hours": round(figures.ran_ms / _HOUR, 6),
        "gpu_hours": round(figures.gpu_ms / _HOUR, 6),
    }


def as_csv(made: Report) -> str:
    """Return the lines as CSV with a head; no cell of it begins a formula in a spreadsheet."""
    text = io.StringIO()
    rows = csv.writer(text)
    head = ["period"] if made.window.interval else []
    rows.writerow([*head, *made.groups, *_FIGURES])
    for (period, names), figures in made.lines.items():
        day = [] if period is None else [period.date().isoformat()]
        told = _figures(figures)
        rows.writerow([*day, *map(_defused, names), *(told[name] for name in _FIGURES)])
    return text.getvalue()


def _defused(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
