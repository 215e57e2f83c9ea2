"""
Fewer rows than there are: evenly chosen, and with no more of each than was asked for.

A row of a hundred keys is read for three of them: the decoder is made for those, and passes over
the others without making anything of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from runyard.domain.tracking.rows import STEP, Row, read, step_of

T = TypeVar("T")
Line: TypeAlias = tuple[int, bytes]  # its number, and what it holds
Found: TypeAlias = list[tuple[int, dict[str, Any]]]  # step, and values by key

_MISSING: Final = object()
_MOST_DOTS: Final = 12


@dataclass(frozen=True, slots=True)
class Spec:
    """
    What is asked for: rows that have all the keys, from step to step (both of them may be there).
    """

    keys: tuple[str, ...]
    samples: int
    min_step: int | None = None
    max_step: int | None = None

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


def select(lines: Iterable[Line], spec: Spec) -> list[dict[str, Any]]:
    """Return the samples that a spec asks for, as objects with its keys."""
    look = _looker(spec.keys)
    found = [values for number, line in lines
             if (values := look(number, line, spec)) is not None]  # fmt: skip
    return [_plain(values) for values in evenly(found, spec.samples)]


def within(lines: Iterable[Line], spec: Spec) -> Iterator[bytes]:
    """Yield the lines of the wanted steps, whole."""
    if spec.min_step is None and spec.max_step is None:
        yield from (line for _, line in lines)
        return
    for number, line in lines:
        if spec.has(_step(number, line)):
            yield line


_Look: TypeAlias = Callable[[int, bytes, Spec], "dict[str, Any] | None"]


@lru_cache(maxsize=256)
def _looker(keys: tuple[str, ...]) -> _Look:
    """Return what looks into a row for these keys; it returns None if one is missing."""
    tops = {top for key in keys for top in (key, *(head for head, _ in _splits(key)))}
    names = {top: f"f{n}" for n, top in enumerate(sorted(tops - {STEP}))} | {STEP: "step"}
    fields = [(name, Any, msgspec.field(name=top, default=_MISSING)) for top, name in names.items()]
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(
        msgspec.defstruct("Wanted", fields, gc=False)
    ).decode
    paths = [
        (key, names[key], [(names[head], rest) for head, rest in _splits(key)]) for key in keys
    ]

    def look(number: int, line: bytes, spec: Spec) -> dict[str, Any] | None:
        try:
            row = decode(line)
        except (msgspec.MsgspecError, RecursionError):  # NaN, as a rule
            return _look_slowly(number, line, spec)
        if not spec.has(_checked(row.step, number)):
            return None
        values = {}
        for key, whole, parts in paths:
            value = getattr(row, whole)
            for top, rest in parts if value is _MISSING else ():
                inner = getattr(row, top)
                value = _inside(inner, rest) if isinstance(inner, dict) else _MISSING
                if value is not _MISSING:
                    break
            if value is _MISSING:
                return None
            values[key] = value
        return values

    return look


def _look_slowly(number: int, line: bytes, spec: Spec) -> dict[str, Any] | None:
    row = read(line, f"line {number}")
    if not spec.has(step_of(row, number)):
        return None
    values = {key: _inside(row, key) for key in spec.keys}
    return None if _MISSING in values.values() else values


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


_step_in: Final = msgspec.json.Decoder(_Step).decode


def _step(number: int, line: bytes) -> int:
    try:
        return _checked(_step_in(line).step, number)
    except (msgspec.MsgspecError, RecursionError):
        return step_of(read(line, f"line {number}"), number)


def _checked(step: Any, number: int) -> int:
    return step if type(step) is int and -(2**53) < step < 2**53 else _slow(step, number)


def _slow(step: Any, number: int) -> int:
    row: Row = {} if step is _MISSING else {STEP: step}
    return step_of(row, number)


def _plain(value: Any) -> Any:
    """Return a value that any JSON can hold: what is no number is told by its name, as a rule."""
    if type(value) is float and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if type(value) is dict:
        return {name: _plain(each) for name, each in value.items()}
    if type(value) is list:
        return [_plain(each) for each in value]
    return value
