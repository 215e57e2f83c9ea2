"""The connection that a command uses, and the names that its user left out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runyard.domain.errors import Invalid

if TYPE_CHECKING:
    from runyard.client.api import Api
    from runyard.wire.rest import RunRef


def connect() -> Api:
    """Return a connection to the server that is configured.

    Raises:
        Unauthenticated: none is, or no key for it is known.
    """
    from runyard.client.api import Api
    from runyard.client.credentials import find

    found = find(os.environ)
    return Api(found.base_url, found.key)


def entity_or_own(api: Api, entity: str | None) -> str:
    """Return the entity that was named, or the user's own."""
    return entity or api.me().entity


def split_queue(api: Api, queue: str, entity: str | None) -> tuple[str, str]:
    """Read `queue` or `entity/queue`.

    Raises:
        Invalid: more than one slash, or two different entities.
    """
    head, slash, name = queue.rpartition("/")
    if slash and (not head or not name or "/" in head):
        raise Invalid(f"queue {queue!r} is not NAME or ENTITY/NAME")
    if slash and entity and entity != head:
        raise Invalid(f"queue {queue!r} is not of the entity {entity!r} that --entity names")
    return (head if slash else entity_or_own(api, entity)), name


def find_run(api: Api, text: str) -> RunRef:
    """Return the run that somebody means by `entity/project/run_id`, an item's id, or a run's id.

    Raises:
        NotFound: no such run or item that the user may see.
        Invalid: the text is none of the three.
    """
    from runyard.domain.errors import NotFound
    from runyard.wire.rest import RunRef

    parts = text.split("/")
    if len(parts) == 3 and all(parts):
        return RunRef(entity=parts[0], project=parts[1], run_id=parts[2])
    if len(parts) != 1 or not text:
        raise Invalid(f"run {text!r} is not RUN, ENTITY/PROJECT/RUN or an item's id")
    try:
        return api.item(text).run
    except NotFound:
        pass
    found = list(api.runs(run_id=text, limit=5))
    if not found:
        raise NotFound(f"no run or item {text!r}", hint="see them: runyard run list")
    if len(found) > 1:
        paths = ", ".join(f"{run.entity}/{run.project}/{run.run_id}" for run in found)
        raise Invalid(f"run {text!r} may be any of {paths}", hint="give the whole of one of them")
    return RunRef(entity=found[0].entity, project=found[0].project, run_id=found[0].run_id)
