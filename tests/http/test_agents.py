from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx2
import pytest

from runyard.server.edge import SERVER
from runyard.services import sweeping

from .conftest import Agent, World


def test_an_item_goes_from_submission_to_its_end(world: World) -> None:
    world.queue()
    agent = world.agent()
    (made,) = world.submit()
    held = agent.claim()
    assert held["item_id"] == made["id"]
    assert held["spec"] == made["spec"]
    assert agent.log(held, 0, b"one\n").size == 4
    assert agent.log(held, 2, b"e\ntwo\n").size == 8  # what is here already is skipped
    assert agent.log(held, 20, b"lost").size == 8  # a gap is not taken
    agent.finish(held, 3)
    item = world.admin.ok("GET", f"/items/{made['id']}")
    assert (item["state"], item["status"], item["exit_code"]) == ("FINISHED", "Failed", 3)
    assert item["agent"] == "a"
    run = made["run"]
    log = world.admin("GET", f"/runs/admin/default/{run['run_id']}/logs")
    assert log.text == "one\ntwo\n"
    assert log.headers["x-runyard-log-size"] == "8"
    assert log.headers["x-content-type-options"] == "nosniff"
    part = world.admin(
        "GET", f"/runs/admin/default/{run['run_id']}/logs", params={"offset": 2, "limit_bytes": 3}
    )
    assert part.text == "e\nt"


def test_an_older_process_is_told_that_it_is_one(world: World) -> None:
    world.queue()
    old = world.agent()
    assert old.poll()["leased"] == []
    world.agent()
    for method, path in (("POST", "poll"), ("POST", "moves")):
        body = {"slots": 1} if path == "poll" else {"moves": []}
        answer = old.caller(method, f"/agents/{old.id}/{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_epoch")


def test_registering_again_adopts_what_was_claimed(world: World) -> None:
    world.queue()
    world.submit()
    held = world.agent().claim()
    again = world.agent()
    (adopted,) = again.registered["held"]
    assert adopted["item_id"] == held["item_id"]
    assert adopted["token"] != held["token"]
    (answer,) = again.move(again.to("claim", held))
    assert answer["code"] == "stale_lease"


def test_a_retired_agent_is_known_no_more(world: World) -> None:
    world.queue()
    agent = world.agent()
    agent.caller.ok("DELETE", f"/agents/{agent.id}")
    assert agent.caller("POST", f"/agents/{agent.id}/poll", json={"slots": 1}).status_code == 401
    (shown,) = world.admin.ok("GET", "/agents")["data"]
    assert (shown["live"], shown["status"]) == (False, "KILLED")


def test_a_person_asks_an_agent_to_drain(world: World) -> None:
    world.queue()
    agent = world.agent()
    agent.poll()
    world.admin.ok("DELETE", f"/agents/{agent.id}")
    assert agent.poll(wait_s=5)["drain"]  # the news may take a moment through the database


def test_what_runs_out_goes_back_and_a_lost_agent_is_seen(world: World) -> None:
    world.queue()
    agent = world.agent()
    (made,) = world.submit()
    agent.poll()
    world.clock.ahead += timedelta(seconds=61)
    swept = world.http.portal.call(world.server.sweeper.run_once)
    assert swept.expired == 1
    item = world.admin.ok("GET", f"/items/{made['id']}")
    assert (item["state"], item["status"]) == ("PENDING", "Idle")


def test_a_submission_wakes_a_waiting_agent_at_once(live: World) -> None:
    live.queue()
    agent = live.agent()
    agent.poll()
    with waiting(live, lambda: agent.poll(wait_s=20)) as poll:
        begun = time.monotonic()
        live.submit()
        answer = poll.result()
    assert len(answer["leased"]) == 1
    assert time.monotonic() - begun < 2


def test_a_submission_wakes_no_more_agents_than_items_came(live: World) -> None:
    live.queue()
    agents = [live.agent(f"a{n}") for n in range(5)]
    for agent in agents:
        agent.poll()
    done: list[int] = []
    threads = [
        threading.Thread(target=lambda a=a: done.append(len(a.poll(wait_s=4)["leased"])))
        for a in agents
    ]
    for thread in threads:
        thread.start()
    until(lambda: polls_waiting(live) == 5)
    live.submit(2)
    until(lambda: len(done) == 2)
    assert done == [1, 1]
    assert polls_waiting(live) == 3
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, 0, 0, 1, 1]


def test_a_poll_with_nothing_to_do_asks_the_database_nothing(live: World) -> None:
    live.queue()
    agent = live.agent()
    agent.poll()
    agent.poll()
    before = transactions(live)
    for _ in range(5):
        assert agent.poll()["leased"] == []
    assert transactions(live) == before


