"""What every store says and checks of content: its MD5, and how browsers are to take it."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final
from urllib.parse import quote

from runyard.domain.errors import Invalid
from runyard.store.objects.base import ObjectStore

PIECE: Final = 1 << 20  # bytes that are read or written at once


@contextmanager
def spooled(pieces: Iterator[bytes]) -> Iterator[tuple[IO[bytes], int]]:
    """Gather pieces for a store that wants a file and its size; large ones go to the disk."""
    with tempfile.SpooledTemporaryFile(max_size=8 * PIECE) as spool:
        for piece in pieces:
            spool.write(piece)
        size = spool.tell()
        spool.seek(0)
        yield spool, size


def verified(store: ObjectStore, key: str, md5: str) -> int | None:
    """Return the size of an object whose content has this MD5 (hex); None if nothing is there.
    It is read where the store does not know its MD5.

    Raises:
        Invalid: something else lies there; it has been removed. Unavailable.
    """
    stat = store.stat(key)
    if stat is None:
        return None
    found = stat.md5
    if found is None:
        digest = hashlib.md5(usedforsecurity=False)
        for piece in store.stream(key):
            digest.update(piece)
        found = digest.hexdigest()
    if found != md5:
        store.delete([key])
        raise differs(found, md5)
    return stat.size


def differs(found: str, expected: str) -> Invalid:
    return Invalid(
        f"the content has the MD5 {found}, and not {expected} as was announced",
        hint="upload the file again",
    )


def content_md5(md5: str) -> str:
    """Return an MD5 (hex) as the header Content-MD5 has it."""
    return base64.b64encode(bytes.fromhex(md5)).decode()


def attachment(name: str) -> tuple[str, str]:
    """Return the Content-Disposition and Content-Type of a download that its owner calls `name`."""
    shown = quote(name.rsplit("/", 1)[-1].encode(errors="replace"), safe="")
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"attachment; filename*=UTF-8''{shown}", kind
