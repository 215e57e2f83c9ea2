"""What a run has logged: rows, keys, system metrics, and lines of its console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from runyard.domain.errors import Invalid
from runyard.domain.tracking.console import Line
from runyard.domain.tracking.sampling import Spec
from runyard.server.graphql.context import Area, Info, context_of
from runyard.services.tracking import console, history
from runyard.services.tracking.streaming import EVENTS, HISTORY

Source = Mapping[str, Any]
_SAMPLES: Final = 500
_MOST_SPECS: Final = 100
_MOST_KEYS: Final = 1000
_STEPS: Final = 2**62


class _Asked(msgspec.Struct):
    keys: list[str] = []
    samples: int | float = _SAMPLES
    minStep: int | float | None = None
    maxStep: int | float | None = None


_asked: Final = msgspec.json.Decoder(_Asked).decode


def _system(source: Source, _: Info) -> str:
    return str(source["row"]["system"])


def _keys(source: Source, _: Info) -> dict[str, Any]:
    return history.keys(source["row"]["keys"], source["row"]["last_step"])


def _history_lines(source: Source, _: Info) -> int:
    return int(source["row"]["history_lines"])


def _events_lines(source: Source, _: Info) -> int:
    return int(source["row"]["events_lines"])


def _console_lines(source: Source, info: Info) -> int:
    return console.count(context_of(info).call, source["pk"])


def _history_tail(source: Source, info: Info) -> list[str]:
    return history.tail(context_of(info).call, source["pk"], HISTORY)


def _events_tail(source: Source, info: Info) -> list[str]:
    return history.tail(context_of(info).call, source["pk"], EVENTS)


def _history(
    source: Source,
    info: Info,
    minStep: int | None = None,
    maxStep: int | None = None,
    samples: int | None = None,
) -> list[str]:
    """Return whole rows; those of `maxStep` are not among them."""
    return history.rows(
        context_of(info).call,
        source["pk"],
        HISTORY,
        samples=_samples(samples),
        min_step=minStep,
        max_step=None if maxStep is None else maxStep - 1,
    )


def _events(source: Source, info: Info, samples: int | None = None) -> list[str]:
    call = context_of(info).call
    return history.rows(call, source["pk"], EVENTS, samples=_samples(samples))


def _sampled(source: Source, info: Info, specs: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Return a list of rows for each spec; those of its `maxStep` are among them."""
    if len(specs) > _MOST_SPECS:
        raise Invalid(f"specs: more than {_MOST_SPECS}")
    call = context_of(info).call
    return [history.sampled(call, source["pk"], _spec(text)) for text in specs]


def _spec(text: str) -> Spec:
    try:
        asked = _asked(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Invalid(f"specs: {text[:200]!r} is none: {error}") from None
    if len(asked.keys) > _MOST_KEYS:
        raise Invalid(f"specs: more than {_MOST_KEYS} keys")
    return Spec(
        tuple(asked.keys), _samples(asked.samples), _step(asked.minStep), _step(asked.maxStep)
    )


def _samples(asked: float | None) -> int:
    if asked is None:
        return _SAMPLES
    return int(max(0, min(asked, history.MOST)))


def _step(asked: float | None) -> int | None:
    return None if asked is None else int(max(-_STEPS, min(asked, _STEPS)))


def _parquet(_: Source, __: Info, **___: Any) -> dict[str, Any]:
    """There are no exported files: the client reads all rows from the history then."""
    return {"parquetUrls": [], "liveData": []}


def _log_lines(
    source: Source,
    info: Info,
    first: int | None = None,
    last: int | None = None,
    after: str | None = None,
    **_: Any,
) -> dict[str, Any]:
    call = context_of(info).call
    page = console.page(call, source["pk"], first=first, last=last, after=after or "")
    pairs = zip(page.lines, page.cursors, strict=True)
    edges = [{"node": _line(line), "cursor": cursor} for line, cursor in pairs]
    return {
        "edges": edges,
        "pageInfo": {
            "endCursor": page.cursors[-1] if page.cursors else after,
            "hasNextPage": page.has_next,
            "hasPreviousPage": bool(page.lines) and page.lines[0].number > 0,
        },
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "number": line.number,
        "timestamp": line.at or None,
        "level": line.level or None,
        "label": line.label or None,
        "line": line.content,
    }


AREA = Area(
    {
        "Run": {
            "systemMetrics": _system,
            "historyKeys": _keys,
            "historyLineCount": _history_lines,
            "eventsLineCount": _events_lines,
            "logLineCount": _console_lines,
            "historyTail": _history_tail,
            "eventsTail": _events_tail,
            "history": _history,
            "events": _events,
            "sampledHistory": _sampled,
            "parquetHistory": _parquet,
            "logLines": _log_lines,
        }
    }
)
