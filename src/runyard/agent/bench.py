"""What all attempts of one agent share, and the interface to where their files come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from runyard.agent.building import Way
from runyard.agent.courier import Courier
from runyard.agent.gpus import GpuRack
from runyard.agent.logs import LogCourier
from runyard.agent.planning import Builds
from runyard.agent.prefetch import Prefetch
from runyard.agent.registry import Drivers
from runyard.agent.rendering import Draft, Grants, Image
from runyard.agent.volumes import Volumes
from runyard.agent.workspace import Workspaces
from runyard.domain.errors import RunyardError
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


class Imagery(Protocol):
    async def builds(self) -> Builds:
        """Return what this agent builds.

        Raises:
            HostFault: its builder, which is there by its settings, is not.
        """
        ...

    def secrets(self) -> Mapping[str, str]:
        """Return what the agent's settings lend to builds; blocking.

        Raises:
            HostFault: one of them is not there.
        """
        ...

    async def provide(self, way: Way, /) -> Image:
        """Return the image of an item, which is there then.

        Raises:
            RunyardError: there will be none, or not by this host.
        """
        ...


class NoImagery:
    """What an agent has that builds nothing."""

    async def builds(self) -> Builds:
        return Builds()

    def secrets(self) -> dict[str, str]:
        return {}

    async def provide(self, _: Way, /) -> Image:
        raise RunyardError("this agent builds no images")


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
    ahead: Prefetch = field(default_factory=Prefetch)
    images: Imagery = field(default_factory=NoImagery)
