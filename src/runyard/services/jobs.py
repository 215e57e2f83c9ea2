"""Saving jobs and finding the version that a reference means. Uploads are known by content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runyard.domain.access import Action
from runyard.domain.errors import Conflict, Invalid, NotFound
from runyard.domain.images import ImageRef
from runyard.domain.inputs import check_inputs
from runyard.domain.jobs import (
    JobRef,
    JobVersion,
    Source,
    SourceKind,
    check_aliases,
    content_digest,
)
from runyard.domain.sources import check_image, check_job_name, check_remote, check_runtime
from runyard.services import accounts, audit
from runyard.services.artifacts import jobs as artifact_jobs
from runyard.services.call import Call
from runyard.store import jobs
from runyard.store.db import Row


def save(
    call: Call,
    *,
    entity: str,
    project: str,
    name: str,
    source: Mapping[str, Any],
    description: str = "",
    aliases: tuple[str, ...] = (),
    input_schemas: Mapping[str, Any] | None = None,
) -> tuple[JobVersion, bool]:
    """Save a version; the same content again makes none. Return it and whether it is new.

    `input_schemas` None keeps those of the newest version: new code does not lift what the
    job promised. {} lifts them.

    Raises:
        Invalid: name, source, aliases or schemas. Conflict: an upload it names is not there.
    """
    owner = call.entity(entity, Action.SAVE_JOBS)
    read = Source.from_json(source)
    check_job_name(name)
    check_aliases(aliases)
    if input_schemas is not None:
        check_inputs(input_schemas)
    _check_source(read)
    _need_uploads(call, owner["id"], read)
    project_id = accounts.project(call, owner, project)
    sequence = artifact_jobs.sequence(call, project_id, name)
    job = jobs.job_locked(call.tx, entity, project, name)
    if job is None:
        jobs.add(call.tx, call.new_id(), project_id, name, description, call.now)
        job = jobs.job_locked(call.tx, entity, project, name)
        assert job is not None
    if input_schemas is None:
        newest = jobs.version(call.tx, job, job["latest"])
        input_schemas = newest.input_schemas if newest else {}
    same = jobs.same_content(call.tx, job["id"], content_digest(read, input_schemas))
    created = same is None or same["version"] != job["latest"]
    n = artifact_jobs.number(call, sequence, job["latest"]) if created else job["latest"]
    if created:
        jobs.add_version(
            call.tx, call.new_id(), job["id"], n, read, input_schemas,
            author=call.actor.name, now=call.now,
        )  # fmt: skip
    for alias in aliases:
        jobs.set_alias(call.tx, job["id"], alias, n)
    if description and description != job["description"]:
        jobs.describe(call.tx, job["id"], description)
    saved = get(call, JobRef(entity, project, name, f"v{n}"))
    artifact_jobs.give_aliases(call, saved.id, aliases)
    if created or aliases:
        digest = content_digest(read, input_schemas)
        after = {"version": n, "digest": digest, "aliases": list(aliases)}
        audit.note(call, "job.save", f"{project}/{name}", entity_id=owner["id"], after=after)
    return saved, created


def get(call: Call, ref: JobRef) -> JobVersion:
    """Return the version that a whole reference means now.

    Raises:
        NotFound: no such job, or no such version or alias of it.
    """
    path = f"{ref.entity}/{ref.project}/{ref.name}"
    job = _job(call, ref.entity or "", ref.project or "", ref.name, Action.SEE)
    n = ref.version
    if n is None:
        n = jobs.alias_version(call.tx, job["id"], ref.alias)
    found = None if n is None else jobs.version(call.tx, job, n)
    if found is None:
        raise NotFound(
            f"job {path} has no version {ref.alias!r}", hint=f"runyard job describe {path}"
        )
    return found


def page(
    call: Call, entity: str | None, project: str | None, *, after: str, limit: int
) -> list[tuple[Row, list[str]]]:
    """Return jobs with the aliases of their newest version."""
    owner = call.entity(entity, Action.SEE)
    found = jobs.page(call.tx, owner["id"], project, after=after, limit=limit)
    names = jobs.aliases(call.tx, [row["id"] for row in found])
    return [(row, names.get((row["id"], row["latest"]), [])) for row in found]


def versions(
    call: Call, entity: str, project: str, name: str, *, before: int, limit: int
) -> list[JobVersion]:
    job = _job(call, entity, project, name, Action.SEE)
    return jobs.versions(call.tx, job, before=before, limit=limit)


def describe(call: Call, entity: str, project: str, name: str, text: str) -> None:
    job = _job(call, entity, project, name, Action.SAVE_JOBS)
    jobs.describe(call.tx, job["id"], text)
    audit.note(
        call,
        "job.describe",
        f"{project}/{name}",
        entity_id=job["entity_id"],
        before={"description": job["description"]},
        after={"description": text},
    )


def note_upload(call: Call, entity: str, digest: str, size: int) -> None:
    """Record that the bytes of `digest` are in the files of `entity`."""
    owner = call.entity(entity, Action.SAVE_JOBS)
    jobs.add_blob(call.tx, owner["id"], digest, size, call.now)


def uploaded(call: Call, entity: str, digest: str) -> int:
    """Return the size of an upload.

    Raises:
        NotFound: not uploaded to this entity, whoever else may have it.
    """
    owner = call.entity(entity, Action.SEE)
    row = jobs.blob(call.tx, owner["id"], digest)
    if row is None:
        raise NotFound(f"{digest} was not uploaded to {entity}")
    return int(row["size"])


def _job(call: Call, entity: str, project: str, name: str, action: Action) -> Row:
    job = jobs.job(call.tx, entity, project, name)
    if job is None or not call.actor.may(Action.SEE, job["entity_id"]):
        raise NotFound(
            f"no job {entity}/{project}/{name} that you may see",
            hint=f"runyard job list --entity {entity} --project {project}",
        )
    call.actor.need(action, job["entity_id"], entity, f"job {name!r}")
    return job


def _check_source(source: Source) -> None:
    if source.kind is SourceKind.COMMAND:
        raise Invalid("source.kind: a job is made of image, git or code")
    if source.kind is SourceKind.IMAGE:
        check_image(source.image)
    if source.kind is SourceKind.GIT:
        check_remote(source.remote)
    if source.runtime:
        check_runtime(source.runtime)
    if source.base_image:
        ImageRef.parse(source.base_image)


def _need_uploads(call: Call, entity_id: str, source: Source) -> None:
    for digest in filter(None, (source.archive, source.patch)):
        if jobs.blob(call.tx, entity_id, digest) is None:
            raise Conflict(
                f"{digest} was not uploaded", hint="upload it first: PUT /api/v1/blobs/…"
            )
