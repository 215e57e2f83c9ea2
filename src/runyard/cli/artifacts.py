"""`runyard artifact`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runyard.cli.options import All, Entity, Json, Limit, Project
from runyard.cli.tree import branch, examples

if TYPE_CHECKING:
    from runyard.client.api import Api

app = branch("List and show what runs have logged; download it.")
Name = Annotated[
    str,
    typer.Argument(metavar="ARTIFACT", help="[ENTITY/]PROJECT/NAME[:ALIAS]; default: `latest`."),
]


@app.command(
    "list",
    **examples(
        "runyard artifact list -p digits",
        "runyard artifact list -p digits --type model",
        "runyard artifact list -p digits --all --json",
    ),
)
def list_(
    entity: Entity = None,
    project: Project = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only of this type.")] = None,
    limit: Limit = 50,
    everything: All = False,
    as_json: Json = False,
) -> None:
    """List the artifacts of a project, the newest first."""
    from runyard.cli.output import ago, print_models, print_table
    from runyard.cli.session import connect

    with connect() as api:
        found = api.artifacts(
            entity or api.me().name,
            project or "default",
            type=type_,
            limit=None if everything else limit,
        )
        if as_json:
            print_models(found)
            return
        rows = [
            (f"{c.entity}/{c.project}/{c.name}", c.type, c.versions, ago(c.created_at))
            for c in found
        ]
    print_table(("artifact", "type", "versions", "age"), rows, none="No artifacts.")


@app.command(
    "show",
    **examples(
        "runyard artifact show digits/model", "runyard artifact show digits/model:v3 --json"
    ),
)
def show(artifact: Name, as_json: Json = False) -> None:
    """Show a version: its aliases, size and metadata, and the versions beside it."""
    from itertools import islice

    from runyard.cli.output import print_fields, print_model
    from runyard.cli.session import connect

    with connect() as api:
        where = _parts(api, artifact)
        found = api.artifact(*where)
        if as_json:
            print_model(found)
            return
        beside = islice(api.artifact_versions(*where[:3]), 10)
        versions = [f"v{v.version} {', '.join(v.aliases)}".strip() for v in beside]
    print_fields(
        {
            "Artifact": f"{found.entity}/{found.project}/{found.name}:v{found.version}",
            "Type": found.type,
            "Aliases": ", ".join(found.aliases),
            "Tags": ", ".join(found.tags),
            "Files": f"{found.files:,}",
            "Size": f"{found.size:,} bytes",
            "Digest": found.digest,
            "Created": found.created_at,
            "Description": found.description,
            "Metadata": "" if found.metadata == "{}" else found.metadata,
            "Versions": "\n".join(versions),
        }
    )


@app.command(
    "download",
    **examples(
        "runyard artifact download digits/model:best",
        "runyard artifact download digits/model:v3 --into weights",
    ),
)
def download(
    artifact: Name,
    into: Annotated[
        Path | None, typer.Option(help="A directory; default: NAME-vN here.", file_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Download the files of a version, each checked against its digest.

    What a version only refers to is not fetched; its addresses are printed.
    """
    from runyard.cli.output import print_json, say
    from runyard.cli.progress import Bar
    from runyard.cli.session import connect

    with connect() as api, Bar() as bar:
        where = _parts(api, artifact)
        found = api.artifact(*where)
        root = into or Path(f"{found.name}-v{found.version}")
        root.mkdir(parents=True, exist_ok=True)
        done, paths, elsewhere = 0, [], []

        def progress(size: int) -> None:
            nonlocal done
            done += size
            bar("downloading", done, found.size)

        for file in api.artifact_files(*where[:3], f"v{found.version}"):
            if file.is_reference:
                elsewhere.append(file)
                continue
            paths.append(str(api.download_file(file, root, progress)))
    if as_json:
        print_json(
            {"into": str(root), "files": paths, "references": {f.path: f.url for f in elsewhere}}
        )
        return
    for file in elsewhere:
        say(f"not fetched: {file.path} refers to {file.url}")
    say(f"{len(paths)} files in {root}")


def _parts(api: Api, text: str) -> tuple[str, str, str, str]:
    """Return entity, project, name and alias.

    Raises:
        Invalid: it is not such a name.
    """
    from runyard.domain.errors import Invalid

    path, _, alias = text.partition(":")
    words = path.split("/")
    if not 2 <= len(words) <= 3 or not all(words):
        raise Invalid(f"{text!r} is not [ENTITY/]PROJECT/NAME[:ALIAS]")
    entity, project, name = words if len(words) == 3 else (api.me().name, *words)
    return entity, project, name, alias or "latest"
