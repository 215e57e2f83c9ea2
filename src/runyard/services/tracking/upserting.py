"""
Making and changing runs by what programs and people tell of them.

All of it may be told twice: the client asks again after any lost answer. The one error it would
repeat for minutes, a conflict, never leaves here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runyard.domain.access import Action, Kind
from runyard.domain.errors import Conflict, Forbidden, Invalid, NotFound, TooMuch
from runyard.domain.items import RunId
from runyard.domain.run_configs import read_object, taken_over, unwrapped
from runyard.domain.run_names import check_run_name, made_up
from runyard.domain.runs import Run, RunState
from runyard.services.call import Call
from runyard.services.tracking import life, places, runs
from runyard.services.tracking.places import Place
from runyard.store import accounts
from runyard.store.db import Row
from runyard.store.tracking import runs as rows
from runyard.store.values import from_text, to_ms, to_text

_NAME_LENGTH: Final = 8
_MOST_TAGS: Final = 500
_LONGEST: Final = {
    "display_name": 512, "notes": 256 << 10, "description": 256 << 10, "group_name": 512,
    "job_type": 512, "git_commit": 128, "host": 1024, "program": 4096, "repo": 4096,
}  # fmt: skip
_ABOUT: Final = ("host", "program", "repo")
_STATES: Final = (RunState.PENDING, RunState.RUNNING)
# A run that nothing is known of yet.
_NEW: Final = {
    "display_name": None, "notes": "", "description": "", "group_name": None, "job_type": None,
    "git_commit": None, "about": "{}",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """
    What is told of a run; None leaves as it is. `by_id` names one that is there, and is how
    people edit runs; by `name` programs make theirs, or go on with it. `author` is in whose name
    a service account acts.
    """

    by_id: tuple[str, str, str] | None = None  # entity, project, name
    entity: str | None = None
    project: str | None = None
    name: str | None = None
    display_name: str | None = None
    notes: str | None = None
    description: str | None = None
    tags: Sequence[str] | None = None
    group_name: str | None = None
    job_type: str | None = None
    git_commit: str | None = None
    host: str | None = None
    program: str | None = None
    repo: str | None = None
    config: str | None = None
    summary: str | None = None
    state: str | None = None
    sweep: str | None = None
    author: str | None = None


def upsert(call: Call, told: Told) -> tuple[Row, bool]:
    """Make a run, or change one; return its row, and whether it is new.

    Raises:
        NotFound: the entity, a run by id, the sweep. Forbidden. Invalid, TooMuch.
    """
    _check(told)
    try:
        return _upsert(call, told)
    except Conflict as error:
        raise Invalid(error.message, hint=error.hint) from error


def _upsert(call: Call, told: Told) -> tuple[Row, bool]:
    row, is_new = _found_or_made(call, told)
    if is_new:
        return row, True
    pk = row["pk"]
    if told.by_id is None:
        _follow_state(call, row, told.state)
    values = _values(call, row, told)
    if values:
        rows.change(call.tx, pk, values)
    if told.summary is not None:
        rows.summarise(call.tx, pk, told.summary)
    if values or told.summary is not None:
        call.tx.announce(f"run:{pk}")
    return _read(call, pk), False


def _read(call: Call, pk: str) -> Row:
    """Return a run of a project that was found to be open to the caller."""
    return runs.allowed(call, rows.get(call.tx, pk), "run", Action.SEE)


def _found_or_made(call: Call, told: Told) -> tuple[Row, bool]:
    if call.actor.kind is Kind.RUN:
        return _own(call, told), False
    if told.by_id is not None:
        return runs.find(call, *told.by_id, action=Action.TRACK), False
    place = places.need(call, told.entity, told.project, Action.TRACK)
    name = told.name or call.new_id()[-_NAME_LENGTH:].lower()
    found = rows.named(call.tx, place.id, name)
    if found is None:
        if made := _make(call, place, name, told):
            return _read(call, made), True
        found = rows.named(call.tx, place.id, name)  # somebody else has made it meanwhile
    thing = f"run {place.entity}/{place.name}/{name}"
    return runs.allowed(call, found, thing, Action.TRACK), False


def _own(call: Call, told: Told) -> Row:
    """A launched program has one run, wherever it means to log; the client adopts what it gets."""
    name = told.by_id[2] if told.by_id else told.name
    if name not in (None, call.actor.run_name):
        raise Forbidden(
            f"a launched job logs to its own run {call.actor.run_name}, not to {name!r}",
            hint="leave id= out of wandb.init, or use a key of your own for other runs",
        )
    assert call.actor.run_id is not None
    return runs.by_pk(call, call.actor.run_id, Action.TRACK)


def _make(call: Call, place: Place, name: str, told: Told) -> str | None:
    """Add a run with all that is told of it; return its id, None if there is one of its name."""
    check_run_name(name)
    pk = call.new_id()
    run = Run(RunId(pk), RunState.PENDING, call.now)
    if told.state != RunState.PENDING:
        run = run.began(call.now)
    shown = told.display_name or made_up(rows.count(call.tx, place.id) + 1, pk)
    new = {**_NEW, "project_id": place.id, "project": place.name, "entity": place.entity}
    values = {
        **_values(call, new, told),
        "id": pk, "project_id": place.id, "name": name, "display_name": shown,
        "state": run.state.value, "author_id": _author(call, place, told.author),
        "created_at": to_ms(run.created_at),
        "started_at": None if run.started_at is None else to_ms(run.started_at),
    }  # fmt: skip
    if not rows.add(call.tx, values):
        return None
    if run.started_at is not None:
        rows.expect(call.tx, pk, call.now)
    if told.summary is not None:
        rows.summarise(call.tx, pk, told.summary)
    return pk


def _author(call: Call, place: Place, name: str | None) -> str:
    """Return whose run it is. A service account may say so where it may submit for others; where
    it may not, the run is its own, as its environment may name people without its doing."""
    actor = call.actor
    if not name or not actor.is_service or not actor.may(Action.SUBMIT_FOR, place.entity_id):
        return actor.user_id
    author = accounts.actor_named(call.tx, name)
    if author is None or not author.may(Action.TRACK, place.entity_id):
        return actor.user_id
    return author.user_id


def _follow_state(call: Call, row: Row, state: str | None) -> None:
    if state == RunState.PENDING:
        if row["state"] != RunState.PENDING:
            life.relabel(call, row["pk"], RunState.PENDING)
        return
    life.began(call, row["pk"])


def _values(call: Call, row: Row | Mapping[str, Any], told: Told) -> dict[str, Any]:
    """Return the columns that change. A row without `pk` is one that is to be."""
    values: dict[str, Any] = {}
    for column in (
        "display_name", "notes", "description", "group_name", "job_type", "git_commit"
    ):  # fmt: skip
        new = getattr(told, column)
        if new is not None and new != row[column]:
            values[column] = new
    if told.tags is not None:
        values["tags"] = to_text(list(dict.fromkeys(told.tags)))
    about = {word: getattr(told, word) for word in _ABOUT if getattr(told, word) is not None}
    if about:
        values["about"] = to_text({**from_text(row["about"]), **about})
    if told.sweep:
        values["sweep_id"] = rows.sweep_id(call.tx, row["project_id"], told.sweep)
        if values["sweep_id"] is None:
            raise NotFound(f"no sweep {told.sweep!r} in {row['entity']}/{row['project']}")
    if told.config is not None:
        values["config"] = _config(call, row.get("pk"), told.config)
    return values


def _config(call: Call, pk: str | None, told: str) -> str:
    before: dict[str, Any] = {}
    submitted: dict[str, Any] = {}
    if pk is not None:
        now = rows.configs(call.tx, pk)
        assert now is not None
        before = json.loads(now["config"])
        if now["spec"]:
            submitted = from_text(now["spec"])["overrides"]["run_config"]
    return json.dumps(taken_over(before, unwrapped(read_object(told, "the config")), submitted))


def _check(told: Told) -> None:
    for name, most in _LONGEST.items():
        value = getattr(told, name)
        if value is not None and len(value) > most:
            raise TooMuch(f"{name} has over {most} characters")
    if told.tags is not None:
        if len(told.tags) > _MOST_TAGS:
            raise TooMuch(f"a run has {_MOST_TAGS} tags at most")
        if any(not 0 < len(tag) <= 256 for tag in told.tags):
            raise Invalid("a tag has 1 to 256 characters")
    if told.summary is not None:
        read_object(told.summary, "the summary")
    if told.state is not None and told.state not in _STATES:
        raise Invalid(f"state {told.state[:40]!r}: a run begins as {' or '.join(_STATES)}")
