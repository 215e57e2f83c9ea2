"""
How things stand in queues and agents, for Prometheus: read from the database when it scrapes.

All servers would tell the same, so one of them does: the one that holds a lease, renewed when it
is scraped. It reads at most every few seconds, and less often where reading takes long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from runyard.domain.queues import PRIORITIES
from runyard.server.edge import SERVER, Edge
from runyard.server.metrics import OTHER
from runyard.services.call import Call
from runyard.store import cursors, gauges
from runyard.store.values import from_ms, from_text

LEASE: Final = "gauges"
_LEASE_LASTS: Final = timedelta(seconds=60)
_FRESH: Final = 5.0  # seconds
_SHARE: Final = 0.02  # of the time may be spent on reading
_LEVELS: Final[Mapping[int, str]] = {level: name for name, level in PRIORITIES.items()}


@dataclass(slots=True)
class QueueGauge:
    """Numbers of one queue, or of several together. `oldest` is when the first of them came."""

    waiting: dict[int, int] = field(default_factory=dict)
    held: int = 0
    backing_off: int = 0
    oldest: datetime | None = None
    running: int = 0
    limit: int = 0
    agents: int = 0
    paused: int = 0
    draining: int = 0

    @property
    def size(self) -> int:
        return sum(self.waiting.values()) + self.held + self.backing_off + self.running

    def add(self, other: QueueGauge) -> None:
        for priority, n in other.waiting.items():
            self.waiting[priority] = self.waiting.get(priority, 0) + n
        self.held += other.held
        self.backing_off += other.backing_off
        self.running += other.running
        self.limit += other.limit
        self.agents += other.agents
        self.paused += other.paused
        self.draining += other.draining
        if other.oldest is not None:
            self.oldest = min(self.oldest or other.oldest, other.oldest)


@dataclass(slots=True)
class AgentGauge:
    live: int = 0
    set_aside: int = 0
    lost: int = 0
    slots: int = 0
    running: int = 0


@dataclass(slots=True)
class Standing(Collector):
    """How things stood at a time, by (entity, queue) and by entity."""

    at: datetime
    queues: dict[tuple[str, str], QueueGauge] = field(default_factory=dict)
    agents: dict[str, AgentGauge] = field(default_factory=dict)

    def collect(self) -> Iterator[Metric]:
        yield from self._of_queues()
        yield from self._of_agents()

    def _of_queues(self) -> Iterator[Metric]:
        waiting = _family("waiting", "Items that wait and may be leased.", "priority")
        for name, queue in self.queues.items():
            for level, word in _LEVELS.items():
                waiting.add_metric([*name, word], queue.waiting.get(level, 0))
        yield waiting
        for what, help, value in (
            ("held", "Items that a person holds.", lambda q: q.held),
            ("backing_off", "Items that wait for their next try.", lambda q: q.backing_off),
            ("oldest_wait_seconds", "How long the oldest waiting item waits.", self._oldest),
            ("running", "Items that are leased or claimed.", lambda q: q.running),
            ("running_limit", "The most that may run at once; 0 is any number.", _limit),
            ("agents", "Live agents that serve the queue.", lambda q: q.agents),
            ("paused", "1 if the queue is paused.", lambda q: q.paused),
            ("draining", "1 if the queue takes nothing new.", lambda q: q.draining),
        ):
            family = _family(what, help)
            for name, queue in self.queues.items():
                family.add_metric(name, value(queue))
            yield family

    def _of_agents(self) -> Iterator[Metric]:
        agents = GaugeMetricFamily(
            "runyard_agents",
            "Agents: live, set aside for faults of their host, or lost without a word.",
            labels=["entity", "state"],
        )
        slots = GaugeMetricFamily(
            "runyard_agent_slots",
            "How many items live agents may run; those without a limit are left out.",
            labels=["entity"],
        )
        running = GaugeMetricFamily(
            "runyard_agent_items", "Items that agents hold.", labels=["entity"]
        )
        for entity, agent in self.agents.items():
            agents.add_metric([entity, "live"], agent.live)
            agents.add_metric([entity, "set_aside"], agent.set_aside)
            agents.add_metric([entity, "lost"], agent.lost)
            slots.add_metric([entity], agent.slots)
            running.add_metric([entity], agent.running)
        yield from (agents, slots, running)

    def _oldest(self, queue: QueueGauge) -> float:
        return max(0.0, (self.at - queue.oldest).total_seconds()) if queue.oldest else 0.0


def _limit(queue: QueueGauge) -> int:
    return queue.limit


def _family(what: str, help: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"runyard_queue_{what}", help, labels=["entity", "queue", *labels])


class Gauges:
    def __init__(self, edge: Edge, *, most: int) -> None:
        self.fresh_s = _FRESH
        self._edge, self._most = edge, most
        self._lock = asyncio.Lock()
        self._standing: Standing | None = None
        self._fresh_until = 0.0
        self._held: int | None = None

    async def standing(self) -> Standing | None:
        """Return how things stand, None if another server tells it."""
        async with self._lock:
            begun = time.monotonic()
            if begun >= self._fresh_until:
                self._standing = await self._read() if await self._is_ours() else None
                took = time.monotonic() - begun
                self._fresh_until = begun + took + max(self.fresh_s, took / _SHARE)
            return self._standing

    async def _is_ours(self) -> bool:
        if not self._edge.database.is_postgres:  # there is no other server
            return True
        held = self._held

        def lease(call: Call) -> int | None:
            return cursors.lease(call.tx, LEASE, held, call.now, _LEASE_LASTS)

        self._held = await self._edge.write(SERVER, lease)
        return self._held is not None

    async def _read(self) -> Standing:
        return await self._edge.read(SERVER, lambda call: read(call, most=self._most))


def read(call: Call, *, most: int) -> Standing:
    """Return how things stand; beyond the `most` busiest queues, all others as one."""
    names: dict[str, tuple[str, str]] = {}
    found: dict[str, QueueGauge] = {}
    for row in gauges.queues(call.tx):
        names[row["id"]] = (row["entity"], row["name"])
        found[row["id"]] = QueueGauge(
            # Not parsed: one policy that another version wrote must not end all monitoring.
            limit=int(from_text(row["policy"]).get("max_running") or 0),
            paused=int(row["mode"] == "paused"),
            draining=int(row["mode"] == "draining"),
        )
    agents = {row["entity_id"]: row for row in gauges.agents(call.tx, call.now)}
    running = _fill(call, found)
    ordered = sorted(found, key=lambda queue_id: (-found[queue_id].size, queue_id))
    standing = Standing(call.now)
    for queue_id in ordered[:most]:
        standing.queues[names[queue_id]] = found[queue_id]
    for queue_id in ordered[most:]:
        standing.queues.setdefault(OTHER, QueueGauge()).add(found[queue_id])
    busiest = sorted(agents.values(), key=lambda row: (-row["live"], row["entity_id"]))
    for n, row in enumerate(busiest):
        gauge = standing.agents.setdefault(row["entity"] if n < most else OTHER[0], AgentGauge())
        gauge.live += row["live"]
        gauge.set_aside += row["set_aside"]
        gauge.lost += row["lost"]
        gauge.slots += row["slots"]
        gauge.running += running.get(row["entity_id"], 0)
    return standing


def _fill(call: Call, found: dict[str, QueueGauge]) -> dict[str, int]:
    """Fill in what is in the queues; return how many items the agents of each entity hold."""
    nowhere = QueueGauge()  # of a queue that was deleted while something of it still ran
    for row in gauges.waiting(call.tx):
        gauge, came = found.get(row["queue_id"], nowhere), from_ms(row["oldest"])
        gauge.waiting[row["priority"]] = row["n"]
        gauge.oldest = min(gauge.oldest or came, came)
    for row in gauges.parked(call.tx):
        gauge = found.get(row["queue_id"], nowhere)
        if row["parked"] == "held":
            gauge.held = row["n"]
        else:
            gauge.backing_off = row["n"]
    running: dict[str, int] = {}
    for row in gauges.held(call.tx):
        found.get(row["queue_id"], nowhere).running += row["n"]
        running[row["entity_id"]] = running.get(row["entity_id"], 0) + row["n"]
    for row in gauges.serving(call.tx, call.now):
        found.get(row["id"], nowhere).agents = row["n"]
    return running
