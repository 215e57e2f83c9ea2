"""What Prometheus is told. One registry for each app, so that tests may have many."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """Counters of this process, and gauges that are set when somebody scrapes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        here = self.registry
        self.requests = Counter(
            "runyard_http_requests",
            "Requests by route template and status.",
            ["method", "route", "status"],
            registry=here,
        )
        self.seconds = Histogram(
            "runyard_http_request_seconds",
            "Time to the end of an answer, polls and streams left out.",
            ["route"],
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
            registry=here,
        )
        self.transactions = Histogram(
            "runyard_transaction_seconds",
            "Time of database transactions, the wait for a connection included.",
            ["kind"],
            buckets=(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
            registry=here,
        )
        self.submitted = Counter("runyard_items_submitted", "Items queued.", registry=here)
        self.leased = Counter("runyard_items_leased", "Items leased to agents.", registry=here)
        self.moves = Counter(
            "runyard_moves",
            "Moves asked for by agents; code is ok or the error's.",
            ["kind", "code"],
            registry=here,
        )
        self.log_bytes = Counter("runyard_log_bytes", "Bytes of output taken.", registry=here)
        self.swept = Counter(
            "runyard_swept", "What the sweeper took back or forgot.", ["what"], registry=here
        )
        self.polls_waiting = Gauge(
            "runyard_polls_waiting", "Agents' polls that hang now.", registry=here
        )
        self.streams = Gauge("runyard_streams", "Log and event streams open now.", registry=here)
        self._items = Gauge(
            "runyard_queue_items",
            "Items of a queue that wait, or are leased or claimed.",
            ["entity", "queue", "state"],
            registry=here,
        )
        self._agents = Gauge(
            "runyard_queue_agents", "Live agents of a queue.", ["entity", "queue"], registry=here
        )

    def text(self, queues: Mapping[tuple[str, str], tuple[int, int, int]]) -> bytes:
        """Return the exposition; `queues` maps (entity, name) to (pending, held, agents)."""
        self._items.clear()
        self._agents.clear()
        for (entity, queue), (pending, held, agents) in queues.items():
            self._items.labels(entity, queue, "pending").set(pending)
            self._items.labels(entity, queue, "held").set(held)
            self._agents.labels(entity, queue).set(agents)
        return generate_latest(self.registry)
