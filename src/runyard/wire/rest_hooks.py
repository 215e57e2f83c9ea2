"""Bodies of notifications: of the hooks that people administer, and of what is sent by them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from runyard.domain.hooks import LONGEST_WAIT_S, MOST_ADDRESSES, SHORTEST_WAIT_S
from runyard.domain.targets import LONGEST
from runyard.wire.rest import In, Name, Out

Events = Annotated[list[str], Field(min_length=1, max_length=32)]
Wait = Annotated[int, Field(ge=SHORTEST_WAIT_S, le=LONGEST_WAIT_S)]
Url = Annotated[str, Field(max_length=LONGEST)]
Emails = Annotated[list[str], Field(max_length=MOST_ADDRESSES)]


class HookIn(In):
    """
    `url` or `emails`, never both. `queue` null is every queue. `wait_s` is how long is too long
    for `item.waiting` and `queue.no_agent`. `mine`: e-mail to yourself of your own items.
    """

    name: Name
    url: Url | None = None
    emails: Emails | None = None
    events: Events
    queue: Name | None = None
    wait_s: Wait | None = None
    mine: bool = False


class HookPatch(In):
    """What is not given stays. `queue` null is every queue; `enabled` true begins anew."""

    url: Url | None = None
    emails: Emails | None = None
    events: Events | None = None
    queue: Name | None = None
    wait_s: Wait | None = None
    enabled: bool | None = None


class HookOut(Out):
    entity: str
    name: str
    kind: str
    url: str | None
    emails: list[str]
    events: list[str]
    queue: str | None
    wait_s: int
    mine: bool
    enabled: bool
    disabled_why: str
    failing_since: datetime | None
    created_at: datetime
    created_by: str


class NewHookOut(HookOut):
    """`secret` signs what is sent. It is shown this once; null for e-mail."""

    secret: str | None


class DeliveryOut(Out):
    """`state` is waiting, sent or failed; `error` is how the last try failed."""

    id: str
    event: str
    text: str
    state: str
    tries: int
    created_at: datetime
    next_at: datetime | None
    ended_at: datetime | None
    error: str


class HookDetail(HookOut):
    deliveries: list[DeliveryOut]


class NotedRun(Out):
    entity: str
    project: str
    run_id: str
    url: str


class NotedItem(Out):
    """`stage` is where it came to grief: agent, fetch, build or run; empty if it did not."""

    id: str
    author: str
    job: str | None
    attempt: int
    waited_s: int | None = None
    exit_code: int | None = None
    stage: str = ""
    run: NotedRun


class NotedAgent(Out):
    id: str
    name: str
    last_seen_at: datetime


class Notification(Out):
    """What a webhook gets as its body. `text` is one sentence for people, and for chats.

    `id` is the same for the same event, sent again. `queue` is null for events of agents. `run` is
    that of an alert; of an item it is in `item`.
    """

    id: str
    event: str
    at: datetime
    text: str
    entity: str
    hook: str
    queue: str | None = None
    message: str = ""
    waiting: int | None = None
    item: NotedItem | None = None
    agent: NotedAgent | None = None
    run: NotedRun | None = None


class TestOut(Out):
    """`status` is the HTTP status that came back, null if none did; `answer` how it began."""

    __test__ = False  # it is no test, whatever its name begins with

    ok: bool
    status: int | None
    answer: str
    error: str
    sent: Notification
