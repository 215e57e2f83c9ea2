"""
Looking for what is no event: items that wait too long, queues without agents, silent agents.

Done now and then, by one server at a time. Each look asks the indexes for the first of each line
and never for the line: 100,000 items that wait cost what one does.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from runyard.domain.agents import LOST_AFTER
from runyard.domain.hooks import REMIND_AFTER, Event, Hook, masked, spoken
from runyard.services.call import Call
from runyard.services.notifying import delivery, item
from runyard.store import hook_events as events
from runyard.store import hooks as rows
from runyard.store.db import Row
from runyard.store.hooks import Delivery
from runyard.store.values import from_ms, to_ms
from runyard.wire import rest_hooks as wire

LOOKS: Final = "hooks.looks"
_COUNTED: Final = 1000  # items that wait, of each priority
_DAY: Final = timedelta(days=1)


def look(call: Call, url: str, every: timedelta, *, is_steady: bool) -> int | None:
    """Find what is no event and write its deliveries; return how many.

    None if somebody else has looked less than `every` ago. `is_steady`: whether the server was
    there all the time, so that the silence of an agent means something.
    """
    last, now = rows.cursor(call.tx, LOOKS), to_ms(call.now)
    if last is not None and from_ms(last) + every > call.now:
        return None
    if not rows.swap_cursor(call.tx, LOOKS, last, now):
        return None
    made: list[Delivery] = []
    for hook in rows.enabled(call.tx):
        if hook.events & {Event.ITEM_WAITING, Event.QUEUE_NO_AGENT}:
            for queue in events.queues_of(call.tx, hook.entity_id, hook.queue_name):
                made += _queue_events(call, hook, queue, url, is_steady=is_steady)
        if is_steady and Event.AGENT_LOST in hook.events:
            made += _lost(call, hook)
        if Event.AGENT_SET_ASIDE in hook.events:
            made += _set_aside(call, hook)
    rows.deliver(call.tx, made, call.now)
    return len(made)


def last_look(call: Call) -> datetime | None:
    last = rows.cursor(call.tx, LOOKS)
    return None if last is None else from_ms(last)


def _queue_events(
    call: Call, hook: Hook, queue: Row, url: str, *, is_steady: bool
) -> Iterator[Delivery]:
    oldest = events.oldest_waiting(call.tx, queue["id"], hook.author_id)
    if oldest is None:
        return
    waited = call.now - from_ms(oldest["enqueued_at"])
    if waited < hook.wait:
        return
    if Event.ITEM_WAITING in hook.events:
        told_of, since = queue["id"], call.now - REMIND_AFTER
        if not rows.told_since(call.tx, hook.id, Event.ITEM_WAITING, told_of, since):
            yield _waiting(call, hook, queue, oldest["id"], waited, url)
    if is_steady and Event.QUEUE_NO_AGENT in hook.events:
        yield from _no_agent(call, hook, queue)


def _waiting(
    call: Call, hook: Hook, queue: Row, item_id: str, waited: timedelta, url: str
) -> Delivery:
    row = events.item(call.tx, item_id)
    assert row is not None
    n = _count(call, hook, queue)
    others = f", and {n - 1} more wait longer than {spoken(hook.wait)}" if n > 1 else ""
    return delivery(
        call, hook, Event.ITEM_WAITING, f"{queue['id']}/{item_id}/{to_ms(call.now)}",
        at=call.now, queue=queue["name"], waiting=n, item=item(row, url, waited=waited),
        text=f"Run {row['run_name']} of {row['author']} has waited {spoken(waited)} in queue "
        f"{hook.entity}/{queue['name']}{others}.",
    )  # fmt: skip


def _no_agent(call: Call, hook: Hook, queue: Row) -> Iterator[Delivery]:
    live, seen = events.last_served(
        call.tx, hook.entity_id, queue["name"], call.now - max(hook.wait, LOST_AFTER)
    )
    if live:
        return
    # Once for each absence, and again each day that it lasts.
    days = (to_ms(call.now) - seen) // int(_DAY.total_seconds() * 1000)
    n = _count(call, hook, queue)
    since = f"since {from_ms(seen):%Y-%m-%d %H:%M} UTC" if seen else "yet"
    yield delivery(
        call, hook, Event.QUEUE_NO_AGENT, f"{queue['id']}/{seen}/{days}",
        at=call.now, queue=queue["name"], waiting=n,
        text=f"No agent has served queue {hook.entity}/{queue['name']} {since}, and {n} "
        f"item{'s wait' if n != 1 else ' waits'} in it.",
    )  # fmt: skip


def _count(call: Call, hook: Hook, queue: Row) -> int:
    since = call.now - hook.wait
    return events.waiting_since(call.tx, queue["id"], hook.author_id, since, most=_COUNTED)


def _lost(call: Call, hook: Hook) -> Iterator[Delivery]:
    until = call.now - LOST_AFTER
    after = max(until - _DAY, hook.created_at - LOST_AFTER)
    for agent in events.lost_agents(
        call.tx, hook.entity_id, hook.queue_name, after=after, until=until
    ):
        seen = from_ms(agent["last_seen_at"])
        yield delivery(
            call, hook, Event.AGENT_LOST, f"{agent['id']}/{agent['last_seen_at']}",
            at=call.now, agent=_agent(agent),
            text=f"Agent {agent['name']} of {hook.entity} fell silent; it was last heard of "
            f"at {seen:%Y-%m-%d %H:%M:%S} UTC.",
        )  # fmt: skip


def _set_aside(call: Call, hook: Hook) -> Iterator[Delivery]:
    after = max(call.now - _DAY, hook.created_at)
    for agent in events.set_aside_agents(
        call.tx, hook.entity_id, hook.queue_name, after=after
    ):  # fmt: skip
        why = masked(agent["set_aside_why"])
        yield delivery(
            call, hook, Event.AGENT_SET_ASIDE, f"{agent['id']}/{agent['set_aside_at']}",
            at=from_ms(agent["set_aside_at"]), agent=_agent(agent), message=why,
            text=f"Agent {agent['name']} of {hook.entity} was set aside: {why}",
        )  # fmt: skip


def _agent(row: Row) -> wire.NotedAgent:
    return wire.NotedAgent(
        id=row["id"], name=row["name"], last_seen_at=from_ms(row["last_seen_at"])
    )  # fmt: skip
