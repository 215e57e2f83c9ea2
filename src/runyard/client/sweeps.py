"""Asking a server for its sweeps, and moving them."""

from __future__ import annotations

from collections.abc import Iterator

from runyard.client.parts import Calls, path
from runyard.wire.rest_sweeps import SweepDetail, SweepOut


class SweepsApi(Calls):
    def sweeps(self, entity: str, project: str, limit: int | None = None) -> Iterator[SweepOut]:
        """Newest first."""
        return self._pages(path("sweeps", entity, project), SweepOut, None, limit)

    def sweep(self, entity: str, project: str, name: str) -> SweepDetail:
        return self._get(path("sweeps", entity, project, name), SweepDetail)

    def set_sweep_state(self, entity: str, project: str, name: str, state: str) -> SweepDetail:
        """Move a sweep to RUNNING, PAUSED, FINISHED or CANCELED."""
        answer = self.transport.call(
            "PATCH", path("sweeps", entity, project, name), body={"state": state}
        )
        return self._read(SweepDetail, answer)
