"""Bodies of operating: items that are held, moved, tried again, and why they wait."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from runyard.wire.rest import In, Out

Reason = Annotated[str, Field(max_length=500)]


class HoldIn(In):
    reason: Reason = ""


class PriorityIn(In):
    """`critical`, `high`, `medium` or `low`; or 0 to 3."""

    priority: str | int


class MoveIn(In):
    queue: str


class RetryIn(In):
    """`changes` is a launch spec that is laid over the item's; `queue` in it is another queue."""

    changes: dict[str, Any] = Field(default={})


class SelectIn(In):
    """
    What to do with which items of a queue. All that is said of the items must hold; nothing said
    means all that wait (for `retry`, all that failed). They are gone through in order of their
    ids, some hundred at a time: ask again with `after` until the answer has no `next`.
    """

    action: Literal["hold", "release", "priority", "move", "cancel", "retry"]
    ids: list[str] = Field(default=[], max_length=1000)
    author: str | None = None
    states: list[str] = Field(default=[])
    of_priority: str | int | None = None
    held: bool | None = None
    job: str | None = None
    waited_s: Annotated[int, Field(ge=0)] | None = None
    reason: Reason = ""
    priority: str | int | None = None
    queue: str | None = None
    changes: dict[str, Any] | None = None
    dry_run: bool = False
    after: str | None = None


class SelectedOut(Out):
    """`refused` maps ids to why not."""

    changed: list[str]
    refused: dict[str, str]
    next: str | None
    dry_run: bool


class ServingOut(Out):
    """`slots` null is without limit."""

    live: int
    leasing: int
    slots: int | None
    taken: int
    aside: str = ""


class StandingOut(Out):
    user: str
    waiting: int
    running: int
    used_s: float
    room: int | None


class ExplainedOut(Out):
    """How a queue stands, and by which rules. `max_running` 0 is without limit."""

    entity: str
    queue: str
    mode: str
    mode_by: str
    mode_why: str
    rules: list[str]
    agents: ServingOut
    running: int
    max_running: int = 0
    waiting: int
    held: int
    backing_off: int
    typical_s: float | None
    users: list[StandingOut]
    next: list[str]
