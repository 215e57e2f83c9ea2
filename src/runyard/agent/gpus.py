"""
Gives GPUs out by index, so that two jobs never share one unless the agent's settings say so.

A job asks for a number, for "all", or for devices by index. One that asks for more than there
are can never run here; one that asks for more than are free waits its turn: first come, first
served, or a job that wants many would wait for ever while small ones pass it.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from runyard.domain.docker_options import Gpus
from runyard.domain.errors import Rejected


@dataclass(slots=True)
class GpuRack:
    """The devices of this host and who has them, by workload key."""

    devices: tuple[str, ...]
    shared: bool = False
    _held: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _row: deque[str] = field(default_factory=deque)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def check(self, wanted: Gpus) -> None:
        """Return if this host has what is wanted, free or not.

        Raises:
            Rejected: it has not.
        """
        there = ", ".join(self.devices) or "none"
        if isinstance(wanted, tuple):
            missing = [index for index in wanted if index not in self.devices]
            what = f"device {', '.join(missing)} was asked for"
        else:
            count = 1 if wanted == "all" else wanted
            missing = ["more"] if count > len(self.devices) else []
            what = f"{wanted} asked for"
        if missing:
            raise Rejected(
                f"gpus: {what}, and this agent's devices are: {there}",
                hint="choose a queue whose agents have them, or list them in the agent's `gpus`",
            )

    def hold(self, key: str, devices: Sequence[str]) -> None:
        """Note what an adopted workload has."""
        if devices:
            self._held[key] = tuple(devices)

    async def take(self, key: str, wanted: Gpus) -> tuple[str, ...]:
        """Return devices for a workload, once they are free. Give them back with `free`."""
        if not wanted:
            return ()
        self._row.append(key)
        try:
            while (chosen := self._choice(key, wanted)) is None:
                self._changed.clear()
                await self._changed.wait()
        finally:
            self._row.remove(key)
            self._changed.set()
        self._held[key] = chosen
        return chosen

    def free(self, key: str) -> None:
        if self._held.pop(key, None):
            self._changed.set()

    def _choice(self, key: str, wanted: Gpus) -> tuple[str, ...] | None:
        if self._row[0] != key:
            return None
        taken = () if self.shared else {d for held in self._held.values() for d in held}
        free = tuple(device for device in self.devices if device not in taken)
        if isinstance(wanted, tuple):
            return wanted if set(wanted) <= set(free) else None
        count = len(self.devices) if wanted == "all" else wanted
        return free[:count] if count <= len(free) else None


def discover(configured: str | Sequence[int | str]) -> tuple[str, ...]:
    """Return the indices of this host's GPUs: as configured, or as nvidia-smi lists them."""
    if not isinstance(configured, str):
        return tuple(str(index) for index in configured)
    if configured == "none" or shutil.which("nvidia-smi") is None:
        return ()
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ()  # a tool without a card, as in images made for machines that have one
    return tuple(line.strip() for line in listed.stdout.splitlines() if line.strip().isdigit())
