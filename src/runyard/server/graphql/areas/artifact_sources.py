"""
What resolvers of artifacts start from: versions, collections, types, aliases, files.

Sources carry their row. Those that are shown together share a `Together`, which fetches for all
of them what is asked of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from mimetypes import guess_type
from typing import Any, Final, TypeVar

from runyard.domain import artifacts as names
from runyard.server.graphql import ids
from runyard.server.graphql.areas.projects import project_source
from runyard.server.graphql.context import Context
from runyard.services.artifacts import finding
from runyard.services.call import Call
from runyard.services.tracking.places import Place
from runyard.store.artifacts import reading as rows
from runyard.store.db import Row
from runyard.store.values import at_or_none, from_ms, from_text

Source = dict[str, Any]
K = TypeVar("K")
V = TypeVar("V")
_TYPENAMES: Final = {"sequence": "ArtifactSequence", "portfolio": "ArtifactPortfolio"}
MANIFEST: Final = "wandb_manifest.json"


@dataclass(slots=True)
class Together:
    """Things on one page, by their keys; each kind of question is asked once for all of them."""

    keys: list[Any] = field(default_factory=list)
    _known: dict[Any, dict[Any, Any]] = field(default_factory=dict)

    def ask(self, question: Any, key: K, of_all: Callable[[list[K]], dict[K, V]]) -> V | None:
        """Return the answer of one of them; `of_all` is called for the first."""
        if question not in self._known:
            self._known[question] = of_all(self.keys)
        return self._known[question].get(key)


def artifact_source(row: Row, together: Together | None = None) -> Source:
    """Return a version of a row of `store.artifacts` (`reading.ARTIFACTS`, `writing.get`)."""
    if together is None:
        together = Together([row["id"]])
    return {
        "__typename": "Artifact",
        "row": row,
        "together": together,
        "id": ids.artifact_id(row["id"]),
        "state": row["state"],
        "digest": row["digest"],
        "digestAlgorithm": names.MD5,
        "versionIndex": row["version"],
        "description": row["description"] or None,
        "metadata": row["metadata"],
        "size": row["size"],
        "fileCount": row["file_count"],
        "commitHash": None,
        "historyStep": row["history_step"],
        "ttlDurationSeconds": -1 if row["ttl_s"] is None else row["ttl_s"],
        "ttlIsInherited": row["ttl_s"] is None,
        "createdAt": from_ms(row["created_at"]),
        "updatedAt": from_ms(row["updated_at"]),
        "tags": tag_sources(row["id"], from_text(row["tags"])),
        "artifactType": lambda: type_named(finding.place_of(row), row["type"]),
        "artifactSequence": lambda: _sequence_of(row),
    }


def artifact_sources(found: Sequence[Row]) -> list[Source]:
    """Return versions that are shown together."""
    together = Together([row["id"] for row in found])
    return [artifact_source(row, together) for row in found]


def collection_source(row: Row, together: Together | None = None) -> Source:
    """Return a collection of a row of `store.artifacts` (`reading.COLLECTIONS`)."""
    return {
        "__typename": _TYPENAMES[row["kind"]],
        "row": row,
        "together": together or Together([row["id"]]),
        "id": collection_id(row["id"]),
        "name": row["name"],
        "state": "READY",
        "digestAlgorithm": names.MD5,
        "project": lambda: project_source(finding.place_of(row)),
    }


def collection_sources(found: Sequence[Row]) -> list[Source]:
    together = Together([row["id"] for row in found])
    return [collection_source(row, together) for row in found]


def membership_source(row: Row, artifact: Row | None = None) -> Source:
    """Return a version's place in a collection, of a row of `reading.MEMBERS`."""
    return {
        "row": row,
        "id": ids.encode("ArtifactCollectionMembership", row["member_id"]),
        "versionIndex": row["member_version"],
        "createdAt": from_ms(row["member_at"]),
        "artifact": None if artifact is None else artifact_source(artifact),
        "artifactCollection": collection_source(row),
    }


def type_source(place: Place, row: Row) -> Source:
    """Return a type of its row."""
    return {**type_named(place, row["name"]), "row": row}


def type_named(place: Place, name: str) -> Source:
    """Return a type of a project; its row is fetched when more than its name is asked."""
    return {
        "place": place,
        "row": None,
        "id": ids.encode("ArtifactType", place.id, name),
        "name": name,
    }


