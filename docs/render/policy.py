"""The rules of a queue's policy, and the fields of its retry rules, from their JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runyard.domain.policy import json_schema
from runyard.domain.rules import RULES

from . import table
from .schema import kind

# The schema says what a field takes, not what it is for.
RETRY = {
    "at_most": "how many retries an item may have in all",
    "exit_codes": "matches these exit codes of the program; empty: any failure",
    "stages": "matches failures at these stages; empty: at any",
    "reasons": "matches if the failure's text contains one of these, in any case; empty: any text",
    "backoff": "seconds before the first retry",
    "backoff_factor": "how many times as long as the one before each further pause is",
    "backoff_max": "longest pause, in seconds",
    "config": "settings of the resource, laid over the item's from then on",
    "queue": "where it waits from then on: a queue of the same owner and resource",
}


def page() -> str:
    rules = json_schema()["properties"]
    retry = rules["retry"]["items"]["properties"]
    fields = [(f"`{n}`", values(each), _default(each), RETRY[n]) for n, each in retry.items()]
    parts = [
        PROSE,
        table(("rule", "values", "default", "may be narrowed", "meaning"), map(_rule, rules)),
        "## Retry rules",
        "`retry` is a list of these. The first that matches a failure decides.",
        table(("field", "values", "default", "meaning"), fields),
    ]
    return "\n\n".join(parts) + "\n"


def _rule(name: str) -> tuple[str, ...]:
    each = json_schema()["properties"][name]
    may = "yes" if RULES[name].narrows else ""
    return f"`{name}`", values(each), _default(each), may, each["description"]


def values(schema: Mapping[str, Any]) -> str:
    """Say what a rule takes: its kind, and the bounds of a number."""
    if schema.get("type") == "array":
        below = schema.get("items", {})
        return "list of retry rules" if "properties" in below else f"list of {values(below)}"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "minimum" in schema:
        return f"{kind(schema)}, {schema['minimum']} to {schema['maximum']}"
    return {"object": "mapping", "boolean": "`true`, `false`"}.get(kind(schema), kind(schema))


def _default(schema: Mapping[str, Any]) -> str:
    default = schema.get("default")
    if default in (None, []):
        return ""
    if isinstance(default, list):
        return ", ".join(f"`{each}`" for each in default)
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


PROSE = """\
# Queue policy

The rules of a queue, as `--policy` of `runyard queue create` and `edit` takes them, and as
`policy` in [a platform](../guides/as-code.md). [Policies](../guides/policies.md) explains them with
examples. `runyard queue schema` prints the same as a JSON Schema.

A submission may narrow the rules that say so for its own items, as far as the queue's own rule
`narrow` names them."""
