"""Projects. Other areas add what is in them: they find where they are by `source["place"]`."""

from __future__ import annotations

from typing import Any, Final

from runyard.server.graphql import ids
from runyard.server.graphql.areas.people import entity_source, user_source
from runyard.server.graphql.context import Area, Info, context_of, or_none
from runyard.services.call import Call
from runyard.services.tracking import projects
from runyard.services.tracking.places import Place
from runyard.services.tracking.projects import Found
from runyard.store.db import Row
from runyard.store.tracking import projects as rows
from runyard.store.values import from_ms

Source = dict[str, Any]
_PAGE: Final = 50


def project_source(place: Place, row: Row | None = None) -> Source:
    """Return what resolvers of a project start from. `id_pk` is empty for one that has no row."""
    return {
        "place": place,
        "id_pk": place.id,
        "row": row,
        "id": ids.encode("Project", "v1", place.name, place.entity),
        "internalId": str(ids.number_of(place.id or f"{place.entity_id}/{place.name}")),
        "name": place.name,
        "entityName": place.entity,
        "isBenchmark": False,
        "access": "PRIVATE",
        "readOnly": False,
        "allViews": {"edges": [], "pageInfo": {"hasNextPage": False}},
    }


def _found(found: Found) -> Source:
    return project_source(found.place, found.row)


def project(
    _: None, info: Info, name: str | None = None, entityName: str | None = None
) -> Source | None:
    call = context_of(info).call
    found = or_none(lambda: projects.look(call, entityName, name))
    return None if found is None else _found(found)


def _row(source: Source, call: Call) -> Row | None:
    if source["row"] is None and source["id_pk"]:
        source["row"] = rows.get(call.tx, source["id_pk"])
    row: Row | None = source["row"]
    return row


def _created_at(source: Source, info: Info) -> Any:
    call = context_of(info).call
    row = _row(source, call)
    return call.now if row is None else from_ms(row["created_at"])


def _description(source: Source, info: Info) -> str | None:
    row = _row(source, context_of(info).call)
    return None if row is None else row["description"]


def _user(source: Source, info: Info) -> Source | None:
    row = _row(source, context_of(info).call)
    if row is None or row["maker_id"] is None:
        return None
    return user_source(row["maker_id"], row["created_by"])


def _entity(source: Source, _: Info) -> Source:
    place: Place = source["place"]
    return entity_source(place.entity_id, place.entity)


AREA = Area(
    {
        "Query": {"project": project, "model": project},
        "Project": {
            "createdAt": _created_at,
            "updatedAt": _created_at,
            "description": _description,
            "user": _user,
            "entity": _entity,
        },
    }
)
