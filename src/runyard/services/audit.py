"""
The audit log: who changed what, from what to what. Written in the transaction of the change.

Every service that changes something people administer calls `note`. Submissions and moves of
items are not here: they are events of the item, with their actor. Values are as people may see
them: a secret is noted by its name, never with its value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from runyard.domain.access import Action
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


def page(
    call: Call,
    entity: str | None,
    *,
    actor: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: int | None,
    limit: int,
) -> Sequence[Row]:
    """Return entries, the newest first; of everything with no entity, for the server's admins.

    Raises:
        NotFound, Forbidden.
    """
    entity_id = None
    if entity is not None:
        entity_id = call.entity(entity, Action.SEE_AUDIT)["id"]
    else:
        call.actor.need_instance_admin("read the audit log of the whole server")
    return audit.page(
        call.tx,
        entity_id=entity_id,
        actor=actor,
        action=action,
        since=since,
        until=until,
        before=before,
        limit=limit,
    )
