"""
Rows: what one step of a program has logged, a JSON object a line.

Lines are kept as they came, since JSON as programs write it may have NaN and Infinity in it, and
numbers that another writer would spell otherwise. Reading one is for looking into it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec

from runyard.domain.errors import Invalid

Row: TypeAlias = dict[str, Any]

STEP: Final = "_step"
_MOST_STEP: Final = 2**53
_decode: Final = msgspec.json.Decoder(dict).decode


@dataclass(frozen=True, slots=True)
class Rows:
    """Lines that follow one another, and what they say. `start` is the number of the first."""

    start: int
    lines: Sequence[str]
    values: Sequence[Row]

    @property
    def end(self) -> int:
        return self.start + len(self.lines)

    def part(self, first: int, last: int) -> Rows:
        """Return the rows from number `first` up to, not including, `last`."""
        cut = slice(first - self.start, last - self.start)
        return Rows(first, self.lines[cut], self.values[cut])

    def steps(self) -> tuple[int, int]:
        """Return the smallest and the largest step; there is a row."""
        steps = [step_of(row, self.start + n) for n, row in enumerate(self.values)]
        return min(steps), max(steps)

    def data(self) -> bytes:
        """Return what is kept: the lines as they came, one a line."""
        return "\n".join(self.lines).encode("utf-8", "replace")


def parse(start: int, lines: Sequence[str], name: str) -> Rows:
    """Read lines. A break inside of one is white space in JSON, and becomes a blank.

    Raises:
        Invalid: one of them is no JSON object. Nothing of the request may be kept then: the
            program that wrote it is at fault, and guessing would shift what comes after.
    """
    try:
        values = list(map(_decode, lines))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        values = [read(line, f"{name}, line {start + n}") for n, line in enumerate(lines)]
    if any("\n" in line or "\r" in line for line in lines):
        lines = [line.replace("\n", " ").replace("\r", " ") for line in lines]
    return Rows(start, lines, values)


def read(line: str | bytes, place: str) -> Row:
    """Read one line, which may have NaN and Infinity in it. Raises: Invalid."""
    try:
        row: Row = _decode(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Invalid(f"{place}: not JSON: {str(error)[:200]}") from None
    if not isinstance(row, dict):
        raise Invalid(f"{place}: not a JSON object but a {type(row).__name__}")
    return row


def step_of(row: Row, number: int) -> int:
    """Return a row's step; one that tells none is at the step of its line's number."""
    step = row.get(STEP)
    if type(step) is float and step.is_integer():
        step = int(step)
    return step if type(step) is int and -_MOST_STEP < step < _MOST_STEP else number
