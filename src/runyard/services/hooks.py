"""
Hooks: who is told of what. Those who may, administer them for all; everybody may have e-mail of
their own items.

The URL of a webhook and the secret that signs what is sent there are sealed, together: whoever
knows the URL of a chat may write to it. Nobody gets either back from the server.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

import msgspec

from runyard.domain.access import Action
from runyard.domain.errors import Conflict, Forbidden, Invalid, NotFound, Rejected, TooMuch
from runyard.domain.hooks import (
    MOST_HOOKS,
    WAIT,
    Hook,
    HookKind,
    check_addresses,
    check_events,
    check_name,
)
from runyard.domain.targets import Target
from runyard.services import queues, sealing, secrets
from runyard.services.audit import note
from runyard.services.call import Call
from runyard.services.sealing import Sealed
from runyard.store import hooks, views
from runyard.store.db import Duplicate, Row

CURSOR: Final = "hooks"
_SHOWN: Final = 20  # of a hook's deliveries


@dataclass(frozen=True, slots=True)
class Place:
    """Where a webhook is sent to, and what signs it."""

    url: str = field(repr=False)
    secret: str = field(repr=False)


def create(
    call: Call,
    entity: str,
    name: str,
    *,
    target: Target | None,
    emails: Sequence[str] | None,
    events: Sequence[str],
    queue: str | None = None,
    wait_s: int | None = None,
    mine: bool = False,
) -> tuple[Hook, str | None]:
    """Make a hook. Return it with its signing secret, which can never be had again.

    `target` was checked against what the server may call. `mine`: it tells the caller of the
    caller's own items, at the caller's own address.

    Raises:
        Invalid: all that is wrong. Conflict: one of that name is there. NotFound, Forbidden.
    """
    owner = admit(call, entity, mine=mine)
    if mine:
        emails = _own_address(call, target, emails)
    if (target is None) == (emails is None):
        raise Invalid("a hook has either a URL or e-mail addresses")
    hook = Hook(
        id=call.new_id(),
        entity_id=owner["id"],
        entity=owner["name"],
        name=check_name(name),
        kind=HookKind.EMAIL if target is None else HookKind.WEBHOOK,
        target=check_addresses(emails or ()) if target is None else target.shown,
        events=check_events(events, only_items=mine),
        created_at=call.now,
        created_by=call.actor.name,
        queue_name=_queue(call, owner["name"], queue),
        wait=WAIT if wait_s is None else timedelta(seconds=wait_s),
        author_id=call.actor.user_id if mine else None,
    )
    secret = None if target is None else call.new_secret()
    sealed = _sealed(call, hook.id, target.url, secret) if target and secret else None
    _add(call, hook, sealed)
    note(call, "hook.create", hook.name, entity_id=hook.entity_id, after=_noted(hook))
    return hook, secret


def admit(call: Call, entity: str, *, mine: bool) -> Row:
    """Return the entity if the caller may make such a hook in it. Raises: NotFound, Forbidden."""
    return call.entity(entity, Action.SUBMIT if mine else Action.MANAGE_HOOKS)


def _add(call: Call, hook: Hook, sealed: Sealed | None) -> None:
    if hooks.count(call.tx, hook.entity_id) >= MOST_HOOKS:
        raise TooMuch(f"{hook.entity} has {MOST_HOOKS} hooks, which is the most")
    taken = Conflict(
        f"there is a hook {hook.name!r} in {hook.entity} already", hint="give it another name"
    )
    if hooks.get(call.tx, hook.entity_id, hook.name) is not None:
        raise taken
    _begin_following(call)
    try:
        hooks.add(
            call.tx,
            hook,
            key_id=sealed.key_id if sealed else None,
            sealed=sealed.data if sealed else None,
        )
    except Duplicate as error:
        raise taken from error


def get(call: Call, entity: str, name: str) -> Hook:
    """Return a hook that the caller administers: any by permission, or their own.

    Raises:
        NotFound, Forbidden.
    """
    owner, own = call.entity(entity, Action.SEE), call.actor.queues
    hook = hooks.get(call.tx, owner["id"], name)
    if hook is not None and own is not None and hook.queue_name not in own:
        hook = None  # of a queue that this service account may not touch, or of all of them
    if hook is not None and hook.author_id == call.actor.user_id:
        return hook
    call.entity(entity, Action.MANAGE_HOOKS)
    if hook is None:
        known = hooks.names_of(call.tx, owner["id"]) if own is None else []
        near = difflib.get_close_matches(name, known, n=3)
        told = f"; did you mean {' or '.join(near)}?" if near else ""
        raise NotFound(f"no hook {name!r} in {entity}{told}", hint="runyard hook list")
    return hook


def page(call: Call, entity: str, *, after: str, limit: int) -> list[Hook]:
    """Return the hooks of an entity that the caller administers."""
    owner = call.entity(entity, Action.SEE)
    everybodys = call.actor.may(Action.MANAGE_HOOKS, owner["id"])
    return hooks.page(
        call.tx,
        owner["id"],
        author_id=None if everybodys else call.actor.user_id,
        queues=call.actor.queues,
        after=after,
        limit=limit,
    )


def detail(call: Call, entity: str, name: str) -> tuple[Hook, Sequence[Row]]:
    """Return a hook with its last deliveries."""
    hook = get(call, entity, name)
    return hook, hooks.last_deliveries(call.tx, hook.id, _SHOWN)


def edit(
    call: Call, entity: str, name: str, changes: Mapping[str, Any], *, target: Target | None
) -> Hook:
    """Change what is named in `changes`: emails, events, queue, wait_s, enabled; or the target.

    Raises:
        Invalid: a URL for e-mail or the other way round, and as `create`.
    """
    was = hook = get(call, entity, name)
    if target is not None:
        hook = _moved(call, hook, target)
    if changes.get("emails") is not None:
        if hook.kind is not HookKind.EMAIL:
            raise Invalid(f"hook {name!r} is a webhook; it has a URL and no addresses")
        if hook.author_id is not None:
            raise Invalid(f"hook {name!r} goes to its owner's own address")
        hook = replace(hook, target=check_addresses(changes["emails"]))
    if changes.get("events") is not None:
        only_items = hook.author_id is not None
        hook = replace(hook, events=check_events(changes["events"], only_items=only_items))
    if "queue" in changes:
        hook = replace(hook, queue_name=_queue(call, hook.entity, changes["queue"]))
    if changes.get("wait_s") is not None:
        hook = replace(hook, wait=timedelta(seconds=changes["wait_s"]))
    if changes.get("enabled") is not None:
        hook = _switched(call, hook, on=changes["enabled"])
    hooks.save(call.tx, hook)
    note(call, "hook.edit", name, entity_id=hook.entity_id, before=_noted(was), after=_noted(hook))
    return hook


def _moved(call: Call, hook: Hook, target: Target) -> Hook:
    if hook.kind is not HookKind.WEBHOOK:
        raise Invalid(f"hook {hook.name!r} sends e-mail; it has no URL")
    sealed = _sealed(call, hook.id, target.url, place(call, hook).secret)
    hooks.seal(call.tx, hook.id, sealed.key_id, sealed.data)
    return replace(hook, target=target.shown)


def _switched(call: Call, hook: Hook, *, on: bool) -> Hook:
    if on is (hook.disabled_at is None):
        return hook
    if on:
        _begin_following(call)
        return replace(hook, disabled_at=None, disabled_why="", failing_since=None)
    why = f"disabled by {call.actor.name}"
    hooks.end_all(call.tx, hook.id, why, call.now)
    return replace(hook, disabled_at=call.now, disabled_why=why)


def delete(call: Call, entity: str, name: str) -> None:
    """Forget a hook, and what it was to send."""
    hook = get(call, entity, name)
    hooks.drop(call.tx, hook.id)
    note(call, "hook.delete", name, entity_id=hook.entity_id, before=_noted(hook))


def place(call: Call, hook: Hook) -> Place:
    """Return where a webhook goes to. For the server itself only.

    Raises:
        Rejected, Unavailable: it cannot be unsealed, or not now.
    """
    row = hooks.sealed(call.tx, hook.id)
    if row is None:
        raise Rejected(f"hook {hook.name!r} has no URL")
    opened = sealing.need(call.seal).open(Sealed(*row), sealing.about("hook", hook.id))
    return Place(**msgspec.json.decode(opened))


def _sealed(call: Call, hook_id: str, url: str, secret: str) -> Sealed:
    plain = msgspec.json.encode({"url": url, "secret": secret})
    return secrets.seal(call, plain, sealing.about("hook", hook_id))


def _begin_following(call: Call) -> None:
    """Follow from here on, if nobody has followed the events until now."""
    if hooks.any_enabled(call.tx):
        return
    was, last = hooks.cursor(call.tx, CURSOR), views.last_event(call.tx)
    if was is None or was < last:
        hooks.swap_cursor(call.tx, CURSOR, was, last)


def _own_address(
    call: Call, target: Target | None, emails: Sequence[str] | None
) -> list[str]:  # fmt: skip
    own = hooks.email_of(call.tx, call.actor.user_id)
    if target is not None or (emails and list(emails) != [own]):
        raise Forbidden("of your own items you are told at your own e-mail address")
    if not own:
        raise Invalid(
            "the server does not know your e-mail address",
            hint="ask an admin, or log in through a provider that tells it",
        )
    return [own]


def _queue(call: Call, entity: str, name: str | None) -> str | None:
    if name is not None:
        call.actor.need_queue(name)
        return queues.get(call, entity, name).name
    if call.actor.queues is not None:
        raise Forbidden("you may touch some queues only", hint="name one of them")
    return None


def _noted(hook: Hook) -> dict[str, Any]:
    return {
        "kind": hook.kind.value,
        "target": hook.target,
        "events": sorted(event.value for event in hook.events),
        "queue": hook.queue_name,
        "wait_s": int(hook.wait.total_seconds()),
        "mine": hook.author_id is not None,
        "enabled": hook.disabled_at is None,
    }
