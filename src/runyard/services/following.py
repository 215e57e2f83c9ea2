"""What follows from moves of items, whoever made them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from runyard.domain.items import ItemState
from runyard.domain.outcomes import Outcome
from runyard.services import transfers
from runyard.services.call import Call
from runyard.store import accounts, attempts, shares
from runyard.store.items import Pair

Moves = Sequence[tuple[Pair, Outcome]]


def after(call: Call, changed: Moves, *, closed: Collection[str] = ()) -> None:
    """Do what follows from moves that were saved: ended tries are closed, lose their tokens and are
    settled with their author's share, and a retry brings its changes. `closed` are the items whose
    attempt has its end written already.
    """
    open_still = [
        (o.item.id, o.item.attempt)
        for p, o in changed
        if o.item.lease is None
        and (p.item.state is ItemState.CLAIMED or o.item.attempt > p.item.attempt)
        and o.item.id not in closed
    ]
    attempts.close(call.tx, open_still, call.now)
    over = [
        p.run.id
        for p, o in changed
        if o.item.state.is_final
        or (o.item.state is ItemState.PENDING and p.item.state is ItemState.CLAIMED)
    ]
    if over:
        accounts.drop_run_tokens(call.tx, over)
    _settle(call, changed)
    for p, o in changed:
        if o.retry is not None and (o.retry.config or o.retry.queue):
            transfers.after_retry(call, p, o.item, o.retry)


def _settle(call: Call, changed: Moves) -> None:
    """Book what was used in place of what was charged when it was leased."""
    left = [
        (p, o)
        for p, o in changed
        if p.item.charged is not None and p.item.lease is not None and o.item.lease is None
    ]
    if not left:
        return
    lasted = attempts.lasted(call.tx, [(o.item.id, o.item.attempt) for _, o in left], call.now)
    used: dict[tuple[str, float], dict[str, list[tuple[float, float | None]]]] = {}
    for p, o in left:
        claimed = p.item.state is ItemState.CLAIMED or o.item.attempt > p.item.attempt
        seconds, devices = lasted.get(o.item.id, (0.0, 0)) if claimed else (0.0, 0)
        line = used.setdefault((p.item.queue_id, p.policy.fair_share_half_life), {})
        change = seconds * max(1, devices) - (p.item.charged or 0.0)
        line.setdefault(p.author_id, []).append((change, seconds if claimed else None))
    for (queue_id, half_life), by_user in sorted(used.items()):
        shares.settle(call.tx, queue_id, by_user, half_life=half_life, now=call.now)
