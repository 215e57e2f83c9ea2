"""Creating, editing, pausing and deleting queues: what the owner's admins and operators do."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypedDict, Unpack

from runyard.domain import outcomes
from runyard.domain.access import Action
from runyard.domain.building import secrets_named
from runyard.domain.configs import template_faults
from runyard.domain.errors import Conflict, Invalid, NotFound, Violation
from runyard.domain.items import QueueId
from runyard.domain.policy import QueuePolicy
from runyard.domain.queues import (
    DEFAULT_QUEUE,
    Mode,
    Queue,
    Resource,
    check_queue_name,
    parse_links,
)
from runyard.domain.secrets import Refs
from runyard.domain.templates import check_template, parse_variables
from runyard.services import audit, secrets, turns
from runyard.services.call import Call
from runyard.store import items, queues, waiting
from runyard.store.db import Duplicate, Row

Counts = tuple[int, int, int]


class Settings(TypedDict, total=False):
    """
    What an admin says of a queue. What is left out, or None, stays as it is. `lenient` keeps a
    config that the resource would refuse: then each submission is refused in its place.
    """

    config: Mapping[str, Any] | None
    variables: Mapping[str, Any] | None
    policy: Mapping[str, Any] | None
    links: Any
    description: str | None
    lenient: bool


def _laid_over(queue: Queue, settings: Settings) -> Queue:
    """Return the queue with these settings, all of them checked together.

    Raises:
        Invalid: with every violation of all of them.
    """
    wrong: list[Violation] = []
    said: dict[str, Any] = {}
    for name, read in _READERS.items():
        value: Any = settings.get(name)
        if value is not None:
            try:
                said[name] = read(value)
            except Invalid as error:
                wrong += error.violations or (Violation(name, error.message),)
    new = replace(queue, **said)
    if not any(v.path.startswith(("config", "variables")) for v in wrong):
        if settings.get("lenient"):
            wrong += check_template(new.config, new.variables)
        else:
            wrong += template_faults(new.resource, new.config, new.variables)
    if wrong:
        raise Invalid(f"the {queue.resource} queue is not valid", violations=wrong)
    return new


def _description(text: str) -> str:
    if len(text) > 4096:
        raise Invalid("description: 4096 characters at most")
    return text


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "config": dict,
    "variables": parse_variables,
    "policy": QueuePolicy.parse,
    "links": parse_links,
    "description": _description,
}


def create(
    call: Call,
    *,
    entity: str | None,
    name: str,
    resource: str,
    queue_id: QueueId | None = None,
    **settings: Unpack[Settings],
) -> Queue:
    """Make a queue; `queue_id` is an id that was given out before.

    Raises:
        Invalid: all that is wrong with name and settings.
        Conflict: there is one of that name. Forbidden, NotFound: as `Call.entity`.
    """
    owner = call.entity(entity, Action.EDIT_QUEUES)
    call.actor.need_queue(name)
    queue = _laid_over(
        Queue(
            id=queue_id or QueueId(call.new_id()),
            entity_id=owner["id"],
            entity=owner["name"],
            name=check_queue_name(name),
            resource=Resource.named(resource),
            created_at=call.now,
            created_by=call.actor.name,
        ),
        settings,
    )
    secrets.check_queue(call, queue.entity_id, queue.entity, _refs(queue))
    taken = Conflict(
        f"there is a queue {name!r} in {owner['name']} already",
        hint=f"runyard queue edit {name}",
    )
    if queues.get(call.tx, queue.entity, name) is not None:
        raise taken
    try:
        queues.add(call.tx, queue)
    except Duplicate as error:
        raise taken from error
    audit.note(call, "queue.create", name, entity_id=queue.entity_id, after=told(queue))
    call.tx.announce(f"queue:{queue.path}", 1000)  # agents may be waiting for it to exist
    return queue


def get(call: Call, entity: str | None, name: str, action: Action = Action.SEE) -> Queue:
    """Return a queue in which the caller may do `action`.

    Raises:
        NotFound: none of that name that the caller may see, with the nearest names.
        Forbidden: it may be seen, no more.
    """
    owner = entity or call.actor.name
    queue = queues.get(call.tx, owner, name)
    if queue is None or not call.actor.may(Action.SEE, queue.entity_id):
        raise _unknown(call, owner, name)
    call.actor.need_queue(name)
    call.actor.need(action, queue.entity_id, queue.entity, f"queue {name!r}")
    return queue


def page(call: Call, entity: str | None, *, after: str, limit: int) -> list[tuple[Queue, Counts]]:
    """Return queues that the caller may see with (pending, running, live agents)."""
    owners = call.visible()
    if entity is not None:
        owners = [call.entity(entity, Action.SEE)["id"]]
    found = queues.page(call.tx, owners, names=call.actor.queues, after=after, limit=limit)
    counts = queues.counts(call.tx, [q.id for q in found], call.now)
    return [(q, counts[q.id]) for q in found]


def counts(call: Call, queue: Queue) -> Counts:
    return queues.counts(call.tx, [queue.id], call.now)[queue.id]


def edit(call: Call, entity: str, name: str, **settings: Unpack[Settings]) -> Queue:
    """Change a queue. Items that wait keep the config they were merged with; a policy's rules
    hold for them from now on.
    """
    queue = get(call, entity, name, Action.EDIT_QUEUES)
    edited = _laid_over(queue, settings)
    secrets.check_queue(call, queue.entity_id, queue.entity, _refs(edited), before=_refs(queue))
    queues.edit(call.tx, edited)
    if edited.policy.fair_share is not queue.policy.fair_share:
        turns.switch(call, edited, on=edited.policy.fair_share)
    elif edited.policy.fair_share and _half_life(edited) != _half_life(queue):
        turns.rescale(call, queue, edited)
    audit.note(
        call, "queue.edit", name, entity_id=queue.entity_id, before=told(queue), after=told(edited)
    )
    call.tx.announce(f"queue:{queue.path}", 1000)  # a limit may be wider now
    return edited


def _refs(queue: Queue) -> Refs:
    return secrets_named(queue.config, kubernetes=queue.resource is Resource.KUBERNETES)


def _half_life(queue: Queue) -> int:
    return queue.policy.fair_share_half_life


def set_mode(call: Call, entity: str, name: str, mode: Mode, why: str = "") -> Queue:
    """Pause, drain or resume a queue. What runs goes on in any case."""
    queue = get(call, entity, name, Action.OPERATE)
    why = why.strip()[:500]
    by = "" if mode is Mode.OPEN else call.actor.name
    queues.set_mode(call.tx, queue.id, mode, by=by, why=why, now=call.now)
    audit.note(
        call,
        f"queue.{_VERBS[mode]}",
        name,
        entity_id=queue.entity_id,
        before={"mode": queue.mode.value, "why": queue.mode_why},
        after={"mode": mode.value, "why": why},
    )
    call.tx.announce(f"queue:{queue.path}", 1000)
    return replace(queue, mode=mode, mode_by=by, mode_why=why)


_VERBS: Final = {Mode.OPEN: "resume", Mode.PAUSED: "pause", Mode.DRAINING: "drain"}


def told(queue: Queue) -> dict[str, Any]:
    """Return what the audit log keeps of a queue, setting by setting, so that a change is small.

    It holds names of secrets, never values.
    """
    usual = QueuePolicy().to_json()
    parts: dict[str, Mapping[str, Any]] = {
        "config": queue.config,
        "variables": {name: v.to_json() for name, v in queue.variables.items()},
        "policy": {n: v for n, v in queue.policy.to_json().items() if v != usual[n]},
    }
    return {
        "resource": queue.resource.value,
        "links": [{"label": link.label, "url": link.url} for link in queue.links],
        "description": queue.description,
        **{f"{part}.{name}": v for part, values in parts.items() for name, v in values.items()},
    }


def delete(call: Call, entity: str, name: str) -> int:
    """Delete a queue; what waits in it is cancelled. Return how many items that were.

    Raises:
        Conflict: something of it still runs.
    """
    queue = get(call, entity, name, Action.EDIT_QUEUES)
    _, held, _ = counts(call, queue)
    if held:
        raise Conflict(
            f"{held} items of queue {name!r} are being run",
            hint="wait for them, or stop them: runyard item list --state CLAIMED",
        )
    cancelled = 0
    while left := waiting.of_queue(call.tx, queue.id):
        moves = [(p, outcomes.cancelled(p.item, p.run, call.now)) for p in left]
        items.save(call.tx, moves, now=call.now, actor=call.actor.name)
        cancelled += len(moves)
    queues.delete(call.tx, queue.id, call.now)
    audit.note(call, "queue.delete", name, entity_id=queue.entity_id, before=told(queue))
    return cancelled


def default_queue(call: Call, owner: Row) -> Queue:
    """Return the owner's queue `default`, made for whoever submits to it first."""
    found = queues.get(call.tx, owner["name"], DEFAULT_QUEUE)
    if found is not None:
        return found
    queue = Queue(
        id=QueueId(call.new_id()),
        entity_id=owner["id"],
        entity=owner["name"],
        name=DEFAULT_QUEUE,
        resource=Resource.LOCAL_PROCESS,
        created_at=call.now,
        created_by=call.actor.name,
    )
    queues.add(call.tx, queue)
    call.tx.announce(f"queue:{queue.entity}/{queue.name}", 1000)
    return queue


def _unknown(call: Call, owner: str, name: str) -> NotFound:
    row_names = []
    try:
        call.entity(owner, Action.SEE)
        row_names = queues.names(call.tx, owner)
    except NotFound:
        pass
    near = difflib.get_close_matches(name, row_names, n=3, cutoff=0.5) or row_names[:5]
    told = f"; {owner} has {', '.join(near)}" if near else ""
    return NotFound(
        f"no queue {name!r} in {owner} that you may see{told}",
        hint=f"runyard queue list, or runyard queue create {name} --resource local-process",
    )
