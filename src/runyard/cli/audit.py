"""`runyard audit`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runyard.cli.options import Json, Limit
from runyard.cli.tree import branch, examples

if TYPE_CHECKING:
    from runyard.wire.rest_audit import AuditOut

app = branch("Read the audit log: who changed what.")
Of = Annotated[
    str | None,
    typer.Option(
        "--entity", "-e", help="Of this team or user; default: all, for admins of the server."
    ),
]
By = Annotated[str | None, typer.Option("--actor", help="Made by this user.")]
What = Annotated[
    str | None, typer.Option("--action", help="What was done: queue.edit, or all of a noun: queue.")
]
Since = Annotated[
    str | None, typer.Option("--since", help="Not before: 7d ago, 2030-01-31, 2030-01-31T12:00.")
]
Until = Annotated[str | None, typer.Option("--until", help="Before; as --since.")]


class Format(StrEnum):
    """One entry a line."""

    JSONL = "jsonl"
    CSV = "csv"


@app.command(
    "list",
    **examples(
        "runyard audit list --entity vision",
        "runyard audit list -e vision --action member --since 7d",
    ),
)
def list_(
    entity: Of = None,
    actor: By = None,
    action: What = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List changes, the newest first."""
    from runyard.cli.output import print_models, print_table
    from runyard.cli.session import connect

    asked = _asked(entity, actor, action, since, until)
    with connect() as api:
        if as_json:
            print_models(api.audit(**asked, limit=limit))
            return
        rows = [
            (e.at, e.actor, e.entity or "(server)", e.action, e.thing, _change(e))
            for e in api.audit(**asked, limit=limit)
        ]
    columns = ("at", "actor", "entity", "action", "thing", "change")
    print_table(columns, rows, none="No changes.")


@app.command(
    "export",
    **examples(
        "runyard audit export --format csv > audit.csv",
        "runyard audit export -e vision --since 2030-01-01 --output audit.jsonl",
    ),
)
def export(
    format: Annotated[Format, typer.Option("--format", help="One entry a line.")] = Format.JSONL,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new file; default: stdout.")
    ] = None,
    entity: Of = None,
    actor: By = None,
    action: What = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Write the whole log, the oldest entry first."""
    from runyard.cli.edge import WrongUsage
    from runyard.cli.session import connect

    asked = _asked(entity, actor, action, since, until)
    with connect() as api:
        pieces = api.export_audit(format=format.value, **asked)
        if output is None:
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return
        first = next(pieces, b"")  # a refusal leaves no empty file behind
        try:
            with output.open("xb") as file:
                file.write(first)
                file.writelines(pieces)
        except FileExistsError:
            raise WrongUsage(f"{output} is there already", hint="choose another file") from None


def _asked(
    entity: str | None, actor: str | None, action: str | None, since: str | None, until: str | None
) -> dict[str, Any]:
    from runyard.cli.times import moment

    return {
        "entity": entity,
        "actor": actor,
        "action": action,
        "since": moment(since, "--since"),
        "until": moment(until, "--until"),
    }


def _change(entry: AuditOut) -> str:
    """Return what changed in a few words: `role viewer → member`."""
    before, after = entry.before or {}, entry.after or {}
    if entry.before is None or entry.after is None:
        return ", ".join(f"{k} {_word(v)}" for k, v in {**before, **after}.items())
    return ", ".join(
        f"{k} {_word(before.get(k))} → {_word(after.get(k))}" for k in {**before, **after}
    )


def _word(value: Any) -> str:
    import json

    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"
