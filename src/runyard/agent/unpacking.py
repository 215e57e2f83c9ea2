"""
Unpack an archive that a stranger made.

The archive is read member by member by our own rules: only files, directories and links, only
plain relative names, only so much. Links are made last, when all files are written, so that
nothing is ever written through one; a name that is there already is refused, whatever the file
system takes for the same name.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from pathlib import Path
from typing import IO, Final, NoReturn

from runyard.client.links import escape
from runyard.domain.errors import Rejected, TooMuch

MAX_BYTES: Final = 4 << 30
MAX_FILES: Final = 200_000
_DEEPEST: Final = 100  # directories in one another: whoever walks through them is no deeper
_CHUNK: Final = 1 << 18
_LONGEST_HEADER: Final = 1 << 20
_TYPES: Final = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE)


def unpack(
    archive: Path, into: Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES
) -> None:
    """Write the contents of a tar.gz into `into`, which this makes; blocking.

    Half of it may have been written when an error is raised: unpack into a directory that can
    be thrown away.

    Raises:
        Rejected: it is no such archive, or holds a name, link or kind of file that is refused.
        TooMuch: more than `max_bytes` uncompressed, or `max_files` members.
    """
    os.makedirs(into, exist_ok=True)
    links: list[tuple[str, str]] = []
    try:
        with gzip.open(archive, "rb") as plain:
            bounded = _Bounded(plain, max_bytes)
            with tarfile.open(fileobj=bounded, mode="r:") as tar:
                _write_all(tar, str(into), links, max_files)
            while bounded.read(_CHUNK):  # to the end, where the checksum is
                pass
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, UnicodeError) as error:
        raise Rejected(f"the code is not a whole tar.gz archive: {error}") from error
    _link(str(into), links)


def digest(path: Path) -> str:
    """Return sha256:<hex> of a file's bytes."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _write_all(
    tar: tarfile.TarFile, into: str, links: list[tuple[str, str]], max_files: int
) -> None:
    count = 0
    while (member := tar.next()) is not None:
        count += 1
        if count > max_files:
            raise TooMuch(f"the archive holds more than {max_files:,} files")
        _write(tar, member, into, links)
        tar.members = []  # type: ignore[attr-defined]  # else every header stays in memory


def _write(
    tar: tarfile.TarFile, member: tarfile.TarInfo, into: str, links: list[tuple[str, str]]
) -> None:
    name = _check_name(member.name)
    if member.type not in _TYPES or member.sparse is not None:
        _refuse(name, "is neither a file, a directory nor a symbolic link")
    path = os.path.join(into, name)
    try:
        if member.isdir():
            os.makedirs(path, exist_ok=True)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if member.issym():
            links.append((name, member.linkname))
            return
        source = tar.extractfile(member)
        assert source is not None
        _copy(source, path, 0o755 if member.mode & 0o100 else 0o644)
    except FileExistsError:
        _refuse(name, "is there twice, or as a file and as a directory")
    except OSError as error:
        if error.errno is None or name not in str(error):
            raise
        _refuse(name, f"cannot be written: {error.strerror}")


def _check_name(name: str) -> str:
    plain = name.rstrip("/").removeprefix("./") or "."
    parts = plain.split("/")
    if plain.startswith("/") or ".." in parts or "" in parts or (parts != ["."] and "." in parts):
        _refuse(name, "is not a plain path within the directory")
    if len(parts) > _DEEPEST:
        _refuse(name[:200], f"is deeper than {_DEEPEST} directories")
    if "\0" in plain or "\\" in plain or any(part.lower() == ".git" for part in parts):
        _refuse(name, "is not allowed")
    return plain


def _copy(source: IO[bytes], path: str, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        while part := source.read(_CHUNK):
            file.write(part)


def _link(into: str, links: list[tuple[str, str]]) -> None:
    root = os.path.realpath(into)
    for name, target in links:
        if not target or "\0" in target or os.path.isabs(target):
            _refuse(name, f"is a link to {target!r}, outside of the directory")
        try:
            os.symlink(target, os.path.join(root, name))
        except FileExistsError:
            _refuse(name, "is there twice")
    for name, target in links:  # only now is it known where links over links lead
        if escape(root, os.path.join(root, name)) is not None:
            _refuse(name, f"is a link to {target!r}, outside of the directory")


def _refuse(name: str, why: str) -> NoReturn:
    raise Rejected(
        f"the code's archive is refused: {name!r} {why}",
        hint="Make the job again with: runyard job create code PATH",
    )


class _Bounded(io.RawIOBase):
    """The unpacked bytes, so many and no more; and no header that fills the memory."""

    def __init__(self, file: gzip.GzipFile, limit: int) -> None:
        self._file, self._limit = file, limit

    def read(self, size: int = -1) -> bytes:
        if size > _LONGEST_HEADER:
            raise TooMuch("the archive has a header of more than 1 MiB")
        data = self._file.read(size)
        if self._file.tell() > self._limit:
            self._refuse()
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if offset > self._limit:
            self._refuse()
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def _refuse(self) -> NoReturn:
        raise TooMuch(
            f"the code is more than {self._limit >> 20:,} MiB when unpacked",
            hint="Leave large files out with .runyardignore, and mount or download them instead.",
        )
