"""Checks of this host without an agent, for `runyard agent check`."""

from __future__ import annotations

from collections.abc import Sequence

from runyard.agent.config import AgentConfig
from runyard.agent.gpus import discover
from runyard.agent.health import Host
from runyard.agent.registry import Drivers
from runyard.domain.errors import RunyardError
from runyard.wire.health import Check


async def check_host(config: AgentConfig, resources: Sequence[str]) -> list[Check]:
    """Return what an agent with these settings would find of this host. Raises nothing."""
    drivers = Drivers(config.root, config.resources)
    missing = []
    try:
        for name in resources:
            try:
                drivers.get(name)
            except RunyardError as error:
                missing.append(Check(name=name, ok=False, detail=error.message))
        gpus = discover(config.gpus)
        host = Host(config.root, drivers.in_use, lambda: discover(config.gpus), gpus)
        return [*await host.found(), *missing]
    finally:
        await drivers.close()
