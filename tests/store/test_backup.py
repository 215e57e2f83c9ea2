import pytest

from runyard.domain.errors import Conflict, Invalid
from runyard.store import backup, migrate
from runyard.store.db import Database
from runyard.store.tables import metadata
from tests.services.conftest import Yard
from tests.services.test_leasing import observe


def everything(database):
    def read(tx):
        return {
            t.name: sorted(map(repr, (tuple(r.values()) for r in tx.all(t.select()))))
            for t in metadata.sorted_tables
        }

    return database.read(read)


def live_one(database, files):
    """A database with items in all states, and a file."""
    with database.begin() as tx:
        yard = Yard(tx)
        yard.submit("a", "b", "c")
        agent = yard.register()
        held = yard.claimed(agent)
        yard.move(agent, observe(held, "exited", 0))
        yard.claimed(agent)
    (files / "ab").mkdir(parents=True)
    (files / "ab" / "cdef").write_bytes(b"code")


@pytest.fixture
def another(tmp_path):
    made = Database(f"sqlite:///{tmp_path}/restored/runyard.db")
    yield made
    made.close()


def test_a_backup_restores_to_the_same_rows_and_files(database, another, tmp_path):
    files = tmp_path / "files"
    live_one(database, files)

    backup.backup(database, files, tmp_path / "b.tar")
    backup.restore(another, tmp_path / "new", tmp_path / "b.tar")

    assert everything(another) == everything(database)
    assert (tmp_path / "new" / "ab" / "cdef").read_bytes() == b"code"
    assert (tmp_path / "b.tar").stat().st_mode & 0o077 == 0


def test_sqlite_restores_into_either_database_and_goes_on_counting(
    database, tmp_path, sqlite_template
):
    source = Database(f"sqlite:///{tmp_path}/source/runyard.db")
    migrate.upgrade(source)
    live_one(source, tmp_path / "files")
    backup.backup(source, tmp_path / "files", tmp_path / "b.tar")

    backup.restore(database, tmp_path / "new", tmp_path / "b.tar")

    assert everything(database) == everything(source)
    with database.begin() as tx:  # a new event gets a new number
        from sqlalchemy import func, insert, select

        from runyard.store import tables as t

        last = tx.scalar(select(func.max(t.item_events.c.seq)))
        item = tx.scalar(select(t.items.c.id).limit(1))
        tx.run(insert(t.item_events), {"item_id": item, "at": 0, "became": "PENDING"})
        assert tx.scalar(select(func.max(t.item_events.c.seq))) == last + 1
    source.close()


def test_a_database_with_rows_is_not_overwritten(database, tmp_path):
    live_one(database, tmp_path / "files")
    backup.backup(database, tmp_path / "files", tmp_path / "b.tar")

    with pytest.raises(Conflict, match="not empty"):
        backup.restore(database, tmp_path / "new", tmp_path / "b.tar")


def test_what_is_no_backup_is_refused(database, tmp_path):
    (tmp_path / "b.tar").write_bytes(b"hello" * 1000)
    with pytest.raises(Invalid, match="backup"):
        backup.restore(database, tmp_path / "new", tmp_path / "b.tar")


def test_files_that_change_or_go_while_they_are_copied_do_no_harm(
    database, another, tmp_path, monkeypatch
):
    """A run's file is replaced, another deleted, an upload comes in: the backup is one still."""
    files = tmp_path / "files"
    live_one(database, files)
    home = files / "objects" / "runs" / "r1"
    for path in (home / "a", home / "b", files / "objects" / "incoming" / "x",
                 files / "objects" / "parts" / "u" / "1"):  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"old" * 1000)
    info = backup.tarfile.TarFile.gettarinfo

    def meanwhile(tar, *args, **more):
        found = info(tar, *args, **more)
        (home / "new").write_bytes(b"replaced")
        (home / "new").replace(home / "a")
        (home / "b").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(backup.tarfile.TarFile, "gettarinfo", meanwhile)
    backup.backup(database, files, tmp_path / "b.tar")
    backup.restore(another, tmp_path / "new", tmp_path / "b.tar")
    restored = {p.relative_to(tmp_path / "new").as_posix(): p.read_bytes()
                for p in (tmp_path / "new").rglob("*") if p.is_file()}  # fmt: skip
    assert restored.pop("ab/cdef") == b"code"
    assert restored in (
        {"objects/runs/r1/a": b"old" * 1000},
        {"objects/runs/r1/a": b"replaced"},
    )
