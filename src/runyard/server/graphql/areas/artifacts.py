"""Versions of artifacts as they are looked at: their files, aliases, and who made and used them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from runyard.server.graphql import ids
from runyard.server.graphql.areas import artifact_sources as sources
from runyard.server.graphql.areas.people import user_source
from runyard.server.graphql.areas.runs import run_source
from runyard.server.graphql.connections import connection, cursor, place_of, size_of
from runyard.server.graphql.context import Area, Info, context_of, or_none
from runyard.services.artifacts import finding, lineage
from runyard.services.artifacts.lineage import Side
from runyard.store.artifacts import reading as rows
from runyard.store.db import Row

Source = dict[str, Any]
_PAGE: Final = 50
_MOST: Final = 1_000
_FILES: Final = 5_000  # on a page, as the client asks for them
_MOST_ENTRIES: Final = 10_000


def artifact(_: None, info: Info, id: str) -> Source | None:
    call = context_of(info).call
    found = or_none(lambda: finding.by_id(call, ids.artifact_of(id)))
    return None if found is None else sources.artifact_source(found)


def _named(source: Source, info: Info, name: str) -> finding.Member | None:
    """Return what `collection:alias` means in the project."""
    call = context_of(info).call
    return or_none(lambda: finding.member_named(call, source["place"], name))


def _artifact_named(source: Source, info: Info, name: str) -> Source | None:
    found = _named(source, info, name)
    return None if found is None else sources.artifact_source(found.artifact)


def _member_named(source: Source, info: Info, name: str) -> Source | None:
    found = _named(source, info, name)
    return None if found is None else sources.membership_source(found.row, found.artifact)


def _aliases_of_member(source: Source, info: Info) -> list[Source]:
    row = source["row"]
    found = finding.aliases(context_of(info).call, [row["artifact_id"]])[row["artifact_id"]]
    return [
        sources.alias_source(row["id"], each["alias"], source["artifactCollection"])
        for each in found
        if each["collection_id"] == row["id"]
    ]


def _files(
    source: Source,
    info: Info,
    names: Sequence[str] | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Source:
    """Return what a version holds, references among it; `names` are paths of files."""
    context, version = context_of(info), source["row"]
    (last,) = place_of(after, str) or ("",)
    limit = size_of(first, default=_PAGE, most=_FILES)
    found: Sequence[Row] = []
    total = version["file_count"]
    if version["state"] == rows.COMMITTED:
        if names is None:
            found = rows.entries(context.call.tx, version["id"], after=last, limit=limit + 1)
        else:
            named = rows.entries_named(context.call.tx, version["id"], names[:_MOST_ENTRIES])
            total, found = len(named), [row for row in named if row["path"] > last][: limit + 1]
    return connection(
        sources.file_sources(context, version, found[:limit]),
        lambda file: {"node": file, "cursor": partial(cursor, file["name"])},
        has_more=len(found) > limit,
        total=total,
    )


def _files_of_member(source: Source, info: Info, **more: Any) -> Source | None:
    version = source["artifact"]
    return None if version is None else _files(version, info, **more)


def _files_by_entries(
    source: Source, info: Info, entries: Sequence[Mapping[str, Any]] | None = None, **_: Any
) -> Source:
    """Return links to the files that these entries of the manifest name, in their order."""
    context, version = context_of(info), source["row"]
    paths = [entry["name"] for entry in entries or ()][:_MOST_ENTRIES]
    held: dict[str, Source] = {}
    if version["state"] == rows.COMMITTED:
        found = rows.entries_named(context.call.tx, version["id"], paths)
        held = {file["name"]: file for file in sources.file_sources(context, version, found)}
    shown = [held[path] for path in paths if path in held]
    return connection(
        shown,
        lambda file: {"node": file, "cursor": partial(cursor, file["name"])},
        has_more=False,
        total=len(shown),
    )


def _memberships(source: Source, info: Info) -> Source:
    found = finding.memberships(context_of(info).call, source["row"]["id"])
    return connection(
        found,
        lambda row: {
            "node": {**sources.membership_source(row), "artifact": source},
            "cursor": cursor(row["member_id"]),
        },
        has_more=False,
        total=len(found),
    )


def _created_by(source: Source, info: Info) -> Source | None:
    """Return the run that logged a version, or who made it without one."""
    call, row = context_of(info).call, source["row"]
    maker = lineage.maker(call, row)
    if maker is not None:
        return {**run_source(maker), "__typename": "Run"}
    name = rows.user_name(call.tx, row["created_by"])
    return {**user_source(row["created_by"], name), "__typename": "User"} if name else None


def _used_by(source: Source, info: Info) -> Source:
    found = lineage.users(context_of(info).call, source["row"]["id"])
    return connection(
        found,
        lambda row: {"node": run_source(row), "cursor": cursor(row["pk"])},
        has_more=False,
        total=len(found),
    )


def _of_run(
    side: Side, source: Source, info: Info, after: str | None = None, first: int | None = None
) -> Source:
    call, pk = context_of(info).call, source["pk"]
    (last,) = place_of(after, int) or (0,)
    limit = size_of(first, default=_PAGE, most=_MOST)
    found = lineage.page(call, pk, side, after=last, limit=limit)
    return connection(
        sources.artifact_sources(found.versions),
        lambda one: {"node": one, "cursor": cursor(one["row"]["id"])},
        has_more=found.has_more,
        total=lambda: lineage.count(call, pk, side),
        end=cursor(found.last),
    )


AREA = Area(
    {
        "Query": {"artifact": artifact},
        "Project": {
            "artifact": _artifact_named,
            "artifactCollectionMembership": _member_named,
        },
        "Artifact": {
            "aliases": lambda source, info: sources.aliases_of(context_of(info).call, source),
            "currentManifest": lambda source, info: sources.manifest_source(
                context_of(info), source["row"]
            ),
            "files": _files,
            "filesByManifestEntries": _files_by_entries,
            "artifactMemberships": _memberships,
            "createdBy": _created_by,
            "usedBy": _used_by,
        },
        "ArtifactCollectionMembership": {"aliases": _aliases_of_member, "files": _files_of_member},
        "Run": {
            "inputArtifacts": partial(_of_run, "input"),
            "outputArtifacts": partial(_of_run, "output"),
        },
    }
)