def test_a_poll_that_holds_what_the_server_knows_of_asks_the_database_nothing(live: World) -> None:
    live.queue()
    agent = live.agent()
    live.submit()
    held = agent.claim()
    holding = (held["item_id"],)
    agent.poll(holding=holding)
    agent.poll(holding=holding)
    before = transactions(live)
    for _ in range(5):
        assert agent.poll(holding=holding)["lost"] == []
    assert transactions(live) == before


def test_what_a_silent_agent_lost_reaches_it_while_it_waits(live: World) -> None:
    live.queue()
    agent = live.agent()
    live.submit()
    held = agent.claim()
    poll_it = lambda: agent.poll(slots=0, wait_s=20, holding=(held["item_id"],))  # noqa: E731
    with waiting(live, poll_it) as poll:
        live.clock.ahead += timedelta(hours=1)
        live.server.database.write(lambda tx: sweeping.expire(live.server.edge.call(tx, SERVER)))
        assert poll.result()["lost"] == [held["item_id"]]
    assert agent.poll(holding=(held["item_id"],))["lost"] == [held["item_id"]]  # until it knows


def test_an_agent_that_hung_up_passes_its_wake_up_on(live: World) -> None:
    live.queue()
    gone, here = live.agent("gone"), live.agent("here")
    gone.poll()
    here.poll()
    with httpx2.Client(base_url=live.http.base_url) as http, pytest.raises(httpx2.ReadTimeout):
        http.post(
            f"/api/v1/agents/{gone.id}/poll",
            json={"slots": 1, "wait_s": 20},
            headers={"Authorization": f"Bearer {gone.caller.key}"},
            timeout=0.3,
        )
    with waiting(live, lambda: here.poll(wait_s=20)) as poll:
        live.submit()
        assert len(poll.result()["leased"]) == 1


def test_a_queue_that_is_created_later_reaches_the_waiting_agent(live: World) -> None:
    agent = live.agent(queues=("later",))
    assert agent.poll()["queues"] == [{"name": "later", "resource": None}]
    with waiting(live, lambda: agent.poll(wait_s=20)) as poll:
        live.queue("later")
        assert poll.result()["queues"] == [{"name": "later", "resource": "local-container"}]


def test_a_stop_reaches_the_agent_while_it_waits(live: World) -> None:
    live.queue()
    agent = live.agent()
    (made,) = live.submit()
    held = agent.claim()
    poll_it = lambda: agent.poll(slots=0, wait_s=20, holding=(held["item_id"],))  # noqa: E731
    with waiting(live, poll_it) as poll:
        run = made["run"]
        live.admin.ok("POST", f"/runs/admin/default/{run['run_id']}/stop", json={"reason": "x"})
        assert [s["item_id"] for s in poll.result()["stop"]] == [held["item_id"]]


def test_an_older_process_learns_of_its_end_while_it_waits(live: World) -> None:
    live.queue()
    old = live.agent()
    old.poll()
    hang = lambda: old.caller(  # noqa: E731
        "POST", f"/agents/{old.id}/poll", json={"slots": 1, "wait_s": 20}
    )
    with waiting(live, hang) as poll:
        live.agent()
        assert poll.result().json()["code"] == "stale_epoch"


def test_an_item_pinned_to_an_agent_wakes_that_agent(live: World) -> None:
    live.queue()
    other, mine = live.agent("other"), live.agent("mine")
    other.poll()
    mine.poll()
    with ThreadPoolExecutor() as pool:
        theirs = pool.submit(other.poll, wait_s=3)
        until(lambda: polls_waiting(live) == 1)
        ours = pool.submit(mine.poll, wait_s=20)
        until(lambda: polls_waiting(live) == 2)
        begun = time.monotonic()
        live.submit(agent="mine")
        assert len(ours.result()["leased"]) == 1
        assert time.monotonic() - begun < 2
        assert theirs.result()["leased"] == []


class waiting:
    """Run a poll in a thread, and go on when it hangs at the server."""

    def __init__(self, world: World, poll: Callable[[], object]) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._poll = self._pool.submit(poll)
        until(lambda: polls_waiting(world) == 1)

    def __enter__(self):  # type: ignore[no-untyped-def]
        return self._poll

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


def polls_waiting(world: World) -> float:
    return world.server.metrics.polls_waiting._value.get()


def transactions(world: World) -> float:
    return sum(
        sample.value
        for metric in world.server.metrics.transactions.collect()
        for sample in metric.samples
        if sample.name.endswith("_count")
    )


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


__all__ = ["Agent"]
