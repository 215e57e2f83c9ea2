"""`runyard apply`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from runyard.cli.options import Json, Yes
from runyard.cli.tree import examples, leaf

if TYPE_CHECKING:
    from runyard.client.api import Api
    from runyard.sdk.platform import Plan, Step
    from runyard.sdk.platform.applying import Values

app = leaf()
DIFFERS = 2


@app.command(
    **examples(
        "runyard apply -f platform.yaml --dry-run",
        "runyard apply -f platform.yaml",
        "runyard apply -f teams/ -f queues.yaml --prune",
        "runyard apply -f platform.yaml --check       (for CI: exit code 2 if anything differs)",
        "runyard apply --schema > platform.schema.json",
    )
)
def apply(
    files: Annotated[
        list[str] | None,
        typer.Option(
            "--file",
            "-f",
            metavar="PATH",
            help="A YAML file, a directory with some, or - for standard input. Repeatable.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "--plan", help="Show what would be done, and do nothing.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="As --dry-run, with exit code 2 if anything differs.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Delete what a section of the document does not name. Never users or teams.",
        ),
    ] = False,
    rewrite_secrets: Annotated[
        bool,
        typer.Option(
            "--rewrite-secrets",
            help="Write secrets anew that are there already; their values cannot be compared.",
        ),
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of the document, and leave.")
    ] = False,
    signing: Annotated[
        str | None,
        typer.Option(
            "--signing-secrets",
            metavar="FILE",
            help="Write here what signs the deliveries of new webhooks; else a terminal shows it.",
        ),
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> int:
    """Make the server have what YAML files say: teams, members, queues, secrets and more.

    What differs is shown, then asked about, then done. Applying again changes nothing. At the
    first error it stops and says what was done; running it again goes on from there.
    """  # fmt: skip
    import os

    from runyard.cli import planned
    from runyard.cli.edge import WrongUsage
    from runyard.cli.output import print_json
    from runyard.cli.session import connect
    from runyard.sdk import platform

    if schema:
        print_json(platform.json_schema())
        return 0
    if not files:
        raise WrongUsage("nothing to apply was given", hint="runyard apply -f platform.yaml")
    wanted = platform.read_files(files)
    with connect() as api:
        plan = platform.plan(
            wanted,
            platform.read_state(api, wanted),
            prune=prune,
            rewrite_secrets=rewrite_secrets,
        )
        if not as_json:
            planned.print_plan(plan)
        if dry_run or check or not plan.steps:
            if as_json:
                print_json(planned.as_json(plan, applied=False))
            if check and plan.differs:
                return DIFFERS
            return 1 if plan.missing and not (dry_run or check) else 0
        values = platform.check_sources(plan, os.environ)
        _ask(plan, api.base_url, yes=yes)
        return _apply(api, plan, values, signing=signing, as_json=as_json)


def _ask(plan: Plan, server: str, *, yes: bool) -> None:
    from runyard.cli.edge import WrongUsage
    from runyard.cli.output import say
    from runyard.cli.questions import confirm

    full = [step for step in plan.pruned if step.waiting]
    if full and not yes:
        named = ", ".join(f"{step.key} ({step.waiting})" for step in full)
        raise WrongUsage(
            f"deleting would cancel waiting items: {named}",
            hint="wait for them, or add --yes to delete the queues all the same",
        )
    confirm(f"Apply {_count(plan.steps, 'step')} to {server}?", yes=yes)
    if plan.pruned:
        for step in plan.pruned:
            say(f"  {step}")
        confirm(f"Delete {_count(plan.pruned, 'thing')} for good?", yes=yes)


def _apply(api: Api, plan: Plan, values: Values, *, signing: str | None, as_json: bool) -> int:
    from runyard.cli import planned
    from runyard.cli.edge import FAILURE, report
    from runyard.cli.output import print_json, say
    from runyard.sdk import platform

    def told(step: Step, shown: str | None) -> None:
        say(f"done: {step}")
        if shown is not None:
            _keep(step, shown, signing)

    try:
        done = platform.apply(api, plan, values, told=told)
    except platform.Stopped as error:
        report(error, FAILURE)
        if as_json:
            print_json(
                planned.as_json(
                    plan,
                    applied=False,
                    done=len(error.done),
                    error={"code": error.code, "message": error.message, "hint": error.hint},
                )
            )
        say(f"{len(error.done)} of {len(plan.steps)} steps were done. Not done:")
        for step in (error.step, *error.left):
            say(f"  {step}")
        say("Mend the cause and run it again: it goes on from there.")
        return FAILURE
    if as_json:
        print_json(planned.as_json(plan, applied=True, done=len(done)))
    for key in plan.missing:
        say(planned.missing(key))
    if not plan.missing:
        say(f"Applied {_count(done, 'step')}.")
    return FAILURE if plan.missing else 0


def _keep(step: Step, secret: str, file: str | None) -> None:
    """Hand over a secret that is shown this once; never to a log."""
    import os
    import sys

    from runyard.cli.output import say

    if file is not None:
        mode = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with os.fdopen(os.open(file, mode, 0o600), "a", encoding="utf-8") as kept:
            kept.write(f"{step.key.owner}/{step.key.name}={secret}\n")
    elif sys.stderr.isatty():
        say(f"  its deliveries are signed with {secret} (shown this once)")
    else:
        say("  what signs its deliveries is not shown here: --signing-secrets FILE keeps it")


def _count(things: Sequence[object], name: str) -> str:
    return f"1 {name}" if len(things) == 1 else f"{len(things)} {name}s"
