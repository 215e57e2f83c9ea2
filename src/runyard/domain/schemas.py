"""
JSON Schema 2020-12 of strangers: checked when it is saved, tried on values within a budget.

The library decides what is valid. What it would do without bounds has bounds here: patterns are
matched in linear time, nothing is fetched from elsewhere, and schemas that refer to themselves
until a small value takes hours run out of steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

from jsonschema import Draft202012Validator, FormatChecker  # type: ignore[import-untyped]
from referencing import Registry

from runyard.domain.errors import TooMuch, Violation
from runyard.domain.patterns import HEAVIEST, Pattern
from runyard.domain.schema_keywords import LISTS, MAPS, PARTIAL, SINGLE, TRIAL, WHOLE, Trial
from runyard.domain.schema_words import nearest, said

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
LARGEST: Final = 64 << 10  # bytes of a schema as JSON
DEEPEST: Final = 32  # schemas within schemas
MOST_PARTS: Final = 2000  # schemas in a schema
STEPS: Final = 100_000  # for one schema and its defaults
HINTS: Final = 200  # names that are searched for the one that was meant
MOST_SHOWN: Final = 50  # violations of one value
_REFUSED: Final = {
    "$id": "schemas have no names of their own here",
    "$anchor": "refer to a part of the schema by its path: #/$defs/NAME",
    "$dynamicAnchor": "refer to a part of the schema by its path: #/$defs/NAME",
    "$dynamicRef": "use $ref with a path: #/$defs/NAME",
    "$vocabulary": "only the ordinary keywords are known",
}


_ANNOTATIONS: Final = (
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
    "$comment", "$schema", "$defs", "definitions", "then", "else", "minContains", "maxContains",
    "contentEncoding", "contentMediaType", "contentSchema", "label", "placeholder",
)  # fmt: skip


class Budget:
    """How much may still be done; shared by all values of a submission."""

    def __init__(self, steps: int = STEPS, hints: int = HINTS) -> None:
        self._left, self._hints = steps, hints

    def near(self, name: str, known: Iterable[str]) -> str:
        """As `nearest`, as long as there are hints left to give."""
        self._hints -= 1
        return nearest(name, known) if self._hints >= 0 else ""

    def spend(self, steps: int) -> None:
        """Take steps.

        Raises:
            TooMuch: there are none left.
        """
        self._left -= steps
        if self._left < 0:
            raise TooMuch(
                "checking the inputs takes too long",
                hint="submit fewer items at once, or make the job's input schemas simpler",
            )


class Schema:
    """A schema that `check_schema` passed, ready to be tried on values.

    `partial` passes values that lack what the schema requires: what is laid over a whole.
    """

    def __init__(self, schema: Mapping[str, Any] | bool, *, partial: bool = False) -> None:
        self._schema = schema
        self._patterns = {text: Pattern(text) for text in _patterns(schema)}
        validator = PARTIAL if partial else WHOLE
        self._validator = validator(schema, registry=Registry())

    def violations(
        self, value: Any, path: str, budget: Budget, *, part: Mapping[str, Any] | None = None
    ) -> list[Violation]:
        """Return what is wrong with a value that is at a dotted path, the first fifty.

        `part` is what of the schema is for this value, if not the whole.

        Raises:
            TooMuch: the budget does not suffice.
        """
        found: dict[Violation, None] = {}
        token = TRIAL.set(Trial(budget.spend, self._patterns))
        try:
            for error in self._validator.descend(value, self._schema if part is None else part):
                found |= dict.fromkeys(said(error, path, budget.near))
                if len(found) >= MOST_SHOWN:
                    break
        except RecursionError:
            return [Violation(path, "its schema refers to itself without end")]
        finally:
            TRIAL.reset(token)
        return list(found)[:MOST_SHOWN]


def check_schema(schema: Any, path: str) -> list[Violation]:
    """Return what is wrong with a schema that somebody wants to save."""
    if not isinstance(schema, Mapping | bool):
        return [Violation(path, "is a JSON schema, so a mapping")]
    if len(json.dumps(schema)) > LARGEST:
        return [Violation(path, f"is larger than {LARGEST >> 10} KiB")]
    parts: dict[str, Any] = {}
    wrong = [Violation(_at(path, where), what) for where, what in _walk(schema, parts)]
    if wrong:
        return wrong
    meta = Draft202012Validator(
        Draft202012Validator.META_SCHEMA, format_checker=FormatChecker(formats=())
    )
    budget = Budget()
    for error in meta.iter_errors(schema):
        wrong += said(error, path, budget.near)
        if len(wrong) >= MOST_SHOWN:
            break
    return wrong[:MOST_SHOWN] or _wrong_defaults(schema, parts, path)


def notes(schema: Any, path: str) -> list[str]:
    """Return what is allowed and surely not meant: keywords that mean nothing."""
    parts: dict[str, Any] = {}
    _gather(schema, "", 0, parts)
    known = [*WHOLE.VALIDATORS, *_ANNOTATIONS]
    return [
        f"{_at(path, where)}.{key}: no keyword of JSON schema{nearest(key, known)}"
        for where, part in parts.items()
        if isinstance(part, Mapping)
        for key in part
        if key not in known and not key.startswith("x-")
    ][:MOST_SHOWN]


def _walk(schema: Any, parts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the library would not mind, by JSON pointer; fill `parts` with all schemas."""
    _gather(schema, "", 0, parts)
    weight = 0
    if len(parts) > MOST_PARTS:
        yield "", f"has more than {MOST_PARTS} parts"
        return
    for where, part in parts.items():
        if part is None:
            yield where, f"is nested deeper than {DEEPEST} schemas"
        if not isinstance(part, Mapping):
            continue
        for key, why in _REFUSED.items():
            if key in part:
                yield f"{where}/{key}", why
        if str(part.get("$schema", DIALECT)).rstrip("#") != DIALECT:
            yield f"{where}/$schema", f"is {DIALECT}"
        if "$ref" in part and (told := _wrong_ref(part["$ref"], parts)):
            yield f"{where}/$ref", told
        for key, text in _patterns_of(part):
            try:
                weight += Pattern(text).weight
            except ValueError as error:
                yield f"{where}/{key}", f"{text[:80]!r}: {error}"
    if weight > HEAVIEST:
        yield "", "has too many and too large patterns"
    keys = {key for part in parts.values() if isinstance(part, Mapping) for key in part}
    if {"patternProperties", "unevaluatedProperties"} <= keys:
        yield "", "patternProperties and unevaluatedProperties cannot be used together"


