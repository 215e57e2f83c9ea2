"""
Giving out turns in queues with fair share, and settling them when more is known.

An item is placed when it is queued, by what its author will have used by then, and its author's
share is booked with what the item is expected to use. When it ends, the difference is booked, and
the author's other waiting items are placed anew, a little later and aside (`place_anew`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runyard.domain import sharing
from runyard.domain.items import Item, Parked, QueueId
from runyard.domain.outcomes import Outcome
from runyard.domain.policy import QueuePolicy
from runyard.domain.queues import Queue
from runyard.domain.sharing import Place, Standing
from runyard.services.call import Call
from runyard.store import attempts, items, shares, standing, waiting
from runyard.store import queues as queue_rows
from runyard.store.items import Pair

Moves = Sequence[tuple[Pair, Outcome]]


def placed(
    call: Call, queue_id: str, policy: QueuePolicy, authors: Sequence[str]
) -> list[Place | None]:
    """Return the places of new items of a queue, whose authors are given; None without shares."""
    if not policy.fair_share:
        return [None] * len(authors)
    known = shares.locked(call.tx, queue_id, authors)
    found: list[Place | None] = []
    for author in authors:
        (place,), known[author] = _places(call, policy, known[author], 1)
        found.append(place)
    shares.write(call.tx, queue_id, known)
    return found


def settle(call: Call, changed: Moves) -> None:
    """Book what was used in place of what was expected, for items that ended or will run again.

    What goes back unused keeps its turn. What will run again gets another. What is held stands
    in no line: it is placed when it is released.
    """
    _let_in(call, [p for p, o in changed if _is_released(p.item, o.item)])
    over = [(p, o) for p, o in changed if p.item.charged is not None and _is_over(p.item, o.item)]
    for queue_id in sorted({p.item.queue_id for p, _ in over}):
        _settle(call, queue_id, [(p, o) for p, o in over if p.item.queue_id == queue_id])


def _is_over(was: Item, became: Item) -> bool:
    is_held = became.parked is Parked.HELD and was.parked is not Parked.HELD
    return became.state.is_final or is_held or _runs_again(was, became)


def _is_released(was: Item, became: Item) -> bool:
    return was.parked is Parked.HELD and became.parked is None and not became.state.is_final


def _let_in(call: Call, released: Sequence[Pair]) -> None:
    for p in released:
        if p.policy.fair_share:
            places = placed(call, p.item.queue_id, p.policy, [p.author_id])
            items.place(call.tx, [(p.item.id, places[0])])


def _runs_again(was: Item, became: Item) -> bool:
    return became.requeues > was.requeues or became.retries > was.retries


def _settle(call: Call, queue_id: QueueId, over: Moves) -> None:
    policy = over[0][0].policy
    half_life, now = policy.fair_share_half_life, call.now.timestamp()
    known = shares.locked(call.tx, queue_id, [p.author_id for p, _ in over])
    lasted = attempts.lasted(call.tx, [(o.item.id, o.item.attempt) for _, o in over], call.now)
    again: list[tuple[str, Place | None]] = []
    for p, o in over:
        mine, cost = known[p.author_id], 0.0
        if p.item.lease is not None and o.item.attempt > 0 and o.item.id in lasted:
            seconds, devices = lasted[o.item.id]
            cost = seconds * max(1, devices)
            used = sharing.added(mine.used, cost, half_life, now)
            mine = replace(mine, used=used, typical_s=sharing.typical(mine.typical_s, seconds))
        # What comes before the next sweep is placed by about the right level, too.
        level = sharing.added(mine.level, cost - (p.item.charged or 0.0), half_life, now)
        mine = replace(mine, level=level)
        if o.item.parked is Parked.HELD:
            again.append((o.item.id, None))
        elif _runs_again(p.item, o.item):
            (place,), mine = _places(call, policy, mine, 1)
            keeps_place = o.item.enqueued_at == p.item.enqueued_at
            again.append(
                (o.item.id, Place(p.item.turn if keeps_place else place.turn, place.charged))
            )
        known[p.author_id] = mine
    shares.write(call.tx, queue_id, known)
    shares.mark(call.tx, queue_id, set(known), moved=True)
    items.place(call.tx, again)


def move(call: Call, pair: Pair, to: Queue) -> None:
    """Take an item out of one queue's line and into another's; the caller has written the queue."""
    if pair.item.charged is not None:
        shares.mark(call.tx, pair.item.queue_id, [pair.author_id], moved=True)
    (place,) = placed(call, to.id, to.policy, [pair.author_id])
    items.place(call.tx, [(pair.item.id, None if pair.item.parked is Parked.HELD else place)])


def place_anew(call: Call) -> int:
    """Place what waits of users whose use turned out to be another; return how many users."""
    found = shares.moved(call.tx)
    for queue_id, user in found:
        queue = queue_rows.by_id(call.tx, QueueId(queue_id))
        if queue is not None and queue.policy.fair_share:
            _place_all(call, queue, user)
        shares.mark(call.tx, queue_id, [user], moved=False)
    return len(found)


def switch(call: Call, queue: Queue, *, on: bool) -> None:
    """Place everything that waits in a queue whose fair share was switched on or off."""
    users = {row["author_id"] for row in standing.waiting_by_user(call.tx, queue.id)}
    for user in sorted(users):
        if on:
            shares.locked(call.tx, queue.id, [user])
            _place_all(call, queue, user)
        else:
            there = waiting.of_author(call.tx, queue.id, user)
            items.place(call.tx, [(item_id, None) for item_id in there])


def rescale(call: Call, was: Queue, queue: Queue) -> None:
    """Write everybody's use as another half-life writes it, and place what waits anew."""
    users = shares.everybody(call.tx, queue.id)
    known = shares.locked(call.tx, queue.id, users)
    now, old, new = call.now.timestamp(), was.policy, queue.policy
    for user, mine in known.items():
        use = sharing.use_at(mine.used, old.fair_share_half_life, now)
        level = sharing.added(sharing.NEVER, use, new.fair_share_half_life, now)
        known[user] = replace(mine, used=level)
    shares.write(call.tx, queue.id, known)
    for user in sorted(known):
        _place_all(call, queue, user)


def _place_all(call: Call, queue: Queue, user: str) -> None:
    """Place all that waits of a user, in its order, from what was used and is in flight."""
    there = waiting.of_author(call.tx, queue.id, user)
    mine = shares.locked(call.tx, queue.id, [user])[user]
    flying = waiting.in_flight(call.tx, queue.id, user)
    half_life, now = queue.policy.fair_share_half_life, call.now.timestamp()
    start = replace(mine, level=sharing.added(mine.used, flying, half_life, now))
    found, after = _places(call, queue.policy, start, len(there))
    items.place(call.tx, list(zip(there, found, strict=True)))
    shares.write(call.tx, queue.id, {user: after})


def _places(
    call: Call, policy: QueuePolicy, mine: Standing, n: int
) -> tuple[list[Place], Standing]:
    half_life, now = policy.fair_share_half_life, call.now.timestamp()
    return sharing.places(mine, n, half_life=half_life, now=now)
