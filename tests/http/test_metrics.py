"""What Prometheus is told: of queues, of agents, of what happened, and to whom."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from starlette.testclient import TestClient

from runyard.server.app import create_app
from runyard.server.metrics import FORGET_AFTER, OTHER, QueueFigures
from runyard.server.settings import ServerSettings
from runyard.services.counting import Fact
from runyard.store import gauges
from runyard.store import tables as t
from runyard.store.db import Database
from tests.http.conftest import IMAGE, Caller, Clock, World
from tests.http.test_agents import until
from tests.store.test_plans import plan

Labels = tuple[tuple[str, str], ...]


def scrape(world: World, who: Caller | None = None) -> Mapping[tuple[str, Labels], float]:
    """Count what is new, look anew, and return every sample."""
    monitor = world.server.monitor
    monitor.gauges.fresh_s = 0
    monitor.gauges._fresh_until = 0
    world.clock.ahead += _LATER  # nothing is young any more
    world.http.portal.call(world.server.presence.flush)
    world.http.portal.call(monitor.counting.run_once)
    answer = (who or world.admin)("GET", "/metrics")
    assert answer.status_code == 200, answer.text
    return samples(answer.text)


def samples(exposition: str) -> Mapping[tuple[str, Labels], float]:
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(exposition)
        for s in family.samples
    }


def of(found: Mapping[tuple[str, Labels], float], name: str, **labels: str) -> float | None:
    return found.get((name, tuple(sorted(labels.items()))))


_LATER = timedelta(seconds=40)  # less than an agent is lost after
Q = {"entity": "admin", "queue": "q"}


def test_a_queue_is_told_as_it_stands(world: World) -> None:
    body = {"name": "q", "resource": "local-container",
            "policy": {"max_running": 3, "priorities": True}}  # fmt: skip
    world.admin.ok("POST", "/queues", json=body)
    agent = world.agent()
    items = [IMAGE, IMAGE, IMAGE | {"priority": "high"}]
    made = world.admin.ok("POST", "/queues/admin/q/items", json={"items": items})["items"]
    agent.claim()
    with world.server.database.begin() as tx:
        tx.run(t.items.update().where(t.items.c.id == made[1]["id"]).values(parked="held"))
        tx.run(t.queues.update().values(mode="paused"))
    found = scrape(world)
    assert of(found, "runyard_queue_waiting", **Q, priority="medium") == 1
    assert of(found, "runyard_queue_waiting", **Q, priority="high") == 0
    assert of(found, "runyard_queue_held", **Q) == 1
    assert of(found, "runyard_queue_backing_off", **Q) == 0
    assert of(found, "runyard_queue_running", **Q) == 1
    assert of(found, "runyard_queue_running_limit", **Q) == 3
    assert of(found, "runyard_queue_agents", **Q) == 1
    assert of(found, "runyard_queue_paused", **Q) == 1
    assert of(found, "runyard_queue_draining", **Q) == 0
    oldest = of(found, "runyard_queue_oldest_wait_seconds", **Q)
    assert oldest is not None
    assert 40 <= oldest < 60
    assert of(found, "runyard_agents", entity="admin", state="live") == 1
    assert of(found, "runyard_agent_items", entity="admin") == 1


def test_agents_are_live_set_aside_or_lost_and_have_slots(world: World) -> None:
    world.queue()
    for name in ("a", "b", "c", "unlimited"):
        world.agent(name)
    with world.server.database.begin() as tx:
        tx.run(t.agents.update().where(t.agents.c.name != "unlimited").values(max_jobs=4))
        tx.run(t.agents.update().where(t.agents.c.name == "b").values(set_aside_at=1))
    found = scrape(world)
    for state, n in (("live", 3), ("set_aside", 1), ("lost", 0)):
        assert of(found, "runyard_agents", entity="admin", state=state) == n
    assert of(found, "runyard_agent_slots", entity="admin") == 8
    assert of(found, "runyard_queue_agents", **Q) == 3
    world.clock.ahead += timedelta(hours=1)
    found = scrape(world)
    assert of(found, "runyard_agents", entity="admin", state="lost") == 4
    assert of(found, "runyard_agent_slots", entity="admin") == 0
    assert of(found, "runyard_queue_agents", **Q) == 0


def test_what_happened_is_counted_by_queue(world: World) -> None:
    world.queue()
    agent = world.agent()
    world.submit(2)
    held = agent.claim()
    agent.move(agent.to("observe", held, phase="running"))
    agent.finish(held)
    held = agent.claim()
    agent.move(agent.to("fail", held, stage="fetch", message="no such commit: s3cret"))
    scrape(world)
    found = scrape(world)  # once counted, it is not counted again
    assert of(found, "runyard_queue_submitted_total", **Q) == 2
    assert of(found, "runyard_queue_wait_seconds_count", **Q) == 2
    assert of(found, "runyard_queue_start_seconds_count", **Q) == 1
    assert of(found, "runyard_queue_run_seconds_count", **Q, outcome="finished") == 1
    assert of(found, "runyard_queue_ended_total", **Q, outcome="finished") == 1
    assert of(found, "runyard_queue_ended_total", **Q, outcome="failed") == 1
    assert of(found, "runyard_queue_failures_total", **Q, stage="fetch", reason="not_started") == 1
    assert of(found, "runyard_events_behind", follower="counts") == 0
    assert not [key for key in found if "s3cret" in str(key)]
    assert not [name for name, _ in found if name.endswith("_created")]


def test_T14_queues_that_one_may_not_see_are_not_told(world: World) -> None:
    world.queue()
    agent = world.agent()
    world.submit()
    agent.finish(agent.claim())
    eve = world.user("eve")
    world.queue("own", "eve", eve)
    found = scrape(world, eve)
    queues = {dict(labels)["queue"] for _, labels in found if "queue" in dict(labels)}
    entities = {dict(labels)["entity"] for _, labels in found if "entity" in dict(labels)}
    assert (queues, entities) == ({"own"}, {"eve"})
    assert {"own", "q"} <= {dict(labels).get("queue") for _, labels in scrape(world)}
    assert agent.caller("GET", "/metrics").status_code == 403
    assert world.caller(None)("GET", "/metrics").status_code == 401


@pytest.fixture
def few(database: Database, tmp_path: Any, clock: Clock) -> Iterator[World]:
    settings = ServerSettings(home=tmp_path / "home", sweep_interval_s=60, metrics_queues=2)
    with running(database, settings, clock) as world:
        yield world


@contextmanager
def running(database: Database, settings: ServerSettings, clock: Clock) -> Iterator[World]:
    server = create_app(settings, database=database, clock=clock, say=lambda _: None)
    with TestClient(server, base_url="http://localhost") as http:
        yield World(server, http, clock)


def test_the_number_of_queues_that_are_named_is_bounded(few: World) -> None:
    for n in range(6):
        few.queue(f"q{n}")
        few.submit(n, f"admin/q{n}") if n else None
    found = scrape(few)
    named = {
        dict(labels)["queue"]: value
        for (name, labels), value in found.items()
        if name == "runyard_queue_waiting" and dict(labels)["priority"] == "medium"
    }
    assert named == {"q5": 5, "q4": 4, OTHER[0]: 6}
    counted = {
        dict(labels)["queue"]: value
        for (name, labels), value in found.items()
        if name == "runyard_queue_submitted_total"
    }
    assert len(counted) == 3
    assert sum(counted.values()) == 15


def test_a_queue_that_was_silent_for_long_makes_room() -> None:
    now = [0.0]
    figures = QueueFigures(2, lambda: now[0])

    def count(queue: str) -> set[str]:
        figures.count(Fact("wait", queue, "e", queue, seconds=1))
        families = figures.registry.collect()
        return {s.labels["queue"] for family in families for s in family.samples}

    assert count("a") == {"a"}
    assert count("b") == {"a", "b"}
    assert count("c") == {"a", "b", OTHER[1]}
    now[0] = FORGET_AFTER + 1
    count("a")
    assert count("d") == {"a", "d", OTHER[1]}


def test_two_servers_tell_each_thing_once(database: Database, tmp_path: Any, clock: Clock) -> None:
    if not database.is_postgres:
        return  # one server only
    settings = [ServerSettings(home=tmp_path / f"home{n}", sweep_interval_s=60) for n in range(2)]
    other_database = Database(database.url.render_as_string(hide_password=False))
    with (
        running(database, settings[0], clock) as one,
        running(other_database, settings[1], clock) as two,
    ):
        one.queue()
        agent = one.agent()
        one.submit(4)
        agent.finish(agent.claim())
        two.submit(3)
        found = [scrape(world) for world in (one, two, one, two)][2:]
        submitted = [of(each, "runyard_queue_submitted_total", **Q) or 0 for each in found]
        assert sum(submitted) == 7
        waiting = [of(each, "runyard_queue_waiting", **Q, priority="medium") for each in found]
        assert sorted(waiting, key=str) == [6, None]
        first = waiting.index(6)
        clock.ahead += timedelta(seconds=61)  # it is scraped no more: the other takes over
        found = [scrape((one, two)[1 - first])]
        assert of(found[0], "runyard_queue_waiting", **Q, priority="medium") == 6
    other_database.close()


QUERIES = {
    "waiting": (gauges._WAITING, {}, "ix_items_waiting"),
    "parked": (gauges._PARKED, {}, "ix_items_parked"),
    "held": (gauges._HELD, {}, "ix_items_"),
}


@pytest.mark.parametrize("name", QUERIES)
def test_standing_is_read_from_partial_indexes(database: Database, name: str) -> None:
    query, params, index = QUERIES[name]
    found = plan(database, query, params)
    assert index in found, found
    assert "SCAN items\n" not in found + "\n", found
    assert "Seq Scan on items" not in found, found


def test_100_000_waiting_items_are_scraped_in_no_time(world: World) -> None:
    world.queue()
    world.submit()
    with world.server.database.begin() as tx:
        _multiply(tx, 100_000)
    if world.server.database.is_postgres:
        with world.server.database.begin() as tx:
            tx.connection.execute(text("ANALYZE items"))
    gauges_ = world.server.monitor.gauges
    answers, took = [], []
    for _ in range(5):
        gauges_._fresh_until = 0
        begun = time.process_time(), time.perf_counter()
        answers.append(world.admin("GET", "/metrics").text)
        took.append((time.process_time() - begun[0], time.perf_counter() - begun[1]))
    found = samples(answers[-1])
    assert of(found, "runyard_queue_waiting", **Q, priority="medium") == 100_001
    print("scrapes took (own, whole)", took)
    # A tenth of a second on a machine of one's own; here others work at the same time.
    assert min(own for own, _ in took) < 0.2
    assert min(whole for _, whole in took) < 0.8


def _multiply(tx: Any, n: int) -> None:
    names = [c.name for c in t.items.columns if c.name != "id"]
    number = "lpad(i::text, 26, '0')" if tx.is_postgres else "printf('%026d', i)"
    tx.connection.exec_driver_sql(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n}) "
        f"INSERT INTO items (id, {', '.join(names)}) "
        f"SELECT {number}, {', '.join(names)} FROM items CROSS JOIN n".replace(
            "%", "%%" if tx.is_postgres else "%"
        )
    )


def test_where_nothing_happens_nothing_is_asked_and_what_happens_is_soon_counted(
    database: Database, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runyard.server.counting.EVERY", 0.05)
    settings = ServerSettings(home=tmp_path / "home", sweep_interval_s=60)
    with running(database, settings, Clock()) as world:
        looks = []
        run_once = world.server.monitor.counting.run_once

        async def look() -> int:
            looks.append(await run_once())
            return looks[-1]

        time.sleep(0.3)  # it has looked once
        monkeypatch.setattr(world.server.monitor.counting, "run_once", look)
        time.sleep(0.5)
        assert looks == []
        world.queue()
        world.submit(3)
        until(lambda: sum(looks) == 3)
