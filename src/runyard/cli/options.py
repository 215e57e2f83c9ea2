"""Flags that many commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout, and nothing else.")]
Entity = Annotated[
    str | None,
    typer.Option(
        "--entity", "-e", envvar="RUNYARD_ENTITY", help="User or team; default: yourself."
    ),
]
Project = Annotated[
    str | None,
    typer.Option("--project", "-p", envvar="RUNYARD_PROJECT", help="Project; default: `default`."),
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many to print at most.")]
All = Annotated[bool, typer.Option("--all", help="Print all, however many.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
