"""What all attempts of one agent share, and the interface to where their files come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from runyard.agent.courier import Courier
from runyard.agent.gpus import GpuRack
from runyard.agent.logs import LogCourier
from runyard.agent.registry import Drivers
from runyard.agent.rendering import Draft, Grants
from runyard.agent.volumes import Volumes
from runyard.agent.workspace import Workspaces
from runyard.wire.agent import Held


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a job's source amounts to on this host."""

    directory: str | None = None
    env: dict[str, str] | None = None
    requirements: str | None = None  # within the directory, still to be installed


class Sources(Protocol):
    async def fetch(self, held: Held, drafted: Draft, *, log: Callable[[bytes], None]) -> Fetched:
        """Bring a job's files. `log` takes progress, for people, in pieces of any size.

        Raises:
            RunyardError: they cannot be had; `Unavailable` if they may be later.
        """
        ...


@dataclass(frozen=True, slots=True)
class Bench:
    """`live` are the keys of all attempts being worked on, so that they are no leftovers."""

    courier: Courier
    logs: LogCourier
    drivers: Drivers
    sources: Sources
    workspaces: Workspaces
    gpus: GpuRack
    grants: Grants
    base_url: str
    live: set[str]
    stop_grace: int | None = None  # seconds, in place of the queue's policy
    volumes: Volumes = field(default_factory=Volumes)
