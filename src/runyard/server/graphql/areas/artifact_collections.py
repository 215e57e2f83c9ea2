"""Types and collections of artifacts, and the versions in them, page by page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from runyard.server.graphql.areas import artifact_sources as sources
from runyard.server.graphql.connections import connection, cursor, place_of, size_of
from runyard.server.graphql.context import Area, Info, Resolver, context_of, or_none
from runyard.services.artifacts import finding
from runyard.services.call import Call
from runyard.services.tracking import places
from runyard.store.artifacts import filtering, listing
from runyard.store.artifacts import reading as rows
from runyard.store.artifacts.listing import Listing
from runyard.store.db import Row
from runyard.store.values import from_ms, from_text

Source = dict[str, Any]
_PAGE: Final = 50
_MOST: Final = 1_000
_KNOWN: Final = {
    "versionIndex": "member_version",
    "version_index": "member_version",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "fileCount": "file_count",
}


def artifact_collection(_: None, info: Info, id: str) -> Source | None:
    call = context_of(info).call
    found = or_none(lambda: finding.collection_by_id(call, sources.collection_id_of(id)))
    return None if found is None else sources.collection_source(found)


def _type_named(source: Source, info: Info, name: str) -> Source | None:
    call, place = context_of(info).call, source["place"]
    row = or_none(lambda: finding.type_named(call, place, name))
    return None if row is None else sources.type_source(place, row)


def _types(
    source: Source,
    info: Info,
    after: str | None = None,
    first: int | None = None,
    includeAll: bool | None = None,  # noqa: ARG001 - what others could have put here is not ours
) -> Source:
    call, place = context_of(info).call, source["place"]
    places.need_look(call, place)
    limit = size_of(first, default=_PAGE, most=_MOST)
    (last,) = place_of(after, str) or ("",)
    found = rows.types(call.tx, place.id, after=last, limit=limit + 1)
    return connection(
        found[:limit],
        lambda row: {"node": sources.type_source(place, row), "cursor": cursor(row["name"])},
        has_more=len(found) > limit,
        total=0,
    )


def _type_row(source: Source, info: Info) -> Row:
    if source["row"] is None:
        call = context_of(info).call
        source["row"] = finding.type_named(call, source["place"], source["name"])
    row: Row = source["row"]
    return row


def _collection_named(source: Source, info: Info, name: str) -> Source | None:
    call = context_of(info).call
    found = or_none(lambda: finding.collection_named(call, source["place"], name))
    return None if found is None else sources.collection_source(found)


def _collection_of_type(source: Source, info: Info, name: str) -> Source | None:
    call = context_of(info).call
    row = or_none(lambda: finding.collection_named(call, source["place"], name))
    return None if row is None or row["type"] != source["name"] else sources.collection_source(row)


def _collections(
    source: Source,
    info: Info,
    after: str | None = None,
    first: int | None = None,
    filters: str | None = None,
    order: str | None = None,
    *,
    of_type: bool = False,
) -> Source:
    """Return collections of a project or a type; without a size, all that a page can have."""
    call, project = context_of(info).call, source["place"]
    places.need_look(call, project)
    type_id = _type_row(source, info)["id"] if of_type else None
    ordered = filtering.order_of(order, listing.GROUPS, "id")
    wanted = filtering.condition(filters, listing.GROUPS)
    limit = size_of(first, default=_MOST, most=_MOST)
    place = _place(after, listing.GROUPS[ordered.column], str)
    asked = Listing(ordered, wanted, place, limit + 1)
    found = listing.groups(call.tx, project.id, type_id, asked)
    shown = sources.collection_sources(found[:limit])
    return connection(
        shown,
        lambda one: {
            "node": one,
            "cursor": cursor(one["row"][_plain(ordered.column)], one["row"]["id"]),
        },
        has_more=len(found) > limit,
        total=lambda: listing.count_groups(call.tx, project.id, type_id, wanted),
    )


def _versions(
    source: Source,
    info: Info,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
    filters: str | None = None,
) -> Source:
    call = context_of(info).call
    pk = sources.whole(call, source)["id"]
    ordered = filtering.order_of(order, listing.VERSIONS, "version_index")
    wanted = filtering.condition(filters, listing.VERSIONS)
    limit = size_of(first, default=_PAGE, most=_MOST)
    place = _place(after, listing.VERSIONS[ordered.column], int)
    asked = Listing(ordered, wanted, place, limit + 1)
    together: sources.Together = source["together"]
    if place is None:  # each of the collections on the page is going to be asked the same
        pages = together.ask(
            ("versions", first, order, filters),
            pk,
            lambda keys: _first_pages(call, keys, asked),
        )
        found, shown = pages or ([], [])
    else:
        found = list(listing.versions(call.tx, pk, asked))
        shown = sources.artifact_sources(found)
    return connection(
        shown[:limit],
        lambda one: {
            "node": one,
            "version": f"v{one['row']['member_version']}",
            "cursor": cursor(one["row"][_plain(ordered.column)], one["row"]["member_version"]),
        },
        has_more=len(found) > limit,
        total=lambda: (
            together.ask(
                ("count", filters), pk, lambda keys: listing.count_versions(call.tx, keys, wanted)
            )
            or 0
        ),
    )


def _first_pages(
    call: Call, keys: Sequence[str], asked: Listing
) -> dict[str, tuple[list[Row], list[Source]]]:
    """Return rows and sources of each collection's first page; all of them are one page."""
    pages = listing.first_of_each(call.tx, keys, asked)
    together = sources.Together([row["id"] for found in pages.values() for row in found])
    return {
        key: (found, [sources.artifact_source(row, together) for row in found])
        for key, found in pages.items()
    }


