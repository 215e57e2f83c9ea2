"""`runyard images`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from runyard.cli.options import All, Entity, Json, Limit, Yes
from runyard.cli.tree import branch, examples

if TYPE_CHECKING:
    from runyard.client.api import Api
    from runyard.wire.rest_images import ImageOut, PrunedImage, PrunedOut, PruneIn

app = branch("List the images that agents have built; delete those that nothing needs.")
Repository = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only of this repository, without a tag.")
]
_SHOWN_OF_ID: Final = 14
_UNITS: Final = ("kB", "MB", "GB", "TB")


class State(StrEnum):
    """What has become of an image."""

    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"
    DOOMED = "doomed"


@app.command(
    "list",
    **examples(
        "runyard images list",
        "runyard images list -e vision --unused-for 30d",
        "runyard images list --state failed --job vision/digits/train",
        "runyard images list --repository registry.example.com/ml/jobs --all --json",
    ),
)
def list_(
    entity: Entity = None,
    repository: Repository = None,
    job: Annotated[
        str | None, typer.Option("--job", "-j", help="Only of jobs whose path begins so.")
    ] = None,
    state: Annotated[
        State | None, typer.Option(case_sensitive=False, help="Only in this state.")
    ] = None,
    unused_for: Annotated[
        str | None, typer.Option(metavar="TIME", help="Used by no item for so long: 30d, 12h.")
    ] = None,
    limit: Limit = 50,
    everything: All = False,
    as_json: Json = False,
) -> None:
    """List images that agents have built or found, the newest first.

    `doomed` are those that an agent is about to delete. In use are those that items run now.
    """
    from runyard.cli.output import ago, print_models, print_table
    from runyard.cli.session import connect
    from runyard.cli.times import moment

    since = moment(unused_for, "--unused-for")
    with connect() as api:
        found = api.images(
            entity=entity,
            state=state.value.upper() if state else None,
            repository=repository,
            job=job,
            unused_since=since,
            limit=None if everything else limit,
        )
        if as_json:
            print_models(found)
            return
        rows = [
            (
                _name(image), image.state.lower(), image.job, size(image.size),
                ago(image.built_at), ago(image.used_at), image.in_use or "", _place(image),
                image.error.partition("\n")[0],
            )
            for image in found
        ]  # fmt: skip
    columns = ("image", "state", "job", "size", "built", "used", "in use", "kept by", "error")
    print_table(columns, rows, none="No images. Agents with a builder make them.")


@app.command(
    "prune",
    **examples(
        "runyard images prune --unused-for 30d --dry-run",
        "runyard images prune -e vision --older-than 30d --unused-for 14d --keep-last 2",
        "runyard images prune --repository registry.example.com/ml/jobs --unused-for 90d --yes",
    ),
)
def prune(
    older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Built or found so long ago: 30d, 12h.")
    ] = None,
    unused_for: Annotated[
        str | None, typer.Option(metavar="TIME", help="Used by no item for so long.")
    ] = None,
    keep_last: Annotated[
        int, typer.Option(metavar="N", min=0, help="Keep the newest N of each job.")
    ] = 0,
    repository: Repository = None,
    entity: Entity = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete images by age and use. Never one that something waiting or running needs.

    All conditions together have to hold. The agents that build for a repository, or whose engine
    keeps an image, delete it the next time that they ask; until then it is `doomed`.
    """
    from runyard.cli.edge import WrongUsage
    from runyard.cli.output import ago, print_model, print_table, say
    from runyard.cli.questions import confirm
    from runyard.cli.session import connect
    from runyard.cli.times import seconds
    from runyard.wire.rest_images import PruneIn

    if not (older_than or unused_for or keep_last):
        raise WrongUsage(
            "nothing says which images may go",
            hint="give --older-than, --unused-for or --keep-last: --unused-for 30d",
        )
    asked = PruneIn(
        entity=entity,
        older_than_s=seconds(older_than, "--older-than") if older_than else None,
        unused_for_s=seconds(unused_for, "--unused-for") if unused_for else None,
        repository=repository,
        keep_last=keep_last,
        dry_run=True,
    )
    with connect() as api:
        planned = api.prune_images(asked)
        if not as_json:
            rows = [
                (_name(i), i.job, size(i.size), ago(i.used_at), _place(i)) for i in planned.images
            ]
            columns = ("image", "job", "size", "used", "kept by")
            print_table(columns, rows, none="No image may go.")
        if dry_run or not (planned.images or planned.failed):
            print_model(planned) if as_json else say(_told(planned, "Would go"))
            return
        more = ", and as many more as there are" if planned.more else ""
        confirm(f"Delete {_number(planned)}{more}?", yes=yes)
        done = _pruned(api, asked.model_copy(update={"dry_run": False}))
    print_model(done) if as_json else say(_told(done, "Left to the agents to delete"))


def _pruned(api: Api, asked: PruneIn) -> PrunedOut:
    """Let go all that may, some thousands with each request."""
    answers = [api.prune_images(asked)]
    while answers[-1].more and (answers[-1].images or answers[-1].failed):
        answers.append(api.prune_images(asked))
    return answers[-1].model_copy(
        update={
            "images": [image for answer in answers for image in answer.images],
            "bytes": sum(answer.bytes for answer in answers),
            "failed": sum(answer.failed for answer in answers),
        }
    )


def size(n: int) -> str:
    """Return a number of bytes as people read it; nothing for 0, which is not known."""
    if n < 1000:
        return f"{n} bytes" if n else ""
    amount, unit = n / 1000, 0
    while amount >= 1000 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.1f} {_UNITS[unit]}"


def _name(image: ImageOut | PrunedImage) -> str:
    return f"{image.repository}:{image.tag}"


def _place(image: ImageOut | PrunedImage) -> str:
    """Name the engine that keeps an image; of its id, what tells it from others."""
    kind, _, name = image.place.partition(":")
    return f"docker:{name[:_SHOWN_OF_ID]}" if kind == "docker" else image.place


def _number(pruned: PrunedOut) -> str:
    images = "1 image" if len(pruned.images) == 1 else f"{len(pruned.images)} images"
    known = f" ({size(pruned.bytes)})" if pruned.bytes else ""
    return f"{images}{known}"


def _told(pruned: PrunedOut, verb: str) -> str:
    told = [f"{verb}: {_number(pruned)}"]
    if pruned.failed:
        told.append(f"builds that failed, to be forgotten: {pruned.failed}")
    if pruned.needed:
        told.append(f"kept for what waits or runs: {pruned.needed}")
    if pruned.more:
        told.append("there are more")
    return "; ".join(told) + "."
