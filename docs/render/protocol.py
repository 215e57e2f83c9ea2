"""What the tracking client may ask for: operations, features and types, from the schema itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from . import table


def page(schema: Any, features: Mapping[str, bool]) -> str:
    parts = [PROSE]
    for heading, kind in (("Queries", "Query"), ("Mutations", "Mutation")):
        rows = [
            (f"`{name}`", _arguments(field), f"`{field.type}`")
            for name, field in sorted(schema.type_map[kind].fields.items())
        ]
        parts += [f"## {heading}", table(("operation", "arguments", "answers"), rows)]
    rows_of_features = [
        (f"`{name}`", "on" if is_on else "off") for name, is_on in sorted(features.items())
    ]
    parts += ["## Features", FEATURES, table(("feature", "is"), rows_of_features)]
    parts += ["## Types", *_types()]
    return "\n\n".join(parts) + "\n"


def _arguments(field: Any) -> str:
    return ", ".join(f"`{name}: {argument.type}`" for name, argument in field.args.items())


def _types() -> Iterator[str]:
    """Yield the files of the schema: each has its title in its first line."""
    folder = resources.files("runyard.server.graphql") / "schema"
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if file.name.endswith(".graphql"):
            yield _section(file.read_text("utf-8").splitlines())


def _section(lines: Sequence[str]) -> str:
    title = lines[0].removeprefix("#").strip().rstrip(".")
    text = "\n".join(lines[1:]).strip()
    return f"### {title}\n\n``` {{.graphql}}\n{text}\n```"


PROSE = """\
# Tracking protocol

What this server answers of the protocol that the `wandb` client speaks: `POST /graphql`, with an
API key as the password of HTTP Basic. Introspection tells the same. How to use the client is in
[The wandb client](../guides/wandb.md).

What is missing, or not yours to see, is null in a query and an error with status 404 in a mutation.
A mutation is done as a whole or not at all. A document has at most 1,000 fields, 24 levels and 16
operations, and 20 seconds.

Beside it there are `POST /files/ENTITY/PROJECT/RUN/file_stream`, which takes what a run logs, and
signed links to files, which the answers hold. Neither is meant to be written by hand."""

FEATURES = """\
The client asks which features a server has, and takes other ways where one is off. Registries and
automations are off as a whole."""
