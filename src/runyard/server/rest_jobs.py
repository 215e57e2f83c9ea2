"""Routes of jobs, and of the uploads that they are made of."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import FastAPI, Path, Request, Response

from runyard.domain.access import Action, Kind
from runyard.domain.jobs import JobRef
from runyard.server import shapes
from runyard.server.auth import Body, opens
from runyard.server.edge import Edge
from runyard.server.job_mirror import JobMirror
from runyard.server.nesting import check_depth
from runyard.server.paging import Caller, Cursor, Entity, Limit, after, page
from runyard.server.settings import ServerSettings
from runyard.services import jobs
from runyard.store.files import Files, Upload
from runyard.wire import rest

Named = Annotated[str, Path(max_length=128)]
_AT_ONCE = 1 << 20  # bytes gathered before a thread hashes and writes them


def add(
    app: FastAPI, edge: Edge, files: Files, settings: ServerSettings, mirror: JobMirror
) -> None:
    _add_jobs(app, edge, mirror)
    _add_blobs(app, edge, files, settings)


def _add_jobs(app: FastAPI, edge: Edge, mirror: JobMirror) -> None:
    @app.get("/api/v1/jobs", tags=["jobs"])
    @opens(Kind.USER)
    async def list_jobs(
        caller: Caller,
        entity: Entity = None,
        project: str | None = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> rest.Page[rest.JobOut]:
        """List jobs of an entity, or of your own."""
        found = await edge.read(
            caller,
            lambda call: jobs.page(call, entity, project, after=after(cursor), limit=limit + 1),
        )
        return page(found, limit, lambda each: each[0]["id"], lambda each: shapes.job(*each))

    @app.patch("/api/v1/jobs/{entity}/{project}/{name}", tags=["jobs"], status_code=204)
    @opens(Kind.USER)
    async def describe_job(
        entity: Named, project: Named, name: Named, body: rest.JobPatch, caller: Caller
    ) -> Response:
        """Change a job's description."""
        await edge.write(
            caller, lambda call: jobs.describe(call, entity, project, name, body.description)
        )
        return Response(status_code=204)

    @app.get("/api/v1/jobs/{entity}/{project}/{name}/versions", tags=["jobs"])
    @opens(Kind.USER)
    async def list_versions(
        entity: Named,
        project: Named,
        name: Named,
        caller: Caller,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> rest.Page[rest.JobVersionOut]:
        """List the versions of a job, the newest first."""
        key = after(cursor)
        before = int(key) if key.isdigit() and len(key) < 10 else 2**31 - 1
        found = await edge.read(
            caller,
            lambda call: jobs.versions(call, entity, project, name, before=before, limit=limit + 1),
        )
        return page(found, limit, lambda v: str(v.version), shapes.job_version)

    @app.post("/api/v1/jobs/{entity}/{project}/{name}/versions", tags=["jobs"])
    @opens(Kind.USER)
    async def save_version(
        entity: Named, project: Named, name: Named, body: rest.JobIn, caller: Caller
    ) -> rest.JobVersionOut:
        """Save a version of a job. The same content again makes no new one."""
        check_depth(body.source, body.input_schemas or {})
        version, created = await edge.write(
            caller,
            lambda call: jobs.save(
                call,
                entity=entity,
                project=project,
                name=name,
                source=body.source,
                description=body.description,
                aliases=tuple(body.aliases),
                input_schemas=body.input_schemas,
            ),
        )
        await mirror.after_save()
        return shapes.job_version(version, created=created)

    @app.get("/api/v1/jobs/{entity}/{project}/{name}/versions/{alias}", tags=["jobs"])
    @opens(Kind.USER)
    async def get_version(
        entity: Named, project: Named, name: Named, alias: Named, caller: Caller
    ) -> rest.JobVersionOut:
        """Show the version that an alias (`latest`, `v3`, one of your own) means now."""
        ref = JobRef(entity, project, name, alias)
        return shapes.job_version(await edge.read(caller, lambda call: jobs.get(call, ref)))


def _add_blobs(app: FastAPI, edge: Edge, files: Files, settings: ServerSettings) -> None:
    @app.head(
        "/api/v1/blobs/{entity}/{digest}",
        tags=["uploads"],
        response_class=Response,
        responses={200: {"description": "It is there; Content-Length is its size."}},
    )
    @opens(Kind.USER)
    async def has_blob(entity: Named, digest: Named, caller: Caller) -> Response:
        """Ask whether an upload is there already."""
        files.path(digest)
        size = await edge.read(caller, lambda call: jobs.uploaded(call, entity, digest))
        return Response(headers={"Content-Length": str(size)})

    @app.put(
        "/api/v1/blobs/{entity}/{digest}",
        tags=["uploads"],
        status_code=201,
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
                },
            }
        },
    )
    @opens(Kind.USER, body=Body.UPLOAD)
    async def put_blob(
        entity: Named, digest: Named, request: Request, caller: Caller
    ) -> rest.BlobOut:
        """Upload a file under the hash of its content, `sha256:<64 hex digits>`."""
        # Before anything is written to the disk, and with nothing open while the bytes come.
        await edge.read(caller, lambda call: call.entity(entity, Action.SAVE_JOBS))
        with files.upload(digest, at_most=settings.max_upload_bytes) as upload:
            await _take(request, upload)
            size = await anyio.to_thread.run_sync(upload.finish)
        await edge.write(caller, lambda call: jobs.note_upload(call, entity, digest, size))
        return rest.BlobOut(digest=digest, size=size)


async def _take(request: Request, upload: Upload) -> None:
    gathered = bytearray()
    async for piece in request.stream():
        gathered += piece
        if len(gathered) >= _AT_ONCE:
            await anyio.to_thread.run_sync(upload.write, bytes(gathered))
            gathered.clear()
    await anyio.to_thread.run_sync(upload.write, bytes(gathered))
