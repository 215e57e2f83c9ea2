"""Hooks to rows and back, and the deliveries that wait to be sent by them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    Integer,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from runyard.domain.hooks import COLLECT, WAIT, Event, Hook, HookKind
from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import at_or_none, from_ms, from_text, ms_or_none, to_ms, to_text

_H, _D, _C, _E = t.hooks.c, t.deliveries.c, t.cursors.c, t.entities.c

_HOOKS: Final = select(t.hooks, _E.name.label("entity")).join(
    t.entities, _E.id == _H.entity_id
)  # fmt: skip
_M, _U = t.memberships.c, t.users.c
# Who has left a team is no longer told of what they had submitted there.
_belongs = or_(
    _H.author_id == _H.entity_id,
    select(_M.user_id).where(_M.team_id == _H.entity_id, _M.user_id == _H.author_id).exists(),
    select(_U.id).where(_U.id == _H.author_id, _U.is_admin).exists(),
)
_is_gone = select(_U.id).where(_U.id == _H.author_id, _U.disabled_at.is_not(None)).exists()
_ENABLED: Final = _HOOKS.where(
    _H.disabled_at.is_(None), or_(_H.author_id.is_(None), and_(_belongs, not_(_is_gone)))
).order_by(_H.id)


def _hook(row: Row) -> Hook:
    return Hook(
        id=row["id"],
        entity_id=row["entity_id"],
        entity=row["entity"],
        name=row["name"],
        kind=HookKind(row["kind"]),
        target=row["target"],
        events=frozenset(Event(name) for name in from_text(row["events"])),
        created_at=from_ms(row["created_at"]),
        created_by=row["created_by"],
        queue_name=row["queue_name"],
        wait=WAIT if row["wait_s"] is None else timedelta(seconds=row["wait_s"]),
        author_id=row["author_id"],
        failing_since=at_or_none(row["failing_since"]),
        disabled_at=at_or_none(row["disabled_at"]),
        disabled_why=row["disabled_why"],
    )


def _columns(hook: Hook) -> dict[str, Any]:
    return {
        "target": hook.target,
        "events": to_text(sorted(event.value for event in hook.events)),
        "queue_name": hook.queue_name,
        "wait_s": int(hook.wait.total_seconds()),
        "failing_since": ms_or_none(hook.failing_since),
        "disabled_at": ms_or_none(hook.disabled_at),
        "disabled_why": hook.disabled_why,
    }


def add(tx: Tx, hook: Hook, *, key_id: str | None, sealed: bytes | None) -> None:
    """Raises: Duplicate: the entity has one of that name."""
    tx.run(
        insert(t.hooks),
        {
            "id": hook.id, "entity_id": hook.entity_id, "name": hook.name,
            "kind": hook.kind.value, "author_id": hook.author_id,
            "created_by": hook.created_by, "created_at": to_ms(hook.created_at),
            "key_id": key_id, "secret": sealed, **_columns(hook),
        },
    )  # fmt: skip


def save(tx: Tx, hook: Hook) -> None:
    tx.run(update(t.hooks).where(_H.id == hook.id).values(**_columns(hook)))


def seal(tx: Tx, hook_id: str, key_id: str, sealed: bytes) -> None:
    tx.run(update(t.hooks).where(_H.id == hook_id).values(key_id=key_id, secret=sealed))


def sealed(tx: Tx, hook_id: str) -> tuple[str, bytes] | None:
    """Return what seals the hook's URL and signing secret: the key's id, and the data."""
    row = tx.one(select(_H.key_id, _H.secret).where(_H.id == hook_id))
    return None if row is None or row["secret"] is None else (row["key_id"], bytes(row["secret"]))


def get(tx: Tx, entity_id: str, name: str) -> Hook | None:
    row = tx.one(_HOOKS.where(_H.entity_id == entity_id, _H.name == name))
    return None if row is None else _hook(row)


def by_id(tx: Tx, hook_id: str) -> Hook | None:
    row = tx.one(_HOOKS.where(_H.id == hook_id))
    return None if row is None else _hook(row)


def page(
    tx: Tx,
    entity_id: str,
    *,
    author_id: str | None,
    queues: Collection[str] | None = None,
    after: str,
    limit: int,
) -> list[Hook]:
    """Return hooks in the order of their ids; with `author_id` only what that user made for
    themselves, with `queues` only those of these queues."""
    found = _HOOKS.where(_H.entity_id == entity_id, _H.id > after).order_by(_H.id).limit(limit)
    if author_id is not None:
        found = found.where(_H.author_id == author_id)
    if queues is not None:
        found = found.where(_H.queue_name.in_(list(queues)))
    return [_hook(row) for row in tx.all(found)]


def count(tx: Tx, entity_id: str) -> int:
    return int(tx.scalar(select(func.count()).where(_H.entity_id == entity_id)))


def drop(tx: Tx, hook_id: str) -> None:
    """Forget the hook and everything that it sent or was to send."""
    tx.run(delete(t.deliveries).where(_D.hook_id == hook_id))
    tx.run(delete(t.hooks).where(_H.id == hook_id))


def enabled(tx: Tx) -> list[Hook]:
    """Return the hooks that somebody is to be told by now."""
    return [_hook(row) for row in tx.all(_ENABLED)]


def any_enabled(tx: Tx) -> bool:
    return tx.one(select(_H.id).where(_H.disabled_at.is_(None)).limit(1)) is not None


def email_of(tx: Tx, user_id: str) -> str:
    """Return a user's address if somebody else vouches for it, else nothing."""
    vouched = select(t.users.c.email).where(t.users.c.id == user_id, t.users.c.email_vouched)
    return tx.scalar(vouched) or ""


