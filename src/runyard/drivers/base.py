"""
The one interface between the agent and a kind of compute.

A driver is a stateless translator. All it knows of a workload is in the handle that it
returned, and the server keeps that; so any agent process, on any host that reaches the
backend, can pick up where another one died. Reattaching is therefore no method but a law.
`runyard.testing.driver_laws` holds every driver to these:

1. Submitting the same key again starts nothing and returns an equal handle.
2. A handle works in another process, after a trip through JSON.
3. `watch` yields the present, then changes, then one final observation, and ends.
4. Not being able to ask is no answer: raise `Unavailable`. `GONE` means asked.
5. Stopping what has ended, or never was, is a success. When `stop` returns, it is gone.
6. Cancelling a driver's coroutine never ends the workload.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from runyard.domain.errors import Unavailable
from runyard.domain.workloads import Handle, Observation, Workload


class Unreached(Unavailable):
    """The backend could not even be asked, so this call has begun nothing."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What differs between drivers and matters to callers. Data, so no isinstance."""

    needs_image: bool = True
    follows_logs: bool = True
    takes_gpus: bool = False  # the agent gives out devices by index
    takes_volumes: bool = False  # directories of the agent's host, by name
    host_bound: bool = True  # a handle means something only on the host that made it
    max_env_bytes: int = 32_670  # longest single value; the peer's limit, kept for its clients


class Driver(Protocol):
    name: str
    capabilities: Capabilities

    async def check(self) -> None:
        """Verify credentials and reachability, once, when the agent starts.

        Raises:
            Rejected: something an operator must mend; the message says what.
        """

    async def disks(self) -> Collection[Path]:
        """Return the directories of this host that workloads fill; they must not be full.

        Raises:
            Unavailable.
        """
        ...

    def render(self, workload: Workload, /) -> Mapping[str, Any]:
        """Return the request that `submit` would send, secrets masked. Pure: no I/O, no clock.

        Raises:
            Rejected: the queue's configuration makes no valid request.
        """
        ...

    async def submit(self, workload: Workload, /) -> Handle:
        """Start the workload and return as soon as the backend has accepted it.

        Raises:
            Rejected: the workload is at fault. HostFault: this host is; nothing was started.
            Unavailable, Unreached.
        """
        ...

    def watch(self, handle: Handle, /) -> AsyncGenerator[Observation, None]:
        """Follow the workload until it ends.

        Raises:
            Unavailable: call again; nothing is lost, since the present comes first.
        """
        ...

    async def stop(self, handle: Handle, /, *, grace: timedelta) -> None:
        """End the workload: politely, and after `grace` by force; return when it is gone.

        Raises:
            Unavailable.
        """

    def logs(self, handle: Handle, /, *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield output from byte `offset` on, and follow it until the workload ends.

        Raises:
            Unavailable: call again with the offset reached.
        """
        ...

    async def discard(self, handle: Handle, /) -> None:
        """Delete what the workload left in the backend. Repeatable."""

    async def leftovers(self, keep: Collection[str], /) -> Collection[Handle]:
        """Return handles of workloads of this driver's root whose key is not in `keep`."""
        ...

    async def close(self) -> None:
        """Let go of connections. Workloads go on."""
