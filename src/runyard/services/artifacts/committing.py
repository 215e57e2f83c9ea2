"""
Committing a version: its manifest is read and every entry checked, then it gets its number.

    look      what was uploaded for the version             one transaction
    gather    read and merge the manifests                  the store, no transaction
    lacking   which content nobody has looked at yet        one transaction
    check     look at it: is it there, and what it is said  the store, no transaction
    commit    number, aliases, entries                      one transaction

A version is made of content that its entity has, known by its MD5; naming what somebody else has
brings nothing (T15). Whatever does not match is refused, and nothing is committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import md5 as md5_hash
from typing import Final

from runyard.domain import manifests as reading
from runyard.domain.artifacts import LATEST
from runyard.domain.errors import Conflict, Invalid, NotFound
from runyard.domain.manifests import Entry
from runyard.services.artifacts import aliases, reach
from runyard.services.call import Call
from runyard.store.artifacts import collections, objects, writing
from runyard.store.db import Row
from runyard.store.objects.base import ObjectStore, blob_key
from runyard.store.values import from_text, ms_or_none

_AT_ONCE: Final = 8  # objects that are looked at
_TOLD: Final = 5  # paths in a message
_AGAIN: Final = "log the artifact again: what is there already is not sent a second time"


@dataclass(frozen=True, slots=True)
class Draft:
    """A version that is to be committed, and the manifests (hex MD5s) that say what it is."""

    artifact_id: int
    name: str
    entity_id: str
    digest: str
    kind: str
    manifests: tuple[str, ...]
    base: str | None = None


@dataclass(frozen=True, slots=True)
class Gathered:
    """A version's entries, and the manifest that says all of them."""

    draft: Draft
    entries: Mapping[str, Entry]
    manifest: str
    manifest_size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A version that may be committed; sizes of its content by MD5, as they are in the store."""

    gathered: Gathered
    sizes: Mapping[str, int] = field(default_factory=dict)


def look(call: Call, artifact_id: int) -> Draft | None:
    """Return what is to be committed, None if it is committed already.

    Raises:
        NotFound, Forbidden. Invalid: no manifest was uploaded for it.
    """
    row = writing.get(call.tx, artifact_id)
    if row is not None and row["state"] == writing.COMMITTED:
        reach.to_read(call, artifact_id)
        return None
    version = reach.writable(call, row)
    return _draft(call, version)


def gather(store: ObjectStore, draft: Draft) -> Gathered:
    """Read and merge the manifests; write the merged one, if it is another.

    Raises:
        Invalid: a manifest is not there or not valid, or has another digest than was announced.
        TooMuch, Unavailable.
    """
    entries: Mapping[str, Entry] = {}
    size = 0
    for md5 in draft.manifests:
        layer, size = _read(store, draft, md5)
        entries = reading.merged([entries, layer]) if entries else layer
    digest = reading.digest(entries)
    # Who makes one of several parts cannot know the digest of the whole.
    if draft.kind != "PATCH" and digest != draft.digest:
        raise Invalid(
            f"artifact {draft.name} was announced with the digest {draft.digest}; its manifest has "
            f"{digest}",
            hint=_AGAIN,
        )
    if draft.kind == "FULL":
        return Gathered(draft, entries, draft.manifests[0], size, digest)
    if draft.base is not None:
        entries = reading.merged([_read(store, draft, draft.base)[0], entries])
        digest = reading.digest(entries)
    data = reading.write(entries)
    md5 = md5_hash(data, usedforsecurity=False).hexdigest()
    store.write(blob_key(draft.entity_id, md5), iter([data]))
    return Gathered(draft, entries, md5, len(data), digest)


def lacking(call: Call, gathered: Gathered) -> Checked:
    """Return what is known of the content; `check` looks at what is left out.

    Raises:
        Invalid: an entry names content that was never brought to this entity.
    """
    wanted = _md5s(gathered)
    known = objects.known(call.tx, gathered.draft.entity_id, wanted)
    if strange := wanted - known.keys():
        raise _missing(gathered, strange)
    sizes = {md5: int(row["size"]) for md5, row in known.items() if row["size"] is not None}
    return Checked(gathered, sizes)


def check(store: ObjectStore, checked: Checked) -> Checked:
    """Look at the content that nobody has looked at; return the version with all sizes.

    Raises:
        Invalid: some is not there or not what its digest says, or has another size than its entry.
        Unavailable: the store cannot be asked.
    """
    gathered = checked.gathered
    entity_id = gathered.draft.entity_id
    left = sorted(_md5s(gathered) - checked.sizes.keys())
    sizes = dict(checked.sizes)

    def size_of(md5: str) -> int | None:
        try:
            return store.verify(blob_key(entity_id, md5), md5)
        except Invalid:  # other bytes lay there, and are gone
            return None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = dict(zip(left, pool.map(size_of, left), strict=True))
    if missing := {md5 for md5, size in found.items() if size is None}:
        raise _missing(gathered, missing)
    sizes |= {md5: size for md5, size in found.items() if size is not None}
    for path, entry in gathered.entries.items():
        if entry.md5 and entry.size is not None and entry.size != sizes[entry.md5]:
            raise Invalid(
                f"the manifest says that {path!r} has {entry.size} bytes; {sizes[entry.md5]} came",
                hint=_AGAIN,
            )
    return Checked(gathered, sizes)


def commit(call: Call, artifact_id: int, checked: Checked | None) -> Row:
    """Commit a version: it gets the next number of its sequence and its aliases.

    `checked` None is for one that is committed already.

    Raises:
        NotFound, Forbidden. Conflict: it was changed meanwhile. Invalid: content has gone.
    """
    row = writing.get(call.tx, artifact_id)
    if row is None:
        raise NotFound("no artifact that you may see")
    sequence = collections.held(call.tx, row["sequence_id"])  # versions get numbers one by one
    row = writing.held(call.tx, artifact_id)
    if row is not None and row["state"] == writing.COMMITTED:
        return reach.to_read(call, artifact_id).row
    version = reach.writable(call, row)
    if checked is None or sequence is None or checked.gathered.draft != _draft(call, version):
        raise Conflict(f"artifact {version.name} was changed while it was committed", hint=_AGAIN)
    _hold(call, checked)
    number = collections.next_version(call.tx, sequence, call.now)
    collections.add_member(call.tx, call.new_id(), sequence["id"], artifact_id, number, call.now)
    pending = from_text(version.row["pending_aliases"])
    aliases.give(call, sequence["id"], artifact_id, dict.fromkeys((LATEST, *pending)))
    rows = _rows(call, checked)
    writing.add_entries(call.tx, rows)
    writing.change(
        call.tx,
        artifact_id,
        call.now,
        state=writing.COMMITTED,
        version=number,
        digest=checked.gathered.digest,
        size=sum(entry["size"] or 0 for entry in rows),
        file_count=len(rows),
        committed_at=ms_or_none(call.now),
        expires_at=expiry(call, version.row["ttl_s"]),
    )
    done = writing.get(call.tx, artifact_id)
    assert done is not None
    return done


def expiry(call: Call, ttl_s: int | None, since_ms: int | None = None) -> int | None:
    """Return when a version ends, in milliseconds: its life begins when it is committed."""
    if ttl_s is None:
        return None
    if since_ms is not None:
        return since_ms + ttl_s * 1000
    return ms_or_none(call.now + timedelta(seconds=ttl_s))


def _draft(call: Call, version: reach.Version) -> Draft:
    rows = writing.manifests(call.tx, version.id)
    ready = [row for row in rows if row["md5"]]
    if not ready:
        raise Invalid(f"no manifest was uploaded for artifact {version.name}", hint=_AGAIN)
    newest = ready[-1]
    draft = Draft(
        version.id, version.name, version.place.entity_id, version.row["digest"], newest["kind"],
        (newest["md5"],),
    )  # fmt: skip
    if newest["kind"] == "PATCH":
        patches = tuple(row["md5"] for row in ready if row["kind"] == "PATCH")
        return replace(draft, manifests=patches)
    if newest["kind"] == "INCREMENTAL" and newest["base_artifact_id"] is not None:
        return replace(draft, base=_manifest_of(call, newest["base_artifact_id"], version))
    return draft


def _manifest_of(call: Call, base_id: int, version: reach.Version) -> str:
    """Return the manifest of the version that this one adds to."""
    base = reach.to_read(call, base_id)
    rows = [row for row in writing.manifests(call.tx, base_id) if row["md5"]]
    if base.row["state"] != writing.COMMITTED or not rows:
        raise Conflict(f"artifact {version.name} adds to {base.name}, which is not committed")
    if base.place.entity_id != version.place.entity_id:
        raise Invalid(f"artifact {version.name} cannot add to {base.name}: it is of another entity")
    return str(rows[-1]["md5"])


def _read(store: ObjectStore, draft: Draft, md5: str) -> tuple[dict[str, Entry], int]:
    """Return what a manifest says, and its size in bytes."""
    try:
        data = store.read(blob_key(draft.entity_id, md5), at_most=reading.LARGEST)
    except NotFound:
        raise Invalid(
            f"the manifest of artifact {draft.name} was not uploaded", hint=_AGAIN
        ) from None
    if md5_hash(data, usedforsecurity=False).hexdigest() != md5:
        raise Invalid(
            f"the manifest of artifact {draft.name} is not the one announced", hint=_AGAIN
        )
    return reading.read(data), len(data)


def _hold(call: Call, checked: Checked) -> None:
    """Keep garbage collection off what the version is made of; add its manifest, if it is ours."""
    gathered = checked.gathered
    draft = gathered.draft
    if gathered.manifest not in draft.manifests:
        writing.add_manifest(
            call.tx,
            {"id": call.new_id(), "artifact_id": draft.artifact_id, "kind": "FULL",
             "name": reading.NAME, "md5": gathered.manifest, "base_artifact_id": None},
            call.now,
        )  # fmt: skip
        objects.offer(call.tx, draft.entity_id, {gathered.manifest: draft.artifact_id}, call.now)
    sizes = {**checked.sizes, gathered.manifest: gathered.manifest_size}
    if not objects.take(call.tx, draft.entity_id, sizes, call.now):
        raise Invalid(f"some of the files of artifact {draft.name} have gone", hint=_AGAIN)


def _rows(call: Call, checked: Checked) -> list[dict[str, object]]:
    gathered = checked.gathered
    known = objects.known(call.tx, gathered.draft.entity_id, _md5s(gathered))
    return [
        {
            "artifact_id": gathered.draft.artifact_id,
            "path": path,
            "digest": entry.digest,
            "md5": entry.md5,
            "size": checked.sizes[entry.md5] if entry.md5 else entry.size,
            "ref": entry.ref,
            "extra": entry.extra or None,
            "birth_artifact_id": known[entry.md5]["birth_artifact_id"] if entry.md5 else None,
        }
        for path, entry in gathered.entries.items()
    ]


def _md5s(gathered: Gathered) -> set[str]:
    return {entry.md5 for entry in gathered.entries.values() if entry.md5}


def _missing(gathered: Gathered, md5s: set[str]) -> Invalid:
    paths = sorted(path for path, entry in gathered.entries.items() if entry.md5 in md5s)
    told = ", ".join(repr(path[:100]) for path in paths[:_TOLD])
    more = f" and {len(paths) - _TOLD} more" if len(paths) > _TOLD else ""
    return Invalid(
        f"artifact {gathered.draft.name} is not complete: {told}{more} did not come, or came with "
        "other content than their digests say",
        hint=_AGAIN,
    )
