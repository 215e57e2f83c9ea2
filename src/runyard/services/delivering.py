"""
Deliveries on their way: taken, sent, tried again, given up.

At least once: a delivery that was taken and not reported on is due again, under the same id. Who
reports proves with the count of tries that nobody else has taken it since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import msgspec

from runyard.domain.errors import RunyardError
from runyard.domain.hooks import GIVE_UP_AFTER, KEEP, TEST, Hook, HookKind, next_try, spoken
from runyard.services import hooks
from runyard.services.audit import note
from runyard.services.call import Call
from runyard.services.notifying import delivery
from runyard.store import hooks as rows
from runyard.store.values import from_text

_HOOKS: Final = 20  # that are served in one round
_WEBHOOKS: Final = 5  # deliveries of each of them: nobody's backlog holds up the others
_MAILS: Final = 500  # that go into one e-mail
_TAKEN_FOR: Final = timedelta(minutes=5)  # longer than a round lasts, slow mail servers included
_FORGOTTEN: Final = 1000  # at once
_LONGEST_ERROR: Final = 500  # characters


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery that was taken, to be sent now. `place` is None for e-mail."""

    id: str
    hook: Hook
    event: str
    tries: int  # this one included
    payload: dict[str, Any]
    place: hooks.Place | None
    fault: str = ""  # why it cannot be sent at all


def is_due(call: Call) -> bool:
    return rows.is_due(call.tx, call.now)


def claim(call: Call) -> list[Due]:
    """Take what is due. Whatever is not reported on within five minutes is due again."""
    until = call.now + _TAKEN_FOR
    taken = rows.claim(
        call.tx, call.now, hooks=_HOOKS, webhooks=_WEBHOOKS, mails=_MAILS, until=until
    )
    known: dict[str, Hook | None] = {}
    found = []
    for row in taken:
        if row["hook_id"] not in known:
            known[row["hook_id"]] = rows.by_id(call.tx, row["hook_id"])
        if hook := known[row["hook_id"]]:
            payload = from_text(row["payload"])
            found.append(_due(call, hook, row["id"], row["event"], row["tries"] + 1, payload))
    return found


def trial(call: Call, entity: str, name: str) -> Due:
    """Return a delivery that says that it is a test; it is not stored."""
    hook = hooks.get(call, entity, name)
    text = f"This is a test of the hook {hook.name} of {hook.entity}, asked for by "
    made = delivery(call, hook, TEST, "", at=call.now, text=f"{text}{call.actor.name}.")
    return _due(call, hook, made.id, TEST, 1, dict(made.payload))


def _due(
    call: Call, hook: Hook, delivery_id: str, event: str, tries: int, payload: dict[str, Any]
) -> Due:
    due = Due(delivery_id, hook, event, tries, payload, None)
    if hook.kind is HookKind.EMAIL:
        return due
    try:
        return replace(due, place=hooks.place(call, hook))
    except (RunyardError, msgspec.MsgspecError) as error:
        return replace(due, fault=f"the hook's URL cannot be unsealed: {error}")


def sent(call: Call, due: Sequence[Due]) -> None:
    """Deliveries of one hook arrived."""
    for each in due:
        rows.end(call.tx, each.id, each.tries, "sent", "", call.now)
    if due[0].hook.failing_since is not None:
        rows.set_failing(call.tx, due[0].hook.id, None)


def failed(call: Call, due: Sequence[Due], error: str, *, for_good: bool = False) -> None:
    """
    Deliveries of one hook did not arrive: try each again later, unless that is of no use or was
    its last try. A hook from which nothing arrived for days is disabled.
    """
    error = error[:_LONGEST_ERROR]
    for each in due:
        later = None if for_good else next_try(each.tries, call.now)
        if later is None:
            rows.end(call.tx, each.id, each.tries, "failed", error, call.now)
        else:
            rows.postpone(call.tx, each.id, each.tries, error, later)
    hook = rows.by_id(call.tx, due[0].hook.id)
    if hook is None or hook.disabled_at is not None:
        return
    if hook.failing_since is None:
        rows.set_failing(call.tx, hook.id, call.now)
    elif call.now - hook.failing_since >= GIVE_UP_AFTER:
        _disable(call, hook, error)


def _disable(call: Call, hook: Hook, error: str) -> None:
    assert hook.failing_since is not None
    why = f"nothing arrived for {spoken(call.now - hook.failing_since)}; the last time: {error}"
    rows.save(call.tx, replace(hook, disabled_at=call.now, disabled_why=why))
    rows.end_all(call.tx, hook.id, "the hook was disabled", call.now)
    note(
        call, "hook.disable", hook.name, entity_id=hook.entity_id,
        before={"enabled": True}, after={"enabled": False, "why": why},
    )  # fmt: skip


def forget(call: Call) -> int:
    """Delete deliveries that are older than a week, some at a time; return how many."""
    return rows.forget(call.tx, call.now - KEEP, _FORGOTTEN)
