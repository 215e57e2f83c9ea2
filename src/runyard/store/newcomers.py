"""Items that are born: written with their runs and first events, many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam, case, func, update

from runyard.domain.items import Item
from runyard.domain.runs import Run
from runyard.store import tables as t
from runyard.store.bulk import insertion
from runyard.store.db import Tx
from runyard.store.values import ms_or_none, to_ms, to_text

_MS: Final = timedelta(milliseconds=1)
_EVENTS: Final = insertion(t.item_events, "item_id", "at", "was", "became", "actor", "detail")
_NEW_RUNS: Final = insertion(
    t.runs, "id", "project_id", "name", "display_name", "state", "item_id", "author_id", "job",
    "config", "created_at",
)  # fmt: skip
# A run that waited for an item keeps what its sweep said of it.
_BIND: Final = (
    update(t.runs)
    .where(t.runs.c.id == bindparam("run"))
    .values(
        item_id=bindparam("b_item"),
        job=bindparam("b_job"),
        display_name=func.coalesce(t.runs.c.display_name, bindparam("b_name")),
        config=case((t.runs.c.config == "{}", bindparam("b_config")), else_=t.runs.c.config),
    )
)
_NEW_ITEMS: Final = insertion(
    t.items, "id", "queue_id", "state", "priority", "enqueued_at", "run_id", "author_id",
    "attempt", "requeues", "claim_ttl", "pinned_agent", "spec", "policy", "parked",
    "parked_why", "expires_at", "turn", "charged",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NewItem:
    """What submitting writes: the item and the run that is born with it, or `is_there`."""

    item: Item
    run: Run
    project_id: str
    run_name: str
    display_name: str | None
    author_id: str
    job: str | None
    config: dict[str, Any]
    spec: dict[str, Any]
    spec_text: str
    pinned_agent: str | None = None
    policy: str | None = None  # what the submission narrowed of the queue's, as JSON
    is_there: bool = False


def add(tx: Tx, new: Sequence[NewItem], *, now: datetime, actor: str) -> None:
    """Insert items with their runs and first events.

    Raises:
        Duplicate: a run of that name exists in the project.
    """
    at = to_ms(now)
    born = [n for n in new if not n.is_there]
    if born:
        _NEW_RUNS.run(
            tx,
            [
                {
                    "id": n.run.id, "project_id": n.project_id, "name": n.run_name,
                    "display_name": n.display_name, "state": n.run.state.value,
                    "item_id": n.item.id, "author_id": n.author_id, "job": n.job,
                    "config": to_text(n.config), "created_at": at,
                }
                for n in born
            ],
        )  # fmt: skip
    for n in new:
        if n.is_there:
            tx.run(
                _BIND,
                {"run": n.run.id, "b_item": n.item.id, "b_job": n.job, "b_name": n.display_name,
                 "b_config": to_text(n.config)},
            )  # fmt: skip
    _NEW_ITEMS.run(
        tx,
        [
            {
                "id": n.item.id, "queue_id": n.item.queue_id, "state": n.item.state.value,
                "priority": n.item.priority, "enqueued_at": to_ms(n.item.enqueued_at),
                "run_id": n.run.id, "author_id": n.author_id, "attempt": 0, "requeues": 0,
                "claim_ttl": n.item.claim_ttl // _MS, "pinned_agent": n.pinned_agent,
                "spec": n.spec_text, "policy": n.policy,
                "parked": n.item.parked and n.item.parked.value, "parked_why": n.item.parked_why,
                "expires_at": ms_or_none(n.item.expires_at), "turn": n.item.turn,
                "charged": n.item.charged,
            }
            for n in new
        ],
    )  # fmt: skip
    _EVENTS.run(
        tx,
        [
            {"item_id": n.item.id, "at": at, "was": None, "became": n.item.state.value,
             "actor": actor, "detail": n.item.parked_why}
            for n in new
        ],
    )  # fmt: skip
    tx.announce("events")
