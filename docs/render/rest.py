"""Every route of the REST API, from its OpenAPI document."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

from . import table
from .schema import described, kind

METHODS = ("get", "head", "post", "put", "patch", "delete")


def page(document: dict[str, Any]) -> str:
    parts = [
        "# REST API",
        "Everything that the command line does goes through these routes. Send an API key as "
        "`Authorization: Bearer KEY`. Errors are `application/problem+json` with a stable "
        "[code](errors.md); lists are paged by `cursor`. The machine-readable document is served "
        "at `/api/v1/openapi.json`.",
    ]
    group = ""
    for path, method, route in routes(document):
        if (tag := (route.get("tags") or ["other"])[0]) != group:
            group = tag
            parts.append(f"## {group}")
        parts += [
            f"### `{method.upper()} {path}`",
            route.get("description") or route.get("summary", ""),
        ]
        parts += [*_body(document, route), *_parameters(route), _answers(route)]
    parts += ["## Shapes", *_shapes(document)]
    return "\n\n".join(part for part in parts if part) + "\n"


def routes(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and operation, those of one tag together, in the order of the document."""
    every = [
        (path, method, operations[method])
        for path, operations in document["paths"].items()
        for method in METHODS
        if method in operations
    ]
    tags = list(dict.fromkeys((route.get("tags") or ["other"])[0] for _, _, route in every))
    yield from sorted(every, key=lambda each: tags.index((each[2].get("tags") or ["other"])[0]))


def _parameters(route: dict[str, Any]) -> list[str]:
    rows = [
        (
            f"`{each['name']}`",
            each["in"] + (", required" if each.get("required") else ""),
            kind(each.get("schema", {})),
            each.get("description", ""),
        )
        for each in route.get("parameters", [])
    ]
    return [table(("parameter", "in", "type", "meaning"), rows)] if rows else []


def _body(document: dict[str, Any], route: dict[str, Any]) -> list[str]:
    content = route.get("requestBody", {}).get("content", {})
    parts = []
    for media, body in content.items():
        named = _resolve(document, body.get("schema", {}))
        fields = described(named, document.get("components", {}).get("schemas", {}))
        parts.append(f"Body: `{media}`" + ("" if fields else "."))
        if fields:
            rows = [(f"`{field.name}`", field.kind, field.default, field.text) for field in fields]
            parts.append(table(("field", "type", "default", "meaning"), rows))
    return parts


def _answers(route: dict[str, Any]) -> str:
    answers = []
    for status, answer in route.get("responses", {}).items():
        schemas = [kind(body.get("schema", {})) for body in answer.get("content", {}).values()]
        answers.append(f"{status} {_link(schemas[0]) if schemas else ''}".strip())
    return f"Answers: {', '.join(answers)}." if answers else ""


def _link(shape: str) -> str:
    """Point to a shape; a page of shapes is a list of them and the cursor of the next page."""
    if paged := re.fullmatch(r"Page_(\w+)_", shape):
        return f"page of {_link(paged[1])}"
    return f"[`{shape}`](#{shape.lower()})" if shape[:1].isupper() else ""


def _shapes(document: dict[str, Any]) -> Iterator[str]:
    named = document["components"]["schemas"]
    used = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    for name in sorted(used):
        if name.startswith("Page_") or name.endswith("In") or "properties" not in named[name]:
            continue
        yield f"### {name}"
        yield inspect.cleandoc(named[name].get("description", ""))
        rows = [(f"`{f.name}`", f.kind, f.text) for f in described(named[name], {})]
        yield table(("field", "type", "meaning"), rows)


def _resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema
