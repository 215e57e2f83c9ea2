"""
Jobs of ours and artifacts of the type `job`: the same, version for version, under the same number.

What the tracking client commits becomes a version of a job in the same transaction. What is saved
as a job takes its number in the sequence at once, and becomes an artifact a moment later, when its
files lie in the store (`mirrored`). Whoever writes one holds the sequence first and then the job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from runyard.domain import manifests, wandb_jobs
from runyard.domain.access import Action, Kind
from runyard.domain.errors import Forbidden, NotFound
from runyard.domain.jobs import LATEST, Source, content_digest
from runyard.domain.sources import check_job_name
from runyard.services import audit
from runyard.services.artifacts.code import Upload
from runyard.services.call import Call
from runyard.store import jobs as rows
from runyard.store.artifacts import collections, objects, reading, writing
from runyard.store.artifacts.collections import SEQUENCE
from runyard.store.db import Row
from runyard.store.values import ms_or_none

CANNOT: Final = 0  # in the place of an artifact's number: there will be none


@dataclass(frozen=True, slots=True)
class Made:
    """What the artifact of a job was found to say, and what was made of its code."""

    source: Source
    input_schemas: Mapping[str, Any] = field(default_factory=dict)
    uploads: tuple[Upload, ...] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """Files that lie in the store, and the manifest of them."""

    entries: manifests.Entries
    manifest: manifests.Entry


def sequence(call: Call, project_id: str, name: str) -> Row | None:
    """Return the sequence that a job's versions are in as artifacts, held; it is made if need be.

    None: the name is that of another artifact, so the job stays what it is.
    """
    found = collections.named(call.tx, project_id, name)
    if found is None:
        found = _new(call, project_id, wandb_jobs.TYPE, name)
    return found if (found["kind"], found["type"]) == (SEQUENCE, wandb_jobs.TYPE) else None


def number(call: Call, of: Row | None, latest: int) -> int:
    """Return the number of a job's next version, and take it in its sequence."""
    if of is None:
        return latest + 1
    n = max(latest + 1, int(of["next_version"]))
    collections.change(call.tx, of["id"], call.now, next_version=n + 1)
    return n


def begin_after(call: Call, of: Row) -> None:
    """Let a new sequence go on where a job of its name is; jobs are older than artifacts here."""
    job = rows.job(call.tx, of["entity"], of["project"], of["name"])
    if of["type"] == wandb_jobs.TYPE and job is not None:
        collections.change(call.tx, of["id"], call.now, next_version=int(job["latest"]) + 1)


def need_to_make(call: Call, row: Row) -> None:
    """Pass if the caller may make a job's version of a version that it has committed.

    A run may make a job that is new. Others' jobs it leaves alone: what they are given, secrets
    say, is given to what their makers wrote (T15).

    Raises:
        Forbidden, NotFound. Invalid: no name for a job.
    """
    check_job_name(row["collection"])
    if call.actor.kind is not Kind.RUN:
        call.actor.need(Action.SAVE_JOBS, row["entity_id"], row["entity"], "job")
    elif rows.job(call.tx, row["entity"], row["project"], row["collection"]) is not None:
        raise Forbidden(f"a run's token makes no new version of job {row['collection']}")


def made(call: Call, row: Row, what: Made) -> None:
    """Make a job's version of a version that was committed just now, with its number.

    Raises:
        Forbidden, NotFound: as `need_to_make`.
    """
    need_to_make(call, row)
    names = (row["entity"], row["project"], row["collection"])
    for upload in what.uploads:
        rows.add_blob(call.tx, row["entity_id"], upload.digest, upload.size, call.now)
    job = rows.job_locked(call.tx, *names)
    if job is None:
        rows.add(
            call.tx, call.new_id(), row["project_id"], row["collection"], row["description"],
            call.now,
        )  # fmt: skip
        job = rows.job_locked(call.tx, *names)
        assert job is not None
    rows.add_version(
        call.tx, call.new_id(), job["id"], row["version"], what.source, what.input_schemas,
        author=call.actor.name, now=call.now, artifact_id=row["id"],
    )  # fmt: skip
    rows.follow_aliases(call.tx, job["id"], row["sequence_id"])
    audit.note(
        call,
        "job.save",
        f"{row['project']}/{row['collection']}",
        entity_id=row["entity_id"],
        after={
            "version": row["version"],
            "digest": content_digest(what.source, what.input_schemas),
            "aliases": [],
        },
    )


def follow_aliases(call: Call, collection_id: str) -> None:
    """Let a job's aliases be those of its sequence, after some of them have moved."""
    job_id = rows.of_sequence(call.tx, collection_id)
    if job_id is not None:
        rows.follow_aliases(call.tx, job_id, collection_id)


