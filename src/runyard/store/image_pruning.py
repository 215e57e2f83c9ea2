"""Which images may go, what needs them still, and those that are doomed or forgotten."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Integer, Select, and_, bindparam, delete, exists, select, update

from runyard.domain.image_builds import ImageState
from runyard.domain.items import ItemState
from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms

_M, _U, _I = t.images.c, t.image_uses.c, t.items.c
LIVE: Final = (ItemState.PENDING, ItemState.LEASED, ItemState.CLAIMED)
_STEP: Final = 500
_OF_STATE: Final = (
    select(t.images)
    .where(
        _M.state == bindparam("state"),
        _M.entity_id == bindparam("entity"),
        _M.id > bindparam("after"),
    )
    .order_by(_M.id)
    .limit(_STEP)
)
_QUEUES: Final = select(t.queues.c.id).where(t.queues.c.entity_id == bindparam("entity"))
_LIVE: Final = (
    select(_I.id, _I.spec, _U.image_id)
    .outerjoin(t.image_uses, _U.item_id == _I.id)
    .where(
        _I.queue_id == bindparam("queue"),
        _I.state == bindparam("state"),
        _I.id > bindparam("after"),
    )
    .order_by(_I.id)
    .limit(_STEP)
)
_DOOMED: Final = (
    select(_M.id, _M.repository, _M.tag, _M.digest)
    .where(
        _M.state == ImageState.DOOMED.value,
        _M.entity_id == bindparam("entity"),
        _M.place == bindparam("place"),
        _M.repository == bindparam("repository"),
        _M.id > bindparam("after"),
    )
    .order_by(_M.id)
    .limit(bindparam("limit", type_=Integer))
)
_BY_ID: Final = (
    select(t.images)
    .where(_M.id.in_(bindparam("ids", expanding=True)))
    .order_by(_M.entity_id, _M.place, _M.repository, _M.tag)  # as those who build lock them
    .with_for_update()
)
_DOOM: Final = (
    update(t.images)
    .where(_M.id.in_(bindparam("ids", expanding=True)))
    .values(state=ImageState.DOOMED.value)
)
_UNUSED: Final = delete(t.image_uses).where(_U.image_id.in_(bindparam("ids", expanding=True)))
_FORGET: Final = delete(t.images).where(_M.id.in_(bindparam("ids", expanding=True)))
_builder_lives: Final = exists().where(
    _I.id == _M.item_id, _I.state == ItemState.CLAIMED.value, _I.attempt == _M.attempt
)
_STALE: Final = (
    select(_M.id)
    .where(
        _M.state.in_([ImageState.FAILED.value, ImageState.BUILDING.value]),
        and_(_M.began_at <= bindparam("before"), _M.used_at <= bindparam("before")),
        ~_builder_lives,
    )
    .limit(_STEP)
    .with_for_update(skip_locked=True, of=t.images)
)


def of_state(tx: Tx, entity_id: str, state: ImageState) -> Iterator[Row]:
    """Yield an entity's images of a state, some hundred to a statement."""
    where = {"entity": entity_id, "state": state.value}
    return _all(tx, _OF_STATE, where)


def live_items(tx: Tx, entity_id: str) -> Iterator[Row]:
    """Yield id, spec and image_id, if it has one, of what waits or runs in an entity's queues."""
    for queue in tx.all(_QUEUES, {"entity": entity_id}):
        for state in LIVE:
            yield from _all(tx, _LIVE, {"queue": queue["id"], "state": state.value})


def locked(tx: Tx, ids: Collection[str]) -> Sequence[Row]:
    """Return those of the images that there are, and hold their rows."""
    return tx.all(_BY_ID, {"ids": list(ids)}) if ids else []


def doom(tx: Tx, ids: Collection[str]) -> None:
    """Leave images to the agents to delete. The caller holds their rows."""
    if ids:
        tx.run(_DOOM, {"ids": list(ids)})


def doomed(
    tx: Tx, entity_id: str, place: str, repository: str, *, after: str, limit: int
) -> Sequence[Row]:
    """Return id, repository, tag and digest of images to delete, in order of their ids."""
    where = {"entity": entity_id, "place": place, "repository": repository}
    return tx.all(_DOOMED, {**where, "after": after, "limit": limit})


def forget(tx: Tx, ids: Collection[str]) -> None:
    """Delete the rows of images, and who used them. The caller holds their rows."""
    if ids:
        tx.run(_UNUSED, {"ids": list(ids)})
        tx.run(_FORGET, {"ids": list(ids)})


def stale(tx: Tx, before: datetime) -> list[str]:
    """Hold and return images whose builds failed, or ended without a word, so long ago."""
    return [row["id"] for row in tx.all(_STALE, {"before": to_ms(before)})]


def _all(tx: Tx, statement: Select[tuple[str]], where: dict[str, str]) -> Iterator[Row]:
    after = ""
    while found := tx.all(statement, {**where, "after": after}):
        yield from found
        if len(found) < _STEP:
            return
        after = found[-1]["id"]
