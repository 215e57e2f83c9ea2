"""Reading what a server has, and taking the steps of a plan, one call each."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

from runyard.client.api import Api
from runyard.domain.errors import Forbidden, Invalid, NotFound, RunyardError, Violation
from runyard.sdk.platform.kinds import KINDS, OWNERS, below
from runyard.sdk.platform.kinds.base import Wish
from runyard.sdk.platform.things import Found, Key, Plan, Platform, Section, State, Step, Verb
from runyard.wire.rest_people import MeOut

MAX_SECRET: Final = 1 << 20  # bytes of a file; the server's own limit is lower
Values = Mapping[Key, Mapping[str, str]]


class Stopped(RunyardError):
    """A step failed. What was `done` before it stays; what is `left` was not begun."""

    code = "stopped"

    def __init__(self, error: RunyardError, step: Step, done: list[Step], left: list[Step]) -> None:
        super().__init__(
            f"could not {step}: {error.message}",
            hint=error.hint,
            violations=error.violations,
        )
        self.step, self.done, self.left = step, done, left


def _not_told(step: Step, shown: str | None) -> None: ...


def read_state(api: Api, wanted: Platform) -> State:
    """Return what the server has of the sections that the document manages."""
    me = api.me()
    known = owners(api, me)
    things, hidden = dict(known), {}
    for owner in wanted.owners():
        if owner not in known:
            continue
        managed = {kind for kind, name in wanted.managed if name == owner.name}
        if managed & {"member", "service account"}:
            managed.add("role")  # to know whether a role is one
        for kind in below(owner.kind):
            if kind.name in managed:
                section = (kind.name, owner.name)
                named = [key.name for key in wanted.things if key[:2] == section]
                found, why = read_section(api, section, named)
                things |= found
                if why:
                    hidden[section] = why
    members = {key.name for key in things if key.kind == "member"}
    for key in wanted.owners():
        # Who may not list users still knows that the members of their teams are some.
        if key.kind == "user" and key.name in members and not wanted.things[key].fields:
            things.setdefault(key, Found({}))
    return State(me.name, me.is_admin, things, hidden)


def read_section(
    api: Api, section: Section, named: Collection[str] | None = None
) -> tuple[dict[Key, Found], str]:
    """Return what a section has, or why the caller may not know.

    `named` are the only ones of interest where there may be very many and none is pruned.
    """
    kind, owner = section
    try:
        reader = KINDS[kind]
        found = reader.read(api, owner) if named is None else reader.read_named(api, owner, named)
        return {Key(kind, owner, name): one for name, one in found}, ""
    except (Forbidden, NotFound) as error:
        return {}, error.message


def check_sources(plan: Plan, environ: Mapping[str, str]) -> Values:
    """Return the values of the secrets that the plan writes.

    Raises:
        Invalid: variables that are not set and files that cannot be read, all of them.
    """
    values: dict[Key, dict[str, str]] = {}
    wrong: list[Violation] = []
    for step in plan.steps:
        changed = {change.path for change in step.changes}
        for name in KINDS[step.key.kind].sealed & changed if step.thing else ():
            assert step.thing is not None
            if not (source := step.thing.fields[name]):
                continue
            try:
                values.setdefault(step.key, {})[name] = _value(source, step.thing.base, environ)
            except ValueError as error:
                wrong.append(Violation(f"{step.thing.where}: {step.key}", str(error)))
    if wrong:
        raise Invalid("secrets have no value; nothing was changed", violations=wrong)
    return values


def apply(
    api: Api,
    plan: Plan,
    values: Values | None = None,
    *,
    told: Callable[[Step, str | None], object] = _not_told,
) -> list[Step]:
    """Take all steps, in order, and return them.

    `told` hears of each that is done, with the secret that the server has made for it and shows
    this once, if any: what signs the deliveries of a webhook.

    `values` is what `check_sources` has returned.

    Raises:
        Stopped: at the first that fails. Planning and applying again goes on from there.
    """
    if values is None:
        values = check_sources(plan, os.environ)
    done: list[Step] = []
    for n, step in enumerate(plan.steps):
        try:
            shown = _take(api, step, values.get(step.key, {}))
        except RunyardError as error:
            raise Stopped(error, step, done, list(plan.steps[n + 1 :])) from error
        done.append(step)
        told(step, shown)
    return done


def _take(api: Api, step: Step, values: Mapping[str, str]) -> str | None:
    kind = KINDS[step.key.kind]
    if step.verb is Verb.DELETE:
        kind.delete(api, step.key)
        return None
    assert step.thing is not None
    if step.verb is Verb.CREATE:
        return kind.create(api, step.key, Wish(step.thing.fields, values=values))
    changed = frozenset(change.path.partition(".")[0] for change in step.changes)
    kind.update(api, step.key, Wish(step.thing.fields, changed, values))
    return None


def owners(api: Api, me: MeOut) -> dict[Key, Found]:
    """Return the teams and users that the caller may see; of users, often only themselves."""
    found: dict[Key, Found] = {}
    for kind in OWNERS:
        if kind.name == "user" and not me.is_admin:
            own = {"admin": False, "email": me.email or "", "disabled": False}
            if me.kind == "user":
                found[Key("user", "", me.name)] = Found(own)
        else:
            found |= {Key(kind.name, "", name): one for name, one in kind.read(api, "")}
    return found


def _value(source: Mapping[str, object], base: Path, environ: Mapping[str, str]) -> str:
    if "value" in source:
        return str(source["value"])
    if "from_env" in source:
        name = str(source["from_env"])
        value = environ.get(name)
        if not value:
            raise ValueError(f"the environment variable {name} is not set here")
        return value
    return _file(base / str(source["from_file"]))


def _file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SECRET + 1)
        text = data.decode()
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"the file {path} is not a text in UTF-8") from error
    if len(data) > MAX_SECRET:
        raise ValueError(f"the file {path} is larger than {MAX_SECRET >> 20} MiB")
    if not text:
        raise ValueError(f"the file {path} is empty")
    return text
