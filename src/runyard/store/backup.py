"""
Backup and restore, while servers run, from either database into either.

A backup is one tar: a manifest with the schema's revision, every table as a stream of rows,
and the files in the server's directory. The rows are read in one transaction that sees one
moment. Most files are named by their content and never change, so copying them afterwards can
only add more; a file of a run is copied as it is then, whole. Since rows are rows, a backup of
SQLite restores into PostgreSQL: that is the way out of the embedded default.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import msgspec
from sqlalchemy import Table, func, insert, select, text

from runyard.domain.errors import Conflict, Invalid
from runyard.store import migrate
from runyard.store.db import Database, Tx
from runyard.store.tables import metadata

FORMAT: Final = 1
_ROWS_A_TIME: Final = 1000
_PREFIX: Final = "files/"
_UNFINISHED: Final = ("objects/incoming/", "objects/parts/")  # uploads that are no files yet

Progress = Callable[[str, int], None]


class Manifest(msgspec.Struct):
    format: int
    revision: str
    tables: dict[str, int]


def backup(
    database: Database, files: Path, out: Path, progress: Progress = lambda _name, _n: None
) -> Manifest:
    """Write a backup to `out`, complete or not at all. `progress` gets a table and its rows.

    Raises:
        Conflict: the schema is not this version's.
    """
    migrate.check(database)
    partial = out.with_name(out.name + ".partial")
    with tarfile.open(partial, "w") as tar:
        manifest = database.read(lambda tx: _tables(tx, tar, progress))
        for path in sorted(files.rglob("*")):
            _add_file(tar, path, path.relative_to(files).as_posix())
    partial.chmod(0o600)  # it holds everything, hashes of keys included
    partial.rename(out)
    return manifest


def restore(
    database: Database, files: Path, source: Path, progress: Progress = lambda _name, _n: None
) -> Manifest:
    """Fill an empty database, and the directory of files, from a backup.

    The database is brought to the backup's revision first, and to this version's last.

    Raises:
        Conflict: the database is not empty. Invalid: this is no backup.
    """
    with _opened(source) as tar:
        manifest = _manifest(tar, source)
        if migrate.revision(database) is not None and database.read(_any_rows):
            raise Conflict(
                "the database is not empty", hint="restore into a new one: --database-url …"
            )
        migrate.upgrade(database, manifest.revision)
        database.write(lambda tx: _fill(tx, tar, manifest, progress))
        _files(tar, files)
    migrate.upgrade(database)
    return manifest


def _tables(tx: Tx, tar: tarfile.TarFile, progress: Progress) -> Manifest:
    if tx.is_postgres:
        # Read committed would see each table at its own moment.
        tx.connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
    manifest = Manifest(FORMAT, migrate.head(), {})
    for table in metadata.sorted_tables:
        with tempfile.TemporaryFile() as spool:
            manifest.tables[table.name] = _dump(tx, table, spool)
            _add(tar, f"tables/{table.name}", spool)
        progress(table.name, manifest.tables[table.name])
    _add(tar, "manifest.json", io.BytesIO(msgspec.json.encode(manifest)))
    return manifest


def _dump(tx: Tx, table: Table, out: IO[bytes]) -> int:
    encoder, count = msgspec.msgpack.Encoder(), 0
    rows = tx.connection.execution_options(yield_per=_ROWS_A_TIME).execute(select(table))
    for row in rows:
        packed = encoder.encode([bytes(v) if isinstance(v, memoryview) else v for v in row])
        out.write(len(packed).to_bytes(4, "big") + packed)
        count += 1
    return count


def _add(tar: tarfile.TarFile, name: str, content: IO[bytes]) -> None:
    info = tarfile.TarInfo(name)
    info.size = content.seek(0, io.SEEK_END)
    content.seek(0)
    tar.addfile(info, content)


def _add_file(tar: tarfile.TarFile, path: Path, name: str) -> None:
    """Add a file as it is at this moment; it may be replaced or deleted meanwhile."""
    if name.startswith(_UNFINISHED) or not path.is_file():
        return
    try:
        opened = path.open("rb")
    except FileNotFoundError:
        return
    with opened as file:  # its size is that of what was opened, whatever has the name now
        tar.addfile(tar.gettarinfo(arcname=_PREFIX + name, fileobj=file), file)


def _opened(source: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(source, "r:")
    except (tarfile.TarError, OSError) as error:
        raise Invalid(f"{source} cannot be read as a backup: {error}") from error


def _manifest(tar: tarfile.TarFile, source: Path) -> Manifest:
    try:
        content = tar.extractfile("manifest.json")
        assert content is not None
        manifest = msgspec.json.decode(content.read(), type=Manifest)
    except (KeyError, msgspec.MsgspecError) as error:
        raise Invalid(f"{source} is not a Runyard backup: {error}") from error
    if manifest.format != FORMAT:
        raise Invalid(f"{source} has backup format {manifest.format}; this version reads {FORMAT}")
    return manifest


def _any_rows(tx: Tx) -> bool:
    return any(
        tx.one(select(text("1")).select_from(table).limit(1)) for table in metadata.sorted_tables
    )


def _fill(tx: Tx, tar: tarfile.TarFile, manifest: Manifest, progress: Progress) -> None:
    for table in metadata.sorted_tables:
        if table.name not in manifest.tables:
            continue
        names = [c.name for c in table.columns]
        batch: list[dict[str, Any]] = []
        for row in _rows(tar, table.name):
            batch.append(dict(zip(names, row, strict=True)))
            if len(batch) == _ROWS_A_TIME:
                tx.run(insert(table), batch)
                batch = []
        if batch:
            tx.run(insert(table), batch)
        progress(table.name, manifest.tables[table.name])
    if tx.is_postgres:
        _go_on_counting(tx)


def _go_on_counting(tx: Tx) -> None:
    """Set the sequences behind numbered rows, which inserting numbers by hand leaves at 1."""
    for table in metadata.sorted_tables:
        for column in table.columns:
            if column.autoincrement is True:
                last = tx.scalar(select(func.max(column)))
                if last is not None:
                    name = func.pg_get_serial_sequence(table.name, column.name)
                    tx.scalar(select(func.setval(name, last)))


def _rows(tar: tarfile.TarFile, table: str) -> Iterator[list[Any]]:
    content = tar.extractfile(f"tables/{table}")
    assert content is not None
    while head := content.read(4):
        yield msgspec.msgpack.decode(content.read(int.from_bytes(head, "big")))


def _files(tar: tarfile.TarFile, files: Path) -> None:
    files.mkdir(parents=True, exist_ok=True)
    members = [m for m in tar.getmembers() if m.name.startswith(_PREFIX) and m.isfile()]
    for member in members:
        member.name = member.name.removeprefix(_PREFIX)
        tar.extract(member, files, filter="data")  # refuses what would land elsewhere
