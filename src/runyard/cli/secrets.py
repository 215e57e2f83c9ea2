"""`runyard secret`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from runyard.cli.options import Entity, Json, Yes
from runyard.cli.tree import branch, examples

app = branch("Write, list and delete secrets that queues and jobs use by name.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="As queues and jobs name it.")]
Description = Annotated[str | None, typer.Option("--description", "-d", help="What it is for.")]
ForJobs = Annotated[
    bool | None,
    typer.Option("--for-jobs/--not-for-jobs", help="Whether jobs may ask for it, not only queues."),
]
_MOST: Final = 64 << 10  # bytes


@app.command(
    "set",
    **examples(
        "runyard secret set hf-token",
        "runyard secret set hf-token -e vision < token.txt",
        "runyard secret set ssh-key -e vision --file ~/.ssh/deploy --for-jobs",
    ),
)
def set_(
    name: Name,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Where the value is, to the last byte.")
    ] = None,
    description: Description = None,
    for_jobs: ForJobs = None,
    entity: Entity = None,
    as_json: Json = False,
) -> None:
    """Write a secret, or a new version of it. Its value can never be read back.

    The value is asked for, or read from a pipe (without its last line end), or from --file. It
    is no argument, since those are seen by everybody on the machine. What runs keeps the value
    that it started with.
    """
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect, entity_or_own

    value = _from_file(file) if file else _asked(name)
    with connect() as api:
        owner = entity_or_own(api, entity)
        made = api.set_secret(owner, name, value, description=description, for_jobs=for_jobs)
    if as_json:
        print_model(made)
        return
    say(f"Wrote version {made.version} of secret {made.entity}/{made.name}.")
    if made.version == 1:
        say(
            "Give it to the jobs of a queue: runyard queue edit QUEUE "
            f"--set config.secrets.VARIABLE={made.name}"
        )


@app.command(
    "edit",
    **examples(
        "runyard secret edit hf-token --for-jobs",
        "runyard secret edit hf-token -e vision -d 'Hugging Face, read only'",
    ),
)
def edit(
    name: Name,
    description: Description = None,
    for_jobs: ForJobs = None,
    entity: Entity = None,
    as_json: Json = False,
) -> None:
    """Change a secret's description, or whether jobs may ask for it; not its value."""
    from runyard.cli.edge import WrongUsage
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect, entity_or_own

    if description is None and for_jobs is None:
        raise WrongUsage("nothing to change", hint="--for-jobs, --not-for-jobs, --description TEXT")
    with connect() as api:
        owner = entity_or_own(api, entity)
        edited = api.edit_secret(owner, name, description=description, for_jobs=for_jobs)
    if as_json:
        print_model(edited)
    else:
        whose = "queues and jobs" if edited.for_jobs else "queues"
        say(f"Secret {edited.entity}/{edited.name} is for {whose}.")


@app.command("list", **examples("runyard secret list", "runyard secret list -e vision --json"))
def list_(entity: Entity = None, as_json: Json = False) -> None:
    """List secrets: names, versions, who wrote them and when. Never the values."""
    from runyard.cli.output import ago, print_models, print_table
    from runyard.cli.session import connect

    with connect() as api:
        if as_json:
            print_models(api.secrets(entity=entity))
            return
        rows = [
            (
                s.entity, s.name, s.version, "yes" if s.for_jobs else "", s.created_by,
                ago(s.updated_at), s.description,
            )
            for s in api.secrets(entity=entity)
        ]  # fmt: skip
    columns = ("entity", "name", "version", "for jobs", "by", "written ago", "description")
    print_table(columns, rows, none="No secrets. Write one: runyard secret set NAME")


@app.command(
    "delete", **examples("runyard secret delete hf-token", "runyard secret delete old --yes")
)
def delete(
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", help="Even while queues name it; their items then fail.")
    ] = False,
    entity: Entity = None,
    yes: Yes = False,
) -> None:
    """Delete a secret for good."""
    from runyard.cli.output import say
    from runyard.cli.questions import confirm
    from runyard.cli.session import connect, entity_or_own

    with connect() as api:
        owner = entity_or_own(api, entity)
        found = api.secret(owner, name)
        confirm(f"Delete secret {owner}/{name}, version {found.version}?", yes=yes)
        api.delete_secret(owner, name, force=force)
    say(f"Deleted secret {owner}/{name}.")


def _asked(name: str) -> str:
    """Return what was typed unseen, or came through a pipe, without its last line end."""
    if sys.stdin.isatty():
        prompt = f"Value of {name} (not shown)"
        return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=True, err=True))
    return _text(sys.stdin.buffer.read(_MOST + 3), "the standard input").removesuffix("\n")


def _from_file(file: Path) -> str:
    from runyard.domain.errors import Invalid

    try:
        with file.expanduser().open("rb") as opened:
            return _text(opened.read(_MOST + 1), str(file))
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}") from error


def _text(data: bytes, where: str) -> str:
    from runyard.domain.errors import Invalid

    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Invalid(
            f"{where} is not text", hint="encode it, and decode it in the job: base64 < FILE"
        ) from None
