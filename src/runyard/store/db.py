"""
Databases and transactions: SQLite when one server process is enough, PostgreSQL beyond.

A transaction is a function that is given a `Tx`. It may run twice (PostgreSQL can abort one
of two that met), so it must do nothing but SQL. What it announces reaches those who wait
after it has committed, never before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import (
    Connection,
    Engine,
    Executable,
    RowMapping,
    bindparam,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from runyard.domain.errors import Conflict, Invalid, Unavailable

T = TypeVar("T")
Row = RowMapping

TRIES: Final = 5
CHANNEL: Final = "runyard"
# SQLSTATEs of transactions that lost a race and may simply be run again.
_RACES: Final = frozenset({"40001", "40P01"})
_TOO_MUCH: Final = ("pattern too complex", "Expression tree is too large", "too many SQL variables")
_NOTIFY = select(func.pg_notify(CHANNEL, bindparam("topics")))


class Tx:
    """One open transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.is_postgres = connection.dialect.name == "postgresql"
        self.topics: dict[str, int] = {}

    def all(self, statement: Executable, params: Mapping[str, Any] | None = None) -> Sequence[Row]:
        return self.connection.execute(statement, params or {}).mappings().all()

    def one(self, statement: Executable, params: Mapping[str, Any] | None = None) -> Row | None:
        return self.connection.execute(statement, params or {}).mappings().first()

    def scalar(self, statement: Executable, params: Mapping[str, Any] | None = None) -> Any:
        return self.connection.execute(statement, params or {}).scalar()

    def run(
        self, statement: Executable, params: Mapping[str, Any] | Sequence[Mapping[str, Any]] = ()
    ) -> int:
        """Execute a write, once or once per mapping; return the number of rows it changed.

        Raises:
            Duplicate: a row of that name or id exists; the transaction must be given up.
        """
        try:
            if not params:
                return self.connection.execute(statement).rowcount
            return self.connection.execute(statement, params).rowcount
        except IntegrityError as error:
            raise Duplicate("there is one of that name already") from error

    def announce(self, topic: str, count: int = 1) -> None:
        """Wake those who wait for `topic` once this has committed; `count` of them at most."""
        self.topics[topic] = self.topics.get(topic, 0) + count


class Duplicate(Conflict):
    """A constraint of the tables refused a row, as a rule because one like it exists."""


class Database:
    """
    Runs transactions. `announced` is called after each commit with its topics and counts;
    on PostgreSQL it also hears, through `listen`, what other processes announced.

    Raises (from `read` and `write`):
        Unavailable: locked, full, gone or overloaded; nothing of the transaction remains.
        Invalid: a value that this database cannot hold, as a NUL character in PostgreSQL's text.
    """

    def __init__(
        self,
        url: str,
        *,
        announced: Callable[[Mapping[str, int]], None] = lambda _: None,
        pool_size: int = 10,
    ) -> None:
        self.url = _parsed(url)
        self.announced = announced
        self.is_postgres = self.url.get_backend_name() == "postgresql"
        if self.is_postgres:
            self._writer = self._reader = create_engine(
                self.url,
                pool_size=pool_size,
                max_overflow=pool_size,
                pool_pre_ping=True,
                hide_parameters=True,  # in what is logged of an error (T14)
            )
        else:
            # One writer: its pool is the queue in which writers of this process wait, since
            # SQLite's own way to wait is to sleep and try again.
            self._writer = _sqlite_engine(self.url, "BEGIN IMMEDIATE", pool_size=1)
            self._reader = _sqlite_engine(self.url, "BEGIN", pool_size=pool_size)

    def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work` on a consistent view."""
        return self._insist(self._reader, work)

    def write(self, work: Callable[[Tx], T]) -> T:
        """Run `work`, commit, announce."""
        return self._insist(self._writer, work)

    @contextmanager
    def begin(self) -> Iterator[Tx]:
        """Open a writing transaction as a block, without `write`'s second tries."""
        with _understandable(), self._writer.begin() as connection:
            tx = Tx(connection)
            yield tx
            self._notify(tx)
        if tx.topics:
            self.announced(tx.topics)

    def close(self) -> None:
        self._writer.dispose()
        self._reader.dispose()

    def raw_engine(self) -> Engine:
        """Return the writing engine, for migrations and backups."""
        return self._writer

    def _insist(self, engine: Engine, work: Callable[[Tx], T]) -> T:
        for left in reversed(range(TRIES)):
            try:
                with _understandable(), engine.begin() as connection:
                    tx = Tx(connection)
                    result = work(tx)
                    self._notify(tx)
            except _Race:
                if not left:
                    raise
                time.sleep(0.005 * (TRIES - left))
            else:
                if tx.topics:
                    self.announced(tx.topics)
                return result
        raise AssertionError("unreachable")

    def _notify(self, tx: Tx) -> None:
        if tx.is_postgres and tx.topics:
            # NOTIFY is part of the transaction: heard after the commit, or never. Its payload
            # is bounded to 8000 bytes.
            for batch in _batches(tx.topics, 60):
                tx.connection.execute(_NOTIFY, {"topics": msgspec.json.encode(batch).decode()})


class _Race(Unavailable):
    """The database aborted the transaction because it met another; run it again."""


def _batches(topics: Mapping[str, int], size: int) -> Iterator[dict[str, int]]:
    pairs = list(topics.items())
    for at in range(0, len(pairs), size):
        yield dict(pairs[at : at + size])


@contextmanager
def _understandable() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("the database is overloaded; try again in a moment") from error
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in _RACES:
            raise _Race("the database was busy with the same rows; try again") from error
        if _asks_too_much(error):  # for good, so nobody shall try again
            raise Invalid("this asks for more at once than the database can look for") from None
        if isinstance(error, OperationalError) or error.connection_invalidated:
            raise Unavailable(f"the database cannot be used now: {error.orig}") from error
        if isinstance(error, DataError):  # without its words: they quote the value
            raise Invalid(
                "a value is none that the database can hold: a number too large, or text with a "
                "NUL character"
            ) from None
        raise


def _asks_too_much(error: DBAPIError) -> bool:
    """Whether a statement is past a limit of the database: a pattern too long, say (T20)."""
    sqlstate = getattr(error.orig, "sqlstate", None) or ""
    told = str(error.orig)
    return sqlstate.startswith("54") or any(words in told for words in _TOO_MUCH)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except Exception as error:
        raise Invalid(f"database URL {url!r} cannot be read: {error}") from error
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise Invalid(
            f"database URL {parsed.render_as_string()!r} is neither sqlite:///FILE "
            "nor postgresql://USER@HOST/NAME"
        )
    return parsed


def _sqlite_engine(url: URL, begin: str, *, pool_size: int) -> Engine:
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=30,
        connect_args={"timeout": 30, "check_same_thread": False},
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # we say BEGIN, so that we say which
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",  # an acknowledged submission survives a power cut
            "foreign_keys=ON",
            "busy_timeout=30000",
            "cache_size=-8000",  # KiB for each connection; the system caches the file anyway
            "temp_store=MEMORY",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # IMMEDIATE takes the write lock now, so that a read that decides a write cannot be
        # overtaken by another writer.
        connection.exec_driver_sql(begin)

    return engine
