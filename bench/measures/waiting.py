"""Agents that wait: what they cost while nothing happens, and how fast they wake."""

from __future__ import annotations

import asyncio
import re
import resource
import time
from dataclasses import dataclass

import msgspec
from harness.results import Row
from harness.yard import Yard

from measures.floors import Floors, round_trip_ms
from measures.traffic import SPEC
from runyard.wire.agent import Claim, Moves, Observe, Poll, Polled, Register, Registered

WAITING = 2000
FLUSHES = 12  # a minute: the one write that notes for all agents together that they live


def idle_rows(floors: Floors) -> list[Row]:
    seconds = 12.0 if floors.quick else 60.0
    with Yard() as yard:
        yard.add_queue("bench")
        time.sleep(1)
        without = _transactions_a_minute(yard, seconds)
        yard.add_agent("bench")
        yard.wait_agents("bench")
        time.sleep(2)
        beside = _transactions_a_minute(yard, seconds)
    return [
        Row("one idle agent", "tx/min", [beside], without, _NOBODY, without + FLUSHES,
            note="the target is the server's own plus its shared note of who lives"),
    ]  # fmt: skip


_NOBODY = "a server without agents: its sweeper alone"


def rows(floors: Floors) -> list[Row]:
    number = 200 if floors.quick else WAITING
    _allow_files(3 * number + 200)
    seconds = 12.0 if floors.quick else 60.0
    with Yard() as yard:
        yard.add_queue("bench", "local-container")
        time.sleep(1)
        without = _transactions_a_minute(yard, seconds)
        wakes, beside, memory = asyncio.run(
            _wait_and_wake(yard, number, 30 if floors.quick else 200, seconds)
        )
    trip = floors.get("trip", round_trip_ms)
    return [
        Row(f"wake-up with {number:,} waiting agents", "ms", wakes, trip,
            "a byte there and back over loopback", 50,
            note="from just before the submit call to the lease in an agent's hands"),
        Row(f"{number:,} idle agents", "tx/min", [beside], without, _NOBODY, without + FLUSHES),
        Row(f"server with {number:,} waiting agents", "MB", [memory]),
    ]  # fmt: skip


@dataclass
class _Agent:
    """One long poll after the other over one bare connection."""

    host: str
    port: int
    token: str
    path: str = "/api/v1/agents"
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: bytes) -> bytes:
        if self.writer is None or self.reader is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        self.writer.write(
            f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nAuthorization: Bearer {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        answer = await self.reader.readexactly(int(length[1])) if length else b""
        if not head.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"{path}: {head.splitlines()[0]!r} {answer[:200]!r}")
        return answer

    async def register(self, name: str) -> None:
        asked = Register(name=name, hostname="bench", version="0", queues=["bench"], max_jobs=1)
        answer = await self.post(self.path, msgspec.json.encode(asked))
        registered = msgspec.json.decode(answer, type=Registered)
        self.token, self.path = registered.token, f"{self.path}/{registered.agent_id}"

    async def serve(self, woken: asyncio.Queue[float]) -> None:
        poll = msgspec.json.encode(Poll(slots=1))
        while True:
            polled = msgspec.json.decode(await self.post(f"{self.path}/poll", poll), type=Polled)
            if polled.leased:
                woken.put_nowait(time.perf_counter())
            for held in polled.leased:
                moves = Moves(
                    [
                        Claim(item_id=held.item_id, token=held.token),
                        Observe(
                            item_id=held.item_id, token=held.token, phase="exited", exit_code=0
                        ),
                    ]
                )
                await self.post(f"{self.path}/moves", msgspec.json.encode(moves))

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


async def _wait_and_wake(
    yard: Yard, number: int, samples: int, seconds: float
) -> tuple[list[float], float, float]:
    """Return wake-up times in ms, transactions a minute while all wait, and the server's MB."""
    host, _, port = yard.urls[0].removeprefix("http://").partition(":")
    agents = [_Agent(host, int(port), yard.key) for _ in range(number)]
    few = asyncio.Semaphore(16)

    async def register(n: int, agent: _Agent) -> None:
        async with few:
            await agent.register(f"waiting-{n}")

    await asyncio.gather(*(register(n, agent) for n, agent in enumerate(agents)))
    woken: asyncio.Queue[float] = asyncio.Queue()
    tasks = [asyncio.create_task(agent.serve(woken)) for agent in agents]
    try:
        await asyncio.sleep(3 + number / 500)  # all have looked once, and hang
        beside = await asyncio.to_thread(_transactions_a_minute, yard, seconds)
        memory = yard.servers[0].memory_mb()
        wakes = []
        with yard.api() as api:
            for _ in range(samples):
                begun = time.perf_counter()
                await asyncio.to_thread(api.submit, yard.entity, "bench", [SPEC], minimal=True)
                async with asyncio.timeout(30):
                    wakes.append((await woken.get() - begun) * 1e3)
                await asyncio.sleep(0.05)
        for task in tasks:
            if task.done():
                task.result()
        return wakes, beside, memory
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for agent in agents:
            agent.close()


def _transactions_a_minute(yard: Yard, seconds: float) -> float:
    begun, before = time.perf_counter(), _transactions(yard)
    time.sleep(seconds)
    after, taken = _transactions(yard), time.perf_counter() - begun
    return 60 * (after - before - 1) / taken  # one of them was our own look


def _transactions(yard: Yard) -> float:
    return sum(
        float(line.rpartition(" ")[2])
        for line in yard.metrics().splitlines()
        if line.startswith("runyard_transaction_seconds_count")
    )


def _allow_files(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(number, hard), hard))
