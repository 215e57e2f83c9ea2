"""
Uploads, each under the hash of its content. A client's name for a file never reaches a path (T11).

A file appears under its hash only when all of its bytes are there and hash to it, by a rename;
so whatever is found is whole, and two who upload the same do not disturb each other.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from runyard.domain.errors import Invalid, TooMuch, Unavailable, Violation

_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")


class Files:
    """A directory of files named for their content."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, digest: str) -> Path:
        """Return where the file of this digest is, or would be.

        Raises:
            Invalid: not `sha256:` and 64 hex digits.
        """
        return self._root / "sha256" / _hex(digest)[:2] / _hex(digest)[2:]

    def size(self, digest: str) -> int | None:
        """Return the file's size in bytes, None without such a file."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def upload(self, digest: str, *, at_most: int) -> Upload:
        """Begin to write the file of `digest`; `at_most` bytes are taken.

        Raises:
            Invalid: the digest. Unavailable: the disk does not take it.
        """
        return Upload(self.path(digest), _hex(digest), at_most)


class Upload:
    """Bytes on their way in: `write` them, then `finish`; leaving the block forgets the rest."""

    def __init__(self, path: Path, expected: str, at_most: int) -> None:
        self._path, self._expected, self._at_most = path, expected, at_most
        self._hash, self.size = hashlib.sha256(), 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=".upload-")
        except OSError as error:
            raise _disk(error) from error
        self._file, self._name = os.fdopen(handle, "wb"), Path(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._name.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Raises: TooMuch: more than was agreed. Unavailable: the disk is full."""
        self.size += len(data)
        if self.size > self._at_most:
            raise TooMuch(f"the upload is larger than {self._at_most} bytes")
        self._hash.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise _disk(error) from error

    def finish(self) -> int:
        """Put the file in its place and return its size.

        Raises:
            Invalid: the bytes do not hash to the digest. Unavailable: the disk is full.
        """
        if self._hash.hexdigest() != self._expected:
            raise Invalid(
                f"digest: the {self.size} bytes that came hash to sha256:{self._hash.hexdigest()}, "
                f"not to sha256:{self._expected}",
                hint="upload the file again",
                violations=[Violation("digest", "does not fit the content")],
            )
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._name.replace(self._path)
        except OSError as error:
            raise _disk(error) from error
        return self.size


def _hex(digest: str) -> str:
    found = _DIGEST.fullmatch(digest)
    if not found:
        raise Invalid(f"digest {digest[:100]!r} is not sha256:<64 hex digits>")
    return found[1]


def _disk(error: OSError) -> Unavailable:
    return Unavailable(f"the upload cannot be stored: {error.strerror}")
