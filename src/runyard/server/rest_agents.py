"""Agents as people see them."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Path

from runyard.domain.access import Kind
from runyard.server import shapes
from runyard.server.auth import opens
from runyard.server.edge import Edge
from runyard.server.paging import Caller, Cursor, Entity, Limit, after, page
from runyard.services import agents, aside
from runyard.wire import rest
from runyard.wire.rest_agents import SetAsideIn

AgentId = Annotated[str, Path(max_length=64)]


def add(app: FastAPI, edge: Edge) -> None:
    @app.get("/api/v1/agents", tags=["agents"])
    @opens(Kind.USER)
    async def list_agents(
        caller: Caller, entity: Entity = None, limit: Limit = 50, cursor: Cursor = None
    ) -> rest.Page[rest.AgentOut]:
        """List agents, which queues they serve, and whether they live."""
        found = await edge.read(
            caller,
            lambda call: agents.page(call, entity, after=after(cursor), limit=limit + 1),
        )
        now = edge.clock()
        return page(found, limit, lambda each: each[0].id, lambda each: shapes.agent(each, now))

    @app.post("/api/v1/agents/{agent_id}/readmit", tags=["agents"])
    @opens(Kind.USER)
    async def readmit_agent(agent_id: AgentId, caller: Caller) -> rest.AgentOut:
        """Let an agent that was set aside take items again."""
        listed = await edge.write(caller, lambda call: aside.readmit(call, agent_id))
        return shapes.agent(listed, edge.clock())

    @app.post("/api/v1/agents/{agent_id}/set-aside", tags=["agents"])
    @opens(Kind.USER)
    async def set_agent_aside(agent_id: AgentId, body: SetAsideIn, caller: Caller) -> rest.AgentOut:
        """Have an agent take nothing more until a person readmits it; what it runs goes on."""
        listed = await edge.write(caller, lambda call: aside.set_aside(call, agent_id, body.reason))
        return shapes.agent(listed, edge.clock())
