"""
Drivers by the name of their resource, found as entry points and imported on use.

So an agent that serves no Docker queue never imports a Docker library, and a driver in somebody
else's package is one line of that package's metadata: `runyard.drivers`, `name = module:Class`.
The class has a `from_settings(settings, root)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from runyard.domain.errors import Invalid, Rejected
from runyard.drivers.base import Driver

GROUP: Final = "runyard.drivers"
_EXTRAS: Final = {
    "local-container": "docker",
    "kubernetes": "kubernetes",
    "sagemaker": "aws",
    "gcp-vertex": "gcp",
}


class Drivers:
    """
    `settings` are the agent's `resources`, by resource; each driver gets a root of its own.
    `made` are drivers that are there already.
    """

    def __init__(
        self,
        root: Path,
        settings: Mapping[str, Mapping[str, Any]],
        *,
        made: Mapping[str, Driver] | None = None,
    ) -> None:
        self._root, self._settings = root, settings
        self._made = dict(made or {})

    def get(self, resource: str) -> Driver:
        """Return the driver for a resource, made at its first use.

        Raises:
            Rejected: there is none, its extra is not installed, or its settings are wrong.
        """
        if resource not in self._made:
            self._made[resource] = self._make(resource)
        return self._made[resource]

    def in_use(self) -> list[Driver]:
        """Return the drivers that were asked for so far."""
        return list(self._made.values())

    async def close(self) -> None:
        for driver in self._made.values():
            await driver.close()

    def _make(self, resource: str) -> Driver:
        found = entry_points(group=GROUP)
        if resource not in found.names:
            known = ", ".join(sorted(found.names))
            raise Rejected(
                f"this agent has no driver for {resource}; it has {known}",
                hint="serve the queue with an agent that has it, or update this one",
            )
        factory = _load(found[resource])
        try:
            driver: Driver = factory.from_settings(
                self._settings.get(resource, {}), self._root / resource
            )
        except Invalid as error:
            raise Rejected(
                f"agent config, field resources.{resource}: {error.message}", hint=error.hint
            ) from error
        return driver


def _load(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except ImportError as error:
        extra = _EXTRAS.get(entry.name)
        raise Rejected(
            f"the driver for {entry.name} cannot be imported: {error}",
            hint=f"pip install 'runyard[{extra}]'" if extra else "",
        ) from error
