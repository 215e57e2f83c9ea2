"""Who asks, users, teams, keys, and the server itself."""

from __future__ import annotations

from typing import Any

from runyard.server.graphql.context import Area, Info, context_of

Source = dict[str, Any]


def user_source(user_id: str, name: str) -> Source:
    """Return what is known to everybody who meets a user, as the author of a run, say."""
    return {"id": user_id, "name": name, "username": name, "entity": name, "flags": "{}"}


def entity_source(entity_id: str, name: str) -> Source:
    """Return what resolvers of an entity start from. The caller may see it."""
    return {"id": entity_id, "name": name}


def viewer(_: None, info: Info) -> Source:
    actor = context_of(info).call.actor
    return user_source(actor.user_id, actor.name)


AREA = Area({"Query": {"viewer": viewer}})
