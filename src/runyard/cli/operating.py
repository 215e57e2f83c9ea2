"""What `runyard item` does to what waits, one by one or by filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from runyard.cli.modes import Reason
from runyard.cli.options import Entity, Json, Yes
from runyard.cli.tree import examples

if TYPE_CHECKING:
    from pydantic import BaseModel

    from runyard.client.api import Api
    from runyard.wire.rest import ItemOut
    from runyard.wire.rest_operating import SelectedOut, SelectIn

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ITEM...]", help="Ids of items.")]
OfQueue = Annotated[
    str | None,
    typer.Option("--queue", "-q", help="All of this queue that the other flags do not rule out."),
]
Author = Annotated[str | None, typer.Option(help="With --queue: only of this user.")]
OfPriority = Annotated[
    str | None, typer.Option("--of-priority", help="With --queue: only of this priority.")
]
Job = Annotated[
    str | None, typer.Option("--of-job", help="With --queue: only of jobs that begin with this.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would be done to; do not.")]
_MOST_UNASKED: Final = 1  # items that are changed without a question


def add_to_items(app: typer.Typer) -> None:
    """Register what is done to items."""
    app.command("hold", **examples(
        'runyard item hold ITEM -m "wait for the new data"',
        "runyard item hold -q gpu --author ada",
    ))(hold)  # fmt: skip
    app.command("release", **examples("runyard item release ITEM", "runyard item release -q gpu"))(
        release
    )
    app.command("priority", **examples(
        "runyard item priority high ITEM", "runyard item priority low -q gpu --author ada --yes",
    ))(priority)  # fmt: skip
    app.command(
        "move", **examples("runyard item move gpu-big ITEM", "runyard item move gpu2 -q gpu")
    )(move)
    app.command("cancel", **examples(
        "runyard item cancel ITEM", "runyard item cancel -q gpu --author ada --dry-run",
    ))(cancel)  # fmt: skip
    app.command("retry", **examples(
        "runyard item retry ITEM",
        """runyard item retry ITEM -c '{"template_variables": {"mem_gb": 64}}'""",
        "runyard item retry -q gpu --of-job lab/vision/train --yes",
    ))(retry)  # fmt: skip
    app.command("why", **examples("runyard item why ITEM"))(why)


def hold(
    ids: Ids = None, queue: OfQueue = None, author: Author = None, of_priority: OfPriority = None,
    job: Job = None, reason: Reason = "", entity: Entity = None, dry_run: DryRun = False,
    yes: Yes = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Keep waiting items from being started until they are released."""
    _do("hold", ids, queue, entity, yes, as_json, dry_run,
        author=author, of_priority=of_priority, job=job, reason=reason,
        held=None if ids else False)  # fmt: skip