def alias_source(collection_pk: str, alias: str, collection: Source | None = None) -> Source:
    return {
        "id": ids.encode("ArtifactAlias", collection_pk, alias),
        "alias": alias,
        "artifactCollection": collection,
    }


def tag_sources(of: object, tags: Iterable[str]) -> list[Source]:
    """Return tags of the version or collection that has the id `of`."""
    return [{"id": ids.encode("Tag", of, tag), "name": tag} for tag in tags]


def aliases_of(call: Call, source: Source) -> list[Source]:
    """Return a version's aliases wherever the caller may look, and its number where it was born."""
    row, together = source["row"], source["together"]
    found: list[Row] = together.ask("aliases", row["id"], lambda all_: finding.aliases(call, all_))
    told = [alias_source(each["collection_id"], each["alias"], _place(each)) for each in found]
    if row["version"] is not None:
        told.append(alias_source(row["sequence_id"], f"v{row['version']}", _sequence_of(row)))
    return told


def file_sources(context: Context, artifact: Row, entries: Iterable[Row]) -> list[Source]:
    """Return files of a version. What lies elsewhere has its own address as the link.

    Thousands are asked for at once, mostly for their links: the rest is found out when asked.
    """
    storage, base, entity = context.parts.storage, context.base_url, artifact["entity_id"]
    at = at_or_none(artifact["committed_at"])
    found = []
    for entry in entries:
        path, md5 = entry["path"], entry["md5"]
        if md5 is None:
            link = entry["ref"] or ""
        else:
            link = storage.get_blob(entity, md5, name=path.rpartition("/")[2], base=base)
        found.append(
            {
                "id": partial(ids.encode, "ArtifactFile", artifact["id"], path),
                "name": path,
                "displayName": path,
                "directUrl": link,
                "url": link,
                "sizeBytes": entry["size"] or 0,
                "digest": entry["digest"],
                "md5": entry["digest"],
                "storagePath": None if md5 is None else partial(names.storage_path, md5),
                "mimetype": partial(_mimetype, path),
                "updatedAt": at,
                "uploadHeaders": [],
            }
        )
    return found


def _mimetype(path: str) -> str | None:
    return guess_type(path)[0]


def manifest_source(context: Context, artifact: Row) -> Source | None:
    """Return the full manifest of a version; None before there is one."""
    row = rows.manifest(context.call.tx, artifact["id"])
    if row is None or artifact["state"] != rows.COMMITTED:
        return None
    link = context.parts.storage.get_blob(
        artifact["entity_id"], row["md5"], name=MANIFEST, base=context.base_url
    )
    return {
        "id": ids.encode("ArtifactManifest", row["id"]),
        "digest": names.in_base64(row["md5"]),
        "type": row["kind"],
        "file": {
            "id": ids.encode("ArtifactManifestFile", row["id"]),
            "name": MANIFEST,
            "displayName": MANIFEST,
            "directUrl": link,
            "url": link,
            "sizeBytes": 0,
            "uploadHeaders": [],
        },
    }


def collection_id(pk: str) -> str:
    return ids.encode("ArtifactCollection", pk)


def collection_id_of(text: str) -> str:
    """Raises: NotFound."""
    (pk,) = ids.decode(text, "ArtifactCollection", 1)
    return pk


def whole(call: Call, source: Source) -> Row:
    """Return the row of a collection, fetched if its source was made of another's row.

    Raises:
        NotFound: it is gone, or the caller sees a version of it by a link and no more.
    """
    if source.get("row") is None:
        source["row"] = finding.collection_by_id(call, source["pk"])
        source["together"] = Together([source["pk"]])
    row: Row = source["row"]
    return row


def _sequence_of(row: Row) -> Source:
    """Return a version's sequence by what the version's row says."""
    return {
        "__typename": "ArtifactSequence",
        "pk": row["sequence_id"],
        "id": collection_id(row["sequence_id"]),
        "name": row["collection"],
        "state": "READY",
        "digestAlgorithm": names.MD5,
        "place": finding.place_of(row),
        "project": lambda: project_source(finding.place_of(row)),
    }


def _place(alias: Row) -> Source:
    """Return the collection of an alias by what the alias's row says."""
    return {
        "__typename": _TYPENAMES[alias["kind"]],
        "pk": alias["collection_id"],
        "id": collection_id(alias["collection_id"]),
        "name": alias["collection"],
        "state": "READY",
        "project": lambda: project_source(finding.place_of(alias)),
    }
