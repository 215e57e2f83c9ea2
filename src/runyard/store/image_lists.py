"""Images as people look at them: a page at a time, the newest first, with who built each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, func, select

from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import to_ms

_M, _U, _I, _A, _R, _P = (
    t.images.c, t.image_uses.c, t.items.c, t.agents.c, t.runs.c, t.projects.c,
)  # fmt: skip
_owner = t.entities.alias("owner")
_target = t.entities.alias("target")
_SHOWN: Final = (
    select(
        t.images, _owner.c.name.label("entity"), _R.name.label("run_name"), _R.display_name,
        _P.name.label("project"), _target.c.name.label("target"),
    )
    .select_from(t.images)
    .join(_owner, _owner.c.id == _M.entity_id)
    .outerjoin(t.items, _I.id == _M.item_id)
    .outerjoin(t.runs, _R.id == _I.run_id)
    .outerjoin(t.projects, _P.id == _R.project_id)
    .outerjoin(_target, _target.c.id == _P.entity_id)
    .order_by(_M.id.desc())
)  # fmt: skip
# From the agents' side: what is held now is little, and what has used an image once may be much.
_IN_USE: Final = (
    select(_U.image_id, func.count().label("n"))
    .select_from(t.agents)
    .join(t.items, (_I.agent_id == _A.id) & _I.token.is_not(None))
    .join(t.image_uses, _U.item_id == _I.id)
    .where(_A.entity_id.in_(bindparam("owners", expanding=True)))
    .group_by(_U.image_id)
)


def page(
    tx: Tx,
    owners: Collection[str] | None,
    *,
    state: str | None,
    repository: str | None,
    job: str | None,
    unused_since: datetime | None,
    before: str,
    limit: int,
) -> Sequence[Row]:
    """Return images of these entities, or of all with None. `job` is how its path begins."""
    found = _SHOWN.limit(limit)
    if owners is not None:
        found = found.where(_M.entity_id.in_(list(owners)))
    if state is not None:
        found = found.where(_M.state == state)
    if repository is not None:
        found = found.where(_M.repository == repository)
    if job is not None:
        found = found.where(_M.job.startswith(job, autoescape=True))
    if unused_since is not None:
        found = found.where(_M.used_at <= to_ms(unused_since))
    if before:
        found = found.where(_M.id < before)
    return tx.all(found)


def in_use(tx: Tx, owners: Collection[str]) -> Mapping[str, int]:
    """Return how many items have each image in use now, by image; none where it is not."""
    found = tx.all(_IN_USE, {"owners": list(owners)}) if owners else []
    return {row["image_id"]: row["n"] for row in found}
