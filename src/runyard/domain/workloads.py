"""What a driver is given, what it hands back, and what it sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from runyard.domain.images import Login


@dataclass(frozen=True, slots=True)
class Workload:
    """
    One attempt at one item, fully resolved: a driver looks nothing up.

    `key` is unique per attempt and safe as a file, container and Kubernetes name
    ([a-z0-9-], at most 63 characters). The process is `entry_point` followed by `args`;
    with an image and no entry point, the image's own entry point gets the `args`.
    `directory` is an absolute path on the agent's host that holds the job's files, already
    fetched and the workload's own; `working_dir` is relative to it, or to an image's root if
    there is no directory. `secrets` are environment variables too, kept apart so that they are
    never printed. `config` is the queue's resource configuration after the submission's changes
    and all macros. `gpus` are the devices that the agent gave to this workload, by index; empty
    means none were asked for. `mounts` are the volumes that `config` asked for; they are not in
    it any more. `login` pulls the image, where the agent knows one.
    """

    key: str
    entry_point: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    image: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    directory: str | None = None
    working_dir: str = ""
    gpus: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    login: Login | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory of the host that the agent's operator lets the workload have.

    `source` is absolute, on the host. `path` is absolute in a container; for a process it is
    relative to its directory, or empty. The variables `env` say where the workload finds it.
    """

    name: str
    source: str
    path: str = ""
    read_only: bool = False
    env: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Handle:
    """Where a submitted workload lives. JSON-safe; read only by its own driver.

    `warnings` are for the submitter, from the submission just made; nobody keeps them.
    """

    driver: str
    version: int  # of `data`, so that a newer driver can read older handles
    data: Mapping[str, str]
    warnings: Sequence[str] = field(default=(), compare=False)


class Phase(StrEnum):
    QUEUED = "queued"  # accepted, waiting for resources
    RUNNING = "running"
    EXITED = "exited"
    PREEMPTED = "preempted"  # taken away by the platform; may be run again
    GONE = "gone"  # the backend was asked, and knows nothing of it

    @property
    def is_final(self) -> bool:
        return self in (Phase.EXITED, Phase.PREEMPTED, Phase.GONE)


@dataclass(frozen=True, slots=True)
class Observation:
    phase: Phase
    exit_code: int | None = None  # only with EXITED; None if nobody recorded it
    reason: str = ""  # the backend's own words, for the user
