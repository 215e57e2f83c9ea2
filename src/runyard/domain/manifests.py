"""
Manifests: what a version of an artifact is made of, as programs upload it, read and merged.

A full manifest is the version. An incremental one adds to the version it is based on. Patches come
of several writers of one version and are put together, a later one over an earlier.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from runyard.domain.artifacts import check_path, digest_of, md5_of
from runyard.domain.errors import Invalid, TooMuch

NAME: Final = "wandb_manifest.json"
LARGEST: Final = 128 << 20  # bytes
MOST_ENTRIES: Final = 500_000
_LONGEST_DIGEST: Final = 16 << 10  # of a reference it may be the address again
_LONGEST_REF: Final = 16 << 10
_LONGEST_EXTRA: Final = 64 << 10
_LONGEST_ID: Final = 256
_LARGEST: Final = 2**63


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One path of a version. With `ref` it is elsewhere, and `digest` is whatever that place has for
    one; else it is content of ours, and `md5` (hex) says which. `extra` is JSON, "" for none.
    """

    digest: str
    md5: str | None
    size: int | None
    ref: str | None = None
    extra: str = ""
    birth: str = ""  # id of the version that brought the content first, as clients write it


Entries = Mapping[str, Entry]


def read(data: bytes) -> dict[str, Entry]:
    """Return the entries of a manifest by their paths, every one of them checked.

    Raises:
        Invalid: it is none, of a kind that we do not have, or one of its paths leads elsewhere.
        TooMuch: more entries than a version can have.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the manifest is not JSON: {error}") from None
    contents = found.get("contents") if isinstance(found, dict) else None
    if not isinstance(contents, dict):
        raise Invalid("the manifest has no contents")
    config = found.get("storagePolicyConfig") or {}
    layout = config.get("storageLayout", "V2") if isinstance(config, dict) else None
    if found.get("version") != 1 or layout != "V2":
        raise Invalid(
            f"the manifest is of version {found.get('version')!r} and storage layout {layout!r}; "
            "this server has version 1 and layout V2"
        )
    _count(len(contents))
    return {path: _entry(path, told) for path, told in contents.items()}


def merged(layers: Iterable[Entries]) -> dict[str, Entry]:
    """Return entries put over each other: of the same path, the last counts.

    Raises:
        TooMuch: more entries than a version can have.
    """
    total: dict[str, Entry] = {}
    for layer in layers:
        total |= layer
    _count(len(total))
    return total


def digest(entries: Entries) -> str:
    """Return the digest of a version that is made of these."""
    return digest_of({path: entry.digest for path, entry in entries.items()})


def write(entries: Entries) -> bytes:
    """Return the full manifest of these entries, the same text for the same entries."""
    return json.dumps(
        {
            "version": 1,
            "storagePolicy": "wandb-storage-policy-v1",
            "storagePolicyConfig": {"storageLayout": "V2"},
            "contents": {path: _told(entries[path]) for path in sorted(entries)},
        }
    ).encode()


def _entry(path: str, told: Any) -> Entry:
    check_path(path)
    if not isinstance(told, dict):
        raise _wrong(path, "is not an object")
    digest, ref, size = told.get("digest"), told.get("ref"), told.get("size")
    extra, birth = told.get("extra"), told.get("birthArtifactID")
    if not _is_text(digest, _LONGEST_DIGEST):
        raise _wrong(path, "has no digest")
    if ref is not None and not _is_text(ref, _LONGEST_REF):
        raise _wrong(path, "has a reference that is no address")
    if size is not None and not (type(size) is int and 0 <= size < _LARGEST):
        raise _wrong(path, f"has the size {str(size)[:50]}")
    if birth is not None and not _is_text(birth, _LONGEST_ID):
        raise _wrong(path, "has a birthArtifactID that is no id")
    if extra is not None and not isinstance(extra, dict):
        raise _wrong(path, "has an extra that is not an object")
    if not ref and extra and extra.get("alg", "MD5") != "MD5":
        raise _wrong(path, f"has a digest of {str(extra['alg'])[:50]}; this server has MD5")
    kept = json.dumps(extra) if extra else ""
    if len(kept) > _LONGEST_EXTRA:
        raise _wrong(path, f"has more than {_LONGEST_EXTRA} characters in extra")
    try:
        md5 = None if ref else md5_of(digest)
    except Invalid as error:
        raise _wrong(path, f"is not content that we could hold: {error.message}") from None
    return Entry(digest, md5, size, ref or None, kept, birth or "")


def _told(entry: Entry) -> dict[str, Any]:
    told: dict[str, Any] = {"digest": entry.digest}
    if entry.ref is not None:
        told["ref"] = entry.ref
    if entry.birth:
        told["birthArtifactID"] = entry.birth
    if entry.size is not None:
        told["size"] = entry.size
    if entry.extra:
        told["extra"] = json.loads(entry.extra)
    return told


def _is_text(value: object, longest: int) -> TypeGuard[str]:
    """Whether it is text that every database can hold and every header can carry."""
    return (
        isinstance(value, str)
        and len(value) <= longest
        and not any(c < " " or "\ud800" <= c <= "\udfff" for c in value)
    )


def _wrong(path: str, what: str) -> Invalid:
    return Invalid(f"the manifest's entry {path[:200]!r} {what}")


def _count(n: int) -> None:
    if n > MOST_ENTRIES:
        raise TooMuch(f"{n} files in one version are more than {MOST_ENTRIES}")
