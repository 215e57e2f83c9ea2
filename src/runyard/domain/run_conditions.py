"""
Conditions on runs, as a tree that is asked of each run's facts.

As in MongoDB, whose form the tracking client's filters have (`domain.run_filters` reads them): a
comparison with something of another type is false, and what is missing equals null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from runyard.domain.safe_regex import SafeRegex

_TEXT_SEARCHED: Final = 2000  # characters of a value that a regular expression looks at


class Field(StrEnum):
    """What is known of a run without its configuration and summary."""

    NAME = "name"
    DISPLAY_NAME = "display_name"
    STATE = "state"
    GROUP = "group"
    JOB_TYPE = "job_type"
    TAGS = "tags"
    USERNAME = "username"
    CREATED_AT = "created_at"
    HEARTBEAT_AT = "heartbeat_at"
    SWEEP = "sweep"
    NOTES = "notes"
    DESCRIPTION = "description"
    COMMIT = "commit"

    @property
    def is_time(self) -> bool:
        return self in (Field.CREATED_AT, Field.HEARTBEAT_AT)


@dataclass(frozen=True, slots=True)
class Path:
    """A value in the configuration or the summary. Keys may have dots in them."""

    in_config: bool
    words: tuple[str, ...]


Place: TypeAlias = Field | Path


@dataclass(frozen=True, slots=True)
class Facts:
    """What is asked of one run. Times are in milliseconds; what nobody asks for may be empty."""

    fields: Mapping[Field, Any]
    config: Mapping[str, Any]
    summary: Mapping[str, Any]

    def get(self, place: Place) -> Any:
        """Return a value, `MISSING` if there is none."""
        if isinstance(place, Field):
            value = self.fields.get(place)
            return MISSING if value is None else value
        return _dig(self.config if place.in_config else self.summary, place.words)


MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Test:
    """One condition. The operand is ready for use: a time in milliseconds, a regular expression."""

    place: Place
    op: str
    operand: Any

    def holds(self, facts: Facts) -> bool:
        return OPERATORS[self.op](facts.get(self.place), self.operand)


@dataclass(frozen=True, slots=True)
class Every:
    parts: tuple[Filter, ...]

    def holds(self, facts: Facts) -> bool:
        return all(part.holds(facts) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Some:
    parts: tuple[Filter, ...]

    def holds(self, facts: Facts) -> bool:
        return any(part.holds(facts) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Not:
    part: Filter

    def holds(self, facts: Facts) -> bool:
        return not self.part.holds(facts)


Filter: TypeAlias = Test | Every | Some | Not


def places_in(tree: Filter) -> set[Place]:
    """Return all that a filter asks for."""
    if isinstance(tree, Test):
        return {tree.place}
    if isinstance(tree, Not):
        return places_in(tree.part)
    return set().union(*(places_in(part) for part in tree.parts))


def _dig(value: Any, words: Sequence[str]) -> Any:
    if not words:
        return value
    if isinstance(value, Mapping):
        for n in range(len(words), 0, -1):
            key = ".".join(words[:n])
            if key in value and (found := _dig(value[key], words[n:])) is not MISSING:
                return found
    if isinstance(value, list) and words[0].isdecimal() and int(words[0]) < len(value):
        return _dig(value[int(words[0])], words[1:])
    return MISSING


def _equal(value: Any, operand: Any) -> bool:
    if value is MISSING or value is None:
        return operand is None
    if isinstance(value, list) and not isinstance(operand, list):
        return any(_same(each, operand) for each in value)
    return _same(value, operand)


def _same(a: Any, b: Any) -> bool:
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _in(value: Any, operand: Sequence[Any]) -> bool:
    return any(_equal(value, each) for each in operand)


def _compare(a: Any, b: Any, decide: Callable[[Any, Any], bool]) -> bool:
    if isinstance(a, list):
        return any(_compare(each, b, decide) for each in a)
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b))
    if numbers or (isinstance(a, str) and isinstance(b, str)):
        return decide(a, b)
    return False


def _found(value: Any, operand: SafeRegex) -> bool:
    if isinstance(value, list):
        return any(_found(each, operand) for each in value)
    return isinstance(value, str) and operand.finds(value[:_TEXT_SEARCHED])


OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$eq": _equal,
    "$ne": lambda value, operand: not _equal(value, operand),
    "$gt": lambda value, operand: _compare(value, operand, lambda a, b: a > b),
    "$gte": lambda value, operand: _compare(value, operand, lambda a, b: a >= b),
    "$lt": lambda value, operand: _compare(value, operand, lambda a, b: a < b),
    "$lte": lambda value, operand: _compare(value, operand, lambda a, b: a <= b),
    "$in": _in,
    "$nin": lambda value, operand: not _in(value, operand),
    "$exists": lambda value, operand: (value is not MISSING) == bool(operand),
    "$regex": _found,
}
