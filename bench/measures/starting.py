"""From submission to the first line of user code, and how many no-op jobs a minute."""

from __future__ import annotations

import random
import sys
import time
from functools import partial
from pathlib import Path

from harness.results import Row
from harness.yard import Yard, wait_for

from measures.floors import STAMP, BareSql, Floors, spawn_cpu_ms
from runyard.client.api import Api

_PATIENCE = 120.0  # seconds for a batch of jobs to end


_BARE_CPU = "processor time of a bare interpreter"


def rows(floors: Floors) -> list[Row]:
    with Yard() as yard:
        yard.add_queue("bench")
        job = yard.add_job({"README": "nothing\n"}, [sys.executable, "-c", STAMP])
        yard.add_agent("bench")
        yard.wait_agents("bench")
        stamps = yard.root / "stamps"
        stamps.mkdir()
        with yard.api() as api:
            _starts(api, yard, job, stamps / "warm", 5)
            starts, calls = _starts(api, yard, job, stamps, 20 if floors.quick else 120)
            number, times = (100, 2) if floors.quick else (400, 5)
            singly = [_a_minute(api, yard, job, stamps / f"s{i}", number, 1) for i in range(times)]
            before = _cpu_ms(yard)
            at_once = [
                _a_minute(api, yard, job, stamps / f"b{i}", number, 100) for i in range(times)
            ]
            cpu = [(now - was) / number / times
                   for now, was in zip(_cpu_ms(yard), before, strict=True)]  # fmt: skip
        sql = BareSql(f"sqlite:///{yard.root / 'bare.db'}")
        insert = floors.get("insert", lambda: sql.submit_ms(50))
        sql.close()
    spawn, rate = floors.spawn_ms(), floors.processes_a_minute()
    bare_cpu = floors.get("cpu", spawn_cpu_ms)
    a_minute = {
        "unit": "/min", "floor": rate, "floor_name": "no-op processes a minute, two at a time",
        "target": 3000, "more_is_better": True,
    }  # fmt: skip
    return [
        Row("submission to user code", "ms", starts, spawn, "spawning a bare interpreter", 40,
            note="client, server, agent and job on this machine; one job at a time"),
        Row("submit call", "ms", calls, insert, "one durable insert into SQLite", 5),
        Row("no-op jobs, submitted singly", samples=singly, **a_minute),
        Row("no-op jobs, submitted by the 100", samples=at_once, **a_minute),
        Row("  the server's work for one job", "ms CPU", cpu[:1], bare_cpu, _BARE_CPU),
        Row("  the agent's work for one job", "ms CPU", cpu[1:], bare_cpu, _BARE_CPU),
    ]  # fmt: skip


def _starts(
    api: Api, yard: Yard, job: str, stamps: Path, n: int
) -> tuple[list[float], list[float]]:
    """Submit one job at a time; return times to its first line, and of the calls."""
    stamps.mkdir(exist_ok=True)
    starts, calls = [], []
    for i in range(n):
        time.sleep(random.uniform(0.02, 0.1))  # no sample locks to a period of anybody
        stamp = stamps / f"start-{i}"
        spec = _spec(job, stamp)
        begun, clock = time.time_ns(), time.perf_counter()
        api.submit(yard.entity, "bench", [spec])
        calls.append((time.perf_counter() - clock) * 1e3)
        wait_for(partial(_is_written, stamp), "the job does not start", every=0.002)
        starts.append((int(stamp.read_text()) - begun) / 1e6)
    return starts, calls


def _a_minute(api: Api, yard: Yard, job: str, stamps: Path, number: int, batch: int) -> float:
    """From the first submit call to the last end that the client sees."""
    stamps.mkdir()
    specs = [_spec(job, stamps / str(i)) for i in range(number)]
    begun = time.perf_counter()
    for at in range(0, number, batch):
        api.submit(yard.entity, "bench", specs[at : at + batch], minimal=True)

    def is_done() -> bool:
        queue = api.queue(yard.entity, "bench")
        return queue.pending + queue.running == 0

    wait_for(is_done, "the jobs do not end", seconds=_PATIENCE)
    taken = time.perf_counter() - begun
    ran = sum(1 for _ in stamps.iterdir())
    if ran != number:
        raise RuntimeError(f"{ran} of {number} jobs ran")
    return 60 * number / taken


def _is_written(stamp: Path) -> bool:
    return stamp.exists() and stamp.stat().st_size > 0


def _cpu_ms(yard: Yard) -> tuple[float, float]:
    return yard.servers[0].cpu_ms(), yard.agents[0].cpu_ms()


def _spec(job: str, stamp: Path) -> dict[str, object]:
    return {"job": job, "overrides": {"args": [str(stamp)]}}
