"""From what the engine says of a container to what is observed: pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from runyard.domain.workloads import Observation, Phase

# podman has more words than Docker; a paused or restarting container has not ended
_PHASES: Final = {
    "created": Phase.QUEUED,
    "configured": Phase.QUEUED,
    "initialized": Phase.QUEUED,
    "exited": Phase.EXITED,
    "stopped": Phase.EXITED,
    "dead": Phase.EXITED,
}
_SIGKILL: Final = 137
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def observed(container: Mapping[str, Any] | None) -> Observation:
    """Return what an inspection says; None is the engine's "no such container"."""
    if container is None:
        return Observation(Phase.GONE, reason="the engine has no such container")
    state = container["State"]
    phase = _PHASES.get(state["Status"], Phase.RUNNING)
    if phase is not Phase.EXITED:
        return Observation(phase)
    code = int(state["ExitCode"])
    return Observation(phase, exit_code=code, reason=_reason(state, container, code))


def _reason(state: Mapping[str, Any], container: Mapping[str, Any], code: int) -> str:
    limit = container.get("HostConfig", {}).get("Memory") or 0
    suffix = f" (limit {size(limit)})" if limit else ""
    if state.get("OOMKilled"):
        return f"out of memory{suffix}"
    if state.get("Error"):
        return str(state["Error"])
    if code == _SIGKILL and limit:  # podman does not tell
        return f"killed, perhaps out of memory{suffix}"
    return ""


def size(count: int) -> str:
    """Return a number of bytes in the largest unit that keeps it whole."""
    unit = 0
    while count % 1024 == 0 and count and unit < len(_UNITS) - 1:
        count, unit = count // 1024, unit + 1
    return f"{count} {_UNITS[unit]}"
