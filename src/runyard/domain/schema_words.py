"""What the library finds wrong with a value, in our words: dotted paths, short texts."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from runyard.domain.errors import Violation

if TYPE_CHECKING:  # it takes long to import, and the command line uses this module
    from jsonschema.exceptions import ValidationError  # type: ignore[import-untyped]

_LONGEST: Final = 80  # characters of a value that is shown
_LONGEST_NAME: Final = 40
_MOST_NAMES: Final = 64
_TEXTS: Final = {
    "minimum": "{value} is less than the minimum {limit}",
    "maximum": "{value} is more than the maximum {limit}",
    "exclusiveMinimum": "{value} is not more than {limit}",
    "exclusiveMaximum": "{value} is not less than {limit}",
    "const": "{value} is not {limit}, the only value",
    "minLength": "{value} is shorter than {limit} characters",
    "maxLength": "{value} is longer than {limit} characters",
    "minItems": "has fewer than {limit} elements",
    "maxItems": "has more than {limit} elements",
    "minProperties": "has fewer than {limit} keys",
    "maxProperties": "has more than {limit} keys",
    "contains": "has no element as its schema asks for, or too few or many of them",
    "not": "{value} is what its schema excludes",
    "unevaluatedItems": "has elements that its schema does not know",
}


Near = Callable[[str, Iterable[str]], str]  # as `nearest`; it may have had enough


def said(error: ValidationError, path: str, near: Near) -> Iterator[Violation]:
    """Yield what one error means, with places below the dotted `path`."""
    where = ".".join([path, *map(str, error.absolute_path)]) if path else dotted(error)
    keyword = error.validator
    if keyword in ("anyOf", "oneOf") and error.context:
        yield from _choices(error, path, where, near)
    elif keyword == "additionalProperties" and error.message == "unknown":
        yield Violation(where, _unknown(error, near))
    elif keyword == "required" or keyword not in _SAID:
        yield Violation(where, _cut(error.message, 200))
    else:
        yield Violation(where, _SAID[keyword](error, near))


def dotted(error: ValidationError) -> str:
    return ".".join(map(str, error.absolute_path))


def shown(value: Any) -> str:
    """Return a value as JSON, cut where it is long."""
    return _cut(json.dumps(value, ensure_ascii=False, default=str), _LONGEST)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` if one of the known names is like it, else nothing.

    Looking costs much for what it is worth: only few and short names are compared.
    """
    if len(name) > _LONGEST_NAME:
        return ""
    short = (each for each in known if len(each) <= _LONGEST_NAME)
    near = difflib.get_close_matches(name, list(islice(short, _MOST_NAMES)), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _choices(error: ValidationError, path: str, where: str, near: Near) -> Iterator[Violation]:
    """Say what is wrong with the choice that was meant: the one whose type it has."""
    branches: dict[Any, list[ValidationError]] = {}
    for each in error.context or ():
        steps = each.relative_schema_path
        branches.setdefault(steps[0] if steps else None, []).append(each)
    meant = [b for b in branches.values() if not any(_is_other_kind(e, error) for e in b)]
    if len(meant) == 1:
        for each in meant[0]:
            yield from said(each, path, near)
        return
    told = [v.message for b in branches.values() for e in b[:1] for v in said(e, path, near)]
    yield Violation(where, _cut("is none of its choices: " + "; or ".join(told[:5]), 300))


def _is_other_kind(error: ValidationError, parent: ValidationError) -> bool:
    at_top = len(error.absolute_path) == len(parent.absolute_path)
    return at_top and error.validator in (None, "type", "const", "enum")


def _unknown(error: ValidationError, near: Near) -> str:
    name = str(error.path[-1])
    known = error.schema.get("properties", {}) if isinstance(error.schema, Mapping) else {}
    return "unknown" + near(name, known)


def _of_type(error: ValidationError, _: Near) -> str:
    types = error.validator_value
    wanted = " or ".join(types) if isinstance(types, list) else types
    return f"{shown(error.instance)} is not of type {wanted}"


def _of_enum(error: ValidationError, near: Near) -> str:
    choices = error.validator_value
    more = ", …" if len(choices) > 20 else ""
    hint = ""
    if isinstance(error.instance, str):
        hint = near(error.instance, (c for c in choices if isinstance(c, str)))
    return f"{shown(error.instance)} is none of {', '.join(map(shown, choices[:20]))}{more}{hint}"


def _plainly(text: str) -> Any:
    return lambda error, _: text.format(
        value=shown(error.instance), limit=shown(error.validator_value)
    )


_SAID: Final = {
    "type": _of_type,
    "enum": _of_enum,
    **{keyword: _plainly(text) for keyword, text in _TEXTS.items()},
}


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
