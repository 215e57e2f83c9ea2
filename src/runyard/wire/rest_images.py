"""Bodies of the routes of images."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from runyard.wire.rest import In, Out, RunRef

_LONGEST = 3650 * 86_400  # seconds
Seconds = Annotated[int, Field(ge=0, le=_LONGEST)]


class ImageOut(Out):
    """
    An image that an agent has built or found. `place` is empty for one in a registry, else it
    names the engine that keeps it. `state`: BUILDING, READY, FAILED, or DOOMED, which an agent is
    to delete. `built_at` and `run`, whose item built it, are null for what was found. `in_use`
    counts the items that run it now; `size` 0 is not known.
    """

    id: str
    entity: str
    place: str
    repository: str
    tag: str
    digest: str
    state: str
    size: int
    job: str
    about: dict[str, str]
    began_at: datetime
    built_at: datetime | None
    used_at: datetime
    run: RunRef | None
    in_use: int = 0
    error: str = ""


class PruneIn(In):
    """
    Which images may go; what is left out is no condition. `older_than_s`: built or found so long
    ago; `unused_for_s`: since an item used it last; `keep_last`: the newest of each job in each
    repository that stay. What something that waits or runs needs never goes.
    """

    entity: Annotated[str, Field(max_length=128)] | None = None
    older_than_s: Seconds | None = None
    unused_for_s: Seconds | None = None
    repository: Annotated[str, Field(max_length=255)] | None = None
    keep_last: Annotated[int, Field(ge=0, le=10_000)] = 0
    dry_run: bool = False


class PrunedImage(Out):
    id: str
    place: str
    repository: str
    tag: str
    digest: str
    size: int
    job: str
    used_at: datetime


class PrunedOut(Out):
    """
    `images` are doomed now: agents that build for their repository delete them. `failed` counts
    builds that were forgotten, `needed` images that stay because something waits or runs that
    needs them. `more`: ask again, there were too many for one request.
    """

    dry_run: bool
    images: list[PrunedImage]
    bytes: int
    failed: int
    needed: int
    more: bool
