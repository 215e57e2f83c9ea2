"""Real processes: servers and agents as a user starts them, in a directory of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from bench.harness.yard import Yard
from tests.conftest import POSTGRES


@pytest.fixture
def yard() -> Iterator[Yard]:
    """One server on SQLite."""
    with Yard() as made:
        yield made


@pytest.fixture
def replicas() -> Iterator[Yard]:
    """Two servers on one PostgreSQL."""
    if POSTGRES not in os.environ:
        pytest.skip(f"set {POSTGRES} to the URL of a PostgreSQL server; CI does")
    url, name = make_url(os.environ[POSTGRES]), f"ry_e2e_{uuid.uuid4().hex[:12]}"
    engine = create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        with Yard(database_url=url.set(database=name).render_as_string(False), servers=2) as made:
            yield made
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


def until(true: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Wait for a condition, and fail if it does not come."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def runyard(yard: Yard, *words: str, timeout: float = 90.0) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("RUNYARD_")},
        "RUNYARD_BASE_URL": yard.urls[0],
        "RUNYARD_API_KEY": yard.key,
        "RUNYARD_HOME": str(yard.root / "client"),
    }
    return subprocess.run(
        [sys.executable, "-m", "runyard.cli.main", *words],
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
