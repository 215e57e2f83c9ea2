"""
A run's one log: what its agent saw, or, where none of ours watches, what its program tells.

The program's client tells lines by number, with times and levels; they are kept as they came. Where
no agent of ours holds the run, their text is added to the run's log of bytes, too: so whoever
follows a log, by whatever door, follows the same one, and offsets in it stay what they were. Where
an agent has seen the bytes, its lines count, and the client's are looked up for times and levels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runyard.domain.errors import Invalid
from runyard.domain.items import RunId
from runyard.domain.tracking.console import Line, drawn, matched, parse, seen
from runyard.services.call import Call
from runyard.store import logs
from runyard.store.db import Row, Tx
from runyard.store.tracking import console as rows
from runyard.store.tracking import streams

MOST: Final = 10_000  # lines of a page
_AROUND: Final = 200  # lines of the client beyond a page, which may still match
_LONGEST: Final = 1 << 20  # bytes of a line


@dataclass(frozen=True, slots=True)
class Page:
    """Lines in order, and a cursor for each: what follows it begins there."""

    lines: Sequence[Line]
    cursors: Sequence[str]
    has_next: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """A line in an agent's log: its number, its first byte, and the client's line to look at."""

    number: int = 0
    offset: int = 0
    told: int = 0

    def __str__(self) -> str:
        return f"{self.number}:{self.offset}:{self.told}"


def take(
    call: Call, stream: Row, start: int, texts: Sequence[str], *, at_most: int
) -> dict[str, Any]:
    """Keep lines of the client; the stream is locked. Return what changes of it.

    What is over `at_most` bytes is counted, not kept.
    """
    run, count, end = stream["run_id"], stream["console_lines"], start + len(texts)
    texts = [text.replace("\n", " ") for text in texts]
    known = rows.between(call.tx, run, start, min(end, count)) if start < count else {}
    if all(known.get(n) == text for n, text in enumerate(texts, start)):
        return {}
    changes = {"console_lines": max(count, end)}
    size = stream["console_bytes"] + sum(map(len, texts)) + len(texts)
    if size <= at_most:
        rows.write(call.tx, run, start, texts, anew=start < count)
        changes["console_bytes"] = size
    text = drawn(
        {n: parse(n, was).content for n, was in known.items()},
        [parse(n, text) for n, text in enumerate(texts, start)],
    )
    added = _add_to_log(call.tx, RunId(run), text, at_most)
    return {**changes, "console_in_log": stream["console_in_log"] + added}


def _add_to_log(tx: Tx, run: RunId, text: bytes, at_most: int) -> int:
    log = streams.log_of(tx, run)
    if log["is_watched"] or log["log_truncated"] or not text:
        return 0
    room, is_cut = at_most - log["log_size"], False
    if len(text) > room:
        text, is_cut = text[: max(0, room)] + logs.cut_note(at_most), True
    logs.append(tx, [(run, log["log_size"], text)])
    logs.grow(tx, [(run, log["log_size"] + len(text), is_cut)])
    return len(text)


def count(call: Call, run_pk: str) -> int:
    """Return how many lines the log has; the caller may see the run."""
    stream = streams.get(call.tx, run_pk)
    told: int = stream["console_lines"] if stream is not None else 0
    if _is_told(call.tx, run_pk, stream):
        return told
    return max(told, _marks(call.tx, RunId(run_pk))[-1].number)


def page(
    call: Call, run_pk: str, *, first: int | None = None, last: int | None = None, after: str = ""
) -> Page:
    """Return lines from the first, from behind a cursor, or the last ones, always in order.

    Raises:
        Invalid: the cursor is none.
    """
    stream = streams.get(call.tx, run_pk)
    place = _place(after) if after else _Place()
    limit = max(0, min(MOST, last if last is not None else MOST if first is None else first))
    if _is_told(call.tx, run_pk, stream):
        total: int = 0 if stream is None else stream["console_lines"]
        return _told_page(call.tx, run_pk, total, place.number, limit, from_end=last is not None)
    told: int = 0 if stream is None else stream["console_lines"]
    return _seen_page(call.tx, RunId(run_pk), told, place, limit, from_end=last is not None)


def _is_told(tx: Tx, run_pk: str, stream: Row | None) -> bool:
    """Whether all there is comes from the program's own word.

    Not where an agent of ours watches, though it may have sent nothing yet: it masks secrets.
    """
    log = streams.log_of(tx, run_pk)
    told: int = 0 if stream is None else stream["console_in_log"]
    return not log["is_watched"] and bool(log["log_size"] <= told)


def _told_page(tx: Tx, run_pk: str, total: int, start: int, limit: int, *, from_end: bool) -> Page:
    if from_end:
        start = max(0, total - limit)
    found: dict[int, str] = {}
    # Lines may be missing: look on where there are fewer than the page holds.
    while start < total and len(found) < limit:
        end = min(start + limit - len(found), total)
        part = rows.between(tx, run_pk, start, end)
        found |= part
        start = end if part else rows.next_start(tx, run_pk, end, total)
    lines = [parse(n, text) for n, text in found.items()]
    cursors = [str(_Place(line.number + 1)) for line in lines]
    return Page(lines, cursors, start < total and not from_end)


def _seen_page(tx: Tx, run: RunId, told: int, place: _Place, limit: int, *, from_end: bool) -> Page:
    skip = 0
    if from_end:
        marks = _marks(tx, run)
        first = max(0, marks[-1].number - limit)
        place = next(m for m in reversed(marks) if m.number < first or m.offset == 0)
        skip = first - place.number
        place = _Place(place.number, place.offset, max(0, told - limit - _AROUND))
    parts = list(_parts(tx, run, place.offset, skip + limit + 1))
    page, more = parts[skip : skip + limit], len(parts) > skip + limit
    number = place.number + skip
    contents = [(number + n, seen(data)[0]) for n, (_, data) in enumerate(page)]
    found = rows.between(tx, run, place.told, place.told + limit + 2 * _AROUND)
    client = [parse(n, line) for n, line in found.items()]
    if from_end:  # where the end is the one that is surely known to match
        lines, _ = matched(contents[::-1], client[::-1])
        return Page(lines[::-1], [""] * len(lines), has_next=False)
    lines, passed = matched(contents, client)
    at = client[passed - 1].number + 1 if passed else place.told
    cursors = [
        str(_Place(line.number + 1, offset + len(data) + 1, at))
        for line, (offset, data) in zip(lines, page, strict=True)
    ]
    return Page(lines, cursors, more)


def _parts(tx: Tx, run: RunId, offset: int, most: int) -> Iterator[tuple[int, bytes]]:
    """Yield lines from a byte on, with the offset of each; the last may not be ended yet.

    What has no end is given in pieces.
    """
    rest, at, left = b"", offset, most
    while left > 0 and (data := logs.read(tx, run, at + len(rest))):
        *ended, rest = (rest + data).split(b"\n")
        for part in ended[:left]:
            yield at, part
            at += len(part) + 1
        left -= len(ended)
        if left > 0 and len(rest) > _LONGEST:
            yield at, rest
            at, rest, left = at + len(rest), b"", left - 1
    if left > 0 and rest:
        yield at, rest


def _marks(tx: Tx, run: RunId) -> list[_Place]:
    """Return where pieces of a log begin, with the lines that are complete before each; the last
    one is the end, with the number of all lines."""
    marks, lines, offset, data = [], 0, 0, b""
    while piece := logs.read(tx, run, offset):
        marks.append(_Place(lines, offset))
        data, offset = piece, offset + len(piece)
        lines += piece.count(b"\n")
    is_open = bool(data) and not data.endswith(b"\n")
    return [*marks, _Place(lines + is_open, offset)]


def _place(cursor: str) -> _Place:
    parts = cursor.split(":")
    if len(parts) != 3 or not all(p.isascii() and p.isdigit() and len(p) < 16 for p in parts):
        raise Invalid(f"after: {cursor[:100]!r} is no cursor of this log")
    return _Place(*map(int, parts))
