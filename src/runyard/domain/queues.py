"""Queues: what they run on, and the policy that they own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from runyard.domain.errors import Invalid, Violation
from runyard.domain.items import CLAIM_TTL, MAX_REQUEUES, QueueId

DEFAULT_QUEUE: Final = "default"
PRIORITIES: Final[Mapping[str, int]] = {"critical": 0, "high": 1, "medium": 2, "low": 3}
DEFAULT_PRIORITY: Final = PRIORITIES["medium"]
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


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """What a queue lays down for all of its items. Times are in seconds.

    `priorities` lets submissions choose one (the peer's mode V0). `max_requeues` counts
    preemptions; 0 switches requeueing off. `start_timeout` is how long an item may be
    CLAIMED without its workload running, `stop_grace` how long a workload may take to leave
    after it was asked to, `claim_ttl` how long a silent agent keeps its claims.
    """

    priorities: bool = False
    max_requeues: int = MAX_REQUEUES
    start_timeout: int = 1800
    stop_grace: int = 60
    claim_ttl: int = int(CLAIM_TTL.total_seconds())

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> QueuePolicy:
        """Read a policy, all mistakes at once.

        Raises:
            Invalid: with a violation per unknown name or bad value.
        """
        known = {f.name for f in fields(cls)}
        wrong = [
            Violation(f"policy.{name}", f"unknown; a policy has {', '.join(sorted(known))}")
            for name in data
            if name not in known
        ]
        for name, (low, high) in _BOUNDS.items():
            value = data.get(name, low)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                wrong.append(Violation(f"policy.{name}", f"{value!r} is not from {low} to {high}"))
        if not isinstance(data.get("priorities", False), bool):
            wrong.append(Violation("policy.priorities", "is true or false"))
        if wrong:
            raise Invalid("the queue's policy is not valid", violations=wrong)
        return cls(**data)

    @property
    def claims_last(self) -> timedelta:
        return timedelta(seconds=self.claim_ttl)


_BOUNDS: Final = {
    "max_requeues": (0, 100),
    "start_timeout": (0, 7 * 86_400),
    "stop_grace": (0, 86_400),
    "claim_ttl": (60, 7 * 86_400),
}


@dataclass(frozen=True, slots=True)
class Queue:
    """`config` is the resource's own configuration: what the peer calls `resource_args.<type>`."""

    id: QueueId
    entity_id: str
    entity: str
    name: str
    resource: Resource
    created_at: datetime
    config: Mapping[str, Any] = field(default_factory=dict)
    policy: QueuePolicy = field(default_factory=QueuePolicy)
    created_by: str = ""


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
