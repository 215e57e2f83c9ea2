"""
Filters and orders of runs, as the tracking client writes them: conditions in the form of MongoDB.

    {"state": "finished", "config.lr.value": {"$lt": 0.1}, "$or": [{"tags": "good"}, …]}

A filter is read once, with bounds, into a tree of conditions (`domain.run_conditions`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from runyard.domain.errors import Invalid
from runyard.domain.run_conditions import (
    MISSING,
    OPERATORS,
    Every,
    Field,
    Filter,
    Not,
    Path,
    Place,
    Some,
    Test,
)
from runyard.domain.safe_regex import SafeRegex

LONGEST: Final = 64 << 10  # characters of a filter
_DEEPEST: Final = 12
_MOST_TESTS: Final = 500
_MOST_WORDS: Final = 50  # of a path; each run's values are searched for all ways to split them

_ALIASES: Final[Mapping[str, Field]] = {
    **{field.value: field for field in Field},
    "displayName": Field.DISPLAY_NAME, "jobType": Field.JOB_TYPE, "groupName": Field.GROUP,
    "group_name": Field.GROUP, "createdAt": Field.CREATED_AT, "heartbeatAt": Field.HEARTBEAT_AT,
    "updatedAt": Field.HEARTBEAT_AT, "updated_at": Field.HEARTBEAT_AT, "user": Field.USERNAME,
    "user.username": Field.USERNAME, "user.name": Field.USERNAME, "sweepName": Field.SWEEP,
    "sweep_name": Field.SWEEP, "run_id": Field.NAME, "tag": Field.TAGS,
}  # fmt: skip
_CONFIGS: Final = ("config.",)
_SUMMARIES: Final = ("summary_metrics.", "summaryMetrics.", "summary.")


@dataclass(frozen=True, slots=True)
class Order:
    place: Place = Field.CREATED_AT
    descending: bool = False


def parse_filter(text: str | None) -> Every:
    """Read a filter; None and empty ones let every run pass.

    Raises:
        Invalid: what is wrong with it.
    """
    if not text:
        return Every(())
    if len(text) > LONGEST:
        raise Invalid(f"a filter has {LONGEST} characters at most")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise Invalid("the filter is not JSON") from None
    return _Reader().every(data or {}, 0)


def parse_order(text: str | None) -> Order:
    """Read an order: a place, with `+` or `-` in front. Raises: Invalid."""
    if not text:
        return Order()
    place = place_of(text.lstrip("+-"))
    return Order(place, text.startswith("-"))


def place_of(name: str) -> Place:
    """Return where a filter's or order's key points to. Raises: Invalid."""
    if name in _ALIASES:
        return _ALIASES[name]
    if name.count(".") > _MOST_WORDS:
        raise Invalid(f"{name[:100]!r}: a key has {_MOST_WORDS} parts between dots at most")
    for prefix in _CONFIGS:
        if name.startswith(prefix) and len(name) > len(prefix):
            return Path(True, _without_value(tuple(name.removeprefix(prefix).split("."))))
    for prefix in _SUMMARIES:
        if name.startswith(prefix) and len(name) > len(prefix):
            return Path(False, tuple(name.removeprefix(prefix).split(".")))
    known = ", ".join(field.value for field in Field)
    raise Invalid(
        f"runs have no {name[:100]!r} to filter or order by",
        hint=f"known are {known}, config.KEY.value and summary_metrics.KEY",
    )


def sort_key(value: Any) -> tuple[int, Any]:
    """Return what orders values of any type: what is missing, numbers, text, the rest."""
    if isinstance(value, bool):
        return (3, int(value))
    if isinstance(value, int | float):
        return (1, value) if value == value else (0, 1)
    if isinstance(value, str):
        return (2, value)
    return (0, 0) if value is MISSING or value is None else (4, json.dumps(value, sort_keys=True))


class _Reader:
    def __init__(self) -> None:
        self._tests = 0

    def every(self, data: Any, depth: int) -> Every:
        if depth > _DEEPEST:
            raise Invalid(f"a filter is {_DEEPEST} levels deep at most")
        if not isinstance(data, dict):
            raise Invalid("a filter is an object of conditions")
        parts: list[Filter] = []
        for key, value in data.items():
            if key in ("$and", "$or", "$nor"):
                if not isinstance(value, list):
                    raise Invalid(f"{key} takes a list of filters")
                below = tuple(self.every(each, depth + 1) for each in value)
                parts.append(_JOINS[key](below))
            elif key == "$not":
                parts.append(Not(self.every(value, depth + 1)))
            elif key.startswith("$"):
                raise Invalid(f"{key[:40]} is no operator that a filter begins with")
            else:
                parts += self._conditions(place_of(key), value, depth + 1)
        return Every(tuple(parts))

    def _conditions(self, place: Place, value: Any, depth: int) -> list[Filter]:
        if depth > _DEEPEST:
            raise Invalid(f"a filter is {_DEEPEST} levels deep at most")
        if not isinstance(value, dict) or not any(key.startswith("$") for key in value):
            return [self._test(place, "$eq", value)]
        parts: list[Filter] = []
        for op, operand in value.items():
            if op == "$not":
                parts.append(Not(Every(tuple(self._conditions(place, operand, depth + 1)))))
            elif op == "$regex":
                options = value.get("$options", "")
                pattern = _regex(operand, options)
                parts.append(self._test(place, op, pattern))
            elif op != "$options":
                parts.append(self._test(place, op, operand))
        return parts

    def _test(self, place: Place, op: str, operand: Any) -> Test:
        self._tests += 1
        if self._tests > _MOST_TESTS:
            raise Invalid(f"a filter has {_MOST_TESTS} conditions at most")
        if op not in OPERATORS:
            raise Invalid(f"{op[:40]} is no operator; known are {', '.join(OPERATORS)}")
        if op in ("$in", "$nin") and not isinstance(operand, list):
            raise Invalid(f"{op} takes a list")
        if isinstance(place, Field) and place.is_time and op != "$exists":
            if op in ("$in", "$nin"):
                operand = [_time(each) for each in operand]
            elif op != "$regex":
                operand = _time(operand)
        return Test(place, op, operand)


def _regex(pattern: Any, options: Any) -> SafeRegex:
    if not isinstance(pattern, str) or not isinstance(options, str):
        raise Invalid("$regex takes a string")
    return SafeRegex.parse(pattern, ignore_case="i" in options)


def _nor(parts: tuple[Filter, ...]) -> Filter:
    return Not(Some(parts))


_JOINS: Final[Mapping[str, Callable[[tuple[Filter, ...]], Filter]]] = {
    "$and": Every, "$or": Some, "$nor": _nor,
}  # fmt: skip


def _time(value: Any) -> Any:
    """Return a time in milliseconds; what is none compares with no time."""
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            raise Invalid(f"{value[:60]!r} is no time; write 2030-01-31T12:00:00Z") from None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return at.timestamp() * 1000
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return value * 1000 if value < 1e11 else value  # seconds, or milliseconds


def _without_value(words: tuple[str, ...]) -> tuple[str, ...]:
    """The protocol wraps each key of a configuration: `config.KEY.value.more`."""
    for n in range(len(words) - 1, 0, -1):
        if words[n] == "value":
            return words[:n] + words[n + 1 :]
    return words
