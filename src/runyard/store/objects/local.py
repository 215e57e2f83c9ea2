"""
Objects in a directory of our own, which we serve ourselves.

    blobs/<entity>/ab/cdef…      is what its name says: nothing is placed here under another MD5
    runs/<run>/ab/cdef…          replaced whenever its program likes, as a whole
    parts/<upload>/<n>-<md5>     pieces of a large object on its way in
    incoming/…                   bytes that come now; nobody finds them before they are whole

An object appears by a rename when all of its bytes are on the disk.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self, TypeVar

from runyard.domain.errors import Invalid, NotFound, TooMuch, Unavailable
from runyard.store.objects.base import Link, Stat
from runyard.store.objects.content import PIECE, differs, verified
from runyard.store.objects.links import Deed, Grant, Signer

T = TypeVar("T")

_HOME: Final = re.compile(r"(blobs|runs)/[0-9A-Za-z_-]{1,64}")
_KEY: Final = re.compile(rf"({_HOME.pattern})/([0-9a-f]{{32}}|[0-9a-f]{{40}})")
_UPLOAD: Final = re.compile(r"[0-9a-f]{32}")
_NO_NAME: Final = frozenset({"", ".", ".."})


class LocalStore:
    """An `ObjectStore`; links into it are signed by us, and honoured by the routes of storage."""

    def __init__(self, root: Path, signer: Signer) -> None:
        self._root, self.signer = root, signer

    def path(self, key: str) -> Path:
        """Return where the object of a key is, or would be."""
        found = _KEY.fullmatch(key)
        if found is None:
            raise Invalid(f"{key[:100]!r} is no key of an object")
        return self._root / found[1] / found[3][:2] / found[3][2:]

    def stat(self, key: str) -> Stat | None:
        try:
            found = self.path(key).stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _disk(error) from error
        return Stat(found.st_size, _md5_of(key), datetime.fromtimestamp(found.st_mtime, UTC))

    def open(self, key: str) -> BinaryIO:
        """Open an object; what is opened stays as it is, whatever becomes of its name.

        Raises:
            NotFound.
        """
        try:
            return self.path(key).open("rb")
        except FileNotFoundError:
            raise NotFound("there is no such file; it was never uploaded, or is deleted") from None
        except OSError as error:
            raise _disk(error) from error

    def read(self, key: str, *, at_most: int) -> bytes:
        with self.open(key) as file:
            data = file.read(at_most + 1)
        if len(data) > at_most:
            raise TooMuch(f"the file is larger than {at_most} bytes")
        return data

    def stream(self, key: str) -> Iterator[bytes]:
        with self.open(key) as file:
            while piece := file.read(PIECE):
                yield piece

    def write(self, key: str, pieces: Iterator[bytes]) -> Stat:
        with self.incoming(key) as incoming:
            for piece in pieces:
                incoming.write(piece)
            incoming.finish()
        stat = self.stat(key)
        assert stat is not None
        return stat

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            try:
                self.path(key).unlink(missing_ok=True)
            except OSError as error:
                raise _disk(error) from error

    def clear(self, prefix: str) -> None:
        if _HOME.fullmatch(prefix) is None:
            raise Invalid(f"{prefix[:100]!r} is not where objects lie")
        _remove(self._root / prefix)

    def verify(self, key: str, md5: str) -> int | None:
        return verified(self, key, md5)

    def put_link(self, key: str, *, name: str, md5: str | None, seconds: int, base: str) -> Link:
        grant = Grant(Deed.PUT, key, self.signer.end(seconds), md5 or "")
        return Link(self.signer.url(grant, name, base))

    def get_link(self, key: str, *, name: str, seconds: int, base: str) -> str:
        shown = name.rsplit("/", 1)[-1]
        grant = Grant(Deed.GET, key, self.signer.end(seconds))
        return self.signer.url(grant, "file" if shown in _NO_NAME else shown, base)

    def begin_parts(self, key: str) -> str:
        self.path(key)
        upload = secrets.token_hex(16)
        try:
            self._parts(upload).mkdir(parents=True, mode=0o700)
        except OSError as error:
            raise _disk(error) from error
        return upload

    def part_link(
        self, key: str, upload: str, n: int, *, md5: str, seconds: int, base: str
    ) -> Link:
        grant = Grant(Deed.PART, key, self.signer.end(seconds), md5, upload, n)
        return Link(self.signer.url(grant, f"part-{n}", base))

    def finish_parts(self, key: str, upload: str, etags: Sequence[tuple[int, str]]) -> None:
        home = self._parts(upload)
        if not home.is_dir() and self.path(key).exists():
            return  # somebody asks again who did not hear the answer
        paths = [home / f"{n:05d}-{etag.strip(chr(34))}" for n, etag in sorted(etags)]
        missing = [path.name for path in paths if path.parent != home or not path.is_file()]
        if missing or not paths:
            raise Invalid(f"the upload lacks {len(missing) or 'its'} parts: {missing[:3]}")
        with self.incoming(key) as incoming:
            for path in paths:
                with path.open("rb") as file:
                    while piece := file.read(PIECE):
                        incoming.write(piece)
            incoming.finish()
        _remove(home)

    def drop_parts(self, key: str, upload: str) -> None:  # noqa: ARG002
        _remove(self._parts(upload))

    def drop_abandoned(self, before: datetime) -> int:
        """Remove what nobody has added to since then and that never became an object."""
        count = 0
        for home in ("incoming", "parts"):
            for path in _listed(self._root / home):
                with suppress(OSError):
                    if path.stat().st_mtime < before.timestamp():
                        _remove(path) if path.is_dir() else path.unlink(missing_ok=True)
                        count += 1
        return count

    def incoming(self, key: str, md5: str = "") -> Incoming:
        """Begin to write an object. With `md5` (hex) other content is refused at its end."""
        return Incoming(self._root / "incoming", self.path(key), _md5_of(key) or md5)

    def incoming_part(self, grant: Grant) -> Incoming:
        """Begin to write a part.

        Raises:
            NotFound: the upload is over, or was given up.
        """
        home = self._parts(grant.upload)
        if not home.is_dir():
            raise NotFound("this upload in parts is over, or was given up")
        return Incoming(self._root / "incoming", home / f"{grant.part:05d}-{grant.md5}", grant.md5)

    def _parts(self, upload: str) -> Path:
        if _UPLOAD.fullmatch(upload) is None:
            raise Invalid("this is no upload in parts")
        return self._root / "parts" / upload


class Incoming:
    """Bytes on their way in: `write` them, then `finish`; leaving the block forgets the rest."""

    def __init__(self, waiting: Path, path: Path, expected: str) -> None:
        self._path, self._expected = path, expected
        self._hash, self.size = hashlib.md5(usedforsecurity=False), 0
        try:
            handle, name = _in_directory(waiting, partial(tempfile.mkstemp, dir=waiting))
        except OSError as error:
            raise _disk(error) from error
        self._file, self._name = os.fdopen(handle, "wb", buffering=0), Path(name)
        self._is_placed = False
        self._finished: tuple[int, int, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget what has not been put in its place."""
        self._file.close()
        if not self._is_placed:
            self._name.unlink(missing_ok=True)

    @property
    def md5(self) -> str:
        return self._hash.hexdigest()

    def is_in_place(self) -> bool:
        """Whether what was finished is there still, and nobody has replaced it since."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _disk(error) from error
        return _identity(there) == self._finished

    def write(self, data: bytes) -> None:
        """Raises: Unavailable: the disk is full."""
        self.size += len(data)
        self._hash.update(data)
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise _disk(error) from error

    def finish(self) -> None:
        """Put the object in its place.

        Raises:
            Invalid: the bytes do not hash to what was announced. Unavailable: the disk is full.
        """
        if self._expected and self.md5 != self._expected:
            raise differs(self.md5, self._expected)
        try:
            # Before it has a name that a committed version may refer to, and that tells whoever
            # has the same content that it need not be sent: a loss of power must not empty it.
            os.fsync(self._file.fileno())
            self._finished = _identity(os.fstat(self._file.fileno()))
            _in_directory(self._path.parent, partial(os.replace, self._name, self._path))
            self._is_placed = True
        except OSError as error:
            raise _disk(error) from error


def _identity(found: os.stat_result) -> tuple[int, int, int]:
    """Return what no other file has: a number of the disk may be given again, but later."""
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _in_directory(directory: Path, do: Callable[[], T]) -> T:
    """Do what needs a directory, which nearly always is there."""
    try:
        return do()
    except FileNotFoundError:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return do()


def _md5_of(key: str) -> str | None:
    """Return the MD5 of a blob, which its key is made of and `Incoming` has checked."""
    return key.rsplit("/", 1)[1] if key.startswith("blobs/") else None


def _listed(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except FileNotFoundError:
        return []


def _remove(directory: Path) -> None:
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _disk(error) from error


def _disk(error: OSError) -> Unavailable:
    return Unavailable(f"the directory of files cannot be used: {error.strerror}")
