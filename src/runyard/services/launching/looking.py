"""Reading items as the tracking client does: by their queue, with or without a fence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from runyard.domain.access import Kind
from runyard.domain.errors import NotFound
from runyard.services import runs
from runyard.services.call import Call
from runyard.services.launching.popping import item_id
from runyard.services.tracking import places
from runyard.store import views
from runyard.store.db import Row

MOST: Final = 200  # of one page
USUAL: Final = 100


def item(call: Call, text: str) -> Row:
    """Return an item, wherever it was moved to. A run's token sees those of its project.

    Raises:
        NotFound.
    """
    if call.actor.kind is not Kind.RUN:
        return runs.get_item(call, item_id(text))
    row, own = views.item(call.tx, item_id(text)), places.find(call, None, None)
    if row is None or (row["target"], row["project"]) != (own.entity, own.name):
        raise NotFound("no item of this id that this run's token opens")
    return row


def page(call: Call, queue_id: str, *, before: str | None, limit: int) -> Sequence[Row]:
    """Return items of a queue that the caller was shown, the newest first; one more than asked."""
    if call.actor.kind is Kind.RUN:
        return []
    return views.items(call.tx, queue_id=queue_id, before=before, limit=min(limit, MOST) + 1)


def warnings(call: Call, row: Row) -> Sequence[Row]:
    """Return the warnings of an item that the caller was shown."""
    return views.warnings(call.tx, row["id"])
