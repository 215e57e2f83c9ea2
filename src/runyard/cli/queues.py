"""`runyard queue`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from runyard.cli.modes import add_to_queues
from runyard.cli.options import Entity, Json, Yes
from runyard.cli.tree import branch, examples

if TYPE_CHECKING:
    from runyard.wire.rest import LinkModel, QueueOut, QueuePatch

app = branch("Create, list, show, edit, pause, drain, explain and delete queues.")
Name = Annotated[str, typer.Argument(metavar="QUEUE", help="NAME or ENTITY/NAME.")]
Config = Annotated[
    str | None,
    typer.Option(
        "--config", "-c", help="The resource's settings: a YAML or JSON file, inline JSON, or -."
    ),
]
Vars = Annotated[
    str | None,
    typer.Option(
        "--variables",
        help="What members may set in a config with {{name}}: types and bounds; a file or JSON.",
    ),
]
Links = Annotated[
    list[str] | None,
    typer.Option("--link", metavar="LABEL=URL", help="A page that belongs to it. Repeatable."),
]
About = Annotated[str | None, typer.Option("--description", help="What it is for.")]
Policy = Annotated[
    str | None, typer.Option("--policy", help="The queue's rules: a file, inline JSON, or -.")
]


@app.command(
    "create",
    **examples(
        "runyard queue create cpu --resource local-process",
        """runyard queue create gpu --resource local-container --config '{"gpus": "all"}'""",
        """runyard queue create team/gpu -r local-container --policy '{"priorities": true}'""",
        """runyard queue create gpu -r local-container -c '{"gpus": "{{gpus}}"}' """
        """--variables '{"gpus": {"type": "integer", "default": 1, "maximum": 4}}'""",
    ),
)
def create(
    name: Name,
    resource: Annotated[
        str, typer.Option("--resource", "-r", help="local-process, local-container, …")
    ],
    config: Config = None,
    variables: Vars = None,
    policy: Policy = None,
    link: Links = None,
    description: About = None,
    entity: Entity = None,
    as_json: Json = False,
) -> None:
    """Create a queue: what it runs on, with which settings, under which rules."""
    from runyard.cli.documents import mapping
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect, split_queue
    from runyard.wire.rest import QueueIn

    settings, rules = mapping(config, "--config"), mapping(policy, "--policy")
    with connect() as api:
        owner, plain = split_queue(api, name, entity)
        made = api.create_queue(
            QueueIn(
                entity=owner,
                name=plain,
                resource=resource,
                config=settings,
                variables=mapping(variables, "--variables"),
                policy=rules,
                links=_links(link),
                description=description or "",
            )
        )
    if as_json:
        print_model(made)
    else:
        say(f"Created queue {made.entity}/{made.name} on {made.resource}.")
        say(f"Serve it on this machine: runyard agent -q {made.name} -e {made.entity}")


@app.command("list", **examples("runyard queue list", "runyard queue list -e vision --json"))
def list_(entity: Entity = None, as_json: Json = False) -> None:
    """List the queues that you may see, with what waits and runs in each."""
    from runyard.cli.output import print_models, print_table
    from runyard.cli.session import connect

    with connect() as api:
        if as_json:
            print_models(api.queues(entity=entity))
            return
        rows = [
            (q.entity, q.name, q.resource, q.mode, q.pending, q.running, q.agents)
            for q in api.queues(entity=entity)
        ]
    print_table(
        ("entity", "name", "resource", "mode", "waiting", "running", "agents"),
        rows,
        none="No queues. Create one: runyard queue create NAME --resource local-process",
    )


@app.command("show", **examples("runyard queue show gpu", "runyard queue show vision/gpu --json"))
def show(name: Name, entity: Entity = None, as_json: Json = False) -> None:
    """Show a queue: its resource, its settings and its rules."""
    from runyard.cli.output import print_model
    from runyard.cli.session import connect, split_queue

    with connect() as api:
        queue = api.queue(*split_queue(api, name, entity))
    if as_json:
        print_model(queue)
    else:
        _print(queue)


@app.command(
    "edit",
    **examples(
        "runyard queue edit gpu",
        "runyard queue edit gpu --set config.gpus=2 --set policy.max_requeues=0",
        "runyard queue edit gpu --set config.builder.base_image=registry.example.com/python:3.11",
        "runyard queue edit gpu --config new.yaml",
    ),
)
def edit(
    name: Name,
    config: Config = None,
    variables: Vars = None,
    policy: Policy = None,
    link: Links = None,
    description: About = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one value, say config.gpus=2; the value is read as YAML. Repeatable.",
        ),
    ] = None,
    entity: Entity = None,
    as_json: Json = False,
) -> None:
    """Change a queue's settings and rules; without a flag, in your $EDITOR.

    What waits in the queue keeps the settings that it was submitted with.
    """
    from runyard.cli.documents import mapping
    from runyard.cli.output import print_model, say
    from runyard.cli.planned import print_difference
    from runyard.cli.session import connect, split_queue
    from runyard.wire.rest import QueuePatch

    change = QueuePatch(
        config=mapping(config, "--config") if config else None,
        variables=mapping(variables, "--variables") if variables else None,
        policy=mapping(policy, "--policy") if policy else None,
        links=_links(link) if link else None,
        description=description,
    )
    with connect() as api:
        owner, plain = split_queue(api, name, entity)
        before = api.queue(owner, plain)
        if values or change == QueuePatch():
            change = _changed(before, change, values or [])
        if change == QueuePatch():
            say("Nothing was changed.")
            return
        edited = api.edit_queue(owner, plain, change)
    if as_json:
        print_model(edited)
        return
    say(f"Edited queue {edited.entity}/{edited.name}:")
    print_difference(_settings(before), _settings(edited))


@app.command("delete", **examples("runyard queue delete old", "runyard queue delete old --yes"))
def delete(name: Name, entity: Entity = None, yes: Yes = False) -> None:
    """Delete a queue. What waits in it is cancelled; while something runs it is refused."""
    from runyard.cli.output import say
    from runyard.cli.questions import confirm
    from runyard.cli.session import connect, split_queue

    with connect() as api:
        owner, plain = split_queue(api, name, entity)
        queue = api.queue(owner, plain)
        confirm(
            f"Delete queue {owner}/{plain}? {queue.pending} items wait in it, {queue.running} run.",
            yes=yes,
        )
        api.delete_queue(owner, plain)
    say(f"Deleted queue {owner}/{plain}.")


def _links(given: list[str] | None) -> list[LinkModel]:
    from runyard.cli.edge import WrongUsage
    from runyard.wire.rest import LinkModel

    links = []
    for text in given or []:
        label, equals, url = text.partition("=")
        if not (label and equals and url):
            raise WrongUsage(f"--link {text!r} is not LABEL=URL")
        links.append(LinkModel(label=label, url=url))
    return links


add_to_queues(app)

_EDITED: Final = ("config", "variables", "policy", "links", "description")


def _settings(queue: QueueOut) -> dict[str, Any]:
    return queue.model_dump(include=set(_EDITED))


def _changed(queue: QueueOut, change: QueuePatch, values: list[str]) -> QueuePatch:
    from runyard.cli.documents import assign, edited
    from runyard.wire.rest import QueuePatch

    before = _settings(queue)
    after = {**before, **change.model_dump(exclude_none=True)}
    if values:
        for word in values:
            after = assign(after, word, allowed=_EDITED)
    else:
        after = edited(after, title=f"Queue {queue.entity}/{queue.name}, on {queue.resource}")
    return QueuePatch.model_validate(
        {name: after[name] for name in _EDITED if after.get(name) != before[name]}
    )


def _print(queue: QueueOut) -> None:
    from runyard.cli.output import print_fields
    from runyard.domain.policy import QueuePolicy

    usual = QueuePolicy().to_json()
    mode = f"{queue.mode} by {queue.mode_by}" + (f": {queue.mode_why}" if queue.mode_why else "")
    print_fields(
        {
            "Queue": f"{queue.entity}/{queue.name}",
            "Resource": queue.resource,
            "Mode": mode if queue.mode != "open" else None,
            "Waiting": queue.pending,
            "Running": queue.running,
            "Agents": queue.agents,
            "Created": queue.created_at,
            "By": queue.created_by,
            "Config": queue.config,
            "Variables": queue.variables,
            "Policy": {k: v for k, v in queue.policy.items() if v != usual.get(k)},
            "Links": [f"{link.label}: {link.url}" for link in queue.links],
            "Description": queue.description,
        }
    )
