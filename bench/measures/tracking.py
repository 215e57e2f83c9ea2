"""
The tracking protocol: points into the file stream, samples out of a long run, runs from birth to
end, and many that stream at once, of which nothing may be lost.

A point is one scalar of a row, its step and times not counted. Bodies are made beforehand.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from harness.databases import throw_away
from harness.results import Row
from harness.yard import Yard

from measures.floors import Floors, round_trip_ms

CLIENTS = 4
PROJECT = "bench"
_SCALARS = 10  # of a row
_ROWS = 1000  # of a request
_LONG = 100_000  # steps
_SAMPLES = 1500
_STREAMING = 200  # runs
MLFLOW_POINTS = 10_000  # a second, and it took 409 ms to read 10,000 back

_UPSERT = """mutation($name: String!, $entity: String!, $project: String!) {
  upsertBucket(input: {name: $name, entityName: $entity, modelName: $project}) {
    bucket { id name project { name entity { name } } historyLineCount } inserted } }"""
_READ = """query($name: String!, $entity: String!, $project: String!, $specs: [JSONString!]!) {
  project(name: $project, entityName: $entity) {
    run(name: $name) { sampledHistory(specs: $specs) } } }"""
_COUNT = """query($name: String!, $entity: String!, $project: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) {
    historyLineCount historyKeys history(samples: 100000) } } }"""


class Program:
    """One connection of a run's program, as the tracking client's."""

    def __init__(self, url: str, key: str, entity: str) -> None:
        parts = urlsplit(url)
        self._http = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self.entity = entity

    def post(self, path: str, body: bytes) -> Any:
        self._http.request("POST", path, body, self._headers)
        answer = self._http.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {data[:300]!r}")
        return json.loads(data)

    def ask(self, query: str, name: str, **more: Any) -> Any:
        variables = {"name": name, "entity": self.entity, "project": PROJECT, **more}
        body = json.dumps({"query": query, "variables": variables}).encode()
        return self.post("/graphql", body)["data"]

    def stream(self, name: str, body: bytes) -> None:
        self.post(f"/files/{self.entity}/{PROJECT}/{name}/file_stream", body)


def rows(floors: Floors) -> list[Row]:
    found = _on("SQLite", None, floors)
    if server := os.environ.get("RUNYARD_TEST_POSTGRES"):
        with throw_away(server) as url:
            found += _on("PostgreSQL", url, floors)
    return found


def _on(database: str, url: str | None, floors: Floors) -> list[Row]:
    seconds, times = (2.0, 2) if floors.quick else (5.0, 5)
    with Yard(database_url=url) as yard:
        who = (yard.urls[0], yard.key, yard.entity)
        Program(*who).ask(_UPSERT, "first")  # makes the project
        points = [_points(who, seconds, n) for n in range(times)]
        reads = _reads(who, 3 if floors.quick else 10)
        lives = [_lives(who, seconds, n) for n in range(times)]
        streams = _streams(who, 3 if floors.quick else 10)
    trip = floors.get("round trip", round_trip_ms)
    return [
        Row(f"points into the file stream, {CLIENTS} clients, {database}", "points/s", points,
            MLFLOW_POINTS, "MLflow's server on a like machine, batches of 1,000", 300_000,
            more_is_better=True, note=f"{_SCALARS} scalars a row, {_ROWS} rows a request"),
        Row(f"{_LONG:,} steps read as {_SAMPLES:,} samples, {database}", "ms", reads, trip,
            "one byte there and back through loopback", 300),
        Row(f"runs created and finished, {CLIENTS} clients, {database}", "runs/s", lives, None,
            "", 500, more_is_better=True),
        Row(f"{_STREAMING} runs streaming at once, {database}", "requests/s", [streams],
            more_is_better=True, note="each line counted and compared afterwards: all were there"),
    ]  # fmt: skip


def _body(start: int, number: int, seed: int = 0) -> bytes:
    dice = random.Random(seed)
    lines = [
        json.dumps({"_step": n, "_timestamp": 1.7e9 + n, "_runtime": n / 10}
                   | {f"train/metric_{k}": dice.random() for k in range(_SCALARS)})
        for n in range(start, start + number)
    ]  # fmt: skip
    return _chunk(start, lines)


def _chunk(start: int, lines: Sequence[str]) -> bytes:
    files = {"wandb-history.jsonl": {"offset": start, "content": lines}}
    return json.dumps({"files": files}).encode()


def _points(who: tuple[str, str, str], seconds: float, turn: int) -> float:
    """Return points a second of clients in processes of their own, as real ones are."""
    done = _together(_send_points, who, seconds, turn)
    return sum(done) * _ROWS * _SCALARS / seconds


def _send_points(who: tuple[str, str, str], seconds: float, turn: int, which: int) -> int:
    program, name = Program(*who), f"points-{turn}-{which}"
    program.ask(_UPSERT, name)
    # The text of one body, with the offset set anew: making bodies is not what is measured.
    before, _, after = _body(0, _ROWS, which).partition(b'"offset": 0')
    sent, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        program.stream(name, before + b'"offset": %d' % (sent * _ROWS) + after)
        sent += 1
    return sent


def _reads(who: tuple[str, str, str], times: int) -> list[float]:
    program = Program(*who)
    program.ask(_UPSERT, "long")
    for start in range(0, _LONG, _ROWS):
        program.stream("long", _body(start, _ROWS, start))
    spec = json.dumps({"keys": ["_step", "train/metric_7"], "samples": _SAMPLES})
    taken = []
    for turn in range(times + 1):
        begun = time.perf_counter()
        answer = program.ask(_READ, "long", specs=[spec])
        if turn:  # the first warms up
            taken.append((time.perf_counter() - begun) * 1e3)
        found = answer["project"]["run"]["sampledHistory"][0]
        if len(found) != _SAMPLES or found[-1]["_step"] != _LONG - 1:
            raise RuntimeError(f"{len(found)} samples")
    return taken


def _lives(who: tuple[str, str, str], seconds: float, turn: int) -> float:
    return sum(_together(_live, who, seconds, turn)) / seconds


def _live(who: tuple[str, str, str], seconds: float, turn: int, which: int) -> int:
    program, made = Program(*who), 0
    body = b'{"complete": true, "exitcode": 0}'
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        name = f"life-{turn}-{which}-{made}"
        program.ask(_UPSERT, name)
        program.stream(name, body)
        made += 1
    return made


_Work = Callable[[tuple[str, str, str], float, int, int], int]


def _together(work: _Work, who: tuple[str, str, str], seconds: float, turn: int) -> list[int]:
    with multiprocessing.get_context("spawn").Pool(CLIENTS) as pool:
        pool.starmap(_ready, [()] * CLIENTS)
        return pool.starmap(work, [(who, seconds, turn, n) for n in range(CLIENTS)], chunksize=1)


def _ready() -> None:
    """Nothing: whoever has done it has started."""


def _streams(who: tuple[str, str, str], requests: int) -> float:
    """Stream many runs at once and look that all of each is there. Return requests a second."""
    each = 20
    failed: list[str] = []
    begin = threading.Barrier(_STREAMING + 1)

    def stream(n: int) -> None:
        try:
            program = Program(*who)
            program.ask(_UPSERT, f"stream-{n}")
            begin.wait()
            for start in range(0, requests * each, each):
                program.stream(f"stream-{n}", _body(start, each, n))
        except Exception as error:
            failed.append(repr(error))
            begin.abort()

    threads = [threading.Thread(target=stream, args=(n,)) for n in range(_STREAMING)]
    for thread in threads:
        thread.start()
    begin.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - begun
    if failed:
        raise RuntimeError(f"{len(failed)} streams failed: {failed[0]}")
    program = Program(*who)
    for n in range(_STREAMING):
        run = program.ask(_COUNT, f"stream-{n}")["project"]["run"]
        steps = [json.loads(line)["_step"] for line in run["history"]]
        (counted,) = run["historyKeys"]["keys"]["train/metric_0"]["typeCounts"]
        if steps != list(range(requests * each)) or counted["count"] != requests * each:
            raise RuntimeError(f"run {n} lost lines: {len(steps)} of {requests * each}")
    return _STREAMING * requests / taken
