"""
The keywords of JSON Schema 2020-12, within bounds.

They are the library's, but each pays for what it looks at and for what it says, and those that
would match patterns, or compare everything with everything, are our own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from fractions import Fraction
from typing import Any, Final

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import ValidationError  # type: ignore[import-untyped]
from jsonschema.validators import extend  # type: ignore[import-untyped]

from runyard.domain.patterns import LONGEST_TEXT, Pattern

MAPS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
SINGLE: Final = (
    "items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else",
    "unevaluatedItems", "unevaluatedProperties", "contentSchema",
)  # fmt: skip
Errors = Iterator[ValidationError]


class Trial:
    """What the keywords need beside their value, while one value is tried."""

    def __init__(self, spend: Callable[[int], None], patterns: Mapping[str, Pattern]) -> None:
        self._patterns = patterns
        self.spend = spend

    def matches(self, pattern: str, text: str) -> bool:
        found = self._patterns[pattern]
        self.spend(1 + len(text) * found.weight // 2000)
        return found.found_in(text)


TRIAL: ContextVar[Trial] = ContextVar("trial")


def _bounded(name: str, keyword: Any) -> Any:
    """Return a keyword of the library that pays for what it looks at, and for what it says."""

    def tried(validator: Any, value: Any, instance: Any, schema: Any) -> Errors:
        spend = TRIAL.get().spend
        spend(1 + (len(value) if isinstance(value, list | dict) else 0) // 4)
        if isinstance(instance, list | dict) and name in _LOOPS:
            spend(len(instance) if name in _PLAIN_LOOPS else len(instance) ** 2 // 100)
        for error in keyword(validator, value, instance, schema) or ():
            spend(20 + _size(error.instance if name in _APPLY else instance) // 20)
            yield error

    return tried


_PLAIN_LOOPS: Final = frozenset(
    {"items", "contains", "propertyNames", "additionalProperties", "patternProperties"}
)
_LOOPS: Final = _PLAIN_LOOPS | {"unevaluatedItems", "unevaluatedProperties"}
_APPLY: Final = frozenset({*MAPS, *LISTS, *SINGLE, "$ref"}) - {"anyOf", "oneOf", "not"}


def _size(value: Any) -> int:
    """Return about how much text a value is."""
    size, left = 0, [value]
    while left:
        one = left.pop()
        size += len(one) if isinstance(one, str | list | dict) else 1
        if isinstance(one, list | dict):
            left += one.values() if isinstance(one, dict) else one
    return size


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Errors:
    if not isinstance(instance, str):
        return
    if len(instance) > LONGEST_TEXT:
        yield ValidationError(f"is longer than {LONGEST_TEXT} characters")
    elif not TRIAL.get().matches(pattern, instance):
        yield ValidationError(f"{instance[:80]!r} does not match the pattern {pattern}")


def _pattern_properties(validator: Any, value: Any, instance: Any, _: Any) -> Errors:
    if isinstance(instance, dict):
        for pattern, schema in value.items():
            for key in instance:
                if _matches(pattern, key):
                    yield from validator.descend(instance[key], schema, path=key)


def _additional_properties(validator: Any, value: Any, instance: Any, schema: Any) -> Errors:
    if not isinstance(instance, dict):
        return
    patterns = schema.get("patternProperties", {})
    for key in instance:
        if key in schema.get("properties", {}) or any(_matches(p, key) for p in patterns):
            continue
        if value is False:
            yield ValidationError("unknown", path=(key,))
        else:
            yield from validator.descend(instance[key], value, path=key)


def _matches(pattern: str, key: str) -> bool:
    return len(key) <= LONGEST_TEXT and TRIAL.get().matches(pattern, key)


def _required(_: Any, names: list[str], instance: Any, __: Any) -> Errors:
    if isinstance(instance, dict):
        for name in names:
            if name not in instance:
                yield ValidationError("is required", path=(name,))


def _unique_items(_: Any, unique: bool, instance: Any, __: Any) -> Errors:
    if unique and isinstance(instance, list):
        TRIAL.get().spend(_size(instance) // 20)
        texts = [json.dumps(_plain(each), sort_keys=True) for each in instance]
        if len(set(texts)) < len(texts):
            yield ValidationError("has an element twice")


def _plain(value: Any) -> Any:
    """Write numbers that are equal in the same way: 1.0 is 1."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_plain(each) for each in value]
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case _:
            return value


def _multiple_of(_: Any, step: float, instance: Any, __: Any) -> Errors:
    """As decimal numbers: 0.3 is a multiple of 0.1."""
    is_number = isinstance(instance, int | float) and not isinstance(instance, bool)
    if is_number and Fraction(repr(instance)) % Fraction(repr(step)):
        yield ValidationError(f"{instance} is not a multiple of {step}")


_OWN: Final = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "required": _required,
    "uniqueItems": _unique_items,
    "multipleOf": _multiple_of,
}
_KEYWORDS: Final = {
    name: _bounded(name, keyword)
    for name, keyword in {**Draft202012Validator.VALIDATORS, **_OWN}.items()
}
WHOLE: Final = extend(Draft202012Validator, _KEYWORDS)
_NOT_OF_PARTS: Final = ("required", "dependentRequired", "minProperties")
PARTIAL: Final = extend(
    Draft202012Validator, {**_KEYWORDS, **dict.fromkeys(_NOT_OF_PARTS, lambda *_: None)}
)