def pending(call: Call, limit: int) -> Sequence[Row]:
    """Return versions of jobs that are no artifacts yet, the oldest first."""
    return rows.without_artifact(call.tx, limit)


def give_up(call: Call, version_id: str) -> None:
    """Note that a version of a job cannot be an artifact."""
    rows.link_artifact(call.tx, version_id, CANNOT)


def add_code(call: Call, version: Row, content: Content) -> int:
    """Add a version with a job's code, unless it is there; return its number among artifacts."""
    name = f"code-{version['name']}"[:128]
    of = collections.named(call.tx, version["project_id"], name)
    of = of or _new(call, version["project_id"], wandb_jobs.CODE, name)
    if (of["kind"], of["type"]) != (SEQUENCE, wandb_jobs.CODE):
        raise NotFound(f"{name} is the name of another artifact")
    same = writing.same(call.tx, of["id"], manifests.digest(content.entries))
    if same is not None:
        return same
    n = collections.next_version(call.tx, of, call.now)
    artifact_id = _commit(call, of, n, version, content, "Code of a job", {})
    collections.set_alias(call.tx, of["id"], LATEST, artifact_id, call.now)
    return artifact_id


def mirrored(call: Call, version: Row, content: Content) -> None:
    """Add the artifact that a job's version is to the tracking client, with its number."""
    of = sequence(call, version["project_id"], version["name"])
    held = rows.version_held(call.tx, version["id"])
    if held is None or held["artifact_id"] is not None:
        return  # another server was faster
    if of is None or reading.numbered(call.tx, of["id"], version["version"]) is not None:
        give_up(call, version["id"])
        return
    if of["next_version"] <= version["version"]:
        collections.change(call.tx, of["id"], call.now, next_version=version["version"] + 1)
    schemas = json.loads(version["input_schemas"])
    metadata = {"input_schemas": schemas} if schemas else {"_partial": True}
    artifact_id = _commit(
        call, of, version["version"], version, content, version["description"], metadata
    )
    rows.link_artifact(call.tx, version["id"], artifact_id)
    for alias in rows.aliases_of(call.tx, version["job_id"], version["version"]):
        collections.set_alias(call.tx, of["id"], alias, artifact_id, call.now)


def give_aliases(call: Call, version_id: str, aliases: Sequence[str]) -> None:
    """Give the artifact of a job's version the aliases that the version was given."""
    found = rows.artifact_of(call.tx, version_id)
    if found is None:
        return  # it gets them when it is made
    for alias in aliases:
        collections.set_alias(call.tx, found["sequence_id"], alias, found["id"], call.now)


def _new(call: Call, project_id: str, kind: str, name: str) -> Row:
    type_id = collections.type_id(call.tx, call.new_id(), project_id, kind, "", call.now)
    collections.add(
        call.tx, call.new_id(), project_id, type_id, SEQUENCE, name, call.actor.user_id, call.now
    )
    found = collections.named(call.tx, project_id, name)
    assert found is not None
    return found


def _commit(
    call: Call,
    of: Row,
    n: int,
    version: Row,
    content: Content,
    description: str,
    metadata: Mapping[str, Any],
) -> int:
    entries = content.entries
    artifact_id = writing.add(
        call.tx,
        {
            "sequence_id": of["id"],
            "digest": manifests.digest(entries),
            "description": description,
            "metadata": json.dumps(metadata),
            "created_by": version["maker_id"] or "",
        },
        call.now,
    )
    sizes = {e.md5: e.size or 0 for e in (*entries.values(), content.manifest) if e.md5}
    objects.offer(call.tx, of["entity_id"], dict.fromkeys(sizes, artifact_id), call.now)
    objects.take(call.tx, of["entity_id"], sizes, call.now)
    births = objects.known(call.tx, of["entity_id"], sizes)
    writing.add_manifest(
        call.tx,
        {"id": call.new_id(), "artifact_id": artifact_id, "kind": "FULL", "name": manifests.NAME,
         "md5": content.manifest.md5, "base_artifact_id": None},
        call.now,
    )  # fmt: skip
    writing.add_entries(
        call.tx,
        [
            {"artifact_id": artifact_id, "path": path, "digest": e.digest, "md5": e.md5,
             "size": e.size, "ref": None, "extra": None,
             "birth_artifact_id": births[e.md5]["birth_artifact_id"]}
            for path, e in entries.items() if e.md5
        ],
    )  # fmt: skip
    collections.add_member(call.tx, call.new_id(), of["id"], artifact_id, n, call.now)
    writing.change(
        call.tx,
        artifact_id,
        call.now,
        state=writing.COMMITTED,
        version=n,
        size=sum(e.size or 0 for e in entries.values()),
        file_count=len(entries),
        committed_at=ms_or_none(call.now),
    )
    return artifact_id
