"""Looking at the images that agents have built or found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from runyard.domain.access import Action
from runyard.domain.errors import Forbidden, Invalid
from runyard.domain.image_builds import ImageState
from runyard.services.call import Call
from runyard.store import image_lists
from runyard.store.db import Row


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which images; `job` is how the path of its job begins. None is no condition."""

    entity: str | None = None
    state: str | None = None
    repository: str | None = None
    job: str | None = None
    unused_since: datetime | None = None


def page(
    call: Call, wanted: Wanted, *, before: str, limit: int
) -> tuple[Sequence[Row], Mapping[str, int]]:
    """Return images of entities that the caller may see, the newest first, and how many items
    have each in use.

    Raises:
        NotFound, Forbidden: the entity. Invalid: no state.
    """
    if wanted.state is not None and wanted.state not in set(ImageState):
        raise Invalid(f"state: {wanted.state!r} is none of {', '.join(ImageState)}")
    owners = call.visible()
    if wanted.entity is not None:
        owners = [call.entity(wanted.entity, Action.SEE)["id"]]
        need_all_queues(call, wanted.entity)
    elif call.actor.queues is not None:
        owners = []
    found = image_lists.page(
        call.tx,
        owners,
        state=wanted.state,
        repository=wanted.repository,
        job=wanted.job,
        unused_since=wanted.unused_since,
        before=before,
        limit=limit,
    )
    return found, image_lists.in_use(call.tx, {row["entity_id"] for row in found})


def need_all_queues(call: Call, entity: str) -> None:
    """Pass unless this is a service account for some queues: images belong to all of them.

    Raises:
        Forbidden.
    """
    if call.actor.queues is not None:
        raise Forbidden(
            "images belong to all queues of their entity; this service account may touch some",
            hint=f"ask an operator of {entity}",
        )
