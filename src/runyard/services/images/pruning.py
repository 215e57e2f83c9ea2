"""
Letting images go that nothing needs: the server says which, an agent of their place deletes them.

    plan    what may go, by age and use, and nothing of what waits or runs needs it
    doom    marked, if nobody used it in the meantime
    doomed  told to an agent that builds for that repository, or has that engine
    gone    deleted by it, and forgotten here

An item may come to need a doomed image at any moment. Then it is not doomed any more: whoever asks
to build it gets to build it, and whoever has found it keeps it (`building`); neither is told to an
agent again, and `gone` does nothing to them. What remains is an agent that had been told before:
it deletes an image that was found a moment ago. Then that item fails to pull it, and the next one
does not find it, says that it is missing, and builds it. Deleting first and telling afterwards
would need a lock on a registry, which there is not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from runyard.domain.access import Action
from runyard.domain.agents import Agent
from runyard.domain.errors import TooMuch
from runyard.domain.image_builds import Image, ImageState
from runyard.services import audit
from runyard.services.call import Call
from runyard.services.images.building import source_key
from runyard.services.images.listing import need_all_queues
from runyard.store import image_pruning as rows
from runyard.store.images import image_of
from runyard.store.values import from_text
from runyard.wire import agent as wire

MOST: Final = 10_000  # images that one request may doom
FAILED_STAY: Final = timedelta(days=7)
_TOLD: Final = 100  # doomed images to an agent at once
_MOST_GONE: Final = 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    Which images may go: built or found so long ago, unused for so long, of this repository, and
    not among the newest `keep_last` of their job there. None is no condition.
    """

    entity: str | None = None
    older_than: timedelta | None = None
    unused_for: timedelta | None = None
    repository: str | None = None
    keep_last: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What would go: `failed` are builds of which nothing is there but their row. `needed` would
    go, too, if nothing that waits or runs needed it; `more` is left for the next request."""

    entity_id: str
    entity: str
    images: tuple[Image, ...]
    failed: tuple[Image, ...] = ()
    needed: int = 0
    more: bool = False


def plan(call: Call, wanted: Wanted) -> Plan:
    """Find what may go, those that were unused for longest first.

    Raises:
        NotFound, Forbidden: the entity.
    """
    owner = call.entity(wanted.entity, Action.OPERATE)
    need_all_queues(call, owner["name"])
    entity_id = str(owner["id"])
    allowed = _condition(call, wanted)
    ready = list(map(image_of, rows.of_state(call.tx, entity_id, ImageState.READY)))
    kept = _newest(ready, wanted.keep_last)
    old = [image for image in ready if image.id not in kept and allowed(image)]
    free = _alone(ready, _unneeded(call, entity_id, old))
    failed = [
        image
        for image in map(image_of, rows.of_state(call.tx, entity_id, ImageState.FAILED))
        if allowed(image)
    ]
    free.sort(key=lambda image: image.used_at)
    return Plan(
        entity_id=entity_id,
        entity=owner["name"],
        images=tuple(free[:MOST]),
        failed=tuple(failed[:MOST]),
        needed=len(old) - len(free),
        more=len(free) > MOST or len(failed) > MOST,
    )


def doom(call: Call, wanted: Wanted, planned: Plan) -> Plan:
    """Leave to the agents what was planned, without what was used in the meantime.

    Raises:
        NotFound, Forbidden: the entity.
    """
    owner = call.entity(planned.entity, Action.OPERATE)
    need_all_queues(call, owner["name"])
    before = {image.id: image for image in (*planned.images, *planned.failed)}
    there = map(image_of, rows.locked(call.tx, before))
    same = [
        image
        for image in there
        if image == before[image.id] and image.name.entity_id == owner["id"]
    ]
    going = tuple(image for image in same if image.state is ImageState.READY)
    failed = tuple(image for image in same if image.state is ImageState.FAILED)
    rows.doom(call.tx, [image.id for image in going])
    rows.forget(call.tx, [image.id for image in failed])
    done = Plan(planned.entity_id, planned.entity, going, failed, planned.needed, planned.more)
    if going or failed:
        audit.note(
            call,
            "image.prune",
            wanted.repository or planned.entity,
            entity_id=planned.entity_id,
            after={"images": len(going), "failed": len(failed)},
        )
    return done


def doomed(call: Call, agent: Agent, asked: wire.AskDoomed) -> wire.DoomedImages:
    """Forget what an agent has deleted, and tell it what to delete next.

    It is told only images of its entity, and nothing if its owner may not run agents any more.

    Raises:
        TooMuch.
    """
    if len(asked.gone) > _MOST_GONE:
        raise TooMuch(f"{len(asked.gone)} deleted images in one request; {_MOST_GONE} at most")
    if Action.SERVE not in call.actor.granted(agent.entity_id):
        return wire.DoomedImages([])
    where = (agent.entity_id, asked.place, asked.repository)
    deleted = [
        image.id
        for image in map(image_of, rows.locked(call.tx, asked.gone))
        if image.state is ImageState.DOOMED
        and (image.name.entity_id, image.name.place, image.name.repository) == where
    ]
    rows.forget(call.tx, deleted)
    found = rows.doomed(call.tx, *where, after=asked.after, limit=_TOLD)
    return wire.DoomedImages(
        [wire.Doomed(id=r["id"], repository=r["repository"], tag=r["tag"], digest=r["digest"])
         for r in found]
    )  # fmt: skip


def forget_failed_builds(call: Call) -> int:
    """Forget builds that failed, or ended without a word, long ago. Run by the sweeper."""
    found = rows.stale(call.tx, call.now - FAILED_STAY)
    rows.forget(call.tx, found)
    return len(found)


def _condition(call: Call, wanted: Wanted) -> Callable[[Image], bool]:
    def allowed(image: Image) -> bool:
        since = image.ready_at or image.began_at
        return (
            (wanted.repository is None or image.name.repository == wanted.repository)
            and (wanted.older_than is None or since <= call.now - wanted.older_than)
            and (wanted.unused_for is None or image.used_at <= call.now - wanted.unused_for)
        )

    return allowed


def _newest(ready: Iterable[Image], n: int) -> set[str]:
    """Return ids of the newest `n` images of each job in each repository."""
    of_job: defaultdict[tuple[str, str, str], list[Image]] = defaultdict(list)
    for image in ready:
        job = image.job.rpartition(":")[0]  # all versions of a job are one job
        of_job[image.name.place, image.name.repository, job].append(image)
    return {
        image.id
        for images in of_job.values()
        for image in sorted(images, key=lambda image: image.ready_at or image.began_at)[-n:]
        if n > 0
    }


def _alone(ready: Iterable[Image], free: Sequence[Image]) -> list[Image]:
    """Leave out what shares its content with one that stays: registries delete by digest."""
    going = {image.id for image in free}
    staying = {_content(image) for image in ready if image.id not in going}
    return [image for image in free if _content(image) not in staying]


def _content(image: Image) -> tuple[str, str, str]:
    return image.name.place, image.name.repository, image.digest


def _unneeded(call: Call, entity_id: str, images: Sequence[Image]) -> list[Image]:
    """Leave out what an item that waits or runs has, or is made of the same source as."""
    left = {image.id: image for image in images}
    of_source: defaultdict[str, set[str]] = defaultdict(set)
    for image in images:
        of_source[image.source].add(image.id)
    for item in rows.live_items(call.tx, entity_id) if left else ():
        needed = of_source.pop(source_key(from_text(item["spec"])), set())
        for image_id in (*needed, item["image_id"]):
            left.pop(image_id, None)
        if not left:
            break
    return list(left.values())
