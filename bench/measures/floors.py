"""What the machine does without us: the floor that every other figure is compared with."""

from __future__ import annotations

import resource
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from harness.results import Row

STAMP = "import sys, time; open(sys.argv[1], 'x').write(str(time.time_ns()))"
BATCH = 50
AT_ONCE = 2

_TABLE = (
    "CREATE TABLE bare (id INTEGER PRIMARY KEY, state TEXT NOT NULL, token TEXT, body TEXT)",
    "CREATE INDEX bare_waiting ON bare (id) WHERE state = 'PENDING'",
)
_BODY = "x" * 600  # about what a resolved spec takes


@dataclass
class Floors:
    """Medians by name, measured once a run and looked up by the rows."""

    quick: bool
    _known: dict[str, float] = field(default_factory=dict)

    def get(self, name: str, measure: Callable[[], Sequence[float]]) -> float:
        if name not in self._known:
            self._known[name] = median(measure())
        return self._known[name]

    def spawn_ms(self) -> float:
        return self.get("spawn", lambda: spawn_ms(10 if self.quick else 60))

    def processes_a_minute(self) -> float:
        return self.get("rate", lambda: processes_a_minute(100 if self.quick else 400, 3))


def spawn_cpu_ms(n: int = 40) -> list[float]:
    """Processor time of a bare interpreter that does nothing, and of starting it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(n):
        subprocess.run([sys.executable, "-c", "pass"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [used * 1e3 / n]


def rows(floors: Floors) -> list[Row]:
    n = 20 if floors.quick else 100
    spawn = spawn_ms(n)
    rate = processes_a_minute(100 if floors.quick else 500, 2 if floors.quick else 5)
    floors.get("spawn", lambda: spawn)
    floors.get("rate", lambda: rate)
    return [
        Row("floor: spawn to user code", "ms", spawn),
        Row("floor: no-op processes", "/min", rate, more_is_better=True, note="two at a time"),
    ]


def spawn_ms(n: int) -> list[float]:
    """From just before starting a bare interpreter to its first line of user code."""
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(n):
            stamp = Path(folder, str(i))
            begun = time.time_ns()
            subprocess.run([sys.executable, "-c", STAMP, str(stamp)], check=True)
            taken.append((int(stamp.read_text()) - begun) / 1e6)
    return taken


def processes_a_minute(number: int, times: int) -> list[float]:
    """Bare interpreters that write a time stamp and end, two at a time."""

    def work(folder: str, which: int) -> None:
        for i in range(which, number, AT_ONCE):
            subprocess.run([sys.executable, "-c", STAMP, f"{folder}/{i}"], check=True)

    rates = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            threads = [threading.Thread(target=work, args=(folder, w)) for w in range(AT_ONCE)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            rates.append(60 * number / (time.perf_counter() - begun))
    return rates


def interpreter_ms(python: str, n: int) -> list[float]:
    taken = []
    for _ in range(n):
        begun = time.perf_counter()
        subprocess.run([python, "-c", "pass"], check=True)
        taken.append((time.perf_counter() - begun) * 1e3)
    return taken


def round_trip_ms(n: int = 200) -> list[float]:
    """One byte there and back through loopback, to another thread."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo() -> None:
            peer, _ = server.accept()
            with peer:
                while data := peer.recv(1):
                    peer.sendall(data)

        threading.Thread(target=echo, daemon=True).start()
        taken = []
        with socket.create_connection(server.getsockname()) as client:
            for _ in range(n):
                begun = time.perf_counter()
                client.sendall(b"x")
                client.recv(1)
                taken.append((time.perf_counter() - begun) * 1e3)
    return taken


def file_mb_s(program: str, size_mb: float) -> float:
    """The chatty program, writing to a file."""
    with tempfile.TemporaryFile() as out:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], stdout=out, check=True)
        return size_mb / (time.perf_counter() - begun)


class BareSql:
    """A table of our least needs on the same database, by hand-written SQL."""

    def __init__(self, url: str) -> None:
        self._is_postgres = url.startswith("postgresql")
        if self._is_postgres:
            import psycopg

            self._connection = psycopg.connect(url)
            self._mark, self._lock = "%s", "FOR UPDATE SKIP LOCKED"
            self._connection.execute("DROP TABLE IF EXISTS bare")
        else:
            self._connection = sqlite3.connect(url.removeprefix("sqlite:///"))
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._mark, self._lock = "?", ""
        for statement in _TABLE:
            self._connection.execute(statement)
        self._connection.commit()
        self._next = 0

    def close(self) -> None:
        self._connection.close()

    def submit_ms(self, n: int) -> list[float]:
        taken = []
        for _ in range(n):
            begun = time.perf_counter()
            self._insert(1)
            taken.append((time.perf_counter() - begun) * 1e3)
        return taken

    def submits_a_second(self, batch: int, times: int) -> list[float]:
        rates = []
        for _ in range(times):
            begun = time.perf_counter()
            self._insert(batch)
            rates.append(batch / (time.perf_counter() - begun))
        return rates

    def cycles_a_second(self, number: int, times: int) -> list[float]:
        """Claim 50, acknowledge 50: two transactions a batch."""
        rates = []
        for _ in range(times):
            self._insert(number)
            begun = time.perf_counter()
            for _ in range(number // BATCH):
                ids = self._claim()
                self._finish(ids)
            rates.append(number / (time.perf_counter() - begun))
        return rates

    def _insert(self, number: int) -> None:
        first, self._next = self._next, self._next + number
        cursor = self._connection.cursor()
        cursor.executemany(
            f"INSERT INTO bare (id, state, body) VALUES ({self._mark}, 'PENDING', {self._mark})",
            [(first + i, _BODY) for i in range(number)],
        )
        self._connection.commit()

    def _claim(self) -> list[int]:
        found = self._connection.execute(
            f"UPDATE bare SET state = 'CLAIMED', token = {self._mark} WHERE id IN (SELECT id FROM "
            f"bare WHERE state = 'PENDING' ORDER BY id LIMIT {BATCH} {self._lock}) RETURNING id",
            ("token",),
        ).fetchall()
        self._connection.commit()
        return [row[0] for row in found]

    def _finish(self, ids: list[int]) -> None:
        marks = ", ".join([self._mark] * len(ids))
        self._connection.execute(
            f"UPDATE bare SET state = 'FINISHED' WHERE token = 'token' AND id IN ({marks})", ids
        )
        self._connection.commit()