def _gather(schema: Any, where: str, depth: int, parts: dict[str, Any]) -> None:
    parts[where] = schema if depth <= DEEPEST else None
    if depth > DEEPEST or not isinstance(schema, Mapping):
        return
    for key, below in schema.items():
        if key in SINGLE:
            _gather(below, f"{where}/{key}", depth + 1, parts)
        elif key in LISTS and isinstance(below, list):
            for n, each in enumerate(below):
                _gather(each, f"{where}/{key}/{n}", depth + 1, parts)
        elif key in MAPS and isinstance(below, Mapping):
            for name, each in below.items():
                step = str(name).replace("~", "~0").replace("/", "~1")
                _gather(each, f"{where}/{key}/{step}", depth + 1, parts)


def _wrong_ref(ref: Any, parts: Mapping[str, Any]) -> str:
    if not isinstance(ref, str) or not ref.startswith("#"):
        return f"{ref!r}: only parts of the schema itself can be referred to: #/$defs/NAME"
    return "" if unquote(ref[1:]) in parts else f"{ref!r}: there is no such part of the schema"


def _wrong_defaults(schema: Any, parts: Mapping[str, Any], path: str) -> list[Violation]:
    """A default that is not valid itself would make every submission invalid."""
    wrong = []
    whole, budget = Schema(schema), Budget()
    for where, part in parts.items():
        if isinstance(part, Mapping) and "default" in part:
            place = _at(path, f"{where}/default")
            try:
                wrong += whole.violations(part["default"], place, budget, part=part)
            except TooMuch as error:
                return [Violation(path, error.message)]
    return wrong


def _at(path: str, pointer: str) -> str:
    return path + pointer.replace("/", ".")


def _patterns(schema: Any) -> list[str]:
    parts: dict[str, Any] = {}
    _gather(schema, "", 0, parts)
    return [
        text for part in parts.values() if isinstance(part, Mapping)
        for _, text in _patterns_of(part)
    ]  # fmt: skip


def _patterns_of(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if isinstance(part.get("pattern"), str):
        yield "pattern", part["pattern"]
    if isinstance(part.get("patternProperties"), Mapping):
        for text in part["patternProperties"]:
            yield "patternProperties", str(text)
