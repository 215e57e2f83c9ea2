"""
Jobs that the tracking client commits, as jobs of ours (`server/job_mirror.py`: ours, as its own).

What has to be read and packed lies in a store, so it is done before the transaction: a version of
an artifact and the version of a job that it is are committed together. A job that we cannot
express stays an artifact; its maker's client is told of no error, and our log says why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import anyio.to_thread
import structlog

from runyard.domain import manifests, wandb_jobs
from runyard.domain.errors import NotFound, RunyardError, Unavailable
from runyard.domain.inputs import check_inputs
from runyard.server.graphql import artifact_uploads, ids
from runyard.server.graphql.context import Before, Context
from runyard.services.artifacts import code, finding, jobs
from runyard.services.artifacts.code import Upload
from runyard.services.artifacts.committing import Checked
from runyard.services.artifacts.jobs import Made
from runyard.services.call import Call
from runyard.store.artifacts import reading as rows
from runyard.store.db import Row
from runyard.store.files import Files
from runyard.store.objects.base import blob_key

log = structlog.get_logger("runyard.jobs")

_LARGEST: Final = 1 << 20  # of wandb-job.json, and of requirements
_LARGEST_PATCH: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Prepared:
    """A version that may be committed, and the job's version that it will be, if it is one."""

    checked: Checked | None
    made: Made | None = None


async def prepare_commit(before: Before) -> Prepared:
    """Check a version that is to be committed, and find out which job it is."""
    checked = await artifact_uploads.prepare_commit(before)
    if checked is None:
        return Prepared(None)
    draft = checked.gathered.draft
    row = await before.parts.edge.read(
        before.actor, lambda call: rows.get(call.tx, draft.artifact_id)
    )
    if row is None or row["type"] != wandb_jobs.TYPE:
        return Prepared(checked)
    try:
        return Prepared(checked, await _made(before, row, checked))
    except Unavailable:
        raise  # the client tries again
    except RunyardError as error:
        log.warning("a job stays an artifact", artifact=draft.name, why=error.message)
        return Prepared(checked)


def after_commit(context: Context, row: Row, prepared: Prepared) -> None:
    """Make the job's version of a version that was committed just now."""
    if prepared.made is not None:
        jobs.made(context.call, row, prepared.made)


async def _made(before: Before, row: Row, checked: Checked) -> Made:
    """Read and pack what a job is made of.

    Raises:
        RunyardError: it cannot be a job of ours, and why.
    """
    edge, actor = before.parts.edge, before.actor
    await edge.read(actor, lambda call: jobs.need_to_make(call, row))
    reader = _Reader(before, row["entity_id"], checked.gathered.entries)
    told = wandb_jobs.read(await reader.file(wandb_jobs.FILE, _LARGEST) or b"")
    requirements = await reader.file(wandb_jobs.REQUIREMENTS, _LARGEST) or b""
    archive = patch = ""
    uploads: tuple[Upload, ...] = ()
    code_id = wandb_jobs.code_of(told)
    if code_id is not None:
        contents = await edge.read(actor, lambda call: _code(call, row, code_id))
        upload = await reader.pack(contents, requirements)
        archive, uploads = upload.digest, (upload,)
    elif (diff := await reader.file(wandb_jobs.PATCH, _LARGEST_PATCH)) is not None:
        upload = await reader.keep(diff)
        patch, uploads = upload.digest, (upload,)
    source = wandb_jobs.source_of(told, archive=archive, patch=patch)
    return Made(source, _schemas(row, told), uploads)


def _code(call: Call, row: Row, code_id: str) -> dict[str, manifests.Entry]:
    """Return the files of the artifact that a job names as its code.

    It is of the job's own project: who reads the one then may read the other.

    Raises:
        NotFound.
    """
    found = finding.by_id(call, ids.artifact_of(code_id))
    if found["project_id"] != row["project_id"] or found["state"] != rows.COMMITTED:
        raise NotFound("the code is no artifact of the job's project")
    return {
        entry["path"]: manifests.Entry(entry["digest"], entry["md5"], entry["size"], entry["ref"])
        for entry in rows.entries(call.tx, found["id"], after="", limit=code.MOST_FILES + 1)
    }


def _schemas(row: Row, told: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return check_inputs(wandb_jobs.schemas_of(told, json.loads(row["metadata"])))
    except RunyardError as error:
        log.warning("a job's inputs are not checked", job=row["collection"], why=error.message)
        return {}


class _Reader:
    """Reads files of a version that is about to be committed, and keeps what jobs need of them."""

    def __init__(self, before: Before, entity_id: str, entries: manifests.Entries) -> None:
        self._store = before.parts.storage.store
        settings = before.parts.settings
        assert settings.files_dir is not None
        self._files, self._at_most = Files(settings.files_dir), settings.max_upload_bytes
        self._entity_id, self._entries = entity_id, entries

    async def file(self, path: str, at_most: int) -> bytes | None:
        entry = self._entries.get(path)
        if entry is None or entry.md5 is None:
            return None
        key = blob_key(self._entity_id, entry.md5)
        return await anyio.to_thread.run_sync(lambda: self._store.read(key, at_most=at_most))

    async def pack(self, contents: Mapping[str, manifests.Entry], requirements: bytes) -> Upload:
        def pack() -> Upload:
            return code.packed(
                self._store, self._files, self._entity_id, contents, requirements,
                at_most=self._at_most,
            )  # fmt: skip

        return await anyio.to_thread.run_sync(pack)

    async def keep(self, data: bytes) -> Upload:
        return await anyio.to_thread.run_sync(code.keep_bytes, self._files, data, self._at_most)
