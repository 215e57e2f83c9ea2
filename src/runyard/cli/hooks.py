"""`runyard hook`."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from runyard.cli.options import Entity, Json, Yes
from runyard.cli.tree import branch, examples

if TYPE_CHECKING:
    from pydantic import BaseModel

    from runyard.wire.rest_hooks import HookDetail, HookOut, TestOut

M = TypeVar("M", bound="BaseModel")

app = branch("Be told of failed items, long waits and lost agents, by webhook or e-mail.")
Name = Annotated[str, typer.Argument(metavar="HOOK", help="The hook's name.")]
On = Annotated[
    list[str] | None,
    typer.Option(
        "--on",
        metavar="EVENT",
        help="item.failed, item.finished, item.cancelled, item.requeued, item.waiting, "
        "queue.no_agent, agent.lost or agent.set_aside. Repeatable.",
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url", help="Where to send to; - asks for it, or reads it from a pipe, unseen by others."
    ),
]
Emails = Annotated[
    list[str] | None, typer.Option("--email", help="Address to write to. Repeatable.")
]
Queue = Annotated[str | None, typer.Option("--queue", "-q", help="Of this queue only.")]
Wait = Annotated[
    str | None,
    typer.Option(
        "--wait", metavar="TIME", help="How long is too long, as in 90s, 30m, 2h, 1d; unless: 10m."
    ),
]
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


@app.command(
    "create",
    **examples(
        "runyard hook create oncall --url https://ops.example.org/hook --on item.failed",
        "runyard hook create chat -e vision --url - --on item.waiting --wait 30m -q gpu < url.txt",
        "runyard hook create ops --email ops@example.org --on agent.lost --on queue.no_agent",
        "runyard hook create me -e vision --mine --on item.failed --on item.finished",
    ),
)
def create(
    name: Name,
    on: On = None,
    url: Url = None,
    email: Emails = None,
    queue: Queue = None,
    wait: Wait = None,
    mine: Annotated[
        bool, typer.Option("--mine", help="E-mail to your own address, of your own items.")
    ] = False,
    entity: Entity = None,
    as_json: Json = False,
) -> None:
    """Create a hook and print the secret that signs what it sends, this once."""
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect, entity_or_own
    from runyard.wire.rest_hooks import HookIn

    _check(on, url, email, mine=mine)
    hook = _valid(
        HookIn,
        {
            "name": name, "url": _address(url), "emails": email or None, "events": on or [],
            "queue": queue, "wait_s": _seconds(wait), "mine": mine,
        },
    )  # fmt: skip
    with connect() as api:
        made = api.create_hook(entity_or_own(api, entity), hook)
    if as_json:
        print_model(made)
        return
    say(f"Created hook {made.entity}/{made.name}; it sends to {_where(made)}.")
    say(f"Try it: runyard hook test {made.name} -e {made.entity}")
    if made.secret:
        say("What it sends is signed with this secret, which is shown once:")
        print(made.secret)


@app.command("list", **examples("runyard hook list", "runyard hook list -e vision --json"))
def list_(entity: Entity = None, as_json: Json = False) -> None:
    """List the hooks that you administer, and whether they work."""
    from runyard.cli.output import print_models, print_table
    from runyard.cli.session import connect, entity_or_own

    with connect() as api:
        owner = entity_or_own(api, entity)
        if as_json:
            print_models(api.hooks(owner))
            return
        rows = [
            (h.name, _where(h), ", ".join(h.events), h.queue or "all", _state(h))
            for h in api.hooks(owner)
        ]
    print_table(
        ("name", "to", "on", "queue", "state"),
        rows,
        none="No hooks. Create one: runyard hook create NAME --url URL --on item.failed",
    )


@app.command("show", **examples("runyard hook show oncall", "runyard hook show chat -e vision"))
def show(name: Name, entity: Entity = None, as_json: Json = False) -> None:
    """Show a hook and what became of its last deliveries."""
    from runyard.cli.output import print_model
    from runyard.cli.session import connect, entity_or_own

    with connect() as api:
        hook = api.hook(entity_or_own(api, entity), name)
    if as_json:
        print_model(hook)
    else:
        _print(hook)


@app.command(
    "edit",
    **examples(
        "runyard hook edit oncall --on item.failed --on item.waiting --wait 1h",
        "runyard hook edit oncall --disable",
        "runyard hook edit chat -e vision --all-queues",
    ),
)
def edit(
    name: Name,
    on: On = None,
    url: Url = None,
    email: Emails = None,
    queue: Queue = None,
    all_queues: Annotated[bool, typer.Option("--all-queues", help="Of every queue.")] = False,
    wait: Wait = None,
    enable: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Send again, or nothing more.")
    ] = None,
    entity: Entity = None,
    as_json: Json = False,
) -> None:
    """Change a hook. What is not given stays; `--on` and `--email` replace what was there."""
    from runyard.cli.edge import WrongUsage
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect, entity_or_own
    from runyard.wire.rest_hooks import HookPatch

    given: dict[str, Any] = {
        "url": _address(url), "emails": email or None, "events": on or None, "queue": queue,
        "wait_s": _seconds(wait), "enabled": enable,
    }  # fmt: skip
    change = {key: value for key, value in given.items() if value is not None}
    if all_queues:
        change["queue"] = None
    if not change or (all_queues and queue):
        raise WrongUsage(
            "nothing to change was given" if not change else "--queue or --all-queues, not both",
            hint="runyard hook edit --help",
        )
    with connect() as api:
        edited = api.edit_hook(entity_or_own(api, entity), name, _valid(HookPatch, change))
    if as_json:
        print_model(edited)
    else:
        say(f"Changed hook {edited.entity}/{edited.name}; it is {_state(edited)}.")


@app.command("test", **examples("runyard hook test oncall"))
def try_(name: Name, entity: Entity = None, as_json: Json = False) -> None:
    """Send a test now, and show what came back. Fails if it did not arrive."""
    from runyard.cli.output import print_model, say
    from runyard.cli.session import connect, entity_or_own

    with connect() as api:
        result = api.test_hook(entity_or_own(api, entity), name)
    if as_json:
        print_model(result)
    else:
        say(_verdict(result))
    if not result.ok:
        raise typer.Exit(1)


@app.command("delete", **examples("runyard hook delete oncall", "runyard hook delete old --yes"))
def delete(name: Name, entity: Entity = None, yes: Yes = False) -> None:
    """Delete a hook. What it was to send is not sent."""
    from runyard.cli.output import say
    from runyard.cli.questions import confirm
    from runyard.cli.session import connect, entity_or_own

    with connect() as api:
        owner = entity_or_own(api, entity)
        confirm(f"Delete hook {owner}/{name}?", yes=yes)
        api.delete_hook(owner, name)
    say(f"Deleted hook {owner}/{name}.")


def _check(on: list[str] | None, url: str | None, email: list[str] | None, *, mine: bool) -> None:
    from runyard.cli.edge import WrongUsage

    if not on:
        raise WrongUsage("of what? name one event at least", hint="--on item.failed")
    if (bool(url) + bool(email) + mine) != 1:
        raise WrongUsage("say where to: one of --url, --email and --mine")


def _valid(model: type[M], values: dict[str, Any]) -> M:
    from pydantic import ValidationError

    from runyard.domain.errors import Invalid, Violation

    try:
        return model.model_validate(values)
    except ValidationError as error:
        wrong = [Violation(".".join(map(str, e["loc"])), e["msg"]) for e in error.errors()]
        raise Invalid("the hook is not valid", violations=wrong) from None


def _address(url: str | None) -> str | None:
    """Return the URL. Those of chats open them to everybody, so they need not be arguments."""
    if url != "-":
        return url
    if sys.stdin.isatty():
        return str(typer.prompt("URL (not shown)", hide_input=True, err=True)).strip()
    return sys.stdin.readline().strip()


def _seconds(text: str | None) -> int | None:
    from runyard.cli.edge import WrongUsage

    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})\s*([smhd]?)", text.strip())
    if match is None:
        raise WrongUsage(f"--wait {text!r} is no time", hint="as in 90s, 30m, 2h or 1d")
    return int(match[1]) * _UNITS[match[2]]


def _where(hook: HookOut) -> str:
    return hook.url or ", ".join(hook.emails)


def _state(hook: HookOut) -> str:
    if not hook.enabled:
        return "disabled"
    return "failing" if hook.failing_since else "on"


def _verdict(result: TestOut) -> str:
    if not result.ok:
        return f"It did not arrive: {result.error}"
    if result.status is None:
        return "The mail server has taken it."
    return f"It arrived: HTTP {result.status} {result.answer}".rstrip()


def _print(hook: HookDetail) -> None:
    from runyard.cli.output import ago, print_fields, print_table

    print_fields(
        {
            "Hook": f"{hook.entity}/{hook.name}",
            "To": _where(hook),
            "On": hook.events,
            "Queue": hook.queue or "all",
            "Waiting longer than": f"{hook.wait_s} s",
            "Of": "own items" if hook.mine else "everybody",
            "State": _state(hook),
            "Disabled": hook.disabled_why,
            "Failing since": hook.failing_since,
            "Created": hook.created_at,
            "By": hook.created_by,
        }
    )
    print()
    print_table(
        ("when", "event", "state", "tries", "what"),
        [
            (ago(d.created_at), d.event, d.state, d.tries, d.error or d.text)
            for d in hook.deliveries
        ],
        none="It has sent nothing in the last week.",
    )
