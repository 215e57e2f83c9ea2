"""
Code on its way between artifacts, which are files, and jobs of ours, which have an archive of them.

Both directions read and write stores of files, with no transaction open.
"""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from runyard.client import packing
from runyard.client.packing import Entry, Packing
from runyard.domain import artifacts as names
from runyard.domain import manifests
from runyard.domain.errors import Invalid, TooMuch, Unavailable
from runyard.store.files import Files
from runyard.store.objects.base import ObjectStore, blob_key

MOST_FILES: Final = packing.MAX_FILES
_PIECE: Final = 1 << 20
_IN_MEMORY: Final = 8 << 20
_MOST_BYTES: Final = 4 << 30  # unpacked; agents take no more either
_DEPENDENCIES: Final = ("requirements.txt", "pyproject.toml")  # what an agent installs from


@dataclass(frozen=True, slots=True)
class Upload:
    """What lies in the files that jobs are made of, under the hash of its content."""

    digest: str
    size: int


def packed(
    store: ObjectStore,
    files: Files,
    entity_id: str,
    contents: Mapping[str, manifests.Entry],
    requirements: bytes,
    *,
    at_most: int,
) -> Upload:
    """Make an archive of an artifact's files, the same bytes for the same files.

    What the run had installed goes along where the code does not say what it needs.

    Raises:
        Invalid: references are among the files, or a file stands where another has a directory.
        TooMuch: it is larger than an upload may be. Unavailable.
    """
    wanted = {path: entry for path, entry in contents.items() if not _is_left_out(path)}
    total = sum(entry.size or 0 for entry in wanted.values())
    if total > packing.MAX_BYTES or len(wanted) > MOST_FILES:
        raise TooMuch(f"the code has {len(wanted)} files of {total} bytes together")
    with tempfile.TemporaryDirectory(prefix="runyard-code-") as work:
        root = Path(work, "tree")
        root.mkdir()
        for path, entry in wanted.items():
            if entry.md5 is None:
                raise Invalid(f"the code refers to {path!r}, which lies elsewhere")
            _put(root / path, store.stream(blob_key(entity_id, entry.md5)))
        if requirements.strip() and not any(name in wanted for name in _DEPENDENCIES):
            _put(root / _DEPENDENCIES[0], iter([requirements]))
        listed = [path for path in sorted(root.rglob("*")) if path.is_file()]
        if not listed:
            raise Invalid("the code has no files")
        found = [
            Entry(path.relative_to(root).as_posix(), "file", size=path.stat().st_size)
            for path in listed
        ]
        archive = Path(work, "code.tar.gz")
        made = packing.pack(Packing(root, tuple(sorted(found, key=lambda e: e.path))), archive)
        with archive.open("rb") as file:
            return keep(files, made.digest, iter(lambda: file.read(_PIECE), b""), at_most=at_most)


def keep(files: Files, digest: str, pieces: Iterator[bytes], *, at_most: int) -> Upload:
    """Put bytes among the files of jobs. Raises: TooMuch, Unavailable."""
    with files.upload(digest, at_most=at_most) as upload:
        for piece in pieces:
            upload.write(piece)
        return Upload(digest, upload.finish())


def keep_bytes(files: Files, data: bytes, at_most: int) -> Upload:
    """The same of what is in hand."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return keep(files, digest, iter([data]), at_most=at_most)


def unpacked(
    store: ObjectStore, archive: Path, entity_id: str
) -> tuple[dict[str, manifests.Entry], bytes]:
    """Put the files of a job's archive into a store of artifacts; return them by their paths, and
    the text of its requirements.txt.

    Links become what they lead to, and empty directories go: artifacts have neither.

    Raises:
        Invalid: it is no such archive, or has a path that no artifact can have. TooMuch,
        Unavailable.
    """
    found: dict[str, manifests.Entry] = {}
    links: dict[str, str] = {}
    requirements, total = b"", 0
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                path = posixpath.normpath(member.name)
                if member.issym():
                    links[path] = posixpath.normpath(
                        posixpath.join(posixpath.dirname(path), member.linkname)
                    )
                file = tar.extractfile(member) if member.isreg() else None
                if file is None:
                    continue
                names.check_path(path)
                total += member.size
                if total > _MOST_BYTES or len(found) >= MOST_FILES:
                    raise TooMuch("the archive holds more than an artifact of code can")
                with _spooled(file) as (spool, md5):
                    if path == _DEPENDENCIES[0]:
                        requirements = spool.read(_PIECE)
                        spool.seek(0)
                    found[path] = put(store, entity_id, md5, spool, member.size)
    except (tarfile.TarError, EOFError, FileNotFoundError) as error:
        raise Invalid(f"the archive of the code cannot be read: {error}") from None
    except OSError as error:  # a full disk, say: another time it may go
        raise Unavailable(f"the code cannot be unpacked now: {error.strerror}") from error
    found |= {path: found[target] for path, target in links.items() if target in found}
    return found, requirements


def put(
    store: ObjectStore, entity_id: str, md5: str, file: IO[bytes], size: int
) -> manifests.Entry:
    """Put content into a store of artifacts; return how a manifest names it."""
    store.write(blob_key(entity_id, md5), iter(lambda: file.read(_PIECE), b""))
    return manifests.Entry(names.in_base64(md5), md5, size)


def put_bytes(store: ObjectStore, entity_id: str, data: bytes) -> manifests.Entry:
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    store.write(blob_key(entity_id, md5), iter([data] if data else []))
    return manifests.Entry(names.in_base64(md5), md5, len(data))


@contextmanager
def _spooled(file: IO[bytes]) -> Iterator[tuple[IO[bytes], str]]:
    """Copy a file to where it can be read twice: its MD5 comes before its content is stored."""
    digest = hashlib.md5(usedforsecurity=False)
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
        while piece := file.read(_PIECE):
            digest.update(piece)
            spool.write(piece)
        spool.seek(0)
        yield spool, digest.hexdigest()


def _is_left_out(path: str) -> bool:
    """Whether no agent would unpack it: git's own files, and separators of another system."""
    return "\\" in path or any(part.lower() == ".git" for part in path.split("/"))


def _put(path: Path, pieces: Iterator[bytes]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for piece in pieces:
                file.write(piece)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise Invalid(f"{path.name!r} is there twice, or as a file and a directory") from error
