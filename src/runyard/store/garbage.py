"""What nobody needs any more: content that no version has, files of deleted runs, old uploads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, bindparam, delete, exists, or_, select, tuple_

from runyard.store import tables as t
from runyard.store.db import Row, Tx

_O, _E, _M, _A = t.objects.c, t.entries.c, t.manifests.c, t.artifacts.c
_R, _F, _U = t.runs.c, t.run_files.c, t.multipart_uploads.c


def _of_the_entity(artifact_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a version was born in the entity that the content belongs to."""
    return and_(
        _A.id == artifact_id,
        t.collections.c.id == _A.sequence_id,
        t.projects.c.id == t.collections.c.project_id,
        t.projects.c.entity_id == _O.entity_id,
    )


_NAMED: Final = or_(
    exists().where(_E.md5 == _O.md5, _of_the_entity(_E.artifact_id)).correlate(t.objects),
    exists().where(_M.md5 == _O.md5, _of_the_entity(_M.artifact_id)).correlate(t.objects),
    # It is on its way into a version that has not named it yet.
    exists().where(_A.id == _O.birth_artifact_id, _A.state == "PENDING").correlate(t.objects),
)
_AT: Final = tuple_(_O.used_at, _O.entity_id, _O.md5)
_OLD: Final = (
    select(_O.entity_id, _O.md5, _O.used_at, _NAMED.label("named"))
    .where(_O.used_at < bindparam("before"))
    .order_by(_O.used_at, _O.entity_id, _O.md5)
    .limit(bindparam("limit"))
)
_OLD_AFTER: Final = _OLD.where(
    tuple_(bindparam("used_at"), bindparam("entity_id"), bindparam("md5")) < _AT
)
_FORGET: Final = delete(t.objects).where(
    _O.entity_id == bindparam("of"),
    _O.md5 == bindparam("content"),
    _O.used_at == bindparam("seen"),  # whoever relies on it renews this
    ~_NAMED,
)
_DELETED: Final = (
    select(_R.id, _R.deleted_at)
    .where(
        _R.deleted_at.is_not(None),
        _R.deleted_at < bindparam("before"),
        exists().where(_F.run_id == _R.id),
    )
    .order_by(_R.deleted_at)
    .limit(bindparam("limit"))
)
_UPLOADS: Final = (
    select(t.multipart_uploads)
    .where(_U.created_at < bindparam("before"))
    .order_by(_U.created_at)
    .limit(bindparam("limit"))
)


def old_objects(
    tx: Tx, *, after: tuple[int, str, str] | None, before: int, limit: int
) -> Sequence[Row]:
    """Return content that was last used before then, those used longest ago first, and whether
    anything has it; `after` is (used_at, entity, md5) of the last one seen."""
    params: dict[str, Any] = {"before": before, "limit": limit}
    if after is None:
        return tx.all(_OLD, params)
    used_at, entity_id, md5 = after
    return tx.all(_OLD_AFTER, {**params, "used_at": used_at, "entity_id": entity_id, "md5": md5})


def forget_object(tx: Tx, entity_id: str, md5: str, used_at: int) -> bool:
    """Forget content; False if somebody has taken it since it was seen."""
    return tx.run(_FORGET, {"of": entity_id, "content": md5, "seen": used_at}) == 1


def deleted_runs(tx: Tx, *, before: int, limit: int) -> list[str]:
    """Return runs deleted before then that have files still."""
    return [row["id"] for row in tx.all(_DELETED, {"before": before, "limit": limit})]


def forget_files(tx: Tx, run_id: str) -> int:
    return tx.run(delete(t.run_files).where(_F.run_id == run_id))


def old_uploads(tx: Tx, *, before: int, limit: int) -> Sequence[Row]:
    return tx.all(_UPLOADS, {"before": before, "limit": limit})


def forget_upload(tx: Tx, upload_id: str) -> None:
    tx.run(delete(t.multipart_uploads).where(_U.id == upload_id))
