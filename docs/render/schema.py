"""The fields of a pydantic model, nested ones with their dotted names, from its JSON schema."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from . import table

_LIMITS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "above",
    "exclusiveMaximum": "below",
    "minLength": "shortest",
    "maxLength": "longest",
    "pattern": "pattern",
}


@dataclass(frozen=True)
class Field:
    """One row: `name` is dotted, `default` is empty where a value must be given."""

    name: str
    kind: str
    default: str
    text: str


def page(title: str, model: type[BaseModel]) -> str:
    rows = [(f"`{f.name}`", f.kind, f.default, f.text) for f in fields_of(model)]
    parts = [f"# {title}", inspect.cleandoc(model.__doc__ or "")]
    return "\n\n".join([*parts, table(("name", "type", "default", "meaning"), rows)]) + "\n"


def fields_of(model: type[BaseModel]) -> list[Field]:
    schema = model.model_json_schema()
    return described(schema, schema.get("$defs", {}))


def described(schema: Mapping[str, Any], named: Mapping[str, Any], prefix: str = "") -> list[Field]:
    """Return the fields of an object; `named` is where `$ref` points into."""
    fields = []
    for name, each in schema.get("properties", {}).items():
        must = name in schema.get("required", ())
        fields.append(
            Field(
                prefix + name,
                kind(each),
                "required" if must else _default(each),
                " ".join(filter(None, [each.get("description", ""), _limits(each)])),
            )
        )
        if below := _object(each, named):
            fields += described(below, named, f"{prefix}{name}.")
    return fields


def kind(schema: Mapping[str, Any]) -> str:
    """Say in a word or two what values a schema takes."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            kinds = [kind(each) for each in schema[key] if each.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if schema.get("type") == "array":
        return f"list of {kind(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def _default(schema: Mapping[str, Any]) -> str:
    if "default" not in schema or schema["default"] is None:
        return ""
    return f"`{json.dumps(schema['default'])}`"


def _limits(schema: Mapping[str, Any]) -> str:
    found = [
        f"{word} {each[key]}"
        for each in (schema, *schema.get("anyOf", ()))
        for key, word in _LIMITS.items()
        if key in each
    ]
    return f"({', '.join(found)})" if found else ""


def _object(schema: Mapping[str, Any], named: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for each in (schema, *schema.get("anyOf", ()), *schema.get("allOf", ())):
        below: Mapping[str, Any] = named.get(str(each.get("$ref", "")).rpartition("/")[2], {})
        if "properties" in below:
            return below
    return None
