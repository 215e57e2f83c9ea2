"""
Queues as the tracking client makes and reads them.

The client says a queue's configuration first and the queue then, by the id of what it said; both
have one id here. Its `V0` is our rule `priorities`; the other rules of a queue's policy, of which
it knows nothing, stay as they are when it writes a queue anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from runyard.domain import wandb_specs
from runyard.domain.access import Action, Kind
from runyard.domain.configs import template_faults
from runyard.domain.errors import Conflict, Invalid, NotFound
from runyard.domain.items import QueueId
from runyard.domain.queues import DEFAULT_QUEUE, Queue, Resource
from runyard.domain.templates import Variable, check_template, parse_variables
from runyard.services import queues
from runyard.services.call import Call
from runyard.store import launching as rows
from runyard.store import queues as queue_rows
from runyard.store.values import from_text

MOST: Final = 1000  # queues in one answer: the protocol has no pages of them
_DRAFTS_LAST: Final = timedelta(hours=1)
_UNSAID: Final = Resource.LOCAL_CONTAINER  # what the client's own agent takes for nothing said


@dataclass(frozen=True, slots=True)
class Configuration:
    """What runs in a queue, and with which settings: of a queue, or of one that is being made."""

    id: str
    resource: Resource
    config: Mapping[str, Any]
    variables: Mapping[str, Variable]


def draft(call: Call, entity: str, *, resource: str, config: Any, variables: Any) -> str:
    """Keep a configuration for the queue that is about to be made; return its id.

    Raises:
        Invalid: with every violation. Forbidden, NotFound: the entity.
    """
    owner = call.entity(entity, Action.EDIT_QUEUES)
    kind = Resource.named(resource)
    settings = wandb_specs.config_of(config, kind)
    declared = parse_variables(wandb_specs.variables_of(variables))
    if wrong := template_faults(kind, settings, declared):
        raise Invalid(f"the {kind} queue is not valid", violations=wrong)
    draft_id = call.new_id()
    rows.drop_drafts_before(call.tx, call.now - _DRAFTS_LAST)
    rows.add_draft(
        call.tx,
        draft_id,
        owner["id"],
        resource=kind.value,
        config=settings,
        variables={name: v.to_json() for name, v in declared.items()},
        by=call.actor.name,
        now=call.now,
    )
    return draft_id


def create(
    call: Call, entity: str, name: str, *, draft_id: str | None, mode: str | None, private: bool
) -> Queue:
    """Make a queue of a draft.

    Raises:
        Conflict: there is one of that name. NotFound: no such draft, or entity. Forbidden.
        Invalid: the name, or a private queue of a team.
    """
    by_all = name == DEFAULT_QUEUE and draft_id is None
    owner = call.entity(entity, Action.SUBMIT if by_all else Action.EDIT_QUEUES)
    if private and owner["kind"] == "team":
        raise Invalid(
            f"access: a queue of {entity} is for all of its members, as their roles say",
            hint="make it in your own entity, where it is yours alone",
        )
    if queue_rows.get(call.tx, owner["name"], name) is not None:
        raise Conflict(f"there is a queue {name!r} in {owner['name']} already")
    if by_all:
        call.actor.need_queue(name)
        return queues.default_queue(call, owner)
    policy = {"priorities": True} if wandb_specs.has_priorities(mode) else {}
    if draft_id is None:
        return queues.create(
            call, entity=owner["name"], name=name, resource=_UNSAID.value, policy=policy
        )
    row = rows.draft(call.tx, draft_id, owner["id"])
    if row is None:
        raise NotFound(f"no configuration {draft_id!r} from which no queue was made yet")
    made = queues.create(
        call,
        entity=owner["name"],
        name=name,
        resource=row["resource"],
        queue_id=QueueId(draft_id),
        config=from_text(row["config"]),
        variables=from_text(row["variables"]),
        policy=policy,
    )
    rows.drop_draft(call.tx, draft_id)
    return made


def upsert(
    call: Call,
    entity: str,
    name: str,
    *,
    resource: str,
    config: Any,
    variables: Any,
    mode: str | None,
    links: Any,
) -> list[str]:
    """Make a queue, or write one anew. Return what its resource would refuse of the config.

    Such a config is kept, as its author may go on to mend it; a submission to the queue is refused
    until then.

    Raises:
        Invalid: anything else that is wrong, or another resource. Forbidden, NotFound.
    """
    kind = Resource.named(resource)
    settings = wandb_specs.config_of(config, kind)
    declared = wandb_specs.variables_of(variables)
    parsed = parse_variables(declared)
    if wrong := check_template(settings, parsed):
        raise Invalid(f"the {kind} queue is not valid", violations=wrong)
    said = queues.Settings(
        config=settings, variables=declared, links=wandb_specs.links_of(links), lenient=True
    )
    there = queue_rows.get(call.tx, call.entity(entity, Action.EDIT_QUEUES)["name"], name)
    if there is None:
        said["policy"] = {"priorities": wandb_specs.has_priorities(mode)}
        queues.create(call, entity=entity, name=name, resource=kind.value, **said)
    elif there.resource is not kind:
        raise Invalid(
            f"queue {name!r} runs {there.resource}, and goes on to",
            hint=f"make another queue for {kind}",
        )
    else:
        if mode is not None:
            policy = there.policy.to_json()
            said["policy"] = {**policy, "priorities": wandb_specs.has_priorities(mode)}
        queues.edit(call, there.entity, name, **said)
    return [str(fault) for fault in template_faults(kind, settings, parsed)]


def find(call: Call, entity: str, name: str) -> Queue:
    """Return a queue by name. A run's token sees the one through which it came.

    Raises:
        NotFound.
    """
    if call.actor.kind is not Kind.RUN:
        return queues.get(call, entity, name)
    queue = queue_rows.get(call.tx, entity, name)
    row = rows.queue_of_run(call.tx, call.actor.run_id or "")
    if queue is None or row is None or row["id"] != queue.id:
        raise NotFound(f"no queue {name!r} that this run's token opens")
    return queue


def by_id(call: Call, queue_id: str, action: Action = Action.SEE) -> Queue:
    """Return a queue by its id.

    Raises:
        NotFound, Forbidden.
    """
    queue = queue_rows.by_id(call.tx, QueueId(queue_id))
    if queue is None or not call.actor.may(Action.SEE, queue.entity_id):
        raise NotFound(f"no queue of the id {queue_id[:64]!r} that you may see")
    return queues.get(call, queue.entity, queue.name, action)


def listed(call: Call, entity_id: str) -> Sequence[Queue]:
    """Return the queues of an entity that the caller may see."""
    if call.actor.kind is Kind.RUN:
        row = rows.queue_of_run(call.tx, call.actor.run_id or "")
        own = queue_rows.by_id(call.tx, row["id"]) if row else None
        return [own] if own is not None and own.entity_id == entity_id else []
    if not call.actor.may(Action.SEE, entity_id):
        return []
    return queue_rows.page(
        call.tx, [entity_id], names=call.actor.queues, after="", limit=MOST
    )  # fmt: skip


def configuration(call: Call, entity_id: str, config_id: str) -> Configuration:
    """Return the configuration of this id, of a queue or of a draft.

    Raises:
        NotFound.
    """
    row = None
    if call.actor.may(Action.EDIT_QUEUES, entity_id):
        row = rows.draft(call.tx, config_id, entity_id)
    if row is not None:
        return Configuration(
            config_id,
            Resource(row["resource"]),
            from_text(row["config"]),
            parse_variables(from_text(row["variables"])),
        )
    queue = by_id(call, config_id)
    if queue.entity_id != entity_id:
        raise NotFound(f"no configuration of the id {config_id[:64]!r} that you may see")
    return Configuration(queue.id, queue.resource, queue.config, queue.variables)


def delete(call: Call, queue_ids: Sequence[str]) -> None:
    """Delete queues, all of them or none. Raises: as `queues.delete`."""
    for queue_id in queue_ids:
        queue = by_id(call, queue_id, Action.EDIT_QUEUES)
        queues.delete(call, queue.entity, queue.name)


def owner_of_own(call: Call, entity: str | None) -> tuple[str, str]:
    """Return (id, name) of whose queue a run came through, for its token.

    Raises:
        NotFound: it came through none, or through one of another entity.
    """
    row = rows.queue_of_run(call.tx, call.actor.run_id or "")
    if row is None or entity not in (None, row["entity"]):
        raise NotFound("no queues that this run's token opens")
    return row["entity_id"], row["entity"]
