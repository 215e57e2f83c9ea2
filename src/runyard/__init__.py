"""
Runyard: queues, agents and runs for machine-learning jobs, on your own machines.

What is promised to scripts and notebooks is here; it is imported when it is first used, since
the command line must not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runyard.sdk import Client, Queue, QueuedRun, launch

__version__ = "0.1.0"
__all__ = ["Client", "Queue", "QueuedRun", "__version__", "launch"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from runyard import sdk

        return getattr(sdk, name)
    raise AttributeError(f"module 'runyard' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
