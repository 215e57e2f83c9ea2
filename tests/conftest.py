"""Fixtures that many tests share. The database is always a real one, and always both."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
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
def postgres_template() -> Iterator[str]:
    """A migrated PostgreSQL database, of this worker's own, from which others are copied."""
    url = os.environ[POSTGRES]
    name = f"ry_template_{uuid.uuid4().hex[:12]}"
    _admin(url, f"CREATE DATABASE {name}")
    database = Database(str(make_url(url).set(database=name).render_as_string(False)))
    migrate.upgrade(database)
    database.close()
    yield name
    _admin(url, f"DROP DATABASE {name} WITH (FORCE)")


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
    template = request.getfixturevalue("postgres_template")
    name = f"ry_{uuid.uuid4().hex[:12]}"
    url = os.environ[POSTGRES]
    _admin(url, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield make_url(url).set(database=name).render_as_string(False)
    _admin(url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def _admin(url: str, statement: str) -> None:
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
