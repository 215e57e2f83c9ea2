"""
From the events of items to deliveries.

The follower reads events from a cursor on, and moves the cursor in the transaction in which it
writes the deliveries: an event is told to a hook once, whatever dies when. Two servers cannot do
it at the same time, since the move is a compare-and-swap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from runyard.domain.hooks import COLLECT, Event, Hook, HookKind, event_of, masked
from runyard.domain.items import Stage
from runyard.domain.runs import RunState
from runyard.services import hooks
from runyard.services.call import Call
from runyard.store import hook_events as events
from runyard.store import hooks as rows
from runyard.store import views
from runyard.store.db import Row
from runyard.store.hooks import Delivery
from runyard.store.values import from_ms
from runyard.wire import rest_hooks as wire

_EVENTS: Final = 200  # at once: with many hooks they make many deliveries


def follow(call: Call, url: str) -> tuple[int, bool]:
    """Write the deliveries of the next events; return how many, and whether more events are there.

    `url` is the server's, for links.
    """
    cursor = rows.cursor(call.tx, hooks.CURSOR)
    if cursor is None:  # who makes the first hook sets it
        return 0, False
    to, _ = views.settled(call.tx, cursor, now=call.now, limit=_EVENTS)
    if to == cursor or not rows.swap_cursor(call.tx, hooks.CURSOR, cursor, to):
        return 0, False
    found, made = rows.enabled(call.tx), []
    for row in events.moves(call.tx, cursor, to):
        event = event_of(row["was"], row["became"], RunState(row["run_state"]))
        at = from_ms(row["at"])
        if event is None:
            continue
        for hook in _wanting(found, event, row, at):
            made.append(_moved(call, hook, event, row, at, url))
    rows.deliver(call.tx, made, call.now)
    return len(made), to - cursor >= _EVENTS


def _wanting(found: Sequence[Hook], event: Event, row: Row, at: datetime) -> Iterator[Hook]:
    for hook in found:
        if (
            hook.entity_id == row["owner_id"]
            and hook.created_at <= at
            and hook.wants(event, row["queue"], row["author_id"])
        ):
            yield hook


def _moved(call: Call, hook: Hook, event: Event, row: Row, at: datetime, url: str) -> Delivery:
    stage, message = _why(event, row)
    who = f"Run {row['run_name']} of {row['author']}"
    where = f"in queue {hook.entity}/{row['queue']}"
    text = {
        Event.ITEM_FAILED: f"{who} failed {where}" + (f" ({stage})" if stage else ""),
        Event.ITEM_FINISHED: f"{who} finished {where}",
        Event.ITEM_CANCELLED: f"{who} was cancelled {where}",
        Event.ITEM_REQUEUED: f"{who} waits again {where}",
    }[event]
    return delivery(
        call, hook, event, f"{row['item_id']}/{row['seq']}",
        at=at, text=f"{text}: {message}" if message else f"{text}.", message=message,
        queue=row["queue"], item=item(row, url, stage=stage),
    )  # fmt: skip


def _why(event: Event, row: Row) -> tuple[str, str]:
    """Return stage and message, as they may be told to anybody."""
    if event is Event.ITEM_REQUEUED:
        return "", masked(row["detail"])
    if event is not Event.ITEM_FAILED:
        return "", masked(row["reason"]) if event is Event.ITEM_CANCELLED else ""
    stage = row["failure_stage"] or Stage.RUN.value
    return stage, masked(row["failure_message"] or row["reason"])


def item(
    row: Row, url: str, *, stage: str = "", waited: timedelta | None = None
) -> wire.NotedItem:  # fmt: skip
    entity, project, run = row["target"], row["project"], row["run_name"]
    return wire.NotedItem(
        id=row["item_id"],
        author=row["author"],
        job=row["job"],
        attempt=row["attempt"],
        waited_s=None if waited is None else int(waited.total_seconds()),
        exit_code=row["exit_code"],
        stage=stage,
        run=wire.NotedRun(
            entity=entity,
            project=project,
            run_id=run,
            url=f"{url}/{entity}/{project}/runs/{run}",
        ),
    )


def delivery(
    call: Call,
    hook: Hook,
    event: str,
    subject: str,
    *,
    at: datetime,
    text: str,
    **more: Any,
) -> Delivery:
    """Return the delivery of an event to a hook; `more` are fields of `Notification`."""
    told = wire.Notification(
        id=call.new_id(), event=event, at=at, text=text, entity=hook.entity, hook=hook.name, **more
    )
    is_mail = hook.kind is HookKind.EMAIL
    return Delivery(
        id=told.id,
        hook_id=hook.id,
        event=event,
        subject=subject,
        payload=told.model_dump(mode="json"),
        next_at=call.now + COLLECT if is_mail else call.now,
    )


def has_news(call: Call) -> bool:
    """Whether there are events that `follow` has not read, and somebody who wants them."""
    cursor = rows.cursor(call.tx, hooks.CURSOR)
    return cursor is not None and rows.any_enabled(call.tx) and views.last_event(call.tx) > cursor
