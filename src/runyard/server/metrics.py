"""
What Prometheus is told. One registry for each app, so that tests may have many.

What is counted here is of this process: the sum over all servers is the whole. How things stand
in the database is in `gauges`.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from runyard.services.counting import Fact

OTHER: Final = ("_other", "_other")
FORGET_AFTER: Final = 3600.0  # seconds without anything to count
MOST_QUEUES: Final = 100

disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the number of series


class Metrics:
    """Counters of this process."""

    def __init__(self, *, most_queues: int = MOST_QUEUES) -> None:
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
        self.images = Counter(
            "runyard_images",
            "Answers to agents that need an image: build, wait, use or fail; and how builds ended: "
            "built or failed.",
            ["what"],
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
        self.behind = Gauge(
            "runyard_events_behind",
            "Events of items that were not counted, or traced, when this server looked last.",
            ["follower"],
            registry=here,
        )
        self.traces = Counter(
            "runyard_traces_exported",
            "Traces of items that were sent, or could not be sent and will be again.",
            ["result"],
            registry=here,
        )
        self.notified = Counter(
            "runyard_notifications",
            "Tries to send a notification, by webhook or email.",
            ["kind", "result"],
            registry=here,
        )
        self.queues = QueueFigures(most_queues)

    def count(self, facts: Iterable[Fact]) -> None:
        """Count what happened to items."""
        for fact in facts:
            self.queues.count(fact)

    def text(self, *more: Collector) -> bytes:
        """Return the exposition: what this process counted, and what others collected."""
        return b"".join(generate_latest(each) for each in (self.registry, *more))


class QueueFigures:
    """
    Counters and times with a queue for a label, of the queues that this process met last.

    There are `most` of them at most, so that a million queues do not become a million series:
    one more, and the one that was silent for longest is forgotten if that was long ago;
    otherwise the new one is counted as `_other`, which is no name that a queue can have.
    """

    def __init__(self, most: int, seconds: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds = most, seconds
        self.registry = CollectorRegistry()
        self._named: OrderedDict[str, tuple[tuple[str, str], float]] = OrderedDict()
        self._children: dict[tuple[str, str], set[tuple[str, tuple[str, ...]]]] = {}
        self._metrics: dict[str, Counter | Histogram] = {
            "submitted": self._counter("runyard_queue_submitted", "Items submitted to a queue."),
            "returned": self._counter(
                "runyard_queue_returned",
                "Attempts after which the item went back to its queue, by why.",
                "reason",
            ),
            "ended": self._counter("runyard_queue_ended", "Items that ended, by how.", "outcome"),
            "failure": self._counter(
                "runyard_queue_failures",
                "Items that failed, by stage and kind of reason.",
                "stage",
                "reason",
            ),
            "wait": self._histogram(
                "runyard_queue_wait_seconds",
                "From an item's coming to the queue, or back to it, to its claim.",
                (0.1, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 86_400),
            ),
            "start": self._histogram(
                "runyard_queue_start_seconds",
                "From a claim to its running workload: fetching, pulling images, waiting.",
                (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600),
            ),
            "run": self._histogram(
                "runyard_queue_run_seconds",
                "How long attempts ran, by how they ended.",
                (1, 10, 60, 300, 1800, 3600, 4 * 3600, 12 * 3600, 86_400, 3 * 86_400),
                "outcome",
            ),
        }

    def count(self, fact: Fact) -> None:
        metric = self._metrics[fact.name]
        name = self._name(fact)
        labels = (*name, *fact.words)
        self._children.setdefault(name, set()).add((fact.name, labels))
        child = metric.labels(*labels)
        if isinstance(child, Histogram):
            child.observe(fact.seconds)
        else:
            child.inc()

    def _name(self, fact: Fact) -> tuple[str, str]:
        now, name = self._seconds(), (fact.entity, fact.queue)
        if fact.queue_id not in self._named and len(self._named) >= self._most:
            oldest, (silent, counted_at) = next(iter(self._named.items()))
            if now - counted_at < FORGET_AFTER:
                return OTHER
            del self._named[oldest]
            self._forget(silent)
        self._named[fact.queue_id] = (name, now)
        self._named.move_to_end(fact.queue_id)
        return name

    def _forget(self, name: tuple[str, str]) -> None:
        if any(name == other for other, _ in self._named.values()):
            return  # a queue of that name was deleted and made anew
        for metric, labels in self._children.pop(name, ()):
            self._metrics[metric].remove(*labels)

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(name, help, ["entity", "queue", *labels], registry=self.registry)

    def _histogram(
        self, name: str, help: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        all_labels = ["entity", "queue", *labels]
        return Histogram(name, help, all_labels, buckets=buckets, registry=self.registry)


class Visible(Collector):
    """What of some families may be told: the samples of entities and queues that pass."""

    def __init__(self, families: Collector, may_see: Callable[[str, str | None], bool]) -> None:
        self._families, self._may_see = families, may_see

    def collect(self) -> Iterator[Metric]:
        for family in self._families.collect():
            family.samples = [
                s
                for s in family.samples
                if self._may_see(s.labels["entity"], s.labels.get("queue"))
            ]
            yield family
