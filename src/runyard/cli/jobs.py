"""`runyard job`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from runyard.cli.options import Entity, Json, Project
from runyard.cli.tree import branch, examples

app = branch("Save jobs from an image, a git commit or a directory.")


class Kind(StrEnum):
    """What a job is made of."""

    GIT = "git"
    CODE = "code"
    IMAGE = "image"


@app.command(
    "create",
    **examples(
        'runyard job create code . -E "python train.py" --name digits',
        "runyard job create git https://github.com/you/code.git -g main -E 'python train.py'",
        "runyard job create image ghcr.io/you/train:1.2 -a stable",
        'runyard job create code . -E "python train.py" --inputs inputs.yaml',
    ),
)
def create(
    kind: Annotated[Kind, typer.Argument(help="What PATH is.")],
    path: Annotated[str, typer.Argument(help="A directory, a git address, or an image.")],
    project: Project = None,
    entity: Entity = None,
    name: Annotated[
        str | None,
        typer.Option("--name", "-n", envvar="RUNYARD_JOB_NAME", help="Default: made of PATH."),
    ] = None,
    description: Annotated[str, typer.Option("--description", "-d", help="For people.")] = "",
    aliases: Annotated[
        list[str] | None, typer.Option("--alias", "-a", help="Another name. Repeatable.")
    ] = None,
    entry_point: Annotated[
        str | None,
        typer.Option(
            "--entry-point",
            "-E",
            help="The command to run; default: python main.py, or what a --dockerfile says.",
        ),
    ] = None,
    git_hash: Annotated[
        str | None, typer.Option("--git-hash", "-g", help="Branch, tag or commit.")
    ] = None,
    runtime: Annotated[
        str | None, typer.Option("--runtime", "-r", help="Python version: 3.N.")
    ] = None,
    build_context: Annotated[
        str | None, typer.Option("--build-context", "-b", help="Directory within the code.")
    ] = None,
    base_image: Annotated[
        str | None, typer.Option("--base-image", "-B", help="Build its image upon this one.")
    ] = None,
    dockerfile: Annotated[
        str | None, typer.Option("--dockerfile", "-D", help="Build by this; a path in the context.")
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            "--inputs",
            "-i",
            metavar="FILE",
            help="Schemas of what the job takes, YAML or JSON. Default: as the newest version.",
        ),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            "--secret",
            metavar="VARIABLE=NAME",
            help="Give the job a secret that is for jobs. Repeatable.",
        ),
    ] = None,
    service: Annotated[
        list[str] | None, typer.Option("--service", "-s", metavar="NAME=POLICY", hidden=True)
    ] = None,
    as_json: Json = False,
) -> None:
    """Save a version of a job. The same content again makes no new version."""
    from runyard.cli.documents import mapping
    from runyard.cli.launch_flags import words
    from runyard.cli.output import print_model, say
    from runyard.cli.progress import Bar
    from runyard.cli.session import connect, entity_or_own
    from runyard.client import making
    from runyard.client.inputs import declared
    from runyard.domain.jobs import SourceKind

    recipe = making.Recipe(
        kind=SourceKind(kind.value),
        path=path,
        name=name,
        entry_point=words(entry_point),
        ref=git_hash,
        runtime=runtime,
        build_context=build_context,
        base_image=base_image,
        dockerfile=dockerfile,
        services=_services(service or []),
        secrets=_secrets(secret or []),
        aliases=aliases or [],
        description=description,
        inputs=None if inputs is None else declared(mapping(inputs, "--inputs")),
    )
    with connect() as api, Bar() as bar:
        owner = entity_or_own(api, entity)
        with making.drafted(recipe, environ=os.environ, progress=bar) as draft:
            for note in draft.notes:
                say(f"note: {note}")
            version = making.save(api, owner, project or "default", draft, bar)
    if as_json:
        print_model(version)
        return
    if not version.created:
        say(f"No changes detected for {version.path}")
    else:
        say(f"{'Created' if version.version == 0 else 'Updated'} {version.path}")
    say(f"Aliases: {', '.join(version.aliases)}")
    say(f"Run it: runyard launch -j {version.path} -q default")


@app.command("list", **examples("runyard job list", "runyard job list -p vision --json"))
def list_(project: Project = None, entity: Entity = None, as_json: Json = False) -> None:
    """List jobs with their newest version and its aliases."""
    from runyard.cli.output import print_models, print_table
    from runyard.cli.session import connect

    with connect() as api:
        found = api.jobs(entity=entity, project=project)
        if as_json:
            print_models(found)
            return
        rows = [
            (
                f"{j.entity}/{j.project}/{j.name}",
                f"v{j.latest}",
                j.aliases[:10],
                j.description.partition("\n")[0][:60],
            )
            for j in found
        ]
    columns = ("job", "newest", "aliases", "description")
    print_table(columns, rows, none="No jobs found. Make one: runyard job create --help")


@app.command(
    "describe",
    **examples("runyard job describe digits", "runyard job describe vision/digits/train:v3"),
)
def describe(
    job: Annotated[str, typer.Argument(metavar="JOB", help="[ENTITY/][PROJECT/]NAME[:ALIAS]")],
    project: Project = None,
    entity: Entity = None,
    as_json: Json = False,
) -> None:
    """Show a version of a job, and which others there are."""
    from itertools import islice

    from runyard.cli.output import print_fields, print_model
    from runyard.cli.session import connect, entity_or_own
    from runyard.domain.jobs import JobRef

    ref = JobRef.parse(job)
    with connect() as api:
        owner = ref.entity or entity_or_own(api, entity)
        where = ref.project or project or "default"
        version = api.job_version(owner, where, ref.name, ref.alias)
        if as_json:
            print_model(version)
            return
        others = [f"v{v.version}" for v in islice(api.job_versions(owner, where, ref.name), 11)]
    source = {field.replace("_", " "): value for field, value in version.source.items()}
    print_fields(
        {
            "Job": version.path,
            "Aliases": version.aliases,
            "Description": version.description,
            **{field.capitalize(): _shown(value) for field, value in source.items()},
            "Created": version.created_at,
            "By": version.created_by,
            "Versions": ", ".join(others[:10]) + (", …" if len(others) > 10 else ""),
        }
    )
    _inputs(version.input_schemas)


def _inputs(schemas: Mapping[str, Any]) -> None:
    from runyard.cli.output import print_table
    from runyard.domain.input_fields import fields_of
    from runyard.domain.input_names import CONFIG

    for name, schema in schemas.items():
        print("\nInputs" if name == CONFIG else f"\nInputs in {name}")
        rows = [(f.name, f.type, f.default, f.bounds, f.description) for f in fields_of(schema)]
        columns = ("name", "type", "default", "bounds", "description")
        print_table(columns, rows, none="anything: the schema names no keys")


def _shown(value: object) -> object:
    import shlex

    return shlex.join(map(str, value)) if isinstance(value, list) else value


def _secrets(given: list[str]) -> dict[str, str]:
    from runyard.cli.edge import WrongUsage

    secrets = {}
    for word in given:
        variable, equals, name = word.partition("=")
        if not (variable and equals and name):
            raise WrongUsage(
                "--secret is not VARIABLE=NAME",  # not quoted: it may be a value
                hint="write the value with `runyard secret set NAME --for-jobs` first",
            )
        secrets[variable] = name
    return secrets


def _services(given: list[str]) -> dict[str, str]:
    from runyard.cli.edge import WrongUsage

    services = {}
    for word in given:
        name, equals, policy = word.partition("=")
        if not equals or not name or policy not in ("always", "never"):
            raise WrongUsage(f"--service {word!r} is not NAME=always or NAME=never")
        services[name] = policy
    return services
