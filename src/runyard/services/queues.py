"""Creating, editing and deleting queues. Only admins of the owner may."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from runyard.domain import outcomes
from runyard.domain.access import Action
from runyard.domain.docker_options import check_docker_options
from runyard.domain.errors import Conflict, Invalid, NotFound, Violation
from runyard.domain.items import QueueId
from runyard.domain.policy import QueuePolicy
from runyard.domain.queues import (
    DEFAULT_QUEUE,
    Queue,
    Resource,
    check_queue_name,
)
from runyard.services.call import Call
from runyard.store import items, queues, waiting
from runyard.store.db import Duplicate, Row

Counts = tuple[int, int, int]
# What an agent's own config may allow beyond the safe options; the server cannot know, so it
# lets them pass and the agent decides.
GRANTABLE = frozenset({"volume", "network", "device", "user"})


def create(
    call: Call,
    *,
    entity: str | None,
    name: str,
    resource: str,
    config: Mapping[str, Any],
    policy: Mapping[str, Any],
) -> Queue:
    """Make a queue.

    Raises:
        Invalid: all that is wrong with name, config and policy.
        Conflict: there is one of that name. Forbidden, NotFound: as `Call.entity`.
    """
    owner = call.entity(entity, Action.EDIT_QUEUES)
    kind = Resource.named(resource)
    check_config(kind, config)
    queue = Queue(
        id=QueueId(call.new_id()),
        entity_id=owner["id"],
        entity=owner["name"],
        name=check_queue_name(name),
        resource=kind,
        created_at=call.now,
        config=dict(config),
        policy=QueuePolicy.parse(policy),
        created_by=call.actor.name,
    )
    taken = Conflict(
        f"there is a queue {name!r} in {owner['name']} already",
        hint=f"runyard queue edit {name}",
    )
    if queues.get(call.tx, queue.entity, name) is not None:
        raise taken
    try:
        queues.add(call.tx, queue, dict(policy))
    except Duplicate as error:
        raise taken from error
    call.tx.announce(f"queue:{queue.entity}/{name}", 1000)  # agents may be waiting for it to exist
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
    call.actor.need(action, queue.entity_id, queue.entity, f"queue {name!r}")
    return queue


def page(call: Call, entity: str | None, *, after: str, limit: int) -> list[tuple[Queue, Counts]]:
    """Return queues that the caller may see with (pending, running, live agents)."""
    owners = call.visible()
    if entity is not None:
        owners = [call.entity(entity, Action.SEE)["id"]]
    found = queues.page(call.tx, owners, after=after, limit=limit)
    counts = queues.counts(call.tx, [q.id for q in found], call.now)
    return [(q, counts[q.id]) for q in found]


def counts(call: Call, queue: Queue) -> Counts:
    return queues.counts(call.tx, [queue.id], call.now)[queue.id]


def edit(
    call: Call,
    entity: str,
    name: str,
    *,
    config: Mapping[str, Any] | None,
    policy: Mapping[str, Any] | None,
) -> Queue:
    """Replace config, policy or both. Items that wait keep the config they were merged with."""
    queue = get(call, entity, name, Action.EDIT_QUEUES)
    if config is not None:
        check_config(queue.resource, config)
    if policy is not None:
        QueuePolicy.parse(policy)
    queues.edit(
        call.tx,
        queue.id,
        config=None if config is None else dict(config),
        policy=None if policy is None else dict(policy),
    )
    return get(call, entity, name)


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
    queues.add(call.tx, queue, {})
    call.tx.announce(f"queue:{queue.entity}/{queue.name}", 1000)
    return queue


def check_config(resource: Resource, config: Mapping[str, Any]) -> None:
    """Pass if an agent could accept the config, whoever of queue and submission said it (T8).

    Raises:
        Invalid: with every violation.
    """
    wrong: tuple[Violation, ...] = ()
    if resource is Resource.LOCAL_CONTAINER:
        # `builder` says how an image is made; it never reaches the engine.
        options = {k: v for k, v in config.items() if k != "builder"}
        wrong = check_docker_options(options, granted=GRANTABLE)
    if wrong:
        raise Invalid(f"the {resource} configuration is not valid", violations=wrong)


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
