"""
Operating a queue's items: hold, release, reprioritise, move, cancel and retry, one or many.

The author of an item may do all of it to their own; for those of others it takes the permission
to operate (or, for cancelling, to cancel). What somebody with that permission holds, its author
cannot release.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from runyard.domain.access import Action
from runyard.domain.errors import Conflict, Forbidden, Invalid, RunyardError
from runyard.domain.items import Item, ItemState, Parked
from runyard.domain.outcomes import Outcome
from runyard.domain.queues import PRIORITIES, Queue, priority_of
from runyard.domain.runs import RunState
from runyard.domain.secrets import BUILD_KEY, KEY
from runyard.domain.specs import merge
from runyard.services import following, queues, runs, submitting, transfers
from runyard.services.call import Call
from runyard.services.submitting import Submitted
from runyard.store import items, selecting
from runyard.store import queues as queue_rows
from runyard.store.db import Row
from runyard.store.items import Pair

MOST: Final = 200  # items of one request: it is one transaction
VERBS: Final = ("hold", "release", "priority", "move", "cancel", "retry")
_RETRIED: Final = (
    "entity", "project", "name", "job", "overrides", "sweep_id", "builder", "rebuild",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which items of a queue: those for which everything that is said holds."""

    ids: Sequence[str] = ()
    author: str | None = None
    states: Collection[str] = ()
    priority: str | int | None = None
    held: bool | None = None
    job: str | None = None
    waited_s: int | None = None
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to do: one of `VERBS`, and what it needs."""

    verb: str
    reason: str = ""
    priority: str | int | None = None
    queue: str | None = None
    changes: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """`refused` says of items why not; `next`: after which id the selection goes on, if it does."""

    changed: list[str]
    refused: dict[str, str]
    next: str | None


def one(call: Call, item_id: str, order: Order) -> Row:
    """Do it to one item. Raises: NotFound, Forbidden, Conflict, Invalid."""
    row = _may(call, item_id, order)
    _do(call, row, order)
    return runs.get_item(call, item_id)


def retry(call: Call, item_id: str, changes: Mapping[str, Any]) -> Submitted:
    """Submit an item that has ended once more, with changes: a new item, with a new run.

    `changes` is a launch spec, laid over the one that the item was made of.

    Raises:
        Conflict: it has not ended. What `submitting.submit` raises.
    """
    row = runs.get_item(call, item_id, Action.SUBMIT)
    pair = items.locked(call.tx, [item_id])[item_id]
    if not pair.item.state.is_final:
        raise Conflict(f"item {item_id} is {pair.item.state}; only what has ended is retried")
    spec = merge(_asked(pair, row), changes)
    queue = str(spec.pop("queue", None) or row["queue"])
    return submitting.submit(call, row["queue_entity"], queue, [spec])[0]


def many(
    call: Call, entity: str, queue: str, which: Selection, order: Order, *, dry_run: bool = False
) -> Done:
    """Do it to up to `MOST` items of a queue; each is done or refused by itself.

    Raises:
        NotFound, Forbidden: the queue. Invalid: the selection or the order.
    """
    if order.verb not in VERBS:
        raise Invalid(f"action: {order.verb!r} is none of {', '.join(VERBS)}")
    found = queues.get(call, entity, queue)
    rows = selecting.select_items(
        call.tx,
        found.id,
        ids=which.ids,
        states=which.states or _STATES[order.verb],
        runs=_FAILED if order.verb == "retry" and not which.states else (),
        author_id=runs.user_id(call, which.author),
        priority=_level(which.priority),
        held=which.held,
        job=which.job,
        before=None if which.waited_s is None else call.now - timedelta(seconds=which.waited_s),
        after=which.after,
        limit=MOST + 1,
    )
    changed: list[str] = []
    refused: dict[str, str] = {}
    for row in rows[:MOST]:
        try:
            known = _may(call, row["id"], order)
            if not dry_run:
                _do(call, known, order)
        except RunyardError as error:
            refused[row["id"]] = error.message
        else:
            changed.append(row["id"])
    return Done(changed, refused, rows[MOST - 1]["id"] if len(rows) > MOST else None)


_PENDING: Final = (ItemState.PENDING.value,)
_STATES: Final[Mapping[str, Sequence[str]]] = {
    "hold": _PENDING,
    "release": _PENDING,
    "priority": _PENDING,
    "move": _PENDING,
    "cancel": _PENDING,
    "retry": (ItemState.FINISHED.value, ItemState.FAILED.value),
}
# An item whose job left with an exit code has done its duty, and is finished: its run failed.
_FAILED: Final = (RunState.FAILED, RunState.CRASHED)


def _level(priority: str | int | None) -> int | None:
    if priority is None or isinstance(priority, int):
        return priority
    if priority not in PRIORITIES:
        raise Invalid(f"priority: {priority!r} is none of {', '.join(PRIORITIES)}")
    return PRIORITIES[priority]


def _may(call: Call, item_id: str, order: Order) -> Row:
    if order.verb == "retry":
        return runs.get_item(call, item_id, Action.SUBMIT)
    action = Action.CANCEL if order.verb == "cancel" else Action.OPERATE
    return runs.get_item(call, item_id, action)


def _do(call: Call, row: Row, order: Order) -> None:
    if order.verb == "retry":
        retry(call, row["id"], order.changes or {})
        return
    if order.verb == "cancel":
        runs.cancel(call, row["id"])
        return
    pair = items.locked(call.tx, [row["id"]])[row["id"]]
    if order.verb == "move":
        _move(call, pair, row, order)
        return
    moves = [(pair, Outcome(_changed(call, pair, row, order), pair.run))]
    items.save(call.tx, moves, now=call.now, actor=call.actor.name)
    following.after(call, moves)


def _changed(call: Call, pair: Pair, row: Row, order: Order) -> Item:
    item = pair.item
    if order.verb == "priority":
        if order.priority is None:
            raise Invalid(f"priority: say one of {', '.join(PRIORITIES)}")
        return item.reprioritised(priority_of(order.priority, pair.policy))
    if item.parked is Parked.HELD:
        _may_release(call, item, row)
    if order.verb == "hold":
        return item.held(_held_by(call, order.reason))
    if item.parked is None and item.state is ItemState.PENDING:
        raise Conflict(f"item {item.id} is not held")
    return item.freed()


def _held_by(call: Call, reason: str) -> str:
    reason = " ".join(reason.split())[:500]
    return f"held by {call.actor.name}" + (f": {reason}" if reason else "")


def _may_release(call: Call, item: Item, row: Row) -> None:
    holder = item.parked_why.partition(":")[0]
    if holder == f"held by {call.actor.name}" or call.actor.may(Action.OPERATE, row["owner_id"]):
        return
    raise Forbidden(
        f"item {item.id} is {item.parked_why}",
        hint=f"ask them, or an operator of {row['queue_entity']}",
    )


def _move(call: Call, pair: Pair, row: Row, order: Order) -> None:
    """Take an item to another queue of the same owner, to the end of it."""
    if not order.queue:
        raise Invalid("queue: say which queue to move to")
    to = queues.get(call, row["queue_entity"], order.queue, Action.SUBMIT)
    if pair.item.state is not ItemState.PENDING:
        raise Conflict(f"item {pair.item.id} is {pair.item.state}; only what waits can be moved")
    if to.id == pair.item.queue_id:
        raise Conflict(f"item {pair.item.id} is in queue {to.name} already")
    _fits(call, pair, to)
    transfers.transfer(call, pair, pair.item, to, {})
    items.note(
        call.tx,
        pair.item,
        now=call.now,
        actor=call.actor.name,
        detail=f"moved from {row['queue']} to {to.name}",
    )


def _fits(call: Call, pair: Pair, to: Queue) -> None:
    """Pass if the item may run under the other queue's rules.

    Its settings are its old queue's, which a locked queue would not let a member choose; so
    between queues with templates only their admins move things.
    """
    source = queue_rows.by_id(call.tx, pair.item.queue_id)
    locked = to.is_locked or (source is not None and source.is_locked)
    if locked and not call.actor.may(Action.EDIT_QUEUES, to.entity_id):
        raise Forbidden(
            f"queue {to.name} or the item's own has a template: only an admin moves items there",
            hint="cancel it and submit it to the other queue",
        )
    # An item takes its queue's secrets along; whose agents get them is not a member's choice (T14).
    refs = [*pair.spec.get(KEY, {}).values(), *pair.spec.get(BUILD_KEY, {}).values()]
    has_secrets = any(not ref.get("by_job") for ref in refs)
    if has_secrets and not call.actor.may(Action.EDIT_QUEUES, to.entity_id):
        raise Forbidden(
            "the item has secrets of its queue, which stay there: only an admin moves it",
            hint="cancel it and submit it to the other queue",
        )
    submitting.check_queue_takes(to, 1, call, author_id=pair.author_id)
    image = pair.spec["source"].get("image")
    if image and not to.policy.allows_image(image):
        raise Invalid(f"image {image!r} is not on the list of queue {to.name}")


def _asked(pair: Pair, row: Row) -> dict[str, Any]:
    """Return the launch spec that would make this item again."""
    spec = pair.spec
    asked = {name: spec[name] for name in _RETRIED if spec.get(name)}
    if not spec.get("job"):
        asked["docker"] = {"docker_image": spec["source"]["image"]}
    template, laid_over = spec.get("template"), spec.get("laid_over")
    if template is not None:
        asked["template_variables"] = template["values"]
    if laid_over:
        asked["resource_args"] = {spec["resource"]: laid_over}
    levels = {level: name for name, level in PRIORITIES.items()}
    if pair.policy.priorities:
        asked["priority"] = levels[min(3, row["priority"] + pair.item.aged)]
    return asked
