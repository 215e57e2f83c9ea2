"""
Filters and orders of lists, as the tracking client writes them, read into conditions.

    {"state": "COMMITTED", "tags": {"$in": ["a", "b"]}, "$or": [{"size": {"$gt": 10}}, …]}

Only columns that a list offers can be named, and every value is bound, never part of the text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

from sqlalchemy import BigInteger, ColumnElement, Integer, and_, func, not_, or_, true

from runyard.domain.errors import Invalid
from runyard.store.artifacts.listing import Columns, Order
from runyard.store.values import to_ms

_MOST: Final = 100  # conditions and values, together
_LONGEST: Final = 20_000
_TIMES: Final = frozenset({"created_at", "createdAt", "updated_at", "updatedAt"})
_COMPARE: Final[Mapping[str, Callable[[ColumnElement[Any], Any], ColumnElement[bool]]]] = {
    "$eq": lambda column, value: column == value,
    "$ne": lambda column, value: column != value,
    "$gt": lambda column, value: column > value,
    "$gte": lambda column, value: column >= value,
    "$lt": lambda column, value: column < value,
    "$lte": lambda column, value: column <= value,
}
_JOIN: Final = {"$and": and_, "$or": or_}


def order_of(text: str | None, columns: Columns, default: str) -> Order:
    """Read "-created_at": by a column, "-" for descending, which is the default.

    Raises:
        Invalid: no column that this list can be ordered by.
    """
    if not text:
        return Order(default)
    name = text.lstrip("+-")
    if name not in columns or name == "tags":
        raise Invalid(f"order {text[:100]!r}: known are {', '.join(sorted(columns))}, with '-'")
    return Order(name, descending=text.startswith("-"))


def condition(text: str | None, columns: Columns) -> ColumnElement[bool] | None:
    """Read filters. None without any.

    Raises:
        Invalid: not such JSON, an unknown column, or more than can be asked at once.
    """
    if not text:
        return None
    if len(text) > _LONGEST:
        raise Invalid(f"filters of more than {_LONGEST} characters")
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the filters are not JSON: {error}") from None
    if not given:
        return None
    return _Reading(columns).all_of(given)


class _Reading:
    def __init__(self, columns: Columns) -> None:
        self._columns, self._left = columns, _MOST

    def all_of(self, given: Any) -> ColumnElement[bool]:
        if not isinstance(given, dict):
            raise Invalid("filters are an object: names of columns and what they are to be")
        return and_(true(), *(self._one(name, value) for name, value in given.items()))

    def _one(self, name: str, value: Any) -> ColumnElement[bool]:
        self._spend(1)
        if name in _JOIN:
            if not isinstance(value, list) or not value:
                raise Invalid(f"filters: {name} is followed by a list of filters")
            return _JOIN[name](*(self.all_of(each) for each in value))
        if name == "$not":
            return not_(self.all_of(value))
        if name not in self._columns:
            known = ", ".join(sorted({*self._columns, "$and", "$or", "$not"}))
            raise Invalid(f"filters: {name[:100]!r} is not known here; known are {known}")
        if not isinstance(value, dict):
            return self._compare(name, "$eq", value)
        return and_(true(), *(self._compare(name, how, each) for how, each in value.items()))

    def _compare(self, name: str, how: str, value: Any) -> ColumnElement[bool]:
        if how in ("$in", "$nin"):
            if not isinstance(value, list):
                raise Invalid(f"filters: {how} is followed by a list")
            self._spend(len(value))
            found = or_(not_(true()), *(self._compare(name, "$eq", each) for each in value))
            return found if how == "$in" else not_(found)
        column = self._columns[name]
        if name == "tags":
            return self._tagged(column, how, value)
        if how == "$contains" and isinstance(value, str):
            return column.contains(value, autoescape=True)
        if how not in _COMPARE:
            known = ", ".join([*_COMPARE, "$in", "$nin", "$contains"])
            raise Invalid(f"filters: {how[:50]!r} is not known; known are {known}")
        return _COMPARE[how](column, _fitting(name, column, value))

    def _tagged(self, column: ColumnElement[Any], how: str, value: Any) -> ColumnElement[bool]:
        if how not in ("$eq", "$ne", "$contains") or not isinstance(value, str):
            raise Invalid("filters: tags are compared with a word, or with $in and a list of them")
        # In the text of a JSON list a tag stands in quotes, which no tag has within. Not LIKE,
        # since SQLite's takes capitals for small letters.
        has = func.replace(column, json.dumps(value, ensure_ascii=False), "") != column
        return not_(has) if how == "$ne" else has

    def _spend(self, n: int) -> None:
        self._left -= n
        if self._left < 0:
            raise Invalid(f"filters of more than {_MOST} conditions")


def _fitting(name: str, column: ColumnElement[Any], value: Any) -> int | str:
    if name in _TIMES and isinstance(value, str):
        return to_ms(_time(name, value))
    wanted: type[int | str] = int if isinstance(column.type, BigInteger | Integer) else str
    if isinstance(value, bool) or not isinstance(value, wanted):
        kind: Literal["a number", "text"] = "a number" if wanted is int else "text"
        raise Invalid(f"filters: {name} is compared with {kind}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise Invalid(f"filters: {name} is compared with a number of 64 bits")
    return value


def _time(name: str, text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(
            f"filters: {name} is compared with a time like 2026-11-23T12:00:00Z"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
