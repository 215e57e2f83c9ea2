"""
Following a run: its output byte for byte and its state, over any number of disconnects.

The reader's own offset is the bookmark, so a connection that breaks costs nothing but a pause.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from runyard.client.api import Api, run_path
from runyard.client.transport import PATIENCE, Patience
from runyard.domain.errors import Unavailable
from runyard.domain.runs import RunState
from runyard.wire.rest import RunOut, RunRef

_BREATH: Final = 0.2  # seconds before asking again, where a stream ended and the run did not
_TAIL_STEP: Final = 1 << 16  # bytes
_NEWLINE: Final = 0x0A
BUILD: Final = "build"  # the stage whose output is kept apart from the program's own
_KEEP_ALIVE_CHECK: Final = 5.0  # seconds: under the interval in which servers send comments


def is_over(run: RunOut) -> bool:
    return RunState(run.state).is_final


def is_past(run: RunOut, stage: str) -> bool:
    """Whether a stage is over, or with "" the run itself: nothing more will be printed."""
    return is_over(run) or bool(stage and RunState(run.state) is RunState.RUNNING)


def size(run: RunOut, stage: str = "") -> int:
    """Return how many bytes the run has printed, or before it a stage."""
    return run.stage_logs.get(stage, 0) if stage else run.log_bytes


def log(
    api: Api, run: RunRef, *, offset: int = 0, follow: bool = False, stage: str = ""
) -> Iterator[bytes]:
    """Yield output from `offset` on, the run's or a stage's; with `follow`, until that is over."""
    patience = Patience(PATIENCE)
    while True:
        before = offset
        try:
            params = {"offset": offset, "follow": follow or None, "stage": stage or None}
            with api.transport.stream(run_path(run) + "/logs", params) as response:
                for chunk in response.iter_bytes():
                    offset += len(chunk)
                    patience.reset()
                    yield chunk
        except Unavailable:
            if not patience.wait():
                raise
            continue
        if follow:
            now = api.run(run)
            if is_past(now, stage) and (offset >= size(now, stage) or offset == before):
                return
        elif offset == before:
            return
        if offset == before:
            time.sleep(_BREATH)


def changes(api: Api, run: RunRef, *, timeout: float | None = None) -> Iterator[RunOut]:
    """Yield the run as it is now, and again whenever it changed, until it has ended.

    Raises:
        TimeoutError: `timeout` seconds are over.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    patience = Patience(PATIENCE)
    last: RunOut | None = None
    while last is None or not is_over(last):
        try:
            for now in _connection(api, run, deadline):
                patience.reset()
                if _news(now) != _news(last):
                    yield now
                last = now
        except Unavailable:
            if not patience.wait():
                raise


def wait(api: Api, run: RunRef, *, timeout: float | None = None) -> RunOut:
    """Return the run when it has ended. Raises as `changes`."""
    now = api.run(run)
    if is_over(now):
        return now
    *_, last = changes(api, run, timeout=timeout)
    return last


def _connection(api: Api, run: RunRef, deadline: float | None) -> Iterator[RunOut]:
    """Yield states for as long as one connection lasts, or until the run has ended."""
    silence = 60.0 if deadline is None else min(_left(deadline), _KEEP_ALIVE_CHECK)
    with api.transport.stream(run_path(run) + "/events", silence=silence) as response:
        # Asked after the stream was opened, so that no change falls between the two.
        now = api.run(run)
        yield now
        if is_over(now):
            return
        event = ""
        for line in response.iter_lines():
            if deadline is not None:
                _left(deadline)
            if line.startswith("event:"):
                event = line.removeprefix("event:").strip()
            elif line.startswith("data:") and event == "run":
                now = RunOut.model_validate_json(line.removeprefix("data:"))
                yield now
                if is_over(now):
                    return


def _news(run: RunOut | None) -> RunOut | None:
    """Return what is worth telling of a run: everything but the sizes of its logs."""
    return run and run.model_copy(update={"log_bytes": 0, "stage_logs": {}})


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the run has not ended in time")
    return left


def offset_of_tail(api: Api, run: RunRef, lines: int, stage: str = "") -> int:
    """Return where the last `lines` lines of the output so far begin."""
    end = size(api.run(run), stage)
    step = _TAIL_STEP
    while True:
        begin = max(0, end - step)
        last = b"".join(log(api, run, offset=begin, stage=stage))[: end - begin]
        ends = [n + 1 for n, byte in enumerate(last[:-1]) if byte == _NEWLINE]
        if len(ends) >= lines:
            return begin + ([len(last), *reversed(ends)][lines] if lines else len(last))
        if begin == 0:
            return 0
        step *= 8
