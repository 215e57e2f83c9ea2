"""Sealed values and who wrote them. What is in them, only a sealer of the server's can tell."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, bindparam, delete, func, insert, select, tuple_, union, update

from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms

_S, _E, _H = t.secrets.c, t.entities.c, t.hooks.c
# Never with the value: only `sealed_of` and `not_sealed_with` read that.
_SHOWN: Final = select(
    _S.id, _S.name, _S.version, _S.key_id, _S.for_jobs, _S.description, _S.created_by,
    _S.created_at, _S.updated_at, _S.entity_id, _E.name.label("entity"),
).join(t.entities, _E.id == _S.entity_id)  # fmt: skip
_BY_NAME: Final = _SHOWN.where(_S.entity_id == bindparam("entity_id"), _S.name == bindparam("name"))
_SEALED: Final[Select[Any]] = (
    select(_E.name.label("entity"), _S.entity_id, _S.name, _S.version, _S.key_id, _S.sealed,
           _S.for_jobs)
    .join(t.entities, _E.id == _S.entity_id)
    .where(tuple_(_E.name, _S.name).in_(bindparam("pairs", expanding=True)))
)  # fmt: skip
_RESEAL: Final = (
    update(t.secrets)
    .where(_S.id == bindparam("b_id"), _S.version == bindparam("b_version"))
    .values(key_id=bindparam("b_key_id"), sealed=bindparam("b_sealed"))
)


def get(tx: Tx, entity_id: str, name: str) -> Row | None:
    return tx.one(_BY_NAME, {"entity_id": entity_id, "name": name})


def page(tx: Tx, entity_ids: Collection[str] | None, *, after: str, limit: int) -> Sequence[Row]:
    """Return secrets in order of their ids; of these entities, or all with None."""
    found = _SHOWN.where(_S.id > after).order_by(_S.id).limit(limit)
    if entity_ids is not None:
        found = found.where(_S.entity_id.in_(list(entity_ids)))
    return tx.all(found)


def names(tx: Tx, entity_id: str) -> dict[str, bool]:
    """Return the names of an entity's secrets, and whether jobs may ask for them."""
    found = tx.all(select(_S.name, _S.for_jobs).where(_S.entity_id == entity_id).order_by(_S.name))
    return {row["name"]: bool(row["for_jobs"]) for row in found}


def queue_configs(tx: Tx, entity_id: str) -> Sequence[Row]:
    """Return name and configuration, as JSON, of an entity's queues."""
    found = select(t.queues.c.name, t.queues.c.config).order_by(t.queues.c.name)
    return tx.all(found.where(t.queues.c.entity_id == entity_id, t.queues.c.deleted_at.is_(None)))


def count(tx: Tx, entity_id: str) -> int:
    return int(tx.scalar(select(func.count()).where(_S.entity_id == entity_id)))


def add(
    tx: Tx,
    *,
    secret_id: str,
    entity_id: str,
    name: str,
    key_id: str,
    sealed: bytes,
    for_jobs: bool,
    description: str,
    by: str,
    now: datetime,
) -> None:
    """Keep the first version.

    Raises:
        Duplicate: there is one of that name.
    """
    tx.run(
        insert(t.secrets),
        {
            "id": secret_id, "entity_id": entity_id, "name": name, "version": 1,
            "key_id": key_id, "sealed": sealed, "for_jobs": for_jobs,
            "description": description, "created_by": by,
            "created_at": to_ms(now), "updated_at": to_ms(now),
        },
    )  # fmt: skip


def replace(
    tx: Tx,
    secret_id: str,
    *,
    version: int,
    key_id: str,
    sealed: bytes,
    for_jobs: bool,
    description: str,
    by: str,
    now: datetime,
) -> bool:
    """Keep version `version` in the place of the one before; False if that is not the last."""
    change = update(t.secrets).where(_S.id == secret_id, _S.version == version - 1)
    return bool(
        tx.run(
            change.values(
                version=version, key_id=key_id, sealed=sealed, for_jobs=for_jobs,
                description=description, created_by=by, updated_at=to_ms(now),
            )
        )
    )  # fmt: skip


def describe(tx: Tx, secret_id: str, change: Mapping[str, Any]) -> None:
    if change:
        tx.run(update(t.secrets).where(_S.id == secret_id).values(**change))


def remove(tx: Tx, secret_id: str) -> None:
    tx.run(delete(t.secrets).where(_S.id == secret_id))


def sealed_of(tx: Tx, pairs: Collection[tuple[str, str]]) -> Sequence[Row]:
    """Return the sealed values of (entity's name, secret's name)."""
    return tx.all(_SEALED, {"pairs": list(pairs)}) if pairs else []


def key_ids(tx: Tx) -> set[str]:
    """Return the ids of all keys that something in the database is sealed with."""
    used = union(select(_S.key_id), select(_H.key_id).where(_H.key_id.is_not(None)))
    return {row[0] for row in tx.connection.execute(used)}


def not_sealed_with(tx: Tx, key_id: str, *, after: str, limit: int) -> Sequence[Row]:
    """Return secrets that another key has sealed, in order of their ids."""
    found = select(_S.id, _S.entity_id, _S.name, _S.version, _S.key_id, _S.sealed)
    return tx.all(found.where(_S.key_id != key_id, _S.id > after).order_by(_S.id).limit(limit))


def reseal(tx: Tx, secret_id: str, version: int, key_id: str, sealed: bytes) -> bool:
    """Replace the sealed form of one version; False if a newer one is there by now."""
    params = {"b_id": secret_id, "b_version": version, "b_key_id": key_id, "b_sealed": sealed}
    return bool(tx.run(_RESEAL, params))


def hooks_not_sealed_with(tx: Tx, key_id: str, *, after: str, limit: int) -> Sequence[Row]:
    """Return the keys of notifications that another key has sealed, in order of their ids."""
    found = select(_H.id, _H.key_id, _H.secret).where(
        _H.secret.is_not(None), _H.key_id != key_id, _H.id > after
    )
    return tx.all(found.order_by(_H.id).limit(limit))


def reseal_hook(tx: Tx, hook_id: str, before: str, key_id: str, sealed: bytes) -> bool:
    """Replace a hook's sealed key unless it changed since it was read."""
    change = update(t.hooks).where(_H.id == hook_id, _H.key_id == before)
    return bool(tx.run(change.values(key_id=key_id, secret=sealed)))
