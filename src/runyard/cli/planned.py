"""What `runyard apply` would do, for people and as JSON. On a terminal it has colours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from runyard.sdk.platform import Change, Key, Plan, Step

_SIGNS: Final = {"create": "+", "update": "~", "delete": "-"}
_STYLES: Final = {"+": "green", "~": "yellow", "-": "red", "!": "bold red"}
_LONG: Final = 72  # characters of a value that still stand on the line of its name
Line = tuple[str, str]  # (sign, text)


def print_plan(plan: Plan) -> None:
    """Print the steps with what changes in each, and how many there are."""
    lines = [line for step in plan.steps for line in _step(step)]
    lines += [("!", f"! {missing(key)}") for key in plan.missing]
    _print([*lines, *([("", "")] if lines else []), ("", summary(plan))])


def print_difference(was: Any, becomes: Any) -> None:
    """Print what differs between two documents, path by path."""
    from runyard.sdk.platform.planning import difference

    _print([line for change in difference(was, becomes) for line in _change(change)])


def summary(plan: Plan) -> str:
    """Say in one line how much there is to do."""
    from runyard.sdk.platform import Verb

    counts = [f"{plan.count(verb)} to {verb}" for verb in Verb]
    more = [f"{len(plan.missing)} missing"] if plan.missing else []
    if not plan.differs:
        return f"Nothing to do: {len(plan.unchanged)} unchanged."
    return f"Plan: {', '.join([*counts, *more, f'{len(plan.unchanged)} unchanged'])}."


def missing(key: Key) -> str:
    """Say what to do about a thing that only has to exist, and does not."""
    from runyard.sdk.platform.kinds import KINDS

    todo = KINDS[key.kind].missing.format(name=key.name, owner=key.owner)
    return f"{key} is missing; {todo}"


def as_json(plan: Plan, **more: Any) -> dict[str, Any]:
    """Return the plan as `--json` prints it."""
    return {
        "steps": [step_json(step) for step in plan.steps],
        "missing": [key._asdict() for key in plan.missing],
        "unchanged": len(plan.unchanged),
        **more,
    }


def step_json(step: Step) -> dict[str, Any]:
    """Return one step as `--json` prints it."""
    changes = [{"path": one.path, "was": one.was, "becomes": one.becomes} for one in step.changes]
    return {"verb": step.verb.value, **step.key._asdict(), "changes": changes, "why": step.why}


def _step(step: Step) -> Iterator[Line]:
    sign = _SIGNS[step.verb]
    notes = [step.why] if step.why else []
    if step.waiting:
        notes.append(f"{step.waiting} waiting items are cancelled")
    yield sign, f"{sign} {step}" + (f"  ({'; '.join(notes)})" if notes else "")
    for change in step.changes:
        yield from _change(change)


def _change(change: Change) -> Iterator[Line]:
    was, becomes = _text(change.was), _text(change.becomes)
    values = {"+": [becomes], "-": [was], "~": [was, becomes]}[change.sign]
    if change.sign == "~" and change.was is None:  # a value that is never shown
        values = [becomes]
    head = f"    {change.sign} {change.path}:"
    if all(len(value) <= _LONG for value in values):
        yield change.sign, f"{head} {' -> '.join(values)}"
        return
    yield change.sign, head
    if change.sign != "+" and change.was is not None:
        yield from (("-", f"        - {line}") for line in _block(change.was))
    if change.sign != "-":
        yield from (("+", f"        + {line}") for line in _block(change.becomes))


def _text(value: Any) -> str:
    if isinstance(value, str) and value.startswith("("):
        return value  # words of ours, not a value
    return json.dumps(value, ensure_ascii=False)


def _block(value: Any) -> list[str]:
    import yaml

    if isinstance(value, str):
        return value.splitlines()
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).splitlines()


def _print(lines: list[Line]) -> None:
    from runyard.cli.output import is_terminal
    from runyard.client.printable import clean

    if not is_terminal():
        for _, text in lines:
            print(clean(text))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for sign, text in lines:
        console.print(Text(clean(text), style=_STYLES.get(sign, "")), soft_wrap=True)
