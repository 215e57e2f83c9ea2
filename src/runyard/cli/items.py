"""`runyard item`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from runyard.cli.operating import add_to_items
from runyard.cli.options import All, Entity, Json, Limit
from runyard.cli.tree import branch, examples

if TYPE_CHECKING:
    from runyard.wire.rest import ItemDetail

app = branch("List, show, hold, move, retry and cancel what was submitted.")
Id = Annotated[str, typer.Argument(metavar="ITEM", help="The item's id; see: item list.")]


@app.command(
    "list",
    **examples(
        "runyard item list",
        "runyard item list -q gpu --state PENDING --all",
        "runyard item list --author ada --json",
    ),
)
def list_(
    queue: Annotated[
        str | None, typer.Option("--queue", "-q", help="Only of this queue: NAME or ENTITY/NAME.")
    ] = None,
    state: Annotated[
        str | None, typer.Option(help="PENDING, LEASED, CLAIMED, FINISHED, FAILED or CANCELLED.")
    ] = None,
    author: Annotated[str | None, typer.Option(help="Only of this user.")] = None,
    entity: Entity = None,
    limit: Limit = 50,
    everything: All = False,
    as_json: Json = False,
) -> None:
    """List items, the newest first."""
    from runyard.cli.output import ago, print_models, print_table
    from runyard.cli.session import connect, split_queue

    with connect() as api:
        if queue:
            entity, queue = split_queue(api, queue, entity)
        found = api.items(
            entity=entity,
            queue=queue,
            state=state.upper() if state else None,
            author=author,
            limit=None if everything else limit,
        )
        if as_json:
            print_models(found)
            return
        rows = [
            (
                i.id,
                f"{i.queue_entity}/{i.queue}",
                i.status,
                i.run.run_id,
                i.job or "",
                i.author,
                i.agent,
                ago(i.created_at),
                "" if i.exit_code is None else i.exit_code,
            )
            for i in found
        ]
    columns = ("item", "queue", "status", "run", "job", "author", "agent", "age", "exit")
    print_table(columns, rows, none="No items. Submit one: runyard launch --help")


@app.command("show", **examples("runyard item show ITEM", "runyard item show ITEM --json"))
def show(item_id: Id, as_json: Json = False) -> None:
    """Show an item: what will run, how it got on, what went wrong."""
    from runyard.cli.output import print_model
    from runyard.cli.session import connect

    with connect() as api:
        item = api.item(item_id)
    if as_json:
        print_model(item)
    else:
        _print(item)


add_to_items(app)


def _print(item: ItemDetail) -> None:
    from runyard.cli.output import print_fields, print_table

    run = item.run
    print_fields(
        {
            "Item": item.id,
            "Status": f"{item.status} ({item.state})",
            "Reason": item.reason,
            "Queue": f"{item.queue_entity}/{item.queue}",
            "Run": f"{run.entity}/{run.project}/{run.run_id}",
            "Name": run.name,
            "Job": item.job,
            "Author": item.author,
            "Agent": item.agent,
            "Attempt": item.attempt or None,
            "Requeues": item.requeues or None,
            "Retries": item.retries or None,
            "Waits because": item.waiting.why if item.waiting else None,
            "Place": item.waiting.ahead + 1
            if item.waiting and item.waiting.ahead is not None
            else None,
            "Starts about": item.waiting.starts_at if item.waiting else None,
            "Waits until": item.expires_at if item.waiting else None,
            "Queued": item.enqueued_at,
            "Started": item.started_at,
            "Ended": item.ended_at,
            "Exit code": item.exit_code,
            "Failed at": item.failure.stage if item.failure else None,
            "Failure": item.failure.message if item.failure else None,
            "Detail": item.failure.detail if item.failure else None,
            "Build log": f"runyard logs {item.id} --stage build"
            if item.stage_logs.get("build")
            else None,
            "Spec": item.spec,
        }
    )
    if item.warnings:
        print("\nWarnings")
        rows = [(w.at, w.stage, w.message) for w in item.warnings]
        print_table(("at", "stage", "message"), rows, none="")
    if item.events:
        print("\nEvents")
        events = [(e.at, e.was or "", e.became, e.actor, e.detail) for e in item.events]
        print_table(("at", "was", "became", "by", "detail"), events, none="")
