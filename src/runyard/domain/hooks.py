"""
Notifications: of what, to whom, how often a delivery is tried, and how it is signed.

A hook belongs to a user or team and tells an address, on the web or by e-mail, of events of its
queues. Most events are moves of items. Two are told by looking: an item has waited too long, a
queue has no agent. They repeat while nothing changes, but rarely (`REMIND_AFTER`).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from runyard.domain.errors import Invalid, Violation
from runyard.domain.items import ItemState
from runyard.domain.runs import RunState


class Event(StrEnum):
    ITEM_FAILED = "item.failed"
    ITEM_FINISHED = "item.finished"
    ITEM_CANCELLED = "item.cancelled"
    ITEM_REQUEUED = "item.requeued"
    ITEM_WAITING = "item.waiting"
    QUEUE_NO_AGENT = "queue.no_agent"
    AGENT_LOST = "agent.lost"
    AGENT_SET_ASIDE = "agent.set_aside"
    RUN_ALERT = "run.alert"

    @property
    def is_of_item(self) -> bool:
        """Whether it has an author, who may want to be told of their own only."""
        return self.value.startswith(("item.", "run."))


class HookKind(StrEnum):
    WEBHOOK = "webhook"
    EMAIL = "email"


TEST: Final = "test"  # the event of a test; nobody subscribes to it
WAIT: Final = timedelta(minutes=10)  # how long is too long, unless the hook says
SHORTEST_WAIT_S: Final = 30
LONGEST_WAIT_S: Final = 30 * 86_400
REMIND_AFTER: Final = timedelta(hours=1)  # for items that wait; a queue without agent: a day
KEEP: Final = timedelta(days=7)  # deliveries
COLLECT: Final = timedelta(seconds=30)  # events into one e-mail
GIVE_UP_AFTER: Final = timedelta(days=3)  # of nothing but failures a hook is disabled
MOST_HOOKS: Final = 100  # of one user or team
MOST_ADDRESSES: Final = 20
# What is waited after each try that failed; with the last of them the delivery has failed.
BACKOFF: Final = tuple(timedelta(seconds=s) for s in (10, 60, 300, 900, 2400))
TRIES: Final = len(BACKOFF) + 1
LONGEST_MESSAGE: Final = 1000  # characters

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
# Narrower than what mail allows: no comments, quotes or blanks, nothing that could be a header.
_EMAIL: Final = re.compile(
    r"[A-Za-z0-9_+][A-Za-z0-9_.+=~'-]{0,63}@"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_SECRETS: Final = re.compile(
    r"(?P<keep>://[^/\s:@]*:)[^/\s@]+(?=@)"
    r"|(?P<name>\b[\w-]{0,40}(?:password|passwd|secret|token|api[_-]?key|access[_-]?key)\b[\"']?\s*[=:]\s*)"
    r"(?:\"[^\"]*\"|'[^']*'|[^\s,;&]+)"
    r"|(?P<scheme>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}"
    r"|\bry[ar]?_[\w-]{16,}|\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\bgh[pousr]_\w{16,}|\bxox[a-z]-[\w-]{10,}"
    r"|\bhf_\w{16,}|\bsk-[\w-]{16,}",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Hook:
    """
    `target` is where it goes, as people may see it: addresses divided by commas, or a URL without
    its path, which is sealed, since to know the address of a chat is to be able to write there.
    `queue_name` None is every queue. `author_id` is set if it tells them of their own items only.
    """

    id: str
    entity_id: str
    entity: str
    name: str
    kind: HookKind
    target: str
    events: frozenset[Event]
    created_at: datetime
    created_by: str = ""
    queue_name: str | None = None
    wait: timedelta = WAIT
    author_id: str | None = None
    failing_since: datetime | None = None
    disabled_at: datetime | None = None
    disabled_why: str = ""

    @property
    def addresses(self) -> list[str]:
        return self.target.split(", ")

    def wants(self, event: Event, queue: str, author_id: str | None) -> bool:
        return (
            event in self.events
            and self.queue_name in (None, queue)
            and self.author_id in (None, author_id)
        )


def check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"name {name!r}: 1 to 128 letters, digits, '-', '_' or '.', beginning with a letter "
            "or digit"
        )
    return name


def check_events(names: Sequence[str], *, only_items: bool = False) -> frozenset[Event]:
    """Read the events of a hook.

    Raises:
        Invalid: none, or with a violation for each that there is not.
    """
    known = [event.value for event in Event if event.is_of_item or not only_items]
    wrong = [
        Violation(f"events.{at}", f"{name!r} is none of {', '.join(known)}")
        for at, name in enumerate(names)
        if name not in known
    ]
    if wrong:
        raise Invalid("the hook is not valid", violations=wrong)
    if not names:
        raise Invalid("a hook needs an event", hint=f"one or more of {', '.join(known)}")
    return frozenset(Event(name) for name in names)


def is_address(text: str) -> bool:
    """Whether this is a plain e-mail address, and nothing else in any header."""
    return len(text) <= 254 and _EMAIL.fullmatch(text) is not None


def check_addresses(addresses: Sequence[str]) -> str:
    """Return addresses as a hook's target.

    Raises:
        Invalid: none or too many, or with a violation for each that is not plain.
    """
    wrong = [
        Violation(f"emails.{at}", "not a plain e-mail address, as in ada@example.org")
        for at, address in enumerate(addresses)
        if not is_address(address)
    ]
    if wrong:
        raise Invalid("the hook is not valid", violations=wrong)
    if not 1 <= len(addresses) <= MOST_ADDRESSES:
        raise Invalid(f"emails: one address at least, {MOST_ADDRESSES} at most")
    return ", ".join(dict.fromkeys(addresses))


def event_of(was: str | None, became: str, run: RunState) -> Event | None:
    """Name what a move of an item is to people. A program's own failure is a failed item."""
    state = ItemState(became)
    if state is ItemState.PENDING:
        return Event.ITEM_REQUEUED if was == ItemState.CLAIMED else None
    if not state.is_final:
        return None
    if state is ItemState.CANCELLED or run is RunState.KILLED:
        return Event.ITEM_CANCELLED
    if state is ItemState.FAILED or run in (RunState.FAILED, RunState.CRASHED):
        return Event.ITEM_FAILED
    return Event.ITEM_FINISHED


def next_try(tries: int, now: datetime) -> datetime | None:
    """Return when to try again after `tries` failed; None if that was the last."""
    return now + BACKOFF[tries - 1] if tries < TRIES else None


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return what the receiver must find: of the time too, so that an old body is no new one."""
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def masked(message: str) -> str:
    """Return a message for people outside, without what looks like a secret, and not too long."""

    def hide(match: re.Match[str]) -> str:
        return next((text for text in match.groups() if text), "") + "***"

    text = _SECRETS.sub(hide, message[: 4 * LONGEST_MESSAGE])
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"


def spoken(duration: timedelta) -> str:
    """Return a duration in words."""
    seconds = max(0, int(duration.total_seconds()))
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 2 * size or seconds == size:
            return f"{seconds // size} {unit}{'s' if seconds >= 2 * size else ''}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"
