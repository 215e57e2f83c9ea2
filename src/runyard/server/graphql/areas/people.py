"""Who asks, users, teams, keys, and the server itself."""

from __future__ import annotations

from typing import Any

from runyard.server.graphql.context import Area, Info, context_of


def viewer(_: None, info: Info) -> dict[str, Any]:
    actor = context_of(info).call.actor
    return {
        "id": actor.user_id,
        "name": actor.name,
        "username": actor.name,
        "entity": actor.name,
        "flags": "{}",
    }


AREA = Area({"Query": {"viewer": viewer}})
