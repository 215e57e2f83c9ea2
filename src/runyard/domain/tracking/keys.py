"""
What is known of each key of a history, without looking at its rows again.

Values in objects are keys with dots: {"dict": {"val1": 1}} has the key dict.val1. An object with a
`_type` is a medium, such as an image, and a value by itself. Rows come in batches whose rows are
much alike, so a batch is looked at by columns.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from runyard.domain.tracking.rows import Row

MOST: Final = 10_000  # keys of one run; the rows keep all, this only describes them
_LONGEST: Final = 512  # characters of a key that is described
_DEEPEST: Final = 12
_MOST_TYPES: Final = 8
_LARGEST: Final = 2**63
_NUMBERS: Final = frozenset({int, float})
_NAMES: Final = {bool: "boolean", str: "string", list: "list", type(None): "null"}


class Known(msgspec.Struct, array_like=True):
    """
    One key: how many values of which types there were, the first and the last number, and
    whether no number was below the one before it.
    """

    types: dict[str, int]
    first: int | float | None = None
    last: int | float | None = None
    rising: bool = True

    def then(self, later: Known) -> Known:
        """Return what is known after later values."""
        types = dict(self.types)
        for name, count in later.types.items():
            if name in types or len(types) < _MOST_TYPES:
                types[name] = types.get(name, 0) + count
        rising = self.rising and later.rising
        if self.last is not None and later.first is not None:
            rising = rising and self.last <= later.first
        return Known(
            types,
            later.first if self.first is None else self.first,
            self.last if later.last is None else later.last,
            rising,
        )


def describe(rows: Sequence[Row]) -> dict[str, Known]:
    """Return what these rows say of their keys."""
    found: dict[str, Known] = {}
    if rows:
        _describe(rows, "", found, _DEEPEST)
    return found


def merged(known: Mapping[str, Known], later: Mapping[str, Known]) -> dict[str, Known]:
    """Return what is known with later rows. Of too many keys the first ones stay known."""
    all_known = dict(known)
    for key, of_later in later.items():
        before = all_known.get(key)
        if before is not None:
            all_known[key] = before.then(of_later)
        elif len(all_known) < MOST:
            all_known[key] = of_later
    return all_known


def told(known: Mapping[str, Known], last_step: int | None) -> dict[str, Any]:
    """Return a description in the tracking client's words."""
    keys = {
        key: {
            "typeCounts": [{"type": name, "count": n} for name, n in of_key.types.items()],
            "monotonic": of_key.rising and of_key.first is not None,
            "previousValue": of_key.last,
        }
        for key, of_key in known.items()
    }
    return {"keys": keys, "sets": [], "lastStep": -1 if last_step is None else last_step}


def _describe(rows: Sequence[Row], prefix: str, found: dict[str, Known], deep: int) -> None:
    for key, column in _columns(rows).items():
        name = prefix + key
        if len(name) > _LONGEST or (not name.isascii() and not _is_text(name)):
            continue
        kinds = set(map(type, column))
        if kinds <= _NUMBERS:
            _add(found, name, _numbers(column, {"number": len(column)}))
        elif dict in kinds and deep:
            objects = [v for v in column if type(v) is dict and not _medium(v)]
            if objects:
                _describe(objects, f"{name}.", found, deep - 1)
            if len(objects) < len(column):
                rest = [v for v in column if type(v) is not dict or _medium(v)]
                _add(found, name, _mixed(rest))
        else:
            _add(found, name, _mixed(column))


def _columns(rows: Sequence[Row]) -> dict[str, Sequence[Any]]:
    names = tuple(rows[0])
    if all(tuple(row) == names for row in rows):
        by_name = zip(*[row.values() for row in rows], strict=True)
        return dict(zip(names, by_name, strict=False))
    columns: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return columns  # type: ignore[return-value]


def _numbers(column: Sequence[int | float], types: dict[str, int]) -> Known:
    rising = all(map(operator.le, column, islice(column, 1, None)))
    return Known(types, _number(column[0]), _number(column[-1]), rising)


def _mixed(column: Sequence[Any]) -> Known:
    types = Counter(map(_type, column))
    known = dict(types.most_common(_MOST_TYPES))
    numbers = [v for v in column if type(v) in _NUMBERS]
    return _numbers(numbers, known) if numbers else Known(known)


def _add(found: dict[str, Known], name: str, known: Known) -> None:
    # A key with a dot in it and a value in an object may be called the same.
    before = found.get(name)
    found[name] = known if before is None else before.then(known)


def _type(value: Any) -> str:
    if type(value) in _NUMBERS:
        return "number"
    if type(value) is dict:
        return _medium(value) or "map"
    return _NAMES.get(type(value), "string")


def _medium(value: Mapping[str, Any]) -> str:
    kind = value.get("_type")
    return kind[:64] if isinstance(kind, str) and _is_text(kind) else ""


def _number(value: int | float) -> int | float | None:
    """Return a number that can be stored as JSON: NaN is none, and what is too large is rounded."""
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        try:
            value = float(value)
        except OverflowError:
            return None
    return value if value - value == 0 else None


def _is_text(name: str) -> bool:
    """Whether it can be written: half of a surrogate pair cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