def release(
    ids: Ids = None, queue: OfQueue = None, author: Author = None, of_priority: OfPriority = None,
    job: Job = None, entity: Entity = None, dry_run: DryRun = False, yes: Yes = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Let held items go; what backs off before a retry goes at once."""
    _do("release", ids, queue, entity, yes, as_json, dry_run,
        author=author, of_priority=of_priority, job=job, held=None if ids else True)  # fmt: skip


def priority(
    level: Annotated[str, typer.Argument(help="critical, high, medium or low.")],
    ids: Ids = None, queue: OfQueue = None, author: Author = None, of_priority: OfPriority = None,
    job: Job = None, entity: Entity = None, dry_run: DryRun = False, yes: Yes = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Change the priority of waiting items, where the queue has priorities."""
    _do("priority", ids, queue, entity, yes, as_json, dry_run,
        author=author, of_priority=of_priority, job=job, priority=level)  # fmt: skip


def move(
    to: Annotated[str, typer.Argument(help="The queue to move to, of the same owner.")],
    ids: Ids = None, queue: OfQueue = None, author: Author = None, of_priority: OfPriority = None,
    job: Job = None, entity: Entity = None, dry_run: DryRun = False, yes: Yes = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Take waiting items to another queue, to its end; their runs stay the same."""
    _do("move", ids, queue, entity, yes, as_json, dry_run,
        author=author, of_priority=of_priority, job=job, to_queue=to)  # fmt: skip


def cancel(
    ids: Ids = None, queue: OfQueue = None, author: Author = None, of_priority: OfPriority = None,
    job: Job = None, entity: Entity = None, dry_run: DryRun = False, yes: Yes = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Take items out of their queue; the run of one that has begun is stopped.

    By filter only what waits is cancelled, never what runs.
    """
    _do("cancel", ids, queue, entity, yes, as_json, dry_run,
        author=author, of_priority=of_priority, job=job)  # fmt: skip


def retry(
    ids: Ids = None, queue: OfQueue = None, author: Author = None, job: Job = None,
    changes: Annotated[
        str | None,
        typer.Option("--config", "-c", help="A launch spec laid over the item's: a file or JSON."),
    ] = None,
    entity: Entity = None, dry_run: DryRun = False, yes: Yes = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Submit items that have ended once more, with changes: new items with new runs.

    By filter those that failed.
    """
    from runyard.cli.documents import mapping

    _do("retry", ids, queue, entity, yes, as_json, dry_run,
        author=author, job=job, changes=mapping(changes, "--config"))  # fmt: skip


def why(item_id: Annotated[str, typer.Argument(metavar="ITEM")], as_json: Json = False) -> None:
    """Say in a sentence why an item waits, its place, and about when it will start."""
    from runyard.cli.output import print_fields, print_json, say
    from runyard.cli.session import connect

    with connect() as api:
        item = api.item(item_id)
    if as_json:
        print_json(item.waiting and item.waiting.model_dump(mode="json"))
        return
    if item.waiting is None:
        told = f": {item.reason}" if item.reason else ""
        say(f"Item {item.id} does not wait. It is {item.status}{told}.")
        return
    place = None if item.waiting.ahead is None else item.waiting.ahead + 1
    print_fields({"Why": item.waiting.why, "Place": place, "Starts about": item.waiting.starts_at})


_FILTERS: Final = {"--author": "author", "--of-priority": "of_priority", "--of-job": "job"}
_DONE: Final = {
    "hold": "held",
    "release": "released",
    "priority": "changed in priority",
    "move": "moved",
    "cancel": "cancelled",
    "retry": "tried again",
}


# -- one by one, or by filter ----------------------------------------------------------------


def _do(
    verb: str, ids: list[str] | None, queue: str | None, entity: str | None, yes: bool,
    as_json: bool, dry_run: bool, **said: Any,
) -> None:  # fmt: skip
    from runyard.cli.edge import WrongUsage
    from runyard.cli.session import connect, split_queue

    if bool(ids) == bool(queue):
        raise WrongUsage(
            f"name the items to {verb}, or a queue with --queue: one of the two",
            hint=f"runyard item {verb} --help",
        )
    filters = [flag for flag, name in _FILTERS.items() if said.get(name)]
    if ids and (filters or dry_run):
        raise WrongUsage(
            f"{(filters or ['--dry-run'])[0]} goes with --queue, not with ids of items",
            hint="leave out one of the two",
        )
    with connect() as api:
        if queue:
            owner, name = split_queue(api, queue, entity)
            _by_filter(api, owner, name, verb, said, yes=yes, as_json=as_json, dry_run=dry_run)
        else:
            _one_by_one(api, ids or [], verb, said, as_json=as_json)


def _one_by_one(
    api: Api, ids: list[str], verb: str, said: dict[str, Any], *, as_json: bool
) -> None:
    from runyard.cli.output import print_models, say

    done: list[BaseModel] = []
    for item_id in ids:  # told one by one: a later one may be refused
        if verb == "retry":
            made = api.retry_item(item_id, said["changes"])
            done.append(made)
            told = f"{item_id} is tried again as {made.id}, run {made.run.run_id}."
        else:
            item = _one(api, item_id, verb, said)
            done.append(item)
            told = f"{item.id} {_became(item, verb)}."
        if not as_json:
            say(told)
    if as_json:
        print_models(done)


def _became(item: ItemOut, verb: str) -> str:
    if verb == "priority":
        from runyard.domain.queues import PRIORITIES

        return f"has priority {list(PRIORITIES)[item.priority]}"
    if verb == "move":
        return f"is in queue {item.queue_entity}/{item.queue}"
    return f"is {item.status}" + (f" ({item.parked_why})" if item.parked else "")


def _one(api: Api, item_id: str, verb: str, said: dict[str, Any]) -> ItemOut:
    match verb:
        case "hold":
            return api.hold_item(item_id, said["reason"])
        case "release":
            return api.release_item(item_id)
        case "priority":
            return api.reprioritise_item(item_id, said["priority"])
        case "move":
            return api.move_item(item_id, said["to_queue"])
        case _:
            return api.cancel_item(item_id)


def _by_filter(
    api: Api, entity: str, queue: str, verb: str, said: dict[str, Any], *, yes: bool,
    as_json: bool, dry_run: bool,
) -> None:  # fmt: skip
    from runyard.cli.output import print_json, say
    from runyard.cli.questions import confirm
    from runyard.wire.rest_operating import SelectIn

    body = {"action": verb, **said}
    body["queue"] = body.pop("to_queue", None)
    select = SelectIn(**{name: value for name, value in body.items() if value not in (None, {})})
    done = _all_of_them(api, entity, queue, select, dry_run=True)
    if not dry_run:
        if len(done.changed) > _MOST_UNASKED:
            question = f"{verb.capitalize()}: {len(done.changed)} items of {entity}/{queue}. Go on?"
            confirm(question, yes=yes)
        done = _all_of_them(api, entity, queue, select, dry_run=False)
    if as_json:
        print_json(done.model_dump(mode="json", exclude={"next"}))
        return
    n, would = len(done.changed), "would be " if dry_run else ""
    say(f"{n} item{'' if n == 1 else 's'} of {entity}/{queue} {would}{_DONE[verb]}.")
    for item_id, reason in list(done.refused.items())[:10]:
        say(f"  refused {item_id}: {reason}")
    if len(done.refused) > 10:
        say(f"  … and {len(done.refused) - 10} more")


def _all_of_them(
    api: Api, entity: str, queue: str, select: SelectIn, *, dry_run: bool
) -> SelectedOut:
    """Go through the whole selection, some hundred items at a time."""
    total: SelectedOut | None = None
    after: str | None = None
    while total is None or after is not None:
        some = select.model_copy(update={"dry_run": dry_run, "after": after})
        part = api.select_items(entity, queue, some)
        after = part.next
        if total is None:
            total = part
        else:
            total.changed += part.changed
            total.refused |= part.refused
    return total
