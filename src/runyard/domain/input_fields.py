"""
What a schema says of the keys of a mapping: which there are, what they are when nobody says.

Only what holds whatever the value is gives defaults: the schema itself, what it refers to, and
all that it is composed of by `allOf`. Each part is looked at once, so a schema that refers to
itself ends here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Protocol
from urllib.parse import unquote

from runyard.domain.schema_words import shown

Part = Mapping[str, Any]
_NOTHING: Final = object()
_CLOSING: Final = ("additionalProperties", "unevaluatedProperties", "patternProperties")
_LIMITS: Final = {
    "minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}",
    "multipleOf": "multiple of {}", "minLength": "at least {} characters",
    "maxLength": "at most {} characters", "pattern": "matches {}", "minItems": "at least {}",
    "maxItems": "at most {}",
}  # fmt: skip
MOST_FIELDS: Final = 500


@dataclass(frozen=True, slots=True)
class InputField:
    """One key as people read it. `default` is JSON, empty if there is none."""

    name: str
    type: str
    default: str
    bounds: str
    description: str


class Bounded(Protocol):
    """What may still be done; see `schemas.Budget`."""

    def spend(self, steps: int) -> None: ...

    def near(self, name: str, known: Iterable[str]) -> str: ...


class Filling:
    """Lays defaults under values; `spend` is told how much work each one is."""

    def __init__(self, root: Any, spend: Callable[[int], None]) -> None:
        self._root, self._spend = root, spend

    def filled(self, value: Part, schema: Any, making: frozenset[int] = frozenset()) -> Part:
        """Return `value` with the defaults of the keys that it lacks, at every depth."""
        result = dict(value)
        for part in self._parts(schema):
            for name, below in _properties(part):
                self._spend(1)
                if name in result:
                    result[name] = self._below(result[name], below, making)
                elif (found := self._default(below, making)) is not _NOTHING:
                    result[name] = found
        return result

    def _below(self, value: Any, schema: Any, making: frozenset[int]) -> Any:
        if isinstance(value, Mapping):
            return self.filled(value, schema, making)
        if isinstance(value, list):
            for part in self._parts(schema):
                if isinstance(part.get("items"), Mapping):
                    value = [self._below(each, part["items"], making) for each in value]
        return value

    def _default(self, schema: Any, making: frozenset[int]) -> Any:
        parts = self._parts(schema)
        for part in parts:
            if "default" in part:
                self._spend(1 + len(repr(part["default"])) // 20)
                return self._below(part["default"], schema, making)
        if id(schema) in making or not any("properties" in part for part in parts):
            return _NOTHING
        # A mapping that nobody gave is made of its keys' defaults, if they are all it needs.
        made = self.filled({}, schema, making | {id(schema)})
        needed = {name for part in parts for name in part.get("required", ())}
        return made if made and needed <= made.keys() else _NOTHING

    def _parts(self, schema: Any) -> list[Part]:
        parts = parts_of(schema, self._root)
        self._spend(1 + len(parts) // 2)
        return parts


def unknown_keys(value: Any, schema: Any, root: Any, path: str, budget: Bounded) -> Iterator[str]:
    """Yield a sentence for each key that no part of the schema speaks of."""
    if not isinstance(value, Mapping):
        return
    parts = parts_of(schema, root, maybe=True)
    budget.spend(1 + (len(parts) + len(value)) // 2)
    known: dict[str, list[Any]] = {}
    for part in parts:
        for name, below in _properties(part):
            known.setdefault(name, []).append(below)
    is_open = bool(known) and not any(key in part for part in parts for key in _CLOSING)
    for key, below in value.items():
        if key in known:
            yield from unknown_keys(below, {"anyOf": known[key]}, root, f"{path}.{key}", budget)
        elif is_open:
            yield f"{path}.{key[:128]}: is no input of the job{budget.near(key, known)}"


def fields_of(schema: Any) -> list[InputField]:
    """Return the keys of a schema's values, those of mappings below by their dotted names."""
    return list(islice(_fields(schema, schema, "", ()), MOST_FIELDS))


def _fields(schema: Any, root: Any, prefix: str, above: tuple[int, ...]) -> Iterator[InputField]:
    here = frozenset(id(part) for part in parts_of(schema, root))
    if here & set(above):
        return  # it refers to itself
    needed = {n for part in parts_of(schema, root) for n in part.get("required", ())}
    told = set()
    for part in parts_of(schema, root, maybe=True):
        for name, below in _properties(part):
            if name in told:
                continue
            told.add(name)
            yield _field(prefix + name, parts_of(below, root, maybe=True), name in needed)
            yield from _fields(below, root, f"{prefix}{name}.", (*above, *here))


def _field(name: str, parts: list[Part], is_required: bool) -> InputField:
    def first(key: str) -> Any:
        return next((part[key] for part in parts if key in part), None)

    types: dict[str, None] = {}
    for part in parts:
        said = part.get("type", ())
        types |= dict.fromkeys([said] if isinstance(said, str) else said)
    bounds = [text.format(first(key)) for key, text in _LIMITS.items() if first(key) is not None]
    if choices := first("enum"):
        bounds.append("one of " + ", ".join(map(shown, choices[:20])))
    has_default = any("default" in part for part in parts)
    return InputField(
        name=name,
        type=" or ".join(types),
        default=shown(first("default")) if has_default else "(required)" if is_required else "",
        bounds=", ".join(bounds),
        description=str(first("description") or first("title") or ""),
    )


def parts_of(schema: Any, root: Any, *, maybe: bool = False) -> list[Part]:
    """Return what applies to a value in its place; with `maybe` also what may apply to it."""
    found: dict[int, Part] = {}
    left = [schema]
    while left:
        part = left.pop()
        if not isinstance(part, Mapping) or id(part) in found:
            continue
        found[id(part)] = part
        if isinstance(part.get("$ref"), str):
            left.append(_referred(part["$ref"], root))
        left += part.get("allOf", ())
        if maybe:
            left += [*part.get("anyOf", ()), *part.get("oneOf", ())]
            left += [part.get(key) for key in ("if", "then", "else")]
            left += part.get("dependentSchemas", {}).values()
    return list(found.values())


def _referred(ref: str, root: Any) -> Any:
    """Return the part of the schema that a reference means; None if there is none."""
    part = root
    for step in unquote(ref.removeprefix("#")).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(part, list):
            part = part[int(name)] if name.isdigit() and int(name) < len(part) else None
        else:
            part = part.get(name) if isinstance(part, Mapping) else None
    return part


def _properties(part: Part) -> list[tuple[str, Any]]:
    return list(part.get("properties", {}).items())
