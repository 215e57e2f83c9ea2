"""
Names of artifacts, their aliases and tags, and the digest of a version.

A version is what its manifest says: the digest is over the sorted lines `path:digest`, and every
entry is content of a known MD5 or a reference to a thing elsewhere. `domain/manifests.py` reads
manifests.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from runyard.domain.errors import Invalid, NotFound, TooMuch

LATEST: Final = "latest"
REGION: Final = "default"  # there is one store
MD5: Final = "MANIFEST_MD5"

_LONGEST_NAME: Final = 128
_LONGEST_PATH: Final = 1024  # bytes
_LONGEST_METADATA: Final = 4 << 20
_MOST_NAMES: Final = 100
_LONGEST_ID: Final = 256
_LONGEST_TTL_S: Final = 100 * 366 * 24 * 3600
_HEADER: Final = b"wandb-artifact-manifest-v1\n"
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]")
_VERSION: Final = re.compile(r"v(\d{1,9})")
_HEX: Final = re.compile(r"[0-9a-f]{32}")
_TAG: Final = re.compile(r"[-\w]+( +[-\w]+)*")
_DRIVE: Final = re.compile(r"[A-Za-z]:")


def check_collection(name: str) -> None:
    """Raises: Invalid: no name for a collection."""
    _check_name("the name of an artifact", name)
    if name in (".", ".."):
        raise Invalid(f"{name!r} is no name for an artifact")


def check_type(name: str) -> None:
    """Raises: Invalid: no name for a type."""
    _check_name("an artifact's type", name)


def check_alias(alias: str) -> None:
    """Raises: Invalid: no alias; `v3` is what versions are called without one."""
    _check_name("an alias", alias)
    if _VERSION.fullmatch(alias):
        raise Invalid(
            f"the alias {alias!r} is reserved: versions have their numbers under such names",
            hint="choose another alias",
        )


def check_aliases(aliases: Sequence[str]) -> tuple[str, ...]:
    """Return aliases, each once. Raises: Invalid: one of them, or too many."""
    unique = _unique("aliases", aliases)
    for alias in unique:
        check_alias(alias)
    return unique


def check_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Return tags, each once. Raises: Invalid: one of them, or too many."""
    unique = _unique("tags", tags)
    for tag in unique:
        if len(tag) > _LONGEST_NAME or not _TAG.fullmatch(tag):
            raise Invalid(
                f"the tag {tag[:200]!r} is not of letters, digits, hyphens, underscores and single "
                f"words of them with spaces between, {_LONGEST_NAME} characters at most"
            )
    return unique


def check_client_id(given: str | None) -> str | None:
    """Return an id that a program made up. Raises: Invalid: longer than any of theirs."""
    if given is not None and (len(given) > _LONGEST_ID or _CONTROLS.search(given)):
        raise Invalid(f"an id of a client has {_LONGEST_ID} printable characters at most")
    return given or None


def check_digest(digest: str, algorithm: str | None) -> str:
    """Return the digest of a version. Raises: Invalid: made in a way that is not ours."""
    if algorithm not in (None, MD5) or not _HEX.fullmatch(digest):
        raise Invalid(
            f"the digest {digest[:100]!r} ({algorithm or MD5}) is not 32 hexadecimal digits of "
            f"{MD5}, the one algorithm of this server"
        )
    return digest


def check_region(region: str | None) -> None:
    """Raises: Invalid: files cannot be asked to lie in a place that is not there."""
    if region not in (None, "", REGION):
        raise Invalid(
            f"there is no storage region {region!r} on this server",
            hint="leave storage_region out: all artifacts lie in one store",
        )


def check_metadata(text: str | None) -> str:
    """Return metadata as it came, JSON of an object with NaN and Infinity allowed.

    Raises:
        Invalid: it is not. TooMuch: it is too large.
    """
    if not text:
        return "{}"
    if len(text) > _LONGEST_METADATA:
        raise TooMuch(f"the metadata is larger than {_LONGEST_METADATA} characters")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the metadata is not JSON: {error}") from None
    if value is None:
        return "{}"
    if not isinstance(value, dict):
        raise Invalid("the metadata is not a JSON object")
    return text


def ttl_of(seconds: int | None) -> int | None:
    """Return a time to live in seconds; None is for ever, as 0 and less are on the wire."""
    if seconds is None or seconds <= 0:
        return None
    if seconds > _LONGEST_TTL_S:
        raise Invalid(f"a time to live of {seconds} s is longer than a hundred years")
    return seconds


def check_path(path: str) -> None:
    """Pass for a path that stays inside of whatever directory it is put under (T11).

    Raises:
        Invalid: absolute, with `..`, with a drive, of control characters, or too long.
    """
    parts = re.split(r"[/\\]", path)
    if (
        path in ("", ".")
        or ".." in parts
        or path[0] in "/\\"
        or _DRIVE.match(path)
        or _CONTROLS.search(path)
    ):
        raise Invalid(
            f"the path {path[:200]!r} is not a relative path inside of the artifact",
            hint="paths have no '..', no leading '/' or drive and no control characters",
        )
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise Invalid(f"the path {path[:200]!r} is not Unicode text") from None
    if size > _LONGEST_PATH:
        raise Invalid(f"the path {path[:200]!r}… is longer than {_LONGEST_PATH} bytes")


def md5_of(digest: str) -> str:
    """Return an MD5 in hexadecimal, from base64 as the protocol writes it.

    Raises:
        Invalid: it is none.
    """
    try:
        raw = base64.b64decode(digest, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 16 or base64.b64encode(raw).decode() != digest:
        raise Invalid(f"the digest {digest[:100]!r} is not an MD5 in base64")
    return raw.hex()


def in_base64(md5: str) -> str:
    return base64.b64encode(bytes.fromhex(md5)).decode()


def digest_of(digests: Mapping[str, str]) -> str:
    """Return the digest of a version that has these paths, with these digests."""
    total = hashlib.md5(_HEADER, usedforsecurity=False)
    for path in sorted(digests):
        total.update(f"{path}:{digests[path]}\n".encode())
    return total.hexdigest()


def storage_path(md5: str) -> str:
    """Return what clients are told of where content lies."""
    return f"wandb_artifacts/{md5[:2]}/{md5}"


def md5_at(path: str) -> str:
    """Return which content `storage_path` was of. Raises: NotFound: of none."""
    md5 = path.rpartition("/")[2]
    if not _HEX.fullmatch(md5) or storage_path(md5) != path:
        raise NotFound(f"nothing is stored at {path[:200]!r}")
    return md5


def version_of(alias: str) -> int | None:
    """Return the number in `v3`, None for an alias."""
    found = _VERSION.fullmatch(alias)
    return int(found[1]) if found else None


def _unique(what: str, names: Iterable[str]) -> tuple[str, ...]:
    unique = tuple(dict.fromkeys(names))
    if len(unique) > _MOST_NAMES:
        raise Invalid(f"{len(unique)} {what} are more than {_MOST_NAMES}")
    return unique


def _check_name(what: str, name: str) -> None:
    if not 0 < len(name) <= _LONGEST_NAME or "/" in name or ":" in name or _CONTROLS.search(name):
        raise Invalid(
            f"{what} has 1 to {_LONGEST_NAME} characters without '/', ':' and control characters; "
            f"{name[:200]!r} has not"
        )
