"""
Runyard from Python: submit jobs, wait for them, read their output.

    import runyard

    run = runyard.launch(uri=".", entry_point="python train.py", queue="gpu")
    result = run.wait()
    print(result.status, result.exit_code)

Everything is blocking and needs no event loop, so it works in notebooks, scripts and threads.
The server and key are those of the command line, unless they are given. What goes wrong is
raised as `runyard.domain.errors.RunyardError`, with a message and a hint.
"""

from __future__ import annotations

from typing import Any

from runyard.sdk.client import Client
from runyard.sdk.queue import Queue
from runyard.sdk.queued_run import DidNotStart, QueuedRun

__all__ = ["Client", "DidNotStart", "Queue", "QueuedRun", "launch"]


def launch(job: str | None = None, **options: Any) -> QueuedRun:
    """Queue one run on the server of the command line; see `Client.launch` for the options.

    Example:
        runyard.launch(uri=".", entry_point="python train.py").wait()
    """
    return Client().launch(job, **options)
