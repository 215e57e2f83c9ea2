"""
The file stream: what a run's program tells while it runs, one transaction for each request.

A client sends a request again until it is answered, for days, so each may come twice or overlap
another: a line has a number, and one that is there already is dropped. A request with a line that
is no JSON object is refused as a whole, and nothing of it is kept. That ends the client's stream,
by its own rule, and it tells its user so: the alternative is a history that is not what was logged,
and only a broken program writes such a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from runyard.domain.access import Action
from runyard.domain.errors import Invalid
from runyard.domain.items import Stage
from runyard.domain.tracking import rows as row_text
from runyard.domain.tracking.keys import Known, describe, merged
from runyard.domain.tracking.rows import Rows
from runyard.services.call import Call
from runyard.services.tracking import console, files, life, runs
from runyard.store import items
from runyard.store.db import Row
from runyard.store.tracking import lines, streams
from runyard.store.values import to_ms, to_text

HISTORY: Final = "history"
EVENTS: Final = "events"
_MOST_LINES: Final = 2**31 - 1
_known: Final = msgspec.json.Decoder(dict[str, Known]).decode


@dataclass(frozen=True, slots=True)
class Said:
    """One request. All of it may be missing: then it says that the program is alive."""

    history: Rows | None = None
    events: Rows | None = None
    keys: Mapping[str, Known] | None = None  # of all rows of the history
    console: tuple[int, Sequence[str]] | None = None
    summary: str | None = None
    uploaded: Sequence[str] = ()
    preempting: bool = False
    exit_code: int | None = None  # told with the program's end

    @property
    def has_news(self) -> bool:
        return bool(self.history or self.events or self.console) or self.summary is not None


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept of one run, in bytes: rows, and lines of its console."""

    rows: int
    console: int


@dataclass(frozen=True, slots=True)
class Taken:
    """`uploaded` are files that an outside store is to be asked of."""

    run_pk: str
    stopped: bool
    uploaded: Sequence[str]


def said(
    *,
    history: tuple[int, Sequence[str]] | None,
    events: tuple[int, Sequence[str]] | None,
    console: tuple[int, Sequence[str]] | None,
    summary: str | None,
    **more: Any,
) -> Said:
    """Read what a request says, before anything is locked for it.

    Raises:
        Invalid: a line is no JSON object, or has a number that none can have.
    """
    for name, part in (("history", history), ("events", events), ("console", console)):
        if part is not None and not 0 <= part[0] <= _MOST_LINES - len(part[1]):
            raise Invalid(f"{name}: no line can have the number {part[0]}")
    rows = row_text.parse(*history, "history") if history and history[1] else None
    if summary is not None:
        row_text.read(summary, "summary")
    return Said(
        history=rows,
        events=row_text.parse(*events, "events") if events and events[1] else None,
        keys=describe(rows.values) if rows else None,
        console=console if console and console[1] else None,
        summary=summary,
        **more,
    )


def take(call: Call, entity: str, project: str, run: str, said: Said, limits: Limits) -> Taken:
    """Keep what a program says of its run.

    Raises:
        NotFound: no such run that the caller may see. Forbidden: it may see, not write.
    """
    found = streams.target(call.tx, entity, project, run)
    row = runs.allowed(call, found, f"run {entity}/{project}/{run}", Action.TRACK)
    pk: str = row["pk"]
    # Before the stream is locked: item, run, stream is the order of all who lock them.
    if said.exit_code is not None:
        life.said_end(call, pk, said.exit_code, preempting=said.preempting)
    elif not row["live"]:
        life.heard(call, pk)
    if said.has_news or said.preempting or row["live"] is None:
        stream = streams.lock(call.tx, pk)
        changes, is_full = _changes(call, stream, said, limits)
        if is_full and row["item_id"] is not None:
            told = f"the history has {limits.rows} bytes (max_history_bytes): no more rows are kept"
            items.warn(call.tx, row["item_id"], Stage.RUN, told, call.now)
        streams.save(call.tx, pk, {**changes, "heartbeat_at": to_ms(call.now)})
        call.tx.announce(f"run:{pk}")
    elif said.exit_code is None:
        streams.beat(call.tx, pk, to_ms(call.now))
    uploaded = files.note_uploaded(call, pk, said.uploaded) if said.uploaded else []
    return Taken(pk, row["stop_requested_at"] is not None, uploaded)


def _changes(call: Call, stream: Row, said: Said, limits: Limits) -> tuple[dict[str, Any], bool]:
    """Write what is new; return what changes of the stream, and whether rows found no room."""
    is_full = False
    changes: dict[str, Any] = {}
    size: int = stream["history_bytes"]
    chunks: list[dict[str, Any]] = []
    for kind, rows in ((HISTORY, said.history), (EVENTS, said.events)):
        if rows is None:
            continue
        count = f"{kind}_lines"
        changes[count] = max(stream[count], rows.end)
        parts = _missing(call, stream, kind, rows)
        for part in parts:
            data = part.data()
            if size + len(data) > limits.rows:
                is_full = True
                continue
            size += len(data)
            least, most = part.steps()
            chunks.append(
                {"run_id": stream["run_id"], "kind": kind, "start": part.start,
                 "n": len(part.lines), "min_step": least, "max_step": most, "data": data}
            )  # fmt: skip
        if kind == HISTORY:
            changes |= _described(stream, rows, parts, said.keys)
        elif parts:
            changes["system"] = parts[-1].lines[-1]
    if chunks:
        lines.append(call.tx, chunks)
        changes["history_bytes"] = size
    if said.console is not None:
        changes |= console.take(call, stream, *said.console, at_most=limits.console)
    if said.summary is not None:
        changes["summary"] = said.summary
    if said.preempting and said.exit_code is None:
        changes["preempting"] = True
    return changes, is_full


def _missing(call: Call, stream: Row, kind: str, rows: Rows) -> list[Rows]:
    """Return the rows that are not there yet, in pieces that follow one another."""
    if rows.start >= stream[f"{kind}_lines"]:
        return [rows]
    parts, at = [], rows.start
    known = lines.covered(call.tx, stream["run_id"], kind, rows.start, rows.end)
    for first, end in [*known, (rows.end, rows.end)]:
        if first > at:
            parts.append(rows.part(at, first))
        at = end
    return parts


def _described(
    stream: Row, rows: Rows, parts: Sequence[Rows], keys: Mapping[str, Known] | None
) -> dict[str, Any]:
    """Return what new rows change of what is known of the history."""
    if not parts:
        return {}
    known: Mapping[str, Known] = _known(stream["keys"])
    last = stream["last_step"]
    for part in parts:
        is_all = len(part.lines) == len(rows.lines)
        known = merged(known, keys if is_all and keys is not None else describe(part.values))
        most = part.steps()[1]
        last = most if last is None else max(last, most)
    return {"keys": to_text(known), "last_step": last}