# -- how far those who follow have read --------------------------------------------------


def cursor(tx: Tx, name: str) -> int | None:
    found = tx.scalar(select(_C.seq).where(_C.name == name))
    return None if found is None else int(found)


def swap_cursor(tx: Tx, name: str, was: int | None, became: int) -> bool:
    """Move a cursor if it still is where it was; False if somebody else has moved it."""
    if was is None:
        added = _ignoring(tx, t.cursors).returning(_C.name)
        return tx.one(added, {"name": name, "seq": became}) is not None
    moved = update(t.cursors).where(_C.name == name, _C.seq == was).values(seq=became)
    return tx.run(moved) == 1


def _ignoring(tx: Tx, table: Any) -> Any:
    """Return an insert that leaves out rows which are there already."""
    dialect = postgresql if tx.is_postgres else sqlite
    return dialect.insert(table).on_conflict_do_nothing()


# -- deliveries --------------------------------------------------------------------------

_earliest = (
    select(func.min(_D.next_at))
    .where(_D.hook_id == _H.id, _D.state == literal_column("'waiting'"))
    .scalar_subquery()
)
# One look into the index for each hook, however much waits to be sent by it.
_DUE_HOOKS: Final = (
    select(_H.id.label("hook_id"), _H.kind)
    .where(_H.disabled_at.is_(None), _earliest <= bindparam("now"))
    .order_by(_earliest)
    .limit(bindparam("limit", type_=Integer))
)
_DUE: Final = (
    select(_D.id, _D.hook_id, _D.event, _D.payload, _D.tries)
    .where(
        _D.state == literal_column("'waiting'"),
        _D.next_at <= bindparam("now"),
        _D.hook_id == bindparam("hook"),
    )
    .order_by(_D.next_at, _D.id)
    .limit(bindparam("limit", type_=Integer))
    .with_for_update(skip_locked=True)
)
_CLAIM: Final = (
    update(t.deliveries)
    .where(_D.id == bindparam("delivery"), _D.state == "waiting", _D.tries == bindparam("was"))
    .values(tries=bindparam("was") + 1, next_at=bindparam("until"))
)
_END: Final = update(t.deliveries).where(
    _D.id == bindparam("delivery"), _D.state == "waiting", _D.tries == bindparam("was")
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event, to be told by one hook. `subject` is what makes it one: it is told once."""

    id: str
    hook_id: str
    event: str
    subject: str
    payload: Mapping[str, Any]
    next_at: datetime


def deliver(tx: Tx, new: Sequence[Delivery], now: datetime) -> None:
    """Add deliveries; one that is there already is not added again."""
    if not new:
        return
    values = [
        {
            "id": d.id, "hook_id": d.hook_id, "event": d.event, "subject": d.subject,
            "payload": to_text(d.payload), "state": "waiting", "tries": 0,
            "created_at": to_ms(now), "next_at": to_ms(d.next_at),
        }
        for d in new
    ]  # fmt: skip
    tx.run(_ignoring(tx, t.deliveries), values)


def told_since(tx: Tx, hook_id: str, event: str, prefix: str, since: datetime) -> bool:
    """Whether the hook was given such an event of a subject `<prefix>/…` since then."""
    found = select(_D.id).where(
        _D.hook_id == hook_id,
        _D.event == event,
        _D.subject >= f"{prefix}/",
        _D.subject < f"{prefix}0",  # what follows the slash
        _D.created_at > to_ms(since),
    )
    return tx.one(found.limit(1)) is not None


def is_due(tx: Tx, now: datetime) -> bool:
    return tx.one(_DUE_HOOKS, {"now": to_ms(now), "limit": 1}) is not None


def claim(
    tx: Tx, now: datetime, *, hooks: int, webhooks: int, mails: int, until: datetime
) -> list[Row]:
    """Take due deliveries until a time at which they are due again.

    Of a webhook up to `webhooks`, of a hook that sends e-mail up to `mails`, with those that are
    still collected. A row carries `tries` as it was; who reports on the delivery proves with it
    that nobody else has taken it since.
    """
    taken = []
    for hook in tx.all(_DUE_HOOKS, {"now": to_ms(now), "limit": hooks}):
        is_mail = hook["kind"] == HookKind.EMAIL
        due = now + COLLECT if is_mail else now
        each = mails if is_mail else webhooks
        params = {"now": to_ms(due), "hook": hook["hook_id"], "limit": each}
        for row in tx.all(_DUE, params):
            swap = {"delivery": row["id"], "was": row["tries"], "until": to_ms(until)}
            if tx.run(_CLAIM, swap) == 1:
                taken.append(row)
    return taken


def end(tx: Tx, delivery_id: str, tries: int, state: str, error: str, now: datetime) -> bool:
    ended = _END.values(state=state, error=error, ended_at=to_ms(now), next_at=None)
    return tx.run(ended, {"delivery": delivery_id, "was": tries}) == 1


def postpone(tx: Tx, delivery_id: str, tries: int, error: str, next_at: datetime) -> bool:
    later = _END.values(error=error, next_at=to_ms(next_at))
    return tx.run(later, {"delivery": delivery_id, "was": tries}) == 1


def end_all(tx: Tx, hook_id: str, error: str, now: datetime) -> int:
    """Give up all that waits to be sent by a hook."""
    ended = (
        update(t.deliveries)
        .where(_D.hook_id == hook_id, _D.state == "waiting")
        .values(state="failed", error=error, ended_at=to_ms(now), next_at=None)
    )
    return tx.run(ended)


def last_deliveries(tx: Tx, hook_id: str, limit: int) -> Sequence[Row]:
    found = select(t.deliveries).where(_D.hook_id == hook_id).order_by(_D.id.desc()).limit(limit)
    return tx.all(found)


def forget(tx: Tx, before: datetime, limit: int) -> int:
    """Delete deliveries that were made before then, some at a time; return how many."""
    old = select(_D.id).where(_D.created_at < to_ms(before)).order_by(_D.created_at).limit(limit)
    return tx.run(delete(t.deliveries).where(_D.id.in_(old)))


def set_failing(tx: Tx, hook_id: str, since: datetime | None) -> None:
    tx.run(update(t.hooks).where(_H.id == hook_id).values(failing_since=ms_or_none(since)))


def names_of(tx: Tx, entity_id: str) -> Collection[str]:
    found = select(_H.name).where(_H.entity_id == entity_id).order_by(_H.name).limit(1000)
    return [row["name"] for row in tx.all(found)]
