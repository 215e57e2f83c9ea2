"""
Items that the tracking client pushes.

A push is a submission in other words, and takes the same way with the same checks. Two more things
come as pushes: the client's own agent gives back what was preempted, and the run that drives a
launched sweep queues the runs that the sweep proposes, with no more than its own token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from runyard.domain import outcomes, wandb_specs
from runyard.domain.access import Action, Kind
from runyard.domain.errors import Forbidden, NotFound
from runyard.domain.items import MOVES, ItemState
from runyard.domain.queues import DEFAULT_QUEUE, Queue
from runyard.domain.workloads import Observation, Phase
from runyard.services import following, submitting
from runyard.services.call import Call
from runyard.services.launching import agents, queues
from runyard.services.tracking import places
from runyard.store import accounts as account_rows
from runyard.store import agents as agent_rows
from runyard.store import items
from runyard.store import launching as rows
from runyard.store import queues as queue_rows
from runyard.store.items import Pair

_PREEMPTED: Final = Observation(Phase.PREEMPTED, reason="preempted")


@dataclass(frozen=True, slots=True)
class Queued:
    """An item, and its spec merged with its queue, in the client's words."""

    id: str
    spec: Mapping[str, Any]


def by_name(
    call: Call,
    entity: str,
    queue: str,
    data: Any,
    *,
    values: Mapping[str, Any] | None,
    priority: int | None,
) -> Queued:
    """Push to a queue by name. The queue `default` is made when it is first pushed to.

    Raises:
        What `submitting.submit` raises.
    """
    pushed = wandb_specs.read(data, values=values, priority=priority)
    if call.actor.kind is Kind.RUN:
        return _of_sweep(call, queues.find(call, entity, queue), pushed.spec)
    there = queue_rows.get(call.tx, entity, queue) if queue == DEFAULT_QUEUE else None
    if queue == DEFAULT_QUEUE and there is None:
        return _submit(call, entity, queue, pushed.spec)
    return _push(call, queues.find(call, entity, queue), pushed)


def by_id(
    call: Call, queue_id: str, data: Any, *, values: Mapping[str, Any] | None, priority: int | None
) -> Queued:
    """Push to a queue by its id: what the client does where pushing by name was refused.

    Raises:
        What `submitting.submit` raises.
    """
    pushed = wandb_specs.read(data, values=values, priority=priority)
    if call.actor.kind is Kind.RUN:
        row = rows.queue_of_run(call.tx, call.actor.run_id or "")
        if row is None or row["id"] != queue_id:
            raise NotFound("no queue of this id that this run's token opens")
        return _of_sweep(call, queues.find(call, row["entity"], row["name"]), pushed.spec)
    return _push(call, queues.by_id(call, queue_id), pushed)


def _push(call: Call, queue: Queue, pushed: wandb_specs.Pushed) -> Queued:
    if pushed.resumes:
        back = _given_back(call, queue, pushed)
        if back is not None:
            return back
    return _submit(call, queue.entity, queue.name, pushed.spec)


def _submit(call: Call, entity: str, queue: str, spec: Mapping[str, Any]) -> Queued:
    (made,) = submitting.submit(call, entity, queue, [spec], binds=True)
    return Queued(made.id, wandb_specs.told(made.spec))


def _given_back(call: Call, queue: Queue, pushed: wandb_specs.Pushed) -> Queued | None:
    """Requeue the item that was preempted, as its queue's policy says; None if there is none such.

    Only the agent that runs it may say so. Said again, it changes nothing.
    """
    spec = pushed.spec
    entity, project = spec.get("entity") or queue.entity, spec.get("project")
    project_id = submitting.project_of(call, entity, project or submitting.DEFAULT_PROJECT)
    item_id = project_id and rows.item_of_run(call.tx, project_id, str(spec.get("run_id")))
    pair = items.locked(call.tx, [item_id]).get(item_id) if item_id else None
    if pair is None or pair.item.queue_id != queue.id:
        return None
    if pair.item.state in MOVES and pair.item.requeues >= pushed.resumes:  # said before
        return Queued(pair.item.id, wandb_specs.told(pair.spec, requeues=pair.item.requeues))
    if pair.item.state is not ItemState.CLAIMED or not _is_held_by_caller(call, pair):
        return None
    became = outcomes.observed(pair.item, pair.run, _PREEMPTED, pair.policy, call.now)
    items.save(call.tx, [(pair, became)], now=call.now, actor=call.actor.name)
    following.after(call, [(pair, became)])
    return Queued(pair.item.id, wandb_specs.told(pair.spec, requeues=became.item.requeues))


def _is_held_by_caller(call: Call, pair: Pair) -> bool:
    lease = pair.item.lease
    agent = agent_rows.get(call.tx, lease.agent_id) if lease else None
    return agent is not None and agents.is_own(call, agent) and agents.may_serve(call, agent)


def _of_sweep(call: Call, queue: Queue, spec: Mapping[str, Any]) -> Queued:
    """Submit a run of the sweep that the caller, a run, drives, in its author's name.

    Raises:
        Forbidden: any other run's token, or a run of anything else.
        NotFound: another project than the token's own.
    """
    place = places.find(call, spec.get("entity"), spec.get("project"))
    sweep = rows.driven_sweep(call.tx, place.id, str(spec.get("sweep_id")), call.actor.run_id or "")
    author = account_rows.actor_named(call.tx, call.actor.name) if sweep else None
    if sweep is None or author is None:
        raise Forbidden(
            "a run's token queues runs of the sweep that the run drives, and nothing else",
            hint="use a key of your own to submit: runyard key create",
        )
    author.need(Action.SUBMIT, queue.entity_id, queue.entity, f"queue {queue.name!r}")
    own = {key: value for key, value in spec.items() if key != "author"}
    own |= {"entity": place.entity, "project": place.name, "sweep_id": sweep["name"]}
    return _submit(replace(call, actor=author), queue.entity, queue.name, own)
