"""
The one interface to what holds bytes, and the keys that they lie under.

Clients never speak through us to an outside store: they get links, addresses that are good for a
while and for one thing. Keys are made here, of ids and hashes; no name of a user's is part of one,
so no name can lead out of its place (T11).

    blobs/<entity id>/<md5, hex>          content of artifacts; written once
    runs/<run id>/<hash of the name>      files of runs; written anew whenever the program likes
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


def blob_key(entity_id: str, md5: str) -> str:
    return f"blobs/{entity_id}/{md5}"


def run_file_key(run_id: str, name: str) -> str:
    return f"runs/{run_id}/{hashlib.sha256(name.encode()).hexdigest()[:40]}"


@dataclass(frozen=True, slots=True)
class Stat:
    """What a store knows of an object. `md5` (hex) is None where the store does not keep it."""

    size: int
    md5: str | None
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Link:
    """An address that authorises itself. `headers` must be sent with the request."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


class ObjectStore(Protocol):
    """
    Every method may block and is called in a thread.

    Raises (all of them):
        Unavailable: the store cannot be asked, or does not take more; "not there" is never this.
    """

    def stat(self, key: str) -> Stat | None:
        """Return what is there, None if nothing is."""

    def read(self, key: str, *, at_most: int) -> bytes:
        """Return a small object whole. Raises: NotFound; TooMuch: it is larger."""

    def stream(self, key: str) -> Iterator[bytes]:
        """Yield an object in pieces of a megabyte or so. Raises: NotFound."""

    def write(self, key: str, pieces: Iterator[bytes]) -> Stat:
        """Put an object in its place, all at once when its last byte has come."""

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are not there are no error."""

    def verify(self, key: str, md5: str) -> int | None:
        """Return the size of an object whose content has this MD5 (hex); None if nothing is there.

        Raises:
            Invalid: something else lies there; it has been removed.
        """

    def clear(self, prefix: str) -> None:
        """Remove all objects of an entity or a run: `blobs/<entity id>`, `runs/<run id>`."""

    def put_link(self, key: str, *, name: str, md5: str | None, seconds: int, base: str) -> Link:
        """Return where to PUT an object that its owner calls `name`. With `md5` (hex) other
        content is refused where the store can; `verify` decides. `base` is our own address, for a
        store that we serve ourselves."""

    def get_link(self, key: str, *, name: str, seconds: int, base: str) -> str:
        """Return where to GET an object, ranges included; it is saved under `name`."""

    def begin_parts(self, key: str) -> str:
        """Begin an upload in parts and return the store's name for it."""

    def part_link(
        self, key: str, upload: str, n: int, *, md5: str, seconds: int, base: str
    ) -> Link:
        """Return where to PUT part `n` (from 1); the answer to it carries an ETag."""

    def finish_parts(self, key: str, upload: str, etags: Sequence[tuple[int, str]]) -> None:
        """Make one object of (part, ETag). Raises: Invalid: a part is missing or another."""

    def drop_parts(self, key: str, upload: str) -> None:
        """Give an upload in parts up."""
