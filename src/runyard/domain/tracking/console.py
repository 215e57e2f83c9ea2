"""
Lines of a program's console, as its tracking client tells them.

A client numbers lines as a terminal shows them: one that is drawn anew, as a progress bar is, comes
again under its number, and counts from then on. An agent sees the bytes that were written, before
and after the client, but neither times nor which stream they were on: `matched` joins the two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

_TEXT: Final = re.compile(
    r"(?P<level>ERROR )?(?P<ts>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)Z?"
    r"(?: \[(?P<label>[^\]]*)\])? (?P<content>.*)",
    re.DOTALL,
)
_AHEAD: Final = 200  # lines of the client that one of the agent's is looked for in


@dataclass(frozen=True, slots=True)
class Line:
    """`number` is its place in the log. `at` is a time in UTC without a zone, as it was told."""

    number: int
    content: str
    at: str = ""
    level: str = ""
    label: str = ""


class _Structured(msgspec.Struct):
    content: str
    ts: str | None = None
    level: str | None = None
    label: str | None = None


_decode: Final = msgspec.json.Decoder(_Structured).decode


def parse(number: int, text: str) -> Line:
    """Read a line in either of the client's forms; what has neither is all content."""
    if text.startswith("{"):
        try:
            told = _decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return Line(number, text)
        return Line(number, told.content, told.ts or "", told.level or "", told.label or "")
    found = _TEXT.fullmatch(text)
    if found is None:
        return Line(number, text)
    level = "error" if found["level"] else ""
    return Line(number, found["content"], found["ts"], level, found["label"] or "")


def drawn(known: Mapping[int, str], lines: Sequence[Line]) -> bytes:
    """Return what lines add to a log of bytes. It only grows: one that comes anew stands in it
    again, unless it is as it was.

    `known` holds the contents of those that were there before.
    """
    new = [line.content for line in lines if known.get(line.number) != line.content]
    return "".join(f"{content}\n" for content in new).encode("utf-8", "replace")


def seen(data: bytes) -> list[str]:
    """Return the lines of an agent's bytes as a terminal would show them."""
    return [_shown(part) for part in data.decode("utf-8", "replace").split("\n")]


def matched(found: Sequence[tuple[int, str]], told: Sequence[Line]) -> tuple[list[Line], int]:
    """Give an agent's lines, as numbers and contents, what the client told of the same ones.

    Both are in one order, the first first or the last first. Return the lines, and how many of
    the client's were passed.
    """
    lines, at = [], 0
    for number, content in found:
        key = content.rstrip()
        ahead = range(at, min(at + _AHEAD, len(told))) if key else ()
        same = next((i for i in ahead if told[i].content.rstrip() == key), None)
        if same is None:
            lines.append(Line(number, content))
            continue
        of = told[same]
        lines.append(Line(number, content, of.at, of.level, of.label))
        at = same + 1
    return lines, at


def _shown(part: str) -> str:
    part = part.rstrip("\r")
    return part.rpartition("\r")[2]
