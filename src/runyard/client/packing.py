"""
Pack a directory into an archive that is named by its content.

Names are sorted and times, owners and odd modes left out, so the same files give the same
bytes and the same digest: uploading them again is free, and makes no new job version. (The
bytes are gzip's, so another version of zlib may give another digest; that costs one upload.)
"""

from __future__ import annotations

import gzip
import hashlib
import heapq
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

from runyard.client.ignoring import Ignoring
from runyard.client.links import escape
from runyard.domain.errors import Conflict, Invalid, TooMuch

MAX_BYTES: Final = 1 << 30
MAX_FILES: Final = 100_000
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to pack. `size` is in bytes, `target` where a link leads."""

    path: str  # from the root, with "/"
    kind: Literal["file", "link", "directory"]
    size: int = 0
    executable: bool = False
    target: str = ""


@dataclass(frozen=True, slots=True)
class Packing:
    """What would be packed of `root`, in the archive's order."""

    root: Path
    entries: tuple[Entry, ...]

    @property
    def files(self) -> int:
        return sum(entry.kind != "directory" for entry in self.entries)

    @property
    def total_bytes(self) -> int:
        return sum(entry.size for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Packed:
    """A finished archive: `digest` is sha256:<hex> of its bytes, `size` their number."""

    digest: str
    size: int
    files: int


def scan(root: Path | str, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> Packing:
    """Look at everything below `root` that is not ignored (see `ignoring`).

    Raises:
        Invalid: the root is no directory or a symbolic link; a link leads out of the root;
            something is neither file, directory nor link; nothing is left.
        TooMuch: more than `max_bytes` (uncompressed) or `max_files`; names the largest.
    """
    root = Path(root)
    if root.is_symlink():
        raise Invalid(
            f"{root} is a symbolic link, so it may become another directory at any time",
            hint=f"Pass the directory itself: {root.resolve()}",
        )
    if not root.is_dir():
        raise Invalid(f"{root} is not a directory", hint="Pass the directory that holds the code.")
    top = os.path.realpath(root)
    entries: list[Entry] = []
    for entry in _walk(top, top, Ignoring().enter(top, ""), ""):
        entries.append(entry)
        if len(entries) > max_files:
            raise TooMuch(f"{root} holds more than {max_files:,} files", hint=_crowd(entries))
    packing = Packing(Path(top), tuple(sorted(entries, key=lambda entry: entry.path)))
    if not packing.files:
        raise Invalid(f"{root} has no files to pack", hint="Look at its .runyardignore.")
    if packing.total_bytes > max_bytes:
        raise TooMuch(
            f"{root} holds {_size(packing.total_bytes)}, at most {_size(max_bytes)} can be packed",
            hint=_largest(entries),
        )
    return packing


def pack(packing: Packing, out: BinaryIO | Path, progress: Progress | None = None) -> Packed:
    """Write the archive (tar, gzip) and return its digest and size.

    `progress` is called with the bytes read so far and in all.

    Raises:
        Conflict: a file changed in the meantime.
    """
    if isinstance(out, Path):
        with out.open("wb") as file:
            return pack(packing, file, progress)
    sink = _Digesting(out)
    done, total = 0, packing.total_bytes
    with (
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=sink, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for entry in packing.entries:
            header = _header(entry)
            if entry.kind != "file":
                tar.addfile(header)
                continue
            with _open(packing.root / entry.path, entry) as source:
                tar.addfile(header, _Counting(source, entry.path, done, total, progress))
                if source.read(1):
                    raise _changed(entry.path)
            done += entry.size
    if progress is not None:
        progress(total, total)
    return Packed(f"sha256:{sink.hash.hexdigest()}", sink.size, packing.files)


def _walk(top: str, folder: str, rules: Ignoring, prefix: str) -> Iterator[Entry]:
    try:
        with os.scandir(folder) as found:
            children = list(found)
    except PermissionError as error:
        raise _closed(prefix.rstrip("/") or folder) from error
    for child in children:
        is_dir = child.is_dir(follow_symlinks=False)
        if rules.leaves_out(child.name, is_dir=is_dir):
            continue
        path = prefix + child.name
        if not is_dir:
            yield _entry(top, child, path)
            continue
        below = list(_walk(top, child.path, rules.enter(child.path, path + "/"), path + "/"))
        # Programs write to directories that they find there, so an empty one counts.
        yield from below or [Entry(path, "directory")]


def _entry(top: str, child: os.DirEntry[str], path: str) -> Entry:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise Invalid(
            f"the name {os.fsencode(path)!r} is not UTF-8",
            hint="Rename the file, or add it to .runyardignore.",
        ) from None
    if child.is_symlink():
        outside = escape(top, child.path)
        if outside is None:
            return Entry(path, "link", target=os.readlink(child.path))
        raise Invalid(
            f"{path} is a symbolic link to {outside}, which is outside of the directory",
            hint=f"Copy what it points to in its place, or add /{path} to .runyardignore.",
        )
    status = child.stat(follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        raise Invalid(
            f"{path} is a socket, a pipe or a device, not a file",
            hint=f"Remove it, or add /{path} to .runyardignore.",
        )
    executable = bool(status.st_mode & stat.S_IXUSR)
    return Entry(path, "file", size=status.st_size, executable=executable)


def _header(entry: Entry) -> tarfile.TarInfo:
    header = tarfile.TarInfo(entry.path)
    if entry.kind == "file":
        header.size = entry.size
        header.mode = 0o755 if entry.executable else 0o644
    elif entry.kind == "link":
        header.type, header.linkname, header.mode = tarfile.SYMTYPE, entry.target, 0o777
    else:
        header.type, header.mode = tarfile.DIRTYPE, 0o755
    return header


def _open(path: Path, entry: Entry) -> BinaryIO:
    try:
        # NOFOLLOW: what was a file when it was checked may have become a link out of the root.
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")
    except OSError as error:
        if isinstance(error, PermissionError):
            raise _closed(entry.path) from error
        raise _changed(entry.path) from error
    return file


def _closed(path: str) -> Invalid:
    return Invalid(
        f"{path} cannot be read: permission denied",
        hint=f"Change its permissions, or add /{path} to .runyardignore.",
    )


def _changed(path: str) -> Conflict:
    return Conflict(
        f"{path} changed while it was packed",
        hint="Try again when nothing writes to it, or add it to .runyardignore.",
    )


class _Counting(io.RawIOBase):
    """Reads a file, tells how far it is, and refuses to end early."""

    def __init__(
        self, file: BinaryIO, path: str, done: int, total: int, progress: Progress | None
    ) -> None:
        self._file, self._path = file, path
        self._done, self._total, self._progress = done, total, progress

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise _changed(self._path)
        self._done += len(data)
        if self._progress is not None:
            self._progress(self._done, self._total)
        return data


class _Digesting(io.RawIOBase):
    """Passes bytes on and knows their hash and number."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.hash = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]  # what gzip writes
        self.hash.update(data)
        self.size += len(data)
        self._out.write(data)
        return len(data)


def _largest(entries: list[Entry]) -> str:
    sizes: dict[str, int] = {}
    for entry in entries:
        top = entry.path.split("/")[0]
        sizes[top] = sizes.get(top, 0) + entry.size
    worst = heapq.nlargest(5, sizes.items(), key=lambda item: item[1])
    listed = ", ".join(f"{name} ({_size(size)})" for name, size in worst)
    return f"Largest: {listed}. Leave out what the job does not need: echo /NAME >> .runyardignore"


def _crowd(entries: list[Entry]) -> str:
    counts: dict[str, int] = {}
    for entry in entries:
        top = entry.path.split("/")[0]
        counts[top] = counts.get(top, 0) + 1
    worst = heapq.nlargest(5, counts.items(), key=lambda item: item[1])
    listed = ", ".join(f"{name} ({count:,})" for name, count in worst)
    return f"Most are in: {listed}. Leave them out: echo /NAME >> .runyardignore"


def _size(number: int) -> str:
    if number < 1 << 20:
        return f"{number / (1 << 10):.1f} KiB"
    return f"{number / (1 << 20):,.1f} MiB" if number < 1 << 30 else f"{number / (1 << 30):.1f} GiB"
