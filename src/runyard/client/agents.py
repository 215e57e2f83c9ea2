"""Agents that people set aside and readmit."""

from __future__ import annotations

from runyard.client.parts import Calls, path
from runyard.wire import rest


class AgentsApi(Calls):
    def readmit_agent(self, agent_id: str) -> rest.AgentOut:
        """Let an agent that was set aside take items again."""
        return self._post(path("agents", agent_id, "readmit"), rest.AgentOut, None)

    def set_agent_aside(self, agent_id: str, *, reason: str = "") -> rest.AgentOut:
        """Have an agent take nothing more until it is readmitted; what it runs goes on."""
        aside = path("agents", agent_id, "set-aside")
        return self._post(aside, rest.AgentOut, {"reason": reason})
