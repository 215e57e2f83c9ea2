"""Bringing a database to the schema of this version."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from runyard.domain.errors import Conflict
from runyard.store.db import Database

_LOCK: Final = 0x52_55_4E_59  # of PostgreSQL: two servers that start together migrate in turn


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("runyard.store") / "migrations"))
    return config


@cache
def head() -> str:
    """Return the revision that this version of the code works with."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def revision(database: Database) -> str | None:
    """Return the revision the database is at, None for an empty one."""
    # By a reader: a probe that asks every second must not wait for SQLite's one writer.
    return database.read(
        lambda tx: MigrationContext.configure(tx.connection).get_current_revision()
    )


def upgrade(database: Database, to: str = "head") -> None:
    """Apply what is missing. Safe to call from several servers at once; does nothing if done."""
    config = _config()
    with database.raw_engine().begin() as connection:
        if database.is_postgres:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        config.attributes["connection"] = connection
        command.upgrade(config, to)


def downgrade(database: Database, to: str) -> None:
    config = _config()
    with database.raw_engine().begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, to)


def check(database: Database) -> None:
    """Pass if the schema fits.

    Raises:
        Conflict: it does not; the hint is the command that mends it.
    """
    at = revision(database)
    if at != head():
        raise Conflict(
            f"the database is at revision {at or 'none'}, this version needs {head()}",
            hint="runyard db upgrade",
        )
