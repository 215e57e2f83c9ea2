"""Why items wait, and how a queue stands: read for people, never for decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runyard.domain import explaining, sharing
from runyard.domain.agents import Agent
from runyard.domain.explaining import MOST_AHEAD, Load, Serving, Waiting
from runyard.domain.items import ItemState, QueueId
from runyard.domain.policy import QueuePolicy
from runyard.domain.queues import Queue
from runyard.domain.rules import RULES
from runyard.domain.sharing import Standing
from runyard.services import queues
from runyard.services.call import Call
from runyard.store import items, shares, standing, waiting
from runyard.store import queues as queue_rows
from runyard.store.db import Row
from runyard.store.values import to_ms, to_text


@dataclass(frozen=True, slots=True)
class UserThere:
    """A user in a queue. `used_s`: seconds of decayed use; `room`: how many more may run."""

    user: str
    waiting: int
    running: int
    used_s: float
    room: int | None


@dataclass(frozen=True, slots=True)
class Explained:
    """
    How a queue stands. `rules` are sentences, one for each rule that is not at its default; `next`
    are the users whose items leave next, in order.
    """

    queue: Queue
    rules: tuple[str, ...]
    serving: Serving
    running: int
    waiting: int
    held: int
    backing_off: int
    typical_s: float | None
    users: tuple[UserThere, ...]
    next: tuple[str, ...]


def of_item(call: Call, row: Row) -> Waiting | None:
    """Return why an item waits; None if it does not. `row` is of `runs.get_item`."""
    if row["state"] != ItemState.PENDING:
        return None
    pair = items.locked(call.tx, [row["id"]]).get(row["id"])
    queue = queue_rows.by_id(call.tx, QueueId(row["queue_id"]))
    if pair is None or queue is None or pair.item.state is not ItemState.PENDING:
        return None
    agents = standing.agents_of(call.tx, queue.entity_id, queue.name, to_ms(call.now))
    running = waiting.running(call.tx, queue.id)
    pinned = row["pinned_agent"]
    return explaining.explain(
        pair.item,
        queue,
        author=row["author"],
        pinned_to=pinned,
        pinned_is_live=any(agent.name == pinned for agent, _ in agents),
        serving=_serving(agents),
        load=Load(
            sum(running.values()),
            running.get(pair.author_id, 0),
            standing.typical_seconds(call.tx, queue.id),
        ),
        ahead=standing.ahead(call.tx, pair.item, most=MOST_AHEAD),
        now=call.now,
    )


def of_queue(call: Call, entity: str, name: str, *, most_next: int = 10) -> Explained:
    """Return how a queue stands. Raises: NotFound."""
    queue = queues.get(call, entity, name)
    agents = standing.agents_of(call.tx, queue.entity_id, queue.name, to_ms(call.now))
    running = waiting.running(call.tx, queue.id)
    by_line = {
        (row["author_id"], row["priority"]): row["n"]
        for row in standing.waiting_by_user(call.tx, queue.id)
    }
    parked = standing.parked(call.tx, queue.id)
    users = {user for user, _ in by_line} | set(running)
    coming = _next(call, queue, running, most_next)
    names = standing.names(call.tx, sorted(users))
    known = shares.of_users(call.tx, queue.id, users)
    waits: Counter[str] = Counter()
    for (user, _), n in by_line.items():
        waits[user] += n
    most = queue.policy.max_running_per_user
    told = [
        UserThere(
            names.get(user, user),
            waits[user],
            running.get(user, 0),
            _used(known.get(user), queue.policy, call.now.timestamp()),
            max(0, most - running.get(user, 0)) if most else None,
        )
        for user in users
    ]
    return Explained(
        queue=queue,
        rules=rules(queue.policy),
        serving=_serving(agents),
        running=sum(running.values()),
        waiting=sum(waits.values()),
        held=parked.get("held", 0),
        backing_off=parked.get("backoff", 0),
        typical_s=standing.typical_seconds(call.tx, queue.id),
        users=tuple(sorted(told, key=lambda s: (-s.waiting, -s.running, s.user))),
        next=tuple(names.get(user, user) for user in coming),
    )


def rules(policy: QueuePolicy) -> tuple[str, ...]:
    """Return a sentence for each rule that is not at its default."""
    usual, given = QueuePolicy().to_json(), policy.to_json()
    return tuple(
        f"{name} = {to_text(given[name])}: {rule.means}"
        for name, rule in RULES.items()
        if given[name] != usual[name]
    )


def _serving(agents: Sequence[tuple[Agent, int]]) -> Serving:
    leasing = [(agent, held) for agent, held in agents if agent.may_lease]
    unlimited = any(agent.max_jobs < 0 for agent, _ in leasing)
    aside = [f"{agent.name}: {agent.set_aside_why}" for agent, _ in agents if agent.is_set_aside]
    return Serving(
        live=len(agents),
        leasing=len(leasing),
        slots=None if unlimited else sum(agent.max_jobs for agent, _ in leasing),
        taken=sum(held for _, held in leasing),
        aside=aside[-1] if aside else "an operator asked them to stop",
    )


def _used(standing: Standing | None, policy: QueuePolicy, now: float) -> float:
    """Return the seconds that a user has used of late."""
    if standing is None:
        return 0.0
    return sharing.use_at(standing.used, policy.fair_share_half_life, now)


def _next(call: Call, queue: Queue, running: Mapping[str, int], most: int) -> list[str]:
    """Return whose items leave next, as far as users have room."""
    cap, there = queue.policy.max_running_per_user, dict(running)
    found = []
    for user in waiting.next_authors(call.tx, queue.id, limit=20 * most):
        if not cap or there.get(user, 0) < cap:
            there[user] = there.get(user, 0) + 1
            found.append(user)
    return found[:most]
