"""Items through the HTTP API: submitted in batches, then leased, claimed and finished by 50."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.databases import throw_away
from harness.results import Row
from harness.yard import Yard

from measures.floors import BATCH, BareSql, Floors
from runyard.client.agent_api import AgentApi
from runyard.wire.agent import Claim, Observe, Poll, Register

SPEC = {"docker": {"docker_image": "busybox"}, "overrides": {"entry_point": ["true"]}}
_SUBMIT = 1000  # items a request
AGENTS = 2  # that lease at the same time


def rows(floors: Floors) -> list[Row]:
    found = _on("SQLite", None, floors)
    if server := os.environ.get("RUNYARD_TEST_POSTGRES"):
        with throw_away(server) as url:
            found += _on("PostgreSQL", url, floors)
    return found


def _on(database: str, url: str | None, floors: Floors) -> list[Row]:
    number, times = (1000, 2) if floors.quick else (3000, 5)
    with Yard(database_url=url) as yard:
        yard.add_queue("bench", "local-container")
        submits, cycles = [], []
        for n in range(times):
            submits += _submit(yard, number)
            cycles.append(asyncio.run(_cycle(yard, f"agent{n}", number)))
        with _bare(yard, url) as sql:
            bare_submit = floors.get(f"submit {database}", lambda: sql.submits_a_second(_SUBMIT, 5))
            bare_cycle = floors.get(f"cycle {database}", lambda: sql.cycles_a_second(number, 5))
    return [
        Row(f"submit by {_SUBMIT:,}, {database}", "items/s", submits, bare_submit,
            "plain inserts, 1,000 a transaction, on the same database", 10_000,
            more_is_better=True),
        Row(f"lease, claim, finish by {BATCH}, {database}", "items/s", cycles, bare_cycle,
            "plain claim and acknowledge by 50, on the same database", 1500, more_is_better=True),
    ]  # fmt: skip


@contextmanager
def _bare(yard: Yard, url: str | None) -> Iterator[BareSql]:
    sql = BareSql(url or f"sqlite:///{yard.root / 'bare.db'}")
    try:
        yield sql
    finally:
        sql.close()


def _submit(yard: Yard, number: int) -> list[float]:
    rates = []
    with yard.api() as api:
        for _ in range(number // _SUBMIT):
            begun = time.perf_counter()
            api.submit(yard.entity, "bench", [SPEC] * _SUBMIT, minimal=True)
            rates.append(_SUBMIT / (time.perf_counter() - begun))
    return rates


async def _cycle(yard: Yard, name: str, number: int) -> float:
    """Take `number` items to their ends as two agents would; return items a second."""
    begun = time.perf_counter()
    await asyncio.gather(*(_agent(yard, f"{name}-{n}", number // AGENTS) for n in range(AGENTS)))
    return number / (time.perf_counter() - begun)


async def _agent(yard: Yard, name: str, number: int) -> None:
    api = AgentApi(yard.urls[0], yard.key)
    try:
        await api.register(
            Register(name=name, hostname="bench", version="0", queues=["bench"], max_jobs=-1)
        )
        done = 0
        while done < number:
            held = (await api.poll(Poll(slots=min(BATCH, number - done)))).leased
            for moves in (
                [Claim(item_id=h.item_id, token=h.token) for h in held],
                [Observe(item_id=h.item_id, token=h.token, phase="exited", exit_code=0)
                 for h in held],
            ):  # fmt: skip
                wrong = [m.code for m in await api.move(moves) if m.code]
                if wrong:
                    raise RuntimeError(f"moves were refused: {wrong[0]}")
            done += len(held)
        await api.retire()
    finally:
        await api.close()
