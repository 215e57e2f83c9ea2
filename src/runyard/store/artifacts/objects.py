"""
Content that an entity has, by its MD5; and large content on its way in, part by part.

`used_at` is when content was last offered to us or taken by a version. Garbage collection leaves
alone what is fresh, so whoever relies on content renews it in the same transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Final

from sqlalchemy import bindparam, case, delete, insert, select

from runyard.store import tables as t
from runyard.store.bulk import change, upsertion
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms

_O, _U = t.objects.c, t.multipart_uploads.c
_BATCH: Final = 5_000

_KNOWN: Final = select(t.objects).where(
    _O.entity_id == bindparam("entity_id"), _O.md5.in_(bindparam("md5s", expanding=True))
)
# Who offers content that is not there yet will have brought it.
_OFFER: Final = upsertion(
    t.objects, "entity_id", "md5", "birth_artifact_id", "created_at", "used_at",
    sets=lambda new: {
        "used_at": new.used_at,
        "birth_artifact_id": case(
            (_O.size.is_(None), new.birth_artifact_id), else_=_O.birth_artifact_id
        ),
    },
)  # fmt: skip
_TAKE: Final = change(
    t.objects,
    found_by={"b_entity": "entity_id", "b_md5": "md5"},
    sets=("used_at",),
    fills=("size",),
)
_UPLOAD: Final = select(t.multipart_uploads).where(
    _U.id == bindparam("id"), _U.entity_id == bindparam("entity_id")
)


def known(tx: Tx, entity_id: str, md5s: Collection[str]) -> dict[str, Row]:
    """Return what is known of content; `size` None is that it has not been seen yet."""
    return {
        row["md5"]: row
        for batch in _batches(md5s)
        for row in tx.all(_KNOWN, {"entity_id": entity_id, "md5s": batch})
    }


def offer(tx: Tx, entity_id: str, births: Mapping[str, int], now: datetime) -> None:
    """Note that content is about to be brought, by the version that `births` says."""
    at = to_ms(now)
    rows = [
        {"entity_id": entity_id, "md5": md5, "birth_artifact_id": births[md5], "created_at": at,
         "used_at": at}
        for md5 in sorted(births)  # in one order, so that no two writers wait for each other
    ]  # fmt: skip
    if rows:
        _OFFER.run(tx, rows)


def take(tx: Tx, entity_id: str, sizes: Mapping[str, int], now: datetime) -> bool:
    """Note that a version has this content, seen to be there; False if some is not known."""
    at = to_ms(now)
    rows = [
        {"b_entity": entity_id, "b_md5": md5, "b_used_at": at, "b_size": sizes[md5]}
        for md5 in sorted(sizes)
    ]
    return not rows or _TAKE.run(tx, rows) == len(rows)


def add_upload(
    tx: Tx, upload_id: str, entity_id: str, md5: str, parts: int, upload: str, now: datetime
) -> None:
    tx.run(
        insert(t.multipart_uploads),
        {"id": upload_id, "entity_id": entity_id, "md5": md5, "parts": parts, "upload": upload,
         "created_at": to_ms(now)},
    )  # fmt: skip


def upload(tx: Tx, entity_id: str, upload_id: str) -> Row | None:
    return tx.one(_UPLOAD, {"id": upload_id, "entity_id": entity_id})


def forget_upload(tx: Tx, entity_id: str, upload_id: str) -> None:
    tx.run(delete(t.multipart_uploads).where(_U.id == upload_id, _U.entity_id == entity_id))


def _batches(md5s: Collection[str]) -> Iterator[list[str]]:
    rest = iter(sorted(set(md5s)))
    while batch := list(islice(rest, _BATCH)):
        yield batch
