"""Jobs, their versions and aliases; and what was uploaded for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select, update

from runyard.domain.jobs import LATEST, JobVersion, Source, content_digest
from runyard.store import tables as t
from runyard.store.db import Row, Tx
from runyard.store.values import from_ms, from_text, to_ms, to_text

_J, _V, _L, _P, _E, _B = (
    t.jobs.c, t.job_versions.c, t.job_aliases.c, t.projects.c, t.entities.c, t.blobs.c,
)  # fmt: skip
_MAKER: Final = t.entities.alias("maker")

_JOBS: Final = (
    select(t.jobs, _P.name.label("project"), _E.name.label("entity"), _P.entity_id)
    .join(t.projects, _P.id == _J.project_id)
    .join(t.entities, _E.id == _P.entity_id)
)
_JOB: Final = _JOBS.where(
    _E.name == bindparam("entity"), _P.name == bindparam("project"), _J.name == bindparam("name")
)
_VERSION: Final = select(t.job_versions).where(
    _V.job_id == bindparam("job"), _V.version == bindparam("version")
)
_ALIAS: Final = select(_L.version).where(
    _L.job_id == bindparam("job"), _L.alias == bindparam("alias")
)
_SAME: Final = (
    select(t.job_versions)
    .where(_V.job_id == bindparam("job"), _V.digest == bindparam("digest"))
    .order_by(_V.version.desc())
    .limit(1)
)

_WITHOUT_ARTIFACT: Final = (
    select(
        t.job_versions, _J.name, _J.description, _J.project_id, _P.name.label("project"),
        _P.entity_id, _E.name.label("entity"), _MAKER.c.id.label("maker_id"),
    )
    .join(t.jobs, _J.id == _V.job_id)
    .join(t.projects, _P.id == _J.project_id)
    .join(t.entities, _E.id == _P.entity_id)
    .outerjoin(_MAKER, _MAKER.c.name == _V.created_by)
    .where(_V.artifact_id.is_(None))
    .order_by(_V.created_at, _V.id)
)  # fmt: skip
_OF_SEQUENCE: Final = (
    select(_J.id)
    .join(
        t.collections,
        (t.collections.c.project_id == _J.project_id) & (t.collections.c.name == _J.name),
    )
    .join(t.artifact_types, t.artifact_types.c.id == t.collections.c.type_id)
    .where(
        t.collections.c.id == bindparam("sequence_id"),
        t.collections.c.kind == "sequence",
        t.artifact_types.c.name == "job",
    )
)
_FOLLOWED: Final = (
    select(t.aliases.c.alias, _V.version)
    .join(t.job_versions, _V.artifact_id == t.aliases.c.artifact_id)
    .where(_V.job_id == bindparam("job_id"), t.aliases.c.collection_id == bindparam("sequence_id"))
)


def job(tx: Tx, entity: str, project: str, name: str) -> Row | None:
    return tx.one(_JOB, {"entity": entity, "project": project, "name": name})


def job_locked(tx: Tx, entity: str, project: str, name: str) -> Row | None:
    """Return the job held for writing, so that two savers get two numbers."""
    return tx.one(
        _JOB.with_for_update(of=[t.jobs]), {"entity": entity, "project": project, "name": name}
    )


def page(tx: Tx, entity_id: str, project: str | None, *, after: str, limit: int) -> Sequence[Row]:
    found = _JOBS.where(_P.entity_id == entity_id, _J.id > after).order_by(_J.id).limit(limit)
    return tx.all(found if project is None else found.where(_P.name == project))


def aliases(tx: Tx, job_ids: Sequence[str]) -> dict[tuple[str, int], list[str]]:
    """Return the aliases by (job id, version)."""
    found: dict[tuple[str, int], list[str]] = {}
    for row in tx.all(select(t.job_aliases).where(_L.job_id.in_(job_ids)).order_by(_L.alias)):
        found.setdefault((row["job_id"], row["version"]), []).append(row["alias"])
    return found


def add(tx: Tx, job_id: str, project_id: str, name: str, description: str, now: datetime) -> None:
    tx.run(
        insert(t.jobs),
        {"id": job_id, "project_id": project_id, "name": name, "description": description,
         "latest": -1, "created_at": to_ms(now)},
    )  # fmt: skip


def describe(tx: Tx, job_id: str, description: str) -> None:
    tx.run(update(t.jobs).where(_J.id == job_id).values(description=description))


def add_version(
    tx: Tx,
    version_id: str,
    job_id: str,
    n: int,
    source: Source,
    input_schemas: Mapping[str, Any],
    *,
    author: str,
    now: datetime,
    artifact_id: int | None = None,
) -> None:
    """Insert version `n` and move `latest` to it."""
    tx.run(
        insert(t.job_versions),
        {"id": version_id, "job_id": job_id, "version": n,
         "digest": content_digest(source, input_schemas), "source": to_text(source.to_json()),
         "input_schemas": to_text(dict(input_schemas)), "created_by": author,
         "created_at": to_ms(now), "artifact_id": artifact_id},
    )  # fmt: skip
    tx.run(update(t.jobs).where(_J.id == job_id).values(latest=n))
    set_alias(tx, job_id, "latest", n)


def set_alias(tx: Tx, job_id: str, alias: str, version: int) -> None:
    tx.run(delete(t.job_aliases).where(_L.job_id == job_id, _L.alias == alias))
    tx.run(insert(t.job_aliases), {"job_id": job_id, "alias": alias, "version": version})


def same_content(tx: Tx, job_id: str, digest: str) -> Row | None:
    return tx.one(_SAME, {"job": job_id, "digest": digest})


def alias_version(tx: Tx, job_id: str, alias: str) -> int | None:
    found: int | None = tx.scalar(_ALIAS, {"job": job_id, "alias": alias})
    return found


def version(tx: Tx, of: Row, n: int) -> JobVersion | None:
    """Return version `n` of the job whose row is `of`, with its aliases."""
    row = tx.one(_VERSION, {"job": of["id"], "version": n})
    if row is None:
        return None
    return as_version(of, row, aliases(tx, [of["id"]]).get((of["id"], n), []))


def versions(tx: Tx, of: Row, *, before: int, limit: int) -> list[JobVersion]:
    """Return versions, the newest first, of numbers below `before`."""
    rows = tx.all(
        select(t.job_versions)
        .where(_V.job_id == of["id"], _V.version < before)
        .order_by(_V.version.desc())
        .limit(limit)
    )
    names = aliases(tx, [of["id"]])
    return [as_version(of, r, names.get((of["id"], r["version"]), [])) for r in rows]


def as_version(of: Row, row: Row, names: Sequence[str]) -> JobVersion:
    data: dict[str, Any] = from_text(row["source"])
    return JobVersion(
        id=row["id"],
        entity=of["entity"],
        project=of["project"],
        name=of["name"],
        version=row["version"],
        source=Source.from_json(data),
        created_at=from_ms(row["created_at"]),
        aliases=tuple(names),
        description=of["description"],
        created_by=row["created_by"],
        input_schemas=from_text(row["input_schemas"]),
    )


def without_artifact(tx: Tx, limit: int) -> Sequence[Row]:
    """Return versions that are no artifacts yet, the oldest first, with where their job is."""
    return tx.all(_WITHOUT_ARTIFACT.limit(limit))


def version_held(tx: Tx, version_id: str) -> Row | None:
    return tx.one(select(t.job_versions).where(_V.id == version_id).with_for_update())


def link_artifact(tx: Tx, version_id: str, artifact_id: int) -> None:
    tx.run(update(t.job_versions).where(_V.id == version_id).values(artifact_id=artifact_id))


def artifact_of(tx: Tx, version_id: str) -> Row | None:
    """Return the artifact that a version is to the tracking client, None before there is one."""
    found = select(t.artifacts).join(t.job_versions, _V.artifact_id == t.artifacts.c.id)
    return tx.one(found.where(_V.id == version_id))


def aliases_of(tx: Tx, job_id: str, version: int) -> list[str]:
    found = select(_L.alias).where(_L.job_id == job_id, _L.version == version)
    return [row["alias"] for row in tx.all(found.order_by(_L.alias))]


def of_sequence(tx: Tx, sequence_id: str) -> str | None:
    """Return the id of the job whose versions are those of a sequence of artifacts."""
    found: str | None = tx.scalar(_OF_SEQUENCE, {"sequence_id": sequence_id})
    return found


def follow_aliases(tx: Tx, job_id: str, sequence_id: str) -> None:
    """Let the versions that are artifacts have their aliases, and no others."""
    linked = select(_V.version).where(_V.job_id == job_id, _V.artifact_id > 0)
    tx.run(delete(t.job_aliases).where(_L.job_id == job_id, _L.version.in_(linked)))
    for row in tx.all(_FOLLOWED, {"job_id": job_id, "sequence_id": sequence_id}):
        set_alias(tx, job_id, row["alias"], row["version"])
    if alias_version(tx, job_id, LATEST) is None:
        newest = tx.scalar(select(_J.latest).where(_J.id == job_id))
        set_alias(tx, job_id, LATEST, newest)


def blob(tx: Tx, entity_id: str, digest: str) -> Row | None:
    return tx.one(select(t.blobs).where(_B.entity_id == entity_id, _B.digest == digest))


def add_blob(tx: Tx, entity_id: str, digest: str, size: int, now: datetime) -> None:
    if blob(tx, entity_id, digest) is None:
        tx.run(
            insert(t.blobs),
            {"entity_id": entity_id, "digest": digest, "size": size, "created_at": to_ms(now)},
        )
