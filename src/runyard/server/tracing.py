"""
Exports the trace of each item that has ended, from the events of items.

One server of a database exports at a time: the one that holds a lease. How far it came is a
cursor, moved only after the collector has taken the traces, so none is lost; should a server die
in between, the next sends the same spans again, under the same names.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import anyio.to_thread
import structlog

from runyard.domain.errors import Invalid
from runyard.domain.timeline import Tale
from runyard.server.edge import SERVER, Edge
from runyard.server.metrics import Metrics
from runyard.server.settings import ServerSettings
from runyard.services import tracing

log = structlog.get_logger(__name__)

EVERY: Final = 5.0  # seconds
_MOST: Final = 50  # batches in one go
_HEADER: Final = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+)\s*:\s*([\x21-\x7e](?:[\t\x20-\x7e]*))")


class Exports(Protocol):
    def send(self, tales: list[Tale]) -> bool: ...

    def close(self) -> None: ...


class Tracer:
    def __init__(self, edge: Edge, metrics: Metrics, exporter: Exports) -> None:
        self._edge, self._metrics, self._exporter = edge, metrics, exporter
        self._held: int | None = None
        self.behind = 0  # events that were not traced at the last look, if it is ours to trace

    async def begin(self) -> None:
        await self._edge.write(SERVER, tracing.begin)

    async def run_once(self) -> int:
        """Export what has ended; return how many traces were taken."""
        total = 0
        for _ in range(_MOST):
            there = await self._edge.read(SERVER, tracing.unread)
            self.behind = 0
            if there is None or not await self._is_ours():
                break
            self.behind = there.behind + there.to - there.after
            self._metrics.behind.labels("traces").set(self.behind)
            if there.to == there.after:
                break
            tales = await self._edge.read(SERVER, partial(tracing.ended, there=there))
            if tales and not await self._send(tales):
                break
            if not await self._edge.write(
                SERVER, partial(tracing.done, there=there, held=self._held)
            ):
                break
            total += len(tales)
        return total

    def close(self) -> None:
        self._exporter.close()

    async def _is_ours(self) -> bool:
        if not self._edge.database.is_postgres:  # there is no other server
            return True
        self._held = await self._edge.write(SERVER, partial(tracing.lease, held=self._held))
        return self._held is not None

    async def _send(self, tales: list[Tale]) -> bool:
        taken = await anyio.to_thread.run_sync(self._exporter.send, tales, abandon_on_cancel=True)
        self._metrics.traces.labels("sent" if taken else "failed").inc(len(tales))
        if not taken:
            log.warning("the collector did not take traces; they will be sent again")
        return taken


def create(edge: Edge, metrics: Metrics, settings: ServerSettings) -> Tracer | None:
    """Return what exports traces; None if the settings name no collector.

    Raises:
        Invalid: the library is not installed, or the file of headers cannot be used.
    """
    if not settings.otlp_endpoint:
        return None
    from runyard.server.spans import Exporter

    headers = read_headers(settings.otlp_headers_file) if settings.otlp_headers_file else {}
    return Tracer(edge, metrics, Exporter(settings.otlp_endpoint, headers))


def read_headers(path: Path) -> dict[str, str]:
    """Read `Name: value`, one a line; empty lines and those that begin with `#` are skipped.

    Raises:
        Invalid: no such file, or a line that is no header. What is in it is not told.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise Invalid(f"otlp_headers_file: {path} cannot be read: {why}") from None
    headers = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        found = _HEADER.fullmatch(text)
        if found is None:
            raise Invalid(f"otlp_headers_file: line {number} of {path} is not `Name: value`")
        headers[found[1]] = found[2]
    return headers