def _member_of(source: Source, info: Info, aliasName: str) -> Source | None:
    call = context_of(info).call
    row = sources.whole(call, source)
    found = or_none(lambda: finding.member(call, row, aliasName))
    return None if found is None else sources.membership_source(found.row, found.artifact)


def _aliases_of_collection(
    source: Source, info: Info, after: str | None = None, first: int | None = None
) -> Source:
    call = context_of(info).call
    row, limit = sources.whole(call, source), size_of(first, default=_MOST, most=_MOST)
    (last,) = place_of(after, str) or ("",)
    found = rows.aliases_in(call.tx, row["id"], after=last, limit=limit + 1)
    return connection(
        found[:limit],
        lambda each: {
            "node": sources.alias_source(row["id"], each["alias"], source),
            "cursor": cursor(each["alias"]),
        },
        has_more=len(found) > limit,
        total=0,
    )


def _newest(source: Source, info: Info) -> Source | None:
    call, row = context_of(info).call, source.get("row")
    if row is None:  # where a version says that it was born
        places.need_look(call, source["place"])
    found = rows.newest(call.tx, source["pk"] if row is None else row["id"])
    return None if found is None else sources.artifact_source(found)


def _place(after: str | None, column: Any, tie: type[int] | type[str]) -> tuple[Any, Any] | None:
    found = place_of(after, column.type.python_type, tie)
    return None if found is None else (found[0], found[1])


def _plain(column: str) -> str:
    """Return what rows call a column that can be asked for under two names."""
    return _KNOWN.get(column, column)


def _of_row(tell: Callable[[Row], Any]) -> Callable[[Source, Info], Any]:
    """Resolve a field of a collection by its whole row."""
    return lambda source, info: tell(sources.whole(context_of(info).call, source))


def _tags(row: Row) -> Source:
    return {"edges": [{"node": t} for t in sources.tag_sources(row["id"], from_text(row["tags"]))]}


_COLLECTION: Final[Mapping[str, Resolver]] = {
    "description": _of_row(lambda row: row["description"] or None),
    "createdAt": _of_row(lambda row: from_ms(row["created_at"])),
    "updatedAt": _of_row(lambda row: from_ms(row["updated_at"])),
    "tags": _of_row(_tags),
    "defaultArtifactType": _of_row(
        lambda row: sources.type_named(finding.place_of(row), row["type"])
    ),
    "aliases": _aliases_of_collection,
    "artifacts": _versions,
    "artifactMembership": _member_of,
}


AREA = Area(
    {
        "Query": {"artifactCollection": artifact_collection},
        "Project": {
            "artifactType": _type_named,
            "artifactTypes": _types,
            "artifactCollection": _collection_named,
            "artifactCollections": _collections,
        },
        "ArtifactType": {
            "description": lambda source, info: _type_row(source, info)["description"] or None,
            "createdAt": lambda source, info: from_ms(_type_row(source, info)["created_at"]),
            "artifactCollection": _collection_of_type,
            "artifactCollections": partial(_collections, of_type=True),
        },
        "ArtifactCollection": _COLLECTION,
        "ArtifactSequence": {"latestArtifact": _newest},
    }
)
