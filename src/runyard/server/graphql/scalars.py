"""
The protocol's own scalars.

JSONString is JSON in a string, and may have NaN and Infinity in it, so it is passed on as it came.
JSON is a raw value. Times are RFC 3339 in UTC.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from graphql import GraphQLError, GraphQLScalarType, GraphQLSchema

_MOST_64 = 2**63


def time_text(at: datetime) -> str:
    """Return a time as the protocol writes it, to the millisecond."""
    text = at.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def _json_string(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _json_text(value: Any) -> str:
    if not isinstance(value, str):
        raise GraphQLError("JSONString is a string with JSON in it.")
    return value


def _date_time(value: Any) -> str:
    return time_text(value) if isinstance(value, datetime) else str(value)


def _int64(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise GraphQLError(f"Int64 cannot represent {value!r}.")
    try:
        number = int(value)
    except (ValueError, OverflowError):
        raise GraphQLError(f"Int64 cannot represent {value!r}.") from None
    if not -_MOST_64 <= number < _MOST_64:
        raise GraphQLError(f"Int64 cannot represent {value!r}.")
    return number


def install(schema: GraphQLSchema) -> None:
    """Give the schema's scalars their meaning."""

    def scalar(name: str) -> GraphQLScalarType:
        found = schema.type_map[name]
        assert isinstance(found, GraphQLScalarType)
        return found

    text = scalar("JSONString")
    text.coerce_output_value, text.coerce_input_value = _json_string, _json_text
    scalar("DateTime").coerce_output_value = _date_time
    for name in ("Int64", "Duration"):
        number = scalar(name)
        number.coerce_output_value, number.coerce_input_value = _int64, _int64
