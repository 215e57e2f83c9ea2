"""
Who builds an image: one of all that need it, and the others wait for that one.

    nothing ──ask──▶ BUILDING ──built──▶ READY ──prune──▶ DOOMED ──gone──▶ nothing
                     ▲ ▲  │  ▲             │ ▲               │
        asked again ─┘ │  │  └─ missing, ──┘ └──── used ─────┤
                       │  │     rebuild                      │
                FAILED◀┼──┘ error                            │
                   └───┴────────────── asked ────────────────┘

The right to build is an attempt's, and lasts as long as that attempt holds its item: whatever ends
it, a failure, a lost agent, a cancelled run, leaves the right to the next who asks. So nothing has
to give it back, and nothing can be forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

# Whoever has looked for an image in vain may have looked just before it was built. For so long
# after that they are told to look again.
FRESH: Final = timedelta(minutes=2)


class ImageState(StrEnum):
    BUILDING = "BUILDING"
    READY = "READY"
    FAILED = "FAILED"
    DOOMED = "DOOMED"  # to be deleted by an agent of its place, unless it is needed before


class Do(StrEnum):
    """What an attempt that asked for an image is to do; the words of the wire."""

    BUILD = "build"
    WAIT = "wait"
    USE = "use"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class ImageName:
    """`place` is empty for an image in a registry, else it names the engine that keeps it."""

    entity_id: str
    place: str
    repository: str
    tag: str


@dataclass(frozen=True, slots=True)
class Image:
    """
    `item_id` and `attempt` build it or have built it; without them it was found where it is.
    `source` is the key of the job's source, by which what waits for the image is known.
    """

    id: str
    name: ImageName
    state: ImageState
    item_id: str
    attempt: int
    began_at: datetime
    used_at: datetime
    digest: str = ""
    source: str = ""
    job: str = ""
    about: Mapping[str, str] = field(default_factory=dict)
    size: int = 0
    error: str = ""
    ready_at: datetime | None = None

    def is_of(self, item_id: str, attempt: int) -> bool:
        """Whether this attempt builds it, or was the last that did."""
        return (self.item_id, self.attempt) == (item_id, attempt)

    def was_built_after(self, at: datetime) -> bool:
        """Whether a build that we know of ended later."""
        return bool(self.item_id) and self.ready_at is not None and self.ready_at >= at


@dataclass(frozen=True, slots=True)
class Asked:
    """
    One attempt's question. `missing`: it has looked, and the image is not there; `told`: after it
    was told to use it. `waits`: it was told before that another one builds. `anew`: it wants none
    that was built before.
    """

    item_id: str
    attempt: int
    missing: bool = False
    told: bool = False
    waits: bool = False
    anew: datetime | None = None


def decide(image: Image, asked: Asked, *, holder_lives: bool, now: datetime) -> Do:
    """Say what the attempt is to do. `holder_lives`: the image's attempt still holds its item."""
    match image.state:
        case ImageState.BUILDING:
            mine = image.is_of(asked.item_id, asked.attempt)
            return Do.WAIT if holder_lives and not mine else Do.BUILD
        case ImageState.FAILED:
            return Do.FAIL if asked.waits else Do.BUILD
        case ImageState.DOOMED:
            return Do.BUILD
        case ImageState.READY:
            return _of_ready(image, asked, now)


def _of_ready(image: Image, asked: Asked, now: datetime) -> Do:
    if asked.anew is not None and not image.was_built_after(asked.anew):
        return Do.BUILD
    is_fresh = image.ready_at is not None and now - image.ready_at < FRESH
    return Do.BUILD if asked.missing and (asked.told or not is_fresh) else Do.USE
