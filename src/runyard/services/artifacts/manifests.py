"""
What a version is being made of: its manifests, and the content that comes before them.

Content that the entity has already is not brought again. What is brought is known by its MD5
before it comes, so the same file of two versions, or of two writers, is one object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from runyard.domain import artifacts as rules
from runyard.domain.errors import Conflict, Invalid, NotFound, TooMuch
from runyard.services.artifacts import reach
from runyard.services.artifacts.reach import Version
from runyard.services.call import Call
from runyard.store.artifacts import objects, writing
from runyard.store.db import Row

MOST_FILES: Final = 10_000  # in one request; the client has 2,000
MOST_PARTS: Final = 10_000  # of one file
_MOST_MANIFESTS: Final = 1_000  # of one version; each writer of several makes one
_LONGEST_NAME: Final = 256
_KINDS: Final = frozenset({"FULL", "INCREMENTAL", "PATCH"})


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest, and whose it is. `md5` is empty until its writer knows it."""

    id: str
    md5: str
    kind: str
    entity_id: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that a version will have. `parts` are the MD5s (hex) of its parts, if it has some."""

    artifact_id: int
    name: str
    md5: str
    mimetype: str = ""
    parts: Mapping[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Offered:
    """What became of a file: `is_there` or still to be brought; by whom the content came first."""

    wanted: Wanted
    entity_id: str
    is_there: bool
    birth: int


def begin(
    call: Call, artifact_id: int, *, name: str, kind: str, digest: str, base: int | None
) -> Manifest:
    """Add a manifest to a version; `digest` is its MD5 in base64, or empty. The newest counts.

    Raises:
        NotFound, Forbidden. Conflict: the version is committed. Invalid.
    """
    if kind not in _KINDS or not 0 < len(name) <= _LONGEST_NAME:
        raise Invalid(f"a manifest {name[:200]!r} of the kind {kind!r} cannot be")
    version = _pending(call, artifact_id)
    if writing.manifest_count(call.tx, artifact_id) >= _MOST_MANIFESTS:
        raise TooMuch(f"artifact {version.name} has {_MOST_MANIFESTS} manifests already")
    md5 = rules.md5_of(digest) if digest else ""
    manifest_id = call.new_id()
    writing.add_manifest(
        call.tx,
        {"id": manifest_id, "artifact_id": artifact_id, "kind": kind, "name": name, "md5": md5,
         "base_artifact_id": _base(call, base)},
        call.now,
    )  # fmt: skip
    _expect(call, version, md5)
    return Manifest(manifest_id, md5, kind, version.place.entity_id)


def change(call: Call, manifest_id: str, *, digest: str | None, base: int | None) -> Manifest:
    """Say what a manifest's MD5 is, and what it is based on.

    Raises:
        NotFound, Forbidden. Conflict: the version is committed. Invalid.
    """
    row = writing.manifest(call.tx, manifest_id)
    if row is None:
        raise NotFound("no artifact that you may see")
    version = _pending(call, row["artifact_id"])
    md5 = rules.md5_of(digest) if digest else row["md5"]
    base_id = row["base_artifact_id"] if base is None else _base(call, base)
    writing.change_manifest(call.tx, manifest_id, md5=md5, base_artifact_id=base_id)
    _expect(call, version, md5)
    return Manifest(manifest_id, md5, row["kind"], version.place.entity_id)


def look(call: Call, wanted: Sequence[Wanted]) -> list[Offered]:
    """Return what `offer` would, and change nothing: links are made before the transaction.

    Raises:
        NotFound, Forbidden, Conflict, Invalid, TooMuch.
    """
    _check(wanted)
    entities = {n: _pending(call, n).place.entity_id for n in _versions(wanted)}
    known: dict[str, dict[str, Row]] = {}
    for entity_id in set(entities.values()):
        md5s = [w.md5 for w in wanted if entities[w.artifact_id] == entity_id]
        known[entity_id] = objects.known(call.tx, entity_id, md5s)
    return [_offered(w, entities[w.artifact_id], known[entities[w.artifact_id]]) for w in wanted]


def offer(call: Call, wanted: Sequence[Wanted]) -> list[Offered]:
    """Note the files that are about to come, in the order of the request, and keep garbage
    collection off them.

    Raises:
        NotFound, Forbidden, Conflict, Invalid, TooMuch.
    """
    offered = look(call, wanted)
    births: dict[str, dict[str, int]] = {}
    for one in offered:
        births.setdefault(one.entity_id, {}).setdefault(one.wanted.md5, one.wanted.artifact_id)
    for entity_id in sorted(births):
        objects.offer(call.tx, entity_id, births[entity_id], call.now)
    for artifact_id in _versions(wanted):
        writing.change(call.tx, artifact_id, call.now)  # it is not abandoned
    return offered


def begin_upload(call: Call, one: Offered, upload: str) -> str:
    """Keep what the store calls an upload in parts; return our name for it."""
    upload_id = call.new_id()
    parts = len(one.wanted.parts or ())
    objects.add_upload(call.tx, upload_id, one.entity_id, one.wanted.md5, parts, upload, call.now)
    return upload_id


@dataclass(frozen=True, slots=True)
class Upload:
    """Content that comes in parts; `upload` is None if it has ended before."""

    entity_id: str
    md5: str
    upload: str | None


def upload_of(call: Call, artifact_id: int, storage_path: str, upload_id: str) -> Upload:
    """Return an upload in parts that the caller may end.

    Raises:
        NotFound: no such version, or other content than that of the upload. Forbidden.
    """
    entity_id = reach.to_write(call, artifact_id).place.entity_id
    md5 = rules.md5_at(storage_path)
    row = objects.upload(call.tx, entity_id, upload_id)
    if row is not None and row["md5"] != md5:
        raise NotFound("no such upload of this content")
    return Upload(entity_id, md5, None if row is None else row["upload"])


def end_upload(call: Call, artifact_id: int, upload_id: str) -> None:
    """Forget an upload that has ended. Raises: NotFound, Forbidden."""
    version = reach.to_write(call, artifact_id)
    objects.forget_upload(call.tx, version.place.entity_id, upload_id)


def _pending(call: Call, artifact_id: int) -> Version:
    version = reach.to_write(call, artifact_id)
    if version.row["state"] != writing.PENDING:
        raise Conflict(
            f"artifact {version.name} is committed already",
            hint="log a new version to change its files",
        )
    return version


def _base(call: Call, base: int | None) -> int | None:
    return None if base is None else reach.to_read(call, base).id


def _expect(call: Call, version: Version, md5: str) -> None:
    if md5:
        objects.offer(call.tx, version.place.entity_id, {md5: version.id}, call.now)
        writing.change(call.tx, version.id, call.now)


def _versions(wanted: Sequence[Wanted]) -> list[int]:
    found = sorted({w.artifact_id for w in wanted})
    if len(found) > 100:
        raise TooMuch("files of more than 100 artifacts in one request")
    return found


def _check(wanted: Sequence[Wanted]) -> None:
    if len(wanted) > MOST_FILES:
        raise TooMuch(f"{len(wanted)} files in one request are more than {MOST_FILES}")
    for one in wanted:
        rules.check_path(one.name)
        if one.parts is not None and set(one.parts) != set(range(1, len(one.parts) + 1)):
            raise Invalid(f"the parts of {one.name!r} are not numbered from 1")
        for md5 in (one.parts or {}).values():
            rules.check_digest(md5, None)
    if sum(len(one.parts or ()) for one in wanted) > MOST_PARTS:
        raise TooMuch(f"files of more than {MOST_PARTS} parts in one request")


def _offered(one: Wanted, entity_id: str, known: Mapping[str, Row]) -> Offered:
    row = known.get(one.md5)
    if row is None or row["size"] is None:
        return Offered(one, entity_id, False, one.artifact_id)
    return Offered(one, entity_id, True, row["birth_artifact_id"] or one.artifact_id)
