"""Every route of the REST API, from its OpenAPI document."""

from __future__ import annotations

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
        parts += [f"### `{method.upper()} {path}`", route.get("summary", "")]
        parts += [route.get("description", ""), *_body(document, route), *_parameters(route)]
        parts.append(_answers(route))
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
        named = [name for name in schemas if name != "any"]
        answers.append(f"{status}" + (f" `{named[0]}`" if named else ""))
    return f"Answers: {', '.join(answers)}." if answers else ""


def _resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema
