"""How a queue stands, by `runyard queue explain`, and what opens and closes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from runyard.cli.options import Entity, Json
from runyard.cli.tree import examples

if TYPE_CHECKING:
    from runyard.wire.rest_operating import ExplainedOut

QueueName = Annotated[str, typer.Argument(metavar="QUEUE", help="NAME or ENTITY/NAME.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why; shown to who waits.")]


def add_to_queues(app: typer.Typer) -> None:
    """Register what is done to queues."""
    for verb, told, lines in (
        ("pause", "Hand out nothing of a queue; it goes on taking submissions.",
         ('runyard queue pause gpu -m "driver update until 15:00"',)),
        ("drain", "Take no submissions; what waits and runs goes on to its end.",
         ('runyard queue drain old -m "moved to gpu"',)),
    ):  # fmt: skip
        app.command(verb, help=told, **examples(*lines))(_setter(verb))
    app.command("resume", **examples("runyard queue resume gpu"))(resume)
    app.command(
        "explain", **examples("runyard queue explain gpu", "runyard queue explain gpu --json")
    )(explain)
    app.command("schema", **examples("runyard queue schema > policy.schema.json"))(schema)


def _setter(verb: str) -> Callable[..., None]:
    def change(
        name: QueueName, reason: Reason = "", entity: Entity = None, as_json: Json = False
    ) -> None:
        from runyard.cli.output import print_model, say
        from runyard.cli.session import connect, split_queue

        with connect() as api:
            do = api.pause_queue if verb == "pause" else api.drain_queue
            queue = do(*split_queue(api, name, entity), reason)
        if as_json:
            print_model(queue)
        else:
            say(f"Queue {queue.entity}/{queue.name} is {queue.mode}: waiting {queue.pending}, "
                f"running {queue.running}.")  # fmt: skip
            say(f"Open it again: runyard queue resume {queue.entity}/{queue.name}")

    return change


def resume(name: QueueName, entity: Entity = None, as_json: Json = False) -> None:
    """Open a paused or draining queue again."""
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect, split_queue

    with connect() as api:
        queue = api.resume_queue(*split_queue(api, name, entity))
    if as_json:
        print_model(queue)
    else:
        say(f"Queue {queue.entity}/{queue.name} is open.")


def explain(name: QueueName, entity: Entity = None, as_json: Json = False) -> None:
    """Tell how a queue stands: its rules, limits, agents, users, and who is next."""
    from runyard.cli.output import print_fields, print_model, print_table
    from runyard.cli.session import connect, split_queue

    with connect() as api:
        found = api.explain_queue(*split_queue(api, name, entity))
    if as_json:
        print_model(found)
        return
    by = f" by {found.mode_by}" if found.mode_by else ""
    limit = f" of {found.max_running} (max_running)" if found.max_running else ""
    print_fields(
        {
            "Queue": f"{found.entity}/{found.queue}",
            "Mode": found.mode + by + (f": {found.mode_why}" if found.mode_why else ""),
            "Rules": "\n".join(found.rules) or "none but the defaults",
            "Agents": _agents(found),
            "Running": f"{found.running}{limit}",
            "Waiting": str(found.waiting),
            "Held": found.held or None,
            "Backing off": found.backing_off or None,
            "Typical run": None if found.typical_s is None else _length(found.typical_s),
            "Next": ", ".join(found.next),
        }
    )
    if found.users:
        print()
        print_table(
            ("user", "waiting", "running", "may start", "used of late"),
            [
                (u.user, u.waiting, u.running, "any" if u.room is None else u.room,
                 _length(u.used_s))
                for u in found.users
            ],
            none="",
        )  # fmt: skip


def _agents(found: ExplainedOut) -> str:
    agents = found.agents
    if not agents.live:
        return f"none; start one: runyard agent -q {found.queue} -e {found.entity}"
    slots = "without limit" if agents.slots is None else f"of {agents.slots} slots"
    told = f"{agents.live} live, {agents.taken} {slots} taken"
    if resting := agents.live - agents.leasing:
        told += f"\nof these {resting} take nothing new: {agents.aside}"
    return told


def _length(seconds: float) -> str:
    """Return a length of time in the unit that says most."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 or not seconds else "under 1 s"


def schema() -> None:
    """Print the JSON Schema of a queue's policy, for editors."""
    from runyard.cli.output import print_json
    from runyard.domain.policy import json_schema

    print_json(json_schema())
