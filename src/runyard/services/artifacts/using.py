"""Lineage: which run took which version as its input."""

from __future__ import annotations

from runyard.domain.access import Action
from runyard.domain.errors import Invalid
from runyard.services.artifacts import reach
from runyard.services.artifacts.creating import run_named
from runyard.services.call import Call
from runyard.services.tracking import places
from runyard.store.artifacts import writing
from runyard.store.db import Row

_LONGEST = 256


def use(
    call: Call,
    artifact_id: int,
    *,
    entity: str | None,
    project: str | None,
    run: str,
    used_as: str | None,
) -> Row:
    """Note that a run uses a version, of its own project or any that the caller may see.

    Raises:
        NotFound: no such run or version. Forbidden: another run than the token's. Conflict: the
            version is not committed.
    """
    if used_as is not None and len(used_as) > _LONGEST:
        raise Invalid(f"what an artifact is used as has {_LONGEST} characters at most")
    place = places.find(call, entity, project, Action.TRACK)
    run_id = run_named(call, place, run)
    places.need_run(call, run_id, f"run {run}")
    version = reach.to_read(call, artifact_id)
    reach.need_state(version, writing.COMMITTED)
    writing.use(call.tx, run_id, artifact_id, used_as, call.now)
    return version.row
