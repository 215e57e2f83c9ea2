"""
The audit log: who changed what, from what to what. Written in the transaction of the change.

Every service that changes something people administer calls `note`. Submissions and moves of
items are not here: they are events of the item, with their actor. Values are as people may see
them: a secret is noted by its name, never with its value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runyard.domain.access import Action, Kind
from runyard.domain.errors import Forbidden
from runyard.services.call import Call
from runyard.store import audit
from runyard.store.db import Row

Values = Mapping[str, Any]


def note(
    call: Call,
    action: str,
    thing: str,
    *,
    entity_id: str | None = None,
    before: Values | None = None,
    after: Values | None = None,
) -> None:
    """Record a change. `action` is `<noun>.<verb>`, as in `queue.edit`; `thing` is its name.

    Of two mappings only the fields that differ are kept; if none does, nothing happened and
    nothing is recorded. `entity_id` None is a change to the server as a whole.
    """
    if before is not None and after is not None:
        changed = {k for k in {*before, *after} if before.get(k) != after.get(k)}
        if not changed:
            return
        before = {k: v for k, v in before.items() if k in changed}
        after = {k: v for k, v in after.items() if k in changed}
    audit.add(
        call.tx,
        at=call.now,
        actor=call.actor.name,
        actor_kind=call.actor.kind.value,
        entity_id=entity_id,
        action=action,
        thing=thing,
        before=before,
        after=after,
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries. `entity` None: of all, for the server's admins. `action` may be a noun."""

    entity: str | None = None
    actor: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def page(call: Call, wanted: Wanted, *, before: int | None, limit: int) -> Sequence[Row]:
    """Return entries with numbers below `before`, the newest first.

    Raises:
        NotFound, Forbidden.
    """
    return audit.page(call.tx, _checked(call, wanted), before=before, limit=limit)


def export(call: Call, wanted: Wanted, *, after: int, limit: int) -> Sequence[Row]:
    """Return entries with numbers above `after`, the oldest first. Raises as `page`."""
    return audit.forward(call.tx, _checked(call, wanted), after=after, limit=limit)


def _checked(call: Call, wanted: Wanted) -> audit.Filter:
    entity_id = None
    if wanted.entity is not None:
        entity_id = call.entity(wanted.entity, Action.SEE_AUDIT)["id"]
    elif not (call.actor.is_admin and call.actor.kind is Kind.USER):
        raise Forbidden(
            "only an admin of this server may read the audit log of the whole server",
            hint="name a team of yours: runyard audit list --entity TEAM; or ask an admin",
        )
    return audit.Filter(entity_id, wanted.actor, wanted.action, wanted.since, wanted.until)
