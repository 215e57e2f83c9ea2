"""
What a builder prints, read as it comes: which step it is at, and what that step said.

Three ways of writing are known: the legacy builder's, BuildKit's plain progress and buildah's. Only
the end is kept. A step's own output cannot be told from the builder's in two of the three, so that
what is read here is good for explanations, never for decisions.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import Final

_KEPT_LINES: Final = 400
_LONGEST_LINE: Final = 4000
_MOST_VERTICES: Final = 2000
_STEP: Final = re.compile(r"(?:\[\d+/\d+\] )?(?:Step|STEP) \d+/\d+ ?: (.+)")
_VERTEX: Final = re.compile(r"#(\d+) (?:(\[[^\]]+\] .+)|(ERROR|CANCELED)(?:: (.*))?|(.*))")
_NUMBERED: Final = re.compile(r"\[(?:\S+ )?\d+/\d+\] (.+)")
_TIMED: Final = re.compile(r"\d+\.\d+ ?(.*)")
_NOISE: Final = re.compile(
    r"sha256:[0-9a-f]{64}.*|\s*-{3,}>.*|-{4,}|Removing intermediate container \w+|\s*"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """`step` is the instruction, `said` the end of its output, `last` the builder's last words."""

    step: str
    said: tuple[str, ...]
    last: tuple[str, ...]


class Transcript:
    def __init__(self) -> None:
        self._begun = ""
        self._lines: deque[tuple[str, str]] = deque(maxlen=_KEPT_LINES)
        self._steps: dict[str, str] = {}
        self._now = ""
        self._count = 0
        self._failed = ""

    def feed(self, text: str) -> None:
        *whole, rest = (self._begun + text).split("\n")
        for line in whole:
            self._read(line[:_LONGEST_LINE])
        self._begun = rest[:_LONGEST_LINE]

    def failure(self) -> Failure:
        """Return where the build failed, as far as that can be seen now."""
        if self._begun:
            self._read(self._begun)
            self._begun = ""
        at = self._failed or self._now
        said = tuple(line for where, line in self._lines if where == at)
        last = tuple(line for where, line in self._lines if not where.startswith("#"))
        return Failure(self._steps.get(at, ""), said, last)

    def _read(self, line: str) -> None:
        if _NOISE.fullmatch(line):
            return
        if step := _STEP.fullmatch(line):
            self._count += 1
            self._now = f"step {self._count}"
            self._steps = {self._now: step[1].strip()}
        elif vertex := _VERTEX.fullmatch(line):
            self._read_vertex(f"#{vertex[1]}", vertex)
        else:
            self._lines.append(("" if self._now.startswith("#") else self._now, line))

    def _read_vertex(self, name: str, vertex: re.Match[str]) -> None:
        _, title, end, error, words = vertex.groups()
        if title:
            if len(self._steps) < _MOST_VERTICES:
                numbered = _NUMBERED.fullmatch(title)
                self._steps.setdefault(name, numbered[1].strip() if numbered else title)
        elif end == "ERROR":
            self._failed = self._failed or name
            self._lines.append((name, error or ""))
        elif end is None:
            timed = _TIMED.fullmatch(words)
            if not (timed and _NOISE.fullmatch(timed[1])) and not _NOISE.fullmatch(words):
                self._lines.append((name, timed[1] if timed else words))
        self._now = name
