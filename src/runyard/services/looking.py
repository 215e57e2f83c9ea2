"""
Looking for what is no event: items that wait too long, queues without agents, silent agents.

Done now and then, by one server at a time, and without holding up those who write. A look asks the
indexes for the first of each line and never for the line: 100,000 items that wait cost what one
does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from runyard.store.items import policy_of
from runyard.store.values import from_ms, to_ms
from runyard.wire import rest_hooks as wire

LOOKS: Final = "hooks.looks"
_COUNTED: Final = 1000  # items that wait, of each priority
_DAY: Final = timedelta(days=1)


def take_turn(call: Call, every: timedelta) -> bool:
    """Whether it is this server's turn to look: nobody else has looked less than `every` ago."""
    last = rows.cursor(call.tx, LOOKS)
    if last is not None and from_ms(last) + every > call.now:
        return False
    return rows.swap_cursor(call.tx, LOOKS, last, to_ms(call.now))


def last_look(call: Call) -> datetime | None:
    last = rows.cursor(call.tx, LOOKS)
    return None if last is None else from_ms(last)


def look(call: Call, url: str, *, is_steady: bool) -> list[Delivery]:
    """Return deliveries of what is no event. Reads only: who has the turn writes them after.

    `is_steady`: whether the server was there all the time, so that the silence of an agent means
    something. What was told already is among the deliveries, and not told again by its subject.
    """
    looking = _Look(call, url, is_steady=is_steady)
    return [found for hook in rows.enabled(call.tx) for found in looking.hook(hook)]


def tell(call: Call, found: Sequence[Delivery]) -> None:
    """Write what a look has found."""
    rows.deliver(call.tx, found, call.now)


class _Look:
    """One look: what hooks have in common is asked once."""

    def __init__(self, call: Call, url: str, *, is_steady: bool) -> None:
        self.call, self.url, self.is_steady = call, url, is_steady
        self.queues: dict[str, Sequence[Row]] = {}
        self.oldest: dict[tuple[str, str | None], Row | None] = {}

    def hook(self, hook: Hook) -> Iterator[Delivery]:
        if hook.events & {Event.ITEM_WAITING, Event.QUEUE_NO_AGENT}:
            for queue in self._queues(hook):
                yield from self._queue(hook, queue)
        if self.is_steady and Event.AGENT_LOST in hook.events:
            yield from _lost(self.call, hook)
        if Event.AGENT_SET_ASIDE in hook.events:
            yield from _set_aside(self.call, hook)

    def _queues(self, hook: Hook) -> list[Row]:
        if hook.entity_id not in self.queues:
            self.queues[hook.entity_id] = events.queues_of(self.call.tx, hook.entity_id)
        return [q for q in self.queues[hook.entity_id] if hook.queue_name in (None, q["name"])]

    def _queue(self, hook: Hook, queue: Row) -> Iterator[Delivery]:
        line = (queue["id"], hook.author_id)
        if line not in self.oldest:
            self.oldest[line] = events.oldest_waiting(self.call.tx, *line, shared=_shared(queue))
        oldest, now = self.oldest[line], self.call.now
        if oldest is None or (waited := now - from_ms(oldest["enqueued_at"])) < hook.wait:
            return
        if Event.ITEM_WAITING in hook.events and not rows.told_since(
            self.call.tx, hook.id, Event.ITEM_WAITING, queue["id"], now - REMIND_AFTER
        ):
            yield _waiting(self.call, hook, queue, oldest["id"], waited, self.url)
        if self.is_steady and Event.QUEUE_NO_AGENT in hook.events:
            yield from _no_agent(self.call, hook, queue)


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
    return events.waiting_since(
        call.tx, queue["id"], hook.author_id, since, most=_COUNTED, shared=_shared(queue)
    )


def _shared(queue: Row) -> bool:
    return policy_of(queue["policy"]).fair_share


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
