"""Fixtures that many tests share. The database is always a real one, and always both."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.engine import make_url

from runyard.store import migrate
from runyard.store.db import Database

POSTGRES = "RUNYARD_TEST_POSTGRES"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrate once, copy many times."""
    path = tmp_path_factory.mktemp("template") / "runyard.db"
    database = Database(f"sqlite:///{path}")
    migrate.upgrade(database)
    database.close()
    return path


@pytest.fixture(scope="session")
def postgres_pool() -> Iterator[PostgresPool]:
    """Migrated PostgreSQL databases of this worker's own."""
    pool = PostgresPool(os.environ[POSTGRES])
    yield pool
    pool.close()


class PostgresPool:
    """Empty databases to be had again and again: emptying one takes a hundredth of making one."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._free: list[str] = []
        self._template = self._new()
        database = Database(self.url_of(self._template))
        migrate.upgrade(database)
        database.close()
        with self._connection(self._template) as connection:
            self._schema = _schema_of(connection)
            self._revision = connection.execute(text("SELECT * FROM alembic_version")).scalar()

    def url_of(self, name: str) -> str:
        return make_url(self._url).set(database=name).render_as_string(False)

    def take(self) -> str:
        """Return the name of a migrated database without a row."""
        if self._free:
            return self._free.pop()
        return self._new(f"TEMPLATE {self._template}")

    def give_back(self, name: str) -> None:
        """End whoever is still connected, and empty the database; a changed schema is dropped."""
        with self._connection(name) as connection:
            connection.execute(text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ))  # fmt: skip
            is_same = _schema_of(connection) == self._schema
            if is_same:
                tables = [row[1] for row in self._schema if row[2] == "r"]
                tables.remove("alembic_version")
                some = " UNION ALL ".join(f"(SELECT '{t}' FROM {t} LIMIT 1)" for t in tables)
                if full := ", ".join(connection.execute(text(some)).scalars()):
                    # Not DELETE, which leaves pages behind, and so other plans to later queries.
                    connection.execute(text(f"TRUNCATE {full} RESTART IDENTITY CASCADE"))
                connection.execute(text("DELETE FROM pg_statistic WHERE starelid >= 16384"))
                revision = f"UPDATE alembic_version SET version_num = '{self._revision}'"
                connection.execute(text(revision))
        if is_same:
            self._free.append(name)
        else:
            self._drop(name)

    def close(self) -> None:
        for name in (*self._free, self._template):
            self._drop(name)

    def _new(self, how: str = "") -> str:
        name = f"ry_{uuid.uuid4().hex[:12]}"
        with self._connection(None) as connection:
            connection.execute(text(f"CREATE DATABASE {name} {how}"))
        return name

    def _drop(self, name: str) -> None:
        with self._connection(None) as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))

    @contextmanager
    def _connection(self, name: str | None) -> Iterator[Connection]:
        url = make_url(self._url).set(drivername="postgresql+psycopg")
        engine = create_engine(
            url.set(database=name) if name else url,
            isolation_level="AUTOCOMMIT",
            poolclass=NullPool,
        )
        with engine.connect() as connection:
            yield connection
        engine.dispose()


def _schema_of(connection: Connection) -> list[tuple[int, str, str, int]]:
    """Return object id, name, kind and number of columns of every relation; copies have equals."""
    found = connection.execute(text(
        "SELECT oid, relname, relkind::text, relnatts FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace ORDER BY relname"
    ))  # fmt: skip
    return [tuple(row) for row in found]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh, migrated database; each test runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        path = tmp_path / "runyard.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    if POSTGRES not in os.environ:
        pytest.skip(f"set {POSTGRES} to the URL of a PostgreSQL server; CI does")
    pool: PostgresPool = request.getfixturevalue("postgres_pool")
    name = pool.take()
    yield pool.url_of(name)
    pool.give_back(name)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()
