"""Artifacts as people see them: collections, versions, and links to their files."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote, unquote

from fastapi import FastAPI, Path, Query, Request

from runyard.domain.access import Kind
from runyard.server.auth import opens
from runyard.server.edge import Edge
from runyard.server.graphql.route import base_url
from runyard.server.paging import Caller, Cursor, Limit, after, page
from runyard.server.settings import ServerSettings
from runyard.server.storage import Storage
from runyard.services.artifacts import browsing
from runyard.services.artifacts.browsing import Version
from runyard.store.db import Row
from runyard.store.values import from_ms, from_text
from runyard.wire import rest
from runyard.wire.rest_artifacts import CollectionOut, FileOut, VersionOut

Named = Annotated[str, Path(max_length=128)]
Type = Annotated[str | None, Query(max_length=128, description="Only collections of this type.")]


def add(app: FastAPI, edge: Edge, storage: Storage, settings: ServerSettings) -> None:
    @app.get("/api/v1/artifacts/{entity}/{project}", tags=["artifacts"])
    @opens(Kind.USER)
    async def list_artifacts(
        entity: Named,
        project: Named,
        caller: Caller,
        type: Type = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> rest.Page[CollectionOut]:
        """List the artifacts of a project, the newest first."""
        found = await edge.read(
            caller,
            lambda call: browsing.collections(
                call, entity, project, type, after=after(cursor), limit=limit + 1
            ),
        )
        return page(found, limit, lambda each: each[0]["id"], lambda each: _collection(*each))

    @app.get("/api/v1/artifacts/{entity}/{project}/{name}/versions", tags=["artifacts"])
    @opens(Kind.USER)
    async def list_artifact_versions(
        entity: Named,
        project: Named,
        name: Named,
        caller: Caller,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> rest.Page[VersionOut]:
        """List the versions of an artifact, the newest first."""
        key = after(cursor)
        before = int(key) if key.isdigit() and len(key) < 10 else None
        found = await edge.read(
            caller,
            lambda call: browsing.versions(
                call, entity, project, name, before=before, limit=limit + 1
            ),
        )
        return page(found, limit, lambda v: str(v.number), lambda v: _version(name, v))

    @app.get("/api/v1/artifacts/{entity}/{project}/{name}/versions/{alias}", tags=["artifacts"])
    @opens(Kind.USER)
    async def get_artifact_version(
        entity: Named, project: Named, name: Named, alias: Named, caller: Caller
    ) -> VersionOut:
        """Show the version that an alias (`latest`, `v3`, one of your own) means now."""
        found = await edge.read(
            caller, lambda call: browsing.version(call, entity, project, name, alias)
        )
        return _version(name, found)

    @app.get(
        "/api/v1/artifacts/{entity}/{project}/{name}/versions/{alias}/files", tags=["artifacts"]
    )
    @opens(Kind.USER)
    async def list_artifact_files(
        entity: Named,
        project: Named,
        name: Named,
        alias: Named,
        request: Request,
        caller: Caller,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> rest.Page[FileOut]:
        """List the files of a version by path, with links that are good for a while."""
        last = unquote(after(cursor))
        found = await edge.read(
            caller,
            lambda call: browsing.files(
                call, entity, project, name, alias, after=last, limit=limit + 1
            ),
        )
        base = base_url(request, settings)

        def shape(entry: Row) -> FileOut:
            return _file(storage, found.artifact["entity_id"], entry, base)

        return page(found.entries, limit, lambda entry: quote(entry["path"]), shape)


def _collection(row: Row, versions: int) -> CollectionOut:
    return CollectionOut(
        entity=row["entity"],
        project=row["project"],
        name=row["name"],
        type=row["type"],
        kind=row["kind"],
        description=row["description"],
        tags=from_text(row["tags"]),
        versions=versions,
        created_at=from_ms(row["created_at"]),
    )


def _version(name: str, found: Version) -> VersionOut:
    row = found.artifact
    return VersionOut(
        entity=row["entity"],
        project=row["project"],
        name=name,
        type=row["type"],
        version=found.number,
        aliases=list(found.aliases),
        digest=row["digest"],
        size=row["size"],
        files=row["file_count"],
        description=row["description"],
        tags=from_text(row["tags"]),
        metadata=row["metadata"],
        created_at=from_ms(row["created_at"]),
    )


def _file(storage: Storage, entity_id: str, entry: Row, base: str) -> FileOut:
    path, md5 = entry["path"], entry["md5"]
    url = entry["ref"] or ""
    if md5 is not None:
        url = storage.get_blob(entity_id, md5, name=path.rpartition("/")[2], base=base)
    return FileOut(
        path=path, size=entry["size"], digest=entry["digest"], is_reference=md5 is None, url=url
    )
