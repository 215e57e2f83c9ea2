"""Queues: what they run on, and the policy that they own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from runyard.domain.errors import Invalid, Violation
from runyard.domain.items import QueueId
from runyard.domain.policy import QueuePolicy
from runyard.domain.templates import Variable

DEFAULT_QUEUE: Final = "default"
PRIORITIES: Final[Mapping[str, int]] = {"critical": 0, "high": 1, "medium": 2, "low": 3}
DEFAULT_PRIORITY: Final = PRIORITIES["medium"]
_LINK = re.compile(r"https?://[^\s<>\"'\\]+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Resource(StrEnum):
    """Kinds of compute. The names are the peer's; `slurm` is ours."""

    LOCAL_PROCESS = "local-process"
    LOCAL_CONTAINER = "local-container"
    KUBERNETES = "kubernetes"
    SAGEMAKER = "sagemaker"
    GCP_VERTEX = "gcp-vertex"
    SLURM = "slurm"

    @classmethod
    def named(cls, name: str) -> Resource:
        """Return the resource of that name; `vertex` is an alias.

        Raises:
            Invalid: no such resource.
        """
        try:
            return cls("gcp-vertex" if name == "vertex" else name)
        except ValueError:
            known = ", ".join(cls)
            raise Invalid(f"resource: unknown {name!r}; known are {known}") from None


class Mode(StrEnum):
    """Whether items come in and go out. A paused queue takes, a draining one gives."""

    OPEN = "open"
    PAUSED = "paused"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Link:
    """A page outside that belongs to the queue: a dashboard, a wiki."""

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Queue:
    """
    `config` is the resource's own configuration: what the peer calls `resource_args.<type>`; with
    `variables` it is a template. `mode_by` and `mode_why` say who paused or drains it, and why.
    """

    id: QueueId
    entity_id: str
    entity: str
    name: str
    resource: Resource
    created_at: datetime
    config: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Variable] = field(default_factory=dict)
    policy: QueuePolicy = field(default_factory=QueuePolicy)
    links: tuple[Link, ...] = ()
    description: str = ""
    mode: Mode = Mode.OPEN
    mode_by: str = ""
    mode_why: str = ""
    created_by: str = ""

    @property
    def is_locked(self) -> bool:
        """Whether a submission may change nothing of the config but its variables."""
        return bool(self.variables) or self.policy.locked

    @property
    def path(self) -> str:
        return f"{self.entity}/{self.name}"


def check_queue_name(name: str) -> str:
    """Return `name` if it can name a queue.

    Raises:
        Invalid: not 1 to 64 letters, digits, `-`, `_` or `.`, beginning with a letter or digit.
    """
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"queue name {name!r}: 1 to 64 letters, digits, '-', '_' or '.', "
            "beginning with a letter or digit"
        )
    return name


def priority_of(name: str | int | None, policy: QueuePolicy) -> int:
    """Return the level a submission asked for, 0 (critical) to 3 (low).

    Raises:
        Invalid: no such level, or the queue has no priorities.
    """
    if name is None:
        return DEFAULT_PRIORITY
    level = PRIORITIES.get(name.lower()) if isinstance(name, str) else name
    if level is None or level not in PRIORITIES.values():
        raise Invalid(f"priority: {name!r} is not one of {', '.join(PRIORITIES)}")
    if level != DEFAULT_PRIORITY and not policy.priorities:
        raise Invalid(
            "priority: this queue has no priorities",
            hint="leave --priority out, or ask an admin to set priorities in the queue's policy",
        )
    return level


def parse_links(data: Any) -> tuple[Link, ...]:
    """Read a queue's links: a list of label and URL, or a mapping from one to the other.

    Raises:
        Invalid: with a violation per mistake. Only http and https are links (T13).
    """
    if isinstance(data, Mapping):
        data = [{"label": label, "url": url} for label, url in data.items()]
    wrong: list[Violation] = []
    links = []
    for n, one in enumerate(data if isinstance(data, list | tuple) else [data]):
        label, url = (one.get("label"), one.get("url")) if isinstance(one, Mapping) else (None, "")
        if not isinstance(label, str) or not 0 < len(label) <= 100:
            wrong.append(Violation(f"links.{n}.label", "is a text of 100 characters at most"))
        elif not isinstance(url, str) or len(url) > 2000 or not _LINK.fullmatch(url):
            wrong.append(Violation(f"links.{n}.url", "is an address with http or https"))
        else:
            links.append(Link(label, url))
    if len(links) > 20:
        wrong.append(Violation("links", f"{len(links)} links; 20 at most"))
    if wrong:
        raise Invalid("the queue's links are not valid", violations=wrong)
    return tuple(links)
