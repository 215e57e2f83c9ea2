"""
Fewer rows than there are: evenly chosen, and with no more of each than was asked for.

A row of a hundred keys is read for three of them: the decoder is made for those, and passes over
the others without making anything of them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from runyard.domain.tracking.rows import STEP, Row, read, step_of

T = TypeVar("T")
Chunk: TypeAlias = tuple[int, bytes]  # the number of its first line, and lines

_MISSING: Final = object()
_MOST_DOTS: Final = 12
_HELD: Final = 200_000


@dataclass(frozen=True, slots=True)
class Spec:
    """
    What is asked for: rows that have all the keys, from step to step (both of them may be there).
    """

    keys: tuple[str, ...]
    samples: int
    min_step: int | None = None
    max_step: int | None = None

    @property
    def is_bounded(self) -> bool:
        return self.min_step is not None or self.max_step is not None

    def has(self, step: int) -> bool:
        return (self.min_step is None or step >= self.min_step) and (
            self.max_step is None or step <= self.max_step
        )


def evenly(found: Sequence[T], samples: int) -> Sequence[T]:
    """Return so many of them at most, evenly chosen, with the first and the last."""
    if len(found) <= samples:
        return found
    if samples <= 1:
        return found[-1:] if samples else []
    last = len(found) - 1
    return [found[n * last // (samples - 1)] for n in range(samples)]


class Thinned(Generic[T]):
    """Things that come one after the other, of which so many will be chosen evenly.

    Of a great many only every second, fourth, … is held meanwhile, and the last.
    """

    def __init__(self, samples: int) -> None:
        self._samples, self._most = samples, max(2 * samples, _HELD)
        self._held: list[T] = []
        self._last: list[T] = []
        self._stride, self._seen = 1, 0

    def add(self, more: list[T]) -> None:
        if not more:
            return
        self._held += (
            more if self._stride == 1 else more[-self._seen % self._stride :: self._stride]
        )
        self._seen += len(more)
        self._last = more[-1:]
        while len(self._held) > self._most:
            self._held = self._held[::2]
            self._stride *= 2

    def chosen(self) -> Sequence[T]:
        if (self._seen - 1) % self._stride:
            self._held += self._last
        return evenly(self._held, self._samples)


def select(chunks: Iterable[Chunk], spec: Spec) -> list[dict[str, Any]]:
    """Return the samples that a spec asks for, as objects with its keys."""
    looker = _looker(spec.keys)
    found: Thinned[Any] = Thinned(spec.samples)
    for start, data in chunks:
        found.add(looker.having(start, looker.rows(start, data), spec))
    return [plain(looker.values(row)) for row in found.chosen()]


def whole(chunks: Iterable[Chunk], spec: Spec) -> list[bytes]:
    """Return the samples that a spec asks for, as whole lines."""
    found: Thinned[bytes] = Thinned(spec.samples)
    for start, data in chunks:
        lines = data.split(b"\n")
        if spec.is_bounded:
            lines = [line for n, line in enumerate(lines, start) if spec.has(_step(n, line))]
        found.add(lines)
    return list(found.chosen())


class _Looker:
    """Looks into rows for some keys. A row here is an object with those of its values alone."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        tops = {top for key in keys for top in (key, *(head for head, _ in _splits(key)))}
        names = {top: f"f{n}" for n, top in enumerate(sorted(tops - {STEP}))} | {STEP: "step"}
        self._tops = tuple(names)
        self._row = msgspec.defstruct(
            "Wanted",
            [(name, Any, msgspec.field(name=top, default=_MISSING)) for top, name in names.items()],
            gc=False,
        )
        self._decode = msgspec.json.Decoder(self._row).decode_lines
        self._paths = [
            (key, names[key], [(names[head], rest) for head, rest in _splits(key)]) for key in keys
        ]
        # "step" twice: of one name alone, no tuple would come back.
        self._wanted = operator.attrgetter("step", "step", *(names[key] for key in keys))

    def rows(self, start: int, data: bytes) -> list[Any]:
        try:
            return self._decode(data)
        except (msgspec.MsgspecError, RecursionError):  # NaN, as a rule
            lines = enumerate(data.split(b"\n"), start)
            read_all = (read(line, f"line {n}") for n, line in lines)
            return [self._row(*(row.get(top, _MISSING) for top in self._tops)) for row in read_all]

    def having(self, start: int, rows: list[Any], spec: Spec) -> list[Any]:
        """Return the rows of the wanted steps that have all keys."""
        if spec.is_bounded:
            rows = [r for n, r in enumerate(rows, start) if spec.has(_checked(r.step, n))]
        wanted = self._wanted
        return [row for row in rows if _MISSING not in wanted(row)[2:] or self._has_all(row)]

    def _has_all(self, row: Any) -> bool:
        return all(self._value(row, name, parts) is not _MISSING for _, name, parts in self._paths)

    def values(self, row: Any) -> dict[str, Any]:
        return {key: self._value(row, name, parts) for key, name, parts in self._paths}

    def _value(self, row: Any, whole: str, parts: list[tuple[str, str]]) -> Any:
        value = getattr(row, whole)
        for top, rest in parts if value is _MISSING else ():
            inner = getattr(row, top)
            if isinstance(inner, dict) and (value := _inside(inner, rest)) is not _MISSING:
                break
        return value


@lru_cache(maxsize=256)
def _looker(keys: tuple[str, ...]) -> _Looker:
    return _Looker(keys)


def _inside(values: Mapping[str, Any], key: str) -> Any:
    """Return what a key names in an object: names may have dots, and dots lead into objects."""
    if key in values:
        return values[key]
    for head, rest in _splits(key):
        inner = values.get(head)
        if isinstance(inner, dict) and (found := _inside(inner, rest)) is not _MISSING:
            return found
    return _MISSING


def _splits(key: str) -> list[tuple[str, str]]:
    """Return a key as what stands before and behind each of its dots."""
    names = key.split(".")[:_MOST_DOTS]
    heads = [".".join(names[: n + 1]) for n in range(len(names))]
    return [(head, key[len(head) + 1 :]) for head in heads if len(head) < len(key)]


class _Step(msgspec.Struct):
    step: Any = msgspec.field(name=STEP, default=_MISSING)


_MOST_STEP: Final = 2**53
_step_in: Final = msgspec.json.Decoder(_Step).decode


def _step(number: int, line: bytes) -> int:
    try:
        return _checked(_step_in(line).step, number)
    except (msgspec.MsgspecError, RecursionError):
        return step_of(read(line, f"line {number}"), number)


def _checked(step: Any, number: int) -> int:
    return step if type(step) is int and -_MOST_STEP < step < _MOST_STEP else _slow(step, number)


def _slow(step: Any, number: int) -> int:
    row: Row = {} if step is _MISSING else {STEP: step}
    return step_of(row, number)


def plain(value: Any) -> Any:
    """Return a value that any JSON can hold: what is no number is told by its name, as a rule."""
    if type(value) is float and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if type(value) is dict:
        return {name: plain(each) for name, each in value.items()}
    if type(value) is list:
        return [plain(each) for each in value]
    return value
