"""Each event of an item is counted once, with the right words, by one of any number of servers."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from runyard.services import counting, queues, runs, sweeping
from runyard.services.counting import Fact
from runyard.store import cursors
from runyard.wire import agent as wire
from tests.services.conftest import Yard

HANDLE = wire.HandleData("local-container", 1, {"id": "c"})


@pytest.fixture(autouse=True)
def begun(yard: Yard) -> None:
    counting.begin(yard.call(), counting.CURSOR)


def count(yard: Yard) -> list[Fact]:
    yard.later(seconds=60)  # nothing is young any more
    return counting.count(yard.call())


def words(facts: list[Fact]) -> Counter[tuple[str, ...]]:
    return Counter((f.name, *f.words) for f in facts)


def seconds(facts: list[Fact], name: str) -> list[float]:
    return [f.seconds for f in facts if f.name == name]


def to(held: wire.Held) -> dict[str, Any]:
    return {"item_id": held.item_id, "token": held.token}


def ok(yard: Yard, who: wire.Registered, *moves: wire.AnyMove) -> None:
    assert [m.code for m in yard.move(who, *moves)] == [""] * len(moves)


def start(yard: Yard, who: wire.Registered, after: float = 2) -> wire.Held:
    held = yard.claimed(who)
    yard.later(seconds=after)
    ok(yard, who, wire.Observe(**to(held), phase="running"))
    return held


def test_an_item_is_measured_on_its_way(yard: Yard) -> None:
    who = yard.register()
    yard.submit("r")
    yard.later(seconds=30)
    held = start(yard, who, after=4)
    yard.later(seconds=100)
    ok(yard, who, wire.Observe(**to(held), phase="exited", exit_code=0))
    facts = count(yard)
    assert words(facts) == Counter(
        [("submitted",), ("wait",), ("start",), ("run", "finished"), ("ended", "finished")]
    )
    assert (seconds(facts, "wait"), seconds(facts, "start")) == ([30], [4])
    assert seconds(facts, "run") == [100]
    assert {(f.entity, f.queue, f.queue_id) for f in facts} == {("ann", "q", yard.queue.id)}
    assert count(yard) == []


def test_it_does_not_matter_when_and_how_often_one_looks(yard: Yard) -> None:
    who = yard.register()
    found: list[Fact] = []
    yard.submit("r")
    found += counting.count(yard.call())
    held = start(yard, who)
    found += counting.count(yard.call())
    ok(yard, who, wire.Observe(**to(held), phase="exited", exit_code=1))
    found += counting.count(yard.call())
    found += count(yard)
    assert words(found) == Counter([
        ("submitted",), ("wait",), ("start",), ("run", "failed"), ("ended", "failed"),
        ("failure", "run", "exit_code"),
    ])  # fmt: skip


def test_a_preemption_a_retry_and_a_fault_of_the_host_are_told_apart(yard: Yard) -> None:
    queues.edit(
        yard.call(), "ann", "q", config=None, policy={"retry": [{"at_most": 1, "backoff": 9}]}
    )
    who = yard.register()
    yard.submit("r")
    held = start(yard, who)
    ok(yard, who, wire.Observe(**to(held), phase="preempted"))
    held = yard.claimed(who)
    ok(yard, who, wire.Fail(**to(held), stage="agent", message="the disk is full", host=True))
    held = start(yard, who)
    ok(yard, who, wire.Observe(**to(held), phase="exited", exit_code=7))
    counted = words(count(yard))
    assert counted["returned", "preempted"] == 1
    assert counted["returned", "given_back"] == 1
    assert counted["returned", "retried"] == 1
    assert counted["run", "preempted"] == 1
    assert counted["run", "retried"] == 1
    assert counted["wait",] == 3
    assert not [w for w in counted if w[0] in ("ended", "failure")]


def test_the_wait_begins_anew_after_a_requeue_and_not_after_a_release(yard: Yard) -> None:
    who = yard.register()
    yard.submit("r")
    yard.later(seconds=10)
    (held,) = yard.lease(who)
    ok(yard, who, wire.Release(**to(held)))
    yard.later(seconds=10)
    held = start(yard, who, after=0)
    ok(yard, who, wire.Observe(**to(held), phase="preempted"))
    yard.later(seconds=5)
    start(yard, who)
    facts = count(yard)
    assert seconds(facts, "wait") == [20, 5]


def test_failures_are_told_by_stage_and_kind_never_by_their_text(yard: Yard) -> None:
    who = yard.register()
    yard.submit("a", "b", "c")
    held = yard.claimed(who)
    ok(yard, who, wire.Fail(**to(held), stage="fetch", message="password=hunter2"))
    start(yard, who)
    yard.later(hours=1)
    assert sweeping.expire(yard.call()) == 1
    (last,) = [i for i in ("a", "b", "c") if _state(yard, i) == "PENDING"]
    runs.cancel(yard.call(), _item(yard, last))
    facts = count(yard)
    assert words([f for f in facts if f.name in ("ended", "failure")]) == Counter([
        ("ended", "failed"), ("failure", "fetch", "not_started"),
        ("ended", "crashed"), ("failure", "agent", "agent_lost"),
        ("ended", "killed"),
    ])  # fmt: skip
    assert "hunter2" not in str(facts)


def _item(yard: Yard, run: str) -> str:
    found = yard.tx.connection.exec_driver_sql(f"SELECT item_id FROM runs WHERE name = '{run}'")
    return str(found.scalar())


def _state(yard: Yard, run: str) -> str:
    return yard.states(_item(yard, run))[0]


def test_what_is_older_than_the_beginning_is_not_counted(yard: Yard) -> None:
    yard.submit("r")
    count(yard)
    yard.tx.connection.exec_driver_sql("DELETE FROM cursors")
    assert count(yard) == []
    yard.submit("s")
    assert words(count(yard)) == Counter([("submitted",)])


def test_of_two_servers_one_counts(yard: Yard) -> None:
    yard.submit("r")
    yard.later(seconds=60)
    there = counting.unread(yard.call(), counting.CURSOR)
    assert there is not None
    assert there.behind == 0
    assert cursors.swap(yard.tx, counting.CURSOR, there.after, there.to)
    assert not cursors.swap(yard.tx, counting.CURSOR, there.after, there.to)
    assert counting.count(yard.call()) == []


def test_a_batch_is_bounded_and_the_next_goes_on(yard: Yard, monkeypatch: Any) -> None:
    yard.submit(*(f"r{n}" for n in range(7)))
    yard.later(seconds=60)
    monkeypatch.setattr(counting.unread, "__kwdefaults__", {"limit": 3})
    sizes = [len(counting.count(yard.call())) for _ in range(4)]
    assert sizes == [3, 3, 1, 0]


def test_a_gap_that_may_still_be_filled_is_waited_for(yard: Yard) -> None:
    yard.submit("r")
    yard.tx.connection.exec_driver_sql("UPDATE item_events SET seq = seq + 5")
    assert counting.count(yard.call()) == []
    yard.later(seconds=29)
    assert counting.count(yard.call()) == []
    yard.later(seconds=2)
    assert len(counting.count(yard.call())) == 1


def test_a_lease_is_held_by_one_until_it_runs_out(yard: Yard) -> None:
    def lease(held: int | None) -> int | None:
        return cursors.lease(yard.tx, "x", held, yard.now, timedelta(seconds=60))

    ours = lease(None)
    assert ours is not None
    assert lease(None) is None
    yard.later(seconds=59)
    assert lease(None) is None
    ours = lease(ours)
    assert ours is not None
    yard.later(seconds=60)
    theirs = lease(None)
    assert theirs is not None
    assert lease(ours) is None
    assert not cursors.holds(yard.tx, "x", ours)
    assert cursors.holds(yard.tx, "x", theirs)
