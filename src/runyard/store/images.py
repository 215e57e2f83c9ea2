"""Images and who uses them, to rows and back. Whoever decides about one holds its row."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from runyard.domain.image_builds import Image, ImageName, ImageState
from runyard.domain.items import ItemState
from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import at_or_none, from_ms, from_text, ms_or_none, to_ms, to_text

_M, _U, _I = t.images.c, t.image_uses.c, t.items.c
_R, _P, _E = t.runs.c, t.projects.c, t.entities.c
_KEY: Final = (_M.entity_id, _M.place, _M.repository, _M.tag)
# In one order, so that two who want the same images do not wait for each other.
_LOCKED: Final = (
    select(t.images)
    .where(tuple_(*_KEY).in_(bindparam("names", expanding=True)))
    .order_by(*_KEY)
    .with_for_update()
)
_SAVE: Final = (
    update(t.images)
    .where(_M.id == bindparam("image"))
    .values(
        {
            name: bindparam(f"b_{name}")
            for name in (
                "digest", "state", "source", "job", "about", "size", "item_id", "attempt",
                "error", "began_at", "ready_at", "used_at",
            )
        }
    )
)  # fmt: skip
_HELD: Final = select(_I.id).where(
    _I.id == bindparam("item"),
    _I.state == ItemState.CLAIMED.value,
    _I.attempt == bindparam("attempt"),
    _I.lease_expires_at > bindparam("now"),
)
_RUN: Final = (
    select(_E.name.label("entity"), _P.name.label("project"), _R.name.label("run"))
    .select_from(t.items)
    .join(t.runs, _R.id == _I.run_id)
    .join(t.projects, _P.id == _R.project_id)
    .join(t.entities, _E.id == _P.entity_id)
    .where(_I.id == bindparam("item"))
)
_FIRST: Final = select(func.min(t.item_events.c.at)).where(
    t.item_events.c.item_id == bindparam("item")
)
_BUILDING: Final = select(_M.item_id, _M.attempt).where(
    _M.state == ImageState.BUILDING.value, _M.item_id.in_(bindparam("items", expanding=True))
)
_USED: Final = select(_U.image_id).where(_U.item_id == bindparam("item"))


def locked(tx: Tx, names: Collection[ImageName]) -> dict[ImageName, Image]:
    """Return those of the images that there are, and hold their rows."""
    if not names:
        return {}
    found = tx.all(_LOCKED, {"names": [_values(name) for name in sorted(names, key=_values)]})
    return {image.name: image for image in map(image_of, found)}


def add(tx: Tx, image: Image, now: datetime) -> bool:
    """Insert an image; False if there is one of that name by now."""
    dialect = postgresql if tx.is_postgres else sqlite
    new = dialect.insert(t.images).on_conflict_do_nothing()
    key = dict(zip(("entity_id", "place", "repository", "tag"), _values(image.name), strict=True))
    row = {"id": image.id, **key, **_row(image), "created_at": to_ms(now)}
    return tx.run(new.execution_options(preserve_rowcount=True), row) == 1


def save(tx: Tx, image: Image) -> None:
    """Write what has changed of an image. The caller holds its row."""
    tx.run(_SAVE, {"image": image.id} | {f"b_{k}": v for k, v in _row(image).items()})


def use(tx: Tx, image: Image, item_id: str, now: datetime) -> None:
    """Note that an item's last attempt runs the image. The caller holds the image's row."""
    dialect = postgresql if tx.is_postgres else sqlite
    noted = dialect.insert(t.image_uses).on_conflict_do_update(
        index_elements=["item_id"], set_={"image_id": image.id}
    )
    tx.run(noted, {"item_id": item_id, "image_id": image.id})
    save(tx, replace(image, used_at=now))


def used_by(tx: Tx, item_id: str) -> str | None:
    """Return the id of the image that an item's last attempt runs, or was told to."""
    found = tx.scalar(_USED, {"item": item_id})
    return None if found is None else str(found)


def building(tx: Tx, item_ids: Collection[str]) -> set[tuple[str, int]]:
    """Return which attempts of these items build an image, as (item, attempt)."""
    found = tx.all(_BUILDING, {"items": list(item_ids)}) if item_ids else ()
    return {(row["item_id"], row["attempt"]) for row in found}


def is_held(tx: Tx, item_id: str, attempt: int, now: datetime) -> bool:
    """Whether the attempt holds its item still."""
    held = {"item": item_id, "attempt": attempt, "now": to_ms(now)}
    return tx.scalar(_HELD, held) is not None


def run_of(tx: Tx, item_id: str) -> str:
    """Return the path of an item's run; empty without such an item."""
    row = tx.one(_RUN, {"item": item_id})
    return "" if row is None else f"{row['entity']}/{row['project']}/{row['run']}"


def first_enqueued(tx: Tx, item_id: str) -> datetime:
    """Return when an item came to its queue at first: a retry does not count."""
    return from_ms(tx.scalar(_FIRST, {"item": item_id}))


def image_of(row: Row) -> Image:
    return Image(
        id=row["id"],
        name=ImageName(row["entity_id"], row["place"], row["repository"], row["tag"]),
        state=ImageState(row["state"]),
        item_id=row["item_id"],
        attempt=row["attempt"],
        began_at=from_ms(row["began_at"]),
        used_at=from_ms(row["used_at"]),
        digest=row["digest"],
        source=row["source"],
        job=row["job"],
        about=from_text(row["about"]),
        size=row["size"],
        error=row["error"],
        ready_at=at_or_none(row["ready_at"]),
    )


def _values(name: ImageName) -> tuple[str, str, str, str]:
    return name.entity_id, name.place, name.repository, name.tag


def _row(image: Image) -> dict[str, Any]:
    return {
        "digest": image.digest,
        "state": image.state.value,
        "source": image.source,
        "job": image.job,
        "about": to_text(image.about),
        "size": image.size,
        "item_id": image.item_id,
        "attempt": image.attempt,
        "error": image.error,
        "began_at": to_ms(image.began_at),
        "ready_at": ms_or_none(image.ready_at),
        "used_at": to_ms(image.used_at),
    }
