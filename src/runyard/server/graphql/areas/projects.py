"""Projects. Other areas add what is in them: they find where they are by `source["place"]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from runyard.domain.access import Kind
from runyard.server.graphql import ids
from runyard.server.graphql.areas.people import entity_source, user_source
from runyard.server.graphql.context import Area, Info, context_of, or_none
from runyard.services.call import Call
from runyard.services.tracking import places, project_changes, projects
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


def model(
    _: None, info: Info, name: str | None = None, entityName: str | None = None
) -> Source | None:
    """Where a program looks for its run before it goes on with it: a launched one, in its own
    project, whatever it means to log to."""
    if context_of(info).call.actor.kind is Kind.RUN:
        name = entityName = None
    return project(None, info, name, entityName)


def _row(source: Source, call: Call) -> Row | None:
    may_look = places.may_look(call, source["place"])
    if source["row"] is None and source["id_pk"] and may_look:
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


def models(
    _: None,
    info: Info,
    entityName: str | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Source | None:
    call = context_of(info).call
    limit = max(1, min(_PAGE if first is None else first, projects.MOST))
    before = after or projects.FIRST
    found = or_none(lambda: projects.page(call, entityName, before=before, limit=limit + 1))
    if found is None:
        return None
    edges = [{"node": _found(each), "cursor": each.place.id} for each in found[:limit]]
    end = edges[-1]["cursor"] if edges else after
    return {"edges": edges, "pageInfo": {"endCursor": end, "hasNextPage": len(found) > limit}}


def upsert_model(_: None, info: Info, input: Mapping[str, Any]) -> Source:
    name, entity = input.get("name"), input.get("entityName")
    if name is None and input.get("id"):
        name, entity = _named_by(input["id"])
    place, inserted = project_changes.upsert(
        context_of(info).call, entity, name, input.get("description")
    )
    source = project_source(place)
    return {"project": source, "model": source, "inserted": inserted}


def rename_project(_: None, info: Info, input: Mapping[str, Any]) -> Source:
    place = project_changes.rename(
        context_of(info).call,
        input["entityName"],
        input["oldProjectName"],
        input["newProjectName"],
    )
    source = project_source(place)
    return {"project": source, "model": source, "inserted": False}


def delete_model(_: None, info: Info, input: Mapping[str, Any]) -> Source:
    name, entity = _named_by(input["id"])
    project_changes.delete(context_of(info).call, entity, name)
    return {"success": True}


def _named_by(project_id: str) -> tuple[str, str]:
    _, name, entity = ids.decode(project_id, "Project", 3)
    return name, entity


AREA = Area(
    {
        "Query": {"project": project, "model": model, "models": models},
        "Mutation": {
            "upsertModel": upsert_model,
            "renameProject": rename_project,
            "deleteModel": delete_model,
        },
        "Project": {
            "createdAt": _created_at,
            "updatedAt": _created_at,
            "description": _description,
            "user": _user,
            "entity": _entity,
        },
    }
)
