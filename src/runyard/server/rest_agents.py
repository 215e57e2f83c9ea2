"""Agents as people see them."""

from __future__ import annotations

from fastapi import FastAPI

from runyard.domain.access import Kind
from runyard.server import shapes
from runyard.server.auth import opens
from runyard.server.edge import Edge
from runyard.server.paging import Caller, Cursor, Entity, Limit, after, page
from runyard.services import agents
from runyard.wire import rest


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
