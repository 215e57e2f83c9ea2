"""What follows from moves of items, whoever made them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from runyard.domain.items import ItemState
from runyard.domain.outcomes import Outcome
from runyard.services import transfers, turns
from runyard.services.call import Call
from runyard.store import accounts, attempts
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
        if o.item.state.is_final or (o.item.state is ItemState.PENDING and p.item.lease is not None)
    ]
    if over:
        accounts.drop_run_tokens(call.tx, over)
    turns.settle(call, changed)
    for p, o in changed:
        if o.retry is not None and (o.retry.config or o.retry.queue):
            transfers.after_retry(call, p, o.item, o.retry)
