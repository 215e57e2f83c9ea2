"""Ids as the protocol writes them: base64 of `Kind:…`. Clients take some of them apart."""

from __future__ import annotations

import base64
import zlib

from runyard.domain.errors import NotFound


def encode(*parts: object) -> str:
    """Return the id of `Kind:part:part…`."""
    return base64.b64encode(":".join(map(str, parts)).encode()).decode()


def decode(text: str, kind: str, parts: int) -> list[str]:
    """Return the parts of an id of this kind, without the kind.

    Raises:
        NotFound: it is no such id; a thing of that id is not there.
    """
    try:
        words = base64.b64decode(text, validate=True).decode().split(":")
    except ValueError:
        words = []
    if len(words) != parts + 1 or words[0] != kind:
        raise NotFound(f"no {kind.lower()} of the id {text[:200]!r}")
    return words[1:]


def run_id(name: str, project: str, entity: str) -> str:
    """The client computes these by itself, too."""
    return encode("Run", "v1", name, project, entity)


def run_of(text: str) -> tuple[str, str, str]:
    """Return (entity, project, name). Raises: NotFound."""
    _, name, project, entity = decode(text, "Run", 4)
    return entity, project, name


def artifact_id(number: int) -> str:
    return encode("Artifact", number)


def artifact_of(text: str) -> int:
    """Raises: NotFound."""
    (number,) = decode(text, "Artifact", 1)
    if not number.isascii() or not number.isdigit() or len(number) > 18:
        raise NotFound(f"no artifact of the id {text[:200]!r}")
    return int(number)


def number_of(ulid: str) -> int:
    """Return a number that stands for an id where the client insists on an int (31 bits)."""
    return zlib.crc32(ulid.encode()) & 0x7FFF_FFFF
