"""That agents live, noted in memory and written for all of them together."""

from __future__ import annotations

from datetime import datetime

from runyard.domain.agents import AgentStatus
from runyard.server.edge import SERVER, Edge
from runyard.services import agents

FLUSH_EVERY = 5.0  # seconds


class Presence:
    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._seen: dict[str, tuple[AgentStatus, datetime]] = {}

    def note(self, agent_id: str, *, holding: bool) -> None:
        """An agent was heard of just now."""
        status = AgentStatus.RUNNING if holding else AgentStatus.POLLING
        self._seen[agent_id] = (status, self._edge.clock())

    def gone(self, agent_id: str) -> None:
        """The agent has retired: do not write over what it said last."""
        self._seen.pop(agent_id, None)

    async def flush(self) -> int:
        """Write what was noted since the last time; return how many agents."""
        seen, self._seen = self._seen, {}
        if seen:
            await self._edge.write(SERVER, lambda call: agents.note_seen(call, seen))
        return len(seen)
