"""A queue's policy at work, in virtual time, on both databases."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.domain.access import Actor
from runyard.domain.errors import Conflict, Invalid, TooMuch
from runyard.domain.queues import Mode
from runyard.services import agents, explaining, operating, queues, runs, submitting, sweeping
from runyard.services.operating import Order
from runyard.wire import agent as wire
from tests.services.conftest import Yard

IMAGE = {"docker": {"docker_image": "busybox"}}


class Lab:
    """A team's queue with a policy, two members, and agents."""

    def __init__(self, yard: Yard, **policy: Any) -> None:
        self.yard = yard
        for name in ("ada", "bob"):
            yard.new_user(name)
        yard.team("lab", ada="member", bob="member")
        yard.admin = yard.user("ann")
        self.ada, self.bob = yard.user("ada"), yard.user("bob")
        self.queue("gpu", **policy)

    def queue(self, name: str, **policy: Any) -> None:
        queues.create(
            self.yard.call(), entity="lab", name=name, resource="local-container", policy=policy
        )

    def submit(self, who: Actor, n: int = 1, *, queue: str = "gpu", **spec: Any) -> list[str]:
        specs = [{**IMAGE, "name": who.name, **spec}] * n
        return [s.id for s in submitting.submit(self.yard.call(who), "lab", queue, specs)]

    def agent(self, name: str = "a", *queues: str) -> wire.Registered:
        asked = wire.Register(
            entity="lab", name=name, hostname="h", version="1", queues=list(queues or ("gpu",)),
            max_jobs=-1,
        )  # fmt: skip
        return agents.register(self.yard.call(), asked)

    def start(self, who: wire.Registered, n: int = 1) -> list[wire.Held]:
        held = self.yard.lease(who, n)
        for h in held:
            to = {"item_id": h.item_id, "token": h.token}
            moves = self.yard.move(who, wire.Claim(**to), wire.Observe(**to, phase="running"))
            assert [m.code for m in moves] == ["", ""]
        return held

    def end(self, who: wire.Registered, held: wire.Held, code: int = 0, **more: Any) -> None:
        self.observe(who, held, phase="exited", exit_code=code, **more)

    def observe(self, who: wire.Registered, held: wire.Held, **seen: Any) -> None:
        move = wire.Observe(item_id=held.item_id, token=held.token, **seen)
        assert self.yard.move(who, move)[0].code == ""

    def why(self, item_id: str) -> str:
        call = self.yard.call()
        found = explaining.of_item(call, runs.get_item(call, item_id))
        return "" if found is None else found.why

    def sweep(self) -> None:
        for sweep in sweeping.SWEEPS:
            while sweep(self.yard.call()):
                pass

    def explain(self) -> explaining.Explained:
        return explaining.of_queue(self.yard.call(), "lab", "gpu")


def authors(held: list[wire.Held]) -> list[str]:
    return [h.spec["name"] for h in held]


# -- limits and shares -------------------------------------------------------------------------


def test_200_items_of_two_users_alternate_and_never_pass_a_limit_of_four(yard: Yard) -> None:
    lab = Lab(yard, fair_share=True, max_running=4)
    lab.submit(lab.ada, 100)  # all of them before the first of the other's
    lab.submit(lab.bob, 100)
    one, two = lab.agent("one"), lab.agent("two")
    running: list[tuple[wire.Registered, wire.Held]] = []
    started: list[str] = []
    while True:
        for agent in (one, two):
            for held in lab.start(agent, 3):
                running.append((agent, held))
                started.append(held.spec["name"])
                yard.later(seconds=1)
        assert len(running) <= 4
        assert lab.explain().running == len(running)
        if not running:
            break
        yard.later(seconds=10)
        lab.end(*running.pop(0))
    assert len(started) == 200
    for n in range(0, 200, 10):  # no stretch of ten is far from five and five
        assert 3 <= started[n : n + 10].count("ada") <= 7, started[n : n + 10]
    assert abs(started[:100].count("ada") - 50) <= 2


def test_the_limit_is_one_of_the_queue_not_of_an_agent(yard: Yard) -> None:
    lab = Lab(yard, max_running=3)
    items = lab.submit(lab.ada, 5)
    one, two = lab.agent("one"), lab.agent("two")
    first = lab.start(one, 2)
    assert len(lab.start(two, 5)) == 1
    assert lab.start(one, 5) == []
    assert "3 of 3 items running (max_running)" in lab.why(items[-1])
    lab.end(one, first[0])
    assert len(lab.start(two, 5)) == 1


def test_a_users_limit_lets_others_pass(yard: Yard) -> None:
    lab = Lab(yard, max_running_per_user=2)
    mine = lab.submit(lab.ada, 300)  # far more than a lease looks at first
    lab.submit(lab.bob, 3)
    agent = lab.agent()
    held = lab.start(agent, 10)
    assert sorted(authors(held)) == ["ada", "ada", "bob", "bob"]
    assert "ada has 2 of 2 items running in queue lab/gpu" in lab.why(mine[-1])
    assert lab.start(agent, 10) == []
    lab.end(agent, next(h for h in held if h.spec["name"] == "bob"))
    assert authors(lab.start(agent, 10)) == ["bob"]


def test_without_shares_the_oldest_goes_first_also_under_a_users_limit(yard: Yard) -> None:
    lab = Lab(yard, max_running_per_user=3)
    order = []
    for who in (lab.ada, lab.bob, lab.bob, lab.ada):
        order += lab.submit(who)
        yard.later(seconds=1)
    assert [h.item_id for h in lab.start(lab.agent(), 4)] == order


def test_priority_goes_before_share(yard: Yard) -> None:
    lab = Lab(yard, fair_share=True, priorities=True, claim_ttl=86_400)
    agent = lab.agent()
    lab.submit(lab.ada, 4)
    for held in lab.start(agent, 4):  # ada has used a lot
        yard.later(minutes=30)
        lab.end(agent, held)
    lab.submit(lab.bob, 2)
    lab.submit(lab.ada, 1, priority="critical")
    lab.submit(lab.ada, 2)
    assert authors(lab.start(agent, 5)) == ["ada", "bob", "bob", "ada", "ada"]


def test_what_was_used_counts_by_time_and_decays(yard: Yard) -> None:
    lab = Lab(yard, fair_share=True, fair_share_half_life=3600, claim_ttl=86_400)
    agent = lab.agent()
    lab.submit(lab.ada)
    (held,) = lab.start(agent)
    yard.later(hours=1)
    lab.end(agent, held)
    lab.submit(lab.bob)
    (held,) = lab.start(agent)
    yard.later(minutes=1)
    lab.end(agent, held)
    lab.submit(lab.ada, 3)
    lab.submit(lab.bob, 3)
    used = {u.user: u.used_s for u in lab.explain().users}
    assert used["ada"] == pytest.approx(3600 * 2 ** (-1 / 60), rel=0.01)
    assert used["bob"] == pytest.approx(60, rel=0.02)  # a minute ago it was charged at once
    assert lab.explain().next[:3] == ("bob", "bob", "bob")
    yard.later(days=7)  # old debts are forgotten
    assert {u.user: round(u.used_s, 3) for u in lab.explain().users} == {"ada": 0, "bob": 0}


def test_what_was_given_back_is_not_charged(yard: Yard) -> None:
    lab = Lab(yard, fair_share=True)
    lab.submit(lab.ada)
    agent = lab.agent()
    (held,) = yard.lease(agent)
    yard.move(agent, wire.Release(item_id=held.item_id, token=held.token))
    (user,) = lab.explain().users
    assert user.used_s == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("hold", [True, False])
def test_what_was_cancelled_while_it_waited_is_not_charged(yard: Yard, hold: bool) -> None:
    lab = Lab(yard, fair_share=True)
    lab.submit(lab.ada)
    (item,) = lab.submit(lab.ada, hold=hold)
    if hold:
        operating.one(yard.call(lab.ada), item, Order(verb="release"))
    runs.cancel(yard.call(lab.ada), item)
    (user,) = lab.explain().users
    assert (user.waiting, user.used_s) == (1, pytest.approx(0, abs=1e-3))


def test_what_is_held_stands_in_no_line_and_is_booked_once(yard: Yard) -> None:
    lab = Lab(yard, fair_share=True)
    (_, item) = lab.submit(lab.ada, 2)
    lab.submit(lab.bob, 2)
    for verb in ("hold", "release"):
        operating.one(yard.call(lab.ada), item, Order(verb=verb))
        lab.sweep()
        used = [u.used_s for u in lab.explain().users]
        assert used == pytest.approx([0, 0], abs=1e-3)
    assert lab.explain().next == ("ada", "bob", "ada", "bob")


def test_switching_shares_on_and_off_places_what_waits_already(yard: Yard) -> None:
    lab = Lab(yard)
    lab.submit(lab.ada, 3)
    lab.submit(lab.bob, 3)
    queues.edit(yard.call(), "lab", "gpu", policy={"fair_share": True})
    assert "".join(name[0] for name in lab.explain().next) == "ababab"
    queues.edit(yard.call(), "lab", "gpu", policy={})
    assert "".join(name[0] for name in lab.explain().next) == "aaabbb"


def test_another_half_life_keeps_what_was_used(yard: Yard) -> None:
    lab = Lab(yard, fair_share=True, claim_ttl=86_400)
    agent = lab.agent()
    lab.submit(lab.ada)
    (held,) = lab.start(agent)
    yard.later(hours=1)
    lab.end(agent, held)
    lab.submit(lab.ada, 2)
    lab.submit(lab.bob, 2)
    before = {u.user: u.used_s for u in lab.explain().users}
    queues.edit(yard.call(), "lab", "gpu", policy={"fair_share": True, "fair_share_half_life": 600})
    after = {u.user: u.used_s for u in lab.explain().users}
    assert after["ada"] == pytest.approx(before["ada"], rel=1e-3)
    assert lab.explain().next == ("bob", "bob", "ada", "ada")
    yard.later(seconds=600)
    later = {u.user: u.used_s for u in lab.explain().users}
    assert later["ada"] == pytest.approx(before["ada"] / 2, rel=0.05)


def test_a_newcomer_finds_an_open_line_however_long_the_queue_was_empty(yard: Yard) -> None:
    lab = Lab(yard, fair_share=True)
    agent = lab.agent()
    for who in (lab.ada, lab.bob, lab.ada, lab.ada):
        assert lab.start(agent, 5) == []  # closes the lines it finds empty
        lab.submit(who)
        assert authors(lab.start(agent, 5)) == [who.name]


def test_shares_and_limits_hold_for_items_that_come_back(yard: Yard) -> None:
    lab = Lab(yard, fair_share=True, max_running=1)
    (item,) = lab.submit(lab.ada)
    agent = lab.agent()
    (held,) = lab.start(agent)
    lab.observe(agent, held, phase="preempted", reason="spot")
    assert [h.item_id for h in lab.start(agent)] == [item]


def test_the_queue_and_its_users_have_room_for_so_many(yard: Yard) -> None:
    lab = Lab(yard, max_waiting=5, max_waiting_per_user=3)
    lab.submit(lab.ada, 3)
    with pytest.raises(TooMuch, match="3 items of yours wait"):
        lab.submit(lab.ada)
    with pytest.raises(TooMuch, match="3 items wait in queue lab/gpu already"):
        lab.submit(lab.bob, 3)
    lab.submit(lab.bob, 2)
    lab.start(lab.agent())
    lab.submit(lab.ada)


# -- time --------------------------------------------------------------------------------------


def test_waiting_raises_an_item_level_by_level(yard: Yard) -> None:
    lab = Lab(yard, priorities=True, aging=600)
    (old,) = lab.submit(lab.ada, priority="low")
    yard.later(seconds=599)
    lab.sweep()
    assert yard.row(old)["priority"] == 3
    yard.later(seconds=1)
    lab.sweep()
    assert yard.row(old)["priority"] == 2
    yard.later(seconds=1200)
    lab.sweep()
    assert yard.row(old)["priority"] == 0
    lab.submit(lab.bob, 3, priority="critical")
    assert lab.start(lab.agent())[0].item_id == old


def test_what_waits_too_long_is_cancelled_and_says_so(yard: Yard) -> None:
    lab = Lab(yard, wait_timeout=60)
    (item,) = lab.submit(lab.ada)
    (sooner,) = lab.submit(lab.ada, policy={"wait_timeout": 30})
    yard.later(seconds=30)
    lab.sweep()
    assert yard.states(sooner) == ("CANCELLED", "killed")
    assert yard.states(item)[0] == "PENDING"
    yard.later(seconds=30)
    lab.sweep()
    assert yard.states(item) == ("CANCELLED", "killed")
    assert yard.row(item)["reason"] == "not started within 60 s (wait_timeout)"


def test_what_runs_too_long_is_asked_to_stop_and_says_so(yard: Yard) -> None:
    lab = Lab(yard, run_timeout=600)
    (item,) = lab.submit(lab.ada)
    agent = lab.agent()
    (held,) = lab.start(agent)
    yard.later(seconds=599)
    yard.poll(agent, item)
    lab.sweep()
    assert yard.poll(agent, item).stop == []
    yard.later(seconds=1)
    lab.sweep()
    assert [s.item_id for s in yard.poll(agent, item).stop] == [item]
    lab.end(agent, held, code=143)
    assert yard.states(item) == ("FINISHED", "killed")
    assert "ran longer than 600 s (run_timeout)" in yard.row(item)["reason"]


def test_a_retry_backs_off_says_so_and_stays_the_same_run(yard: Yard) -> None:
    lab = Lab(yard, retry=[{"exit_codes": [75], "at_most": 2, "backoff": 30}])
    (item,) = lab.submit(lab.ada)
    run = yard.row(item)["run_pk"]
    agent = lab.agent()
    for n, wait in ((1, 30), (2, 60)):
        (held,) = lab.start(agent)
        assert held.attempt == n
        lab.end(agent, held, code=75)
        assert lab.start(agent) == []
        assert f"retry {n} of 2 in {wait} s, after: exit code 75; {wait} s left" in lab.why(item)
        yard.later(seconds=wait - 1)
        lab.sweep()
        assert lab.start(agent) == []
        yard.later(seconds=1)
        lab.sweep()
    (held,) = lab.start(agent)
    lab.end(agent, held, code=75)
    assert yard.states(item) == ("FINISHED", "failed")
    assert (yard.row(item)["run_pk"], yard.row(item)["retries"]) == (run, 2)


def test_a_retry_can_have_more_memory_in_another_queue(yard: Yard) -> None:
    lab = Lab(yard, retry=[{"reasons": ["oom"], "config": {"memory": "64g"}, "queue": "big"}])
    lab.queue("big")
    (item,) = lab.submit(lab.ada, resource_args={"local-container": {"memory": "8g", "cpus": 2}})
    small, big = lab.agent("small"), lab.agent("big", "big")
    (held,) = lab.start(small)
    lab.end(small, held, code=137, reason="OOMKilled")
    assert lab.start(small) == []
    (held,) = lab.start(big)
    assert held.item_id == item
    assert held.spec["resource_args"]["local-container"] == {"memory": "64g", "cpus": 2}
    assert held.spec["queue"] == "big"


def test_a_retry_rule_that_names_no_queue_retries_where_it_is_and_warns(yard: Yard) -> None:
    lab = Lab(yard, retry=[{"queue": "gone"}])
    (item,) = lab.submit(lab.ada)
    agent = lab.agent()
    (held,) = lab.start(agent)
    lab.end(agent, held, code=1)
    assert lab.start(agent)[0].item_id == item


def test_a_submission_may_go_without_retries_and_requeues(yard: Yard) -> None:
    lab = Lab(yard, retry=[{"at_most": 3}])
    (item,) = lab.submit(lab.ada, policy={"retry": [], "max_requeues": 0})
    agent = lab.agent()
    (held,) = lab.start(agent)
    lab.end(agent, held, code=1)
    assert yard.states(item) == ("FINISHED", "failed")
    with pytest.raises(Invalid, match="max_running"):
        lab.submit(lab.ada, policy={"max_running": 1})


def test_a_hosts_fault_sends_the_item_elsewhere_at_once(yard: Yard) -> None:
    lab = Lab(yard)
    (item,) = lab.submit(lab.ada)
    bad, good = lab.agent("bad"), lab.agent("good")
    (held,) = yard.lease(bad)
    to = {"item_id": held.item_id, "token": held.token}
    yard.move(bad, wire.Claim(**to), wire.Fail(**to, stage="fetch", message="disk full", host=True))
    assert yard.states(item) == ("PENDING", "pending")
    assert yard.row(item)["reason"] == "an agent could not start it: disk full"
    (held,) = lab.start(good)
    assert (held.item_id, held.attempt) == (item, 2)
    lab.end(good, held)
    assert yard.states(item) == ("FINISHED", "finished")
    assert yard.row(item)["reason"] == ""


# -- modes -------------------------------------------------------------------------------------


def test_a_paused_queue_takes_and_does_not_give(yard: Yard) -> None:
    lab = Lab(yard)
    agent = lab.agent()
    queues.set_mode(yard.call(), "lab", "gpu", Mode.PAUSED, "driver update")
    (item,) = lab.submit(lab.ada)
    assert yard.lease(agent) == []
    assert lab.why(item) == "queue lab/gpu is paused by ann: driver update"
    queues.set_mode(yard.call(), "lab", "gpu", Mode.OPEN)
    assert len(yard.lease(agent)) == 1


def test_a_draining_queue_gives_and_does_not_take(yard: Yard) -> None:
    lab = Lab(yard)
    (item,) = lab.submit(lab.ada)
    queues.set_mode(yard.call(), "lab", "gpu", Mode.DRAINING, "moved to big")
    with pytest.raises(Conflict, match="draining, and takes nothing new: ann: moved to big"):
        lab.submit(lab.bob)
    assert [h.item_id for h in lab.start(lab.agent())] == [item]


def test_an_image_that_is_not_on_the_list_is_refused(yard: Yard) -> None:
    lab = Lab(yard, images=["ghcr.io/lab/*"])
    with pytest.raises(Invalid, match="not on the queue's list: ghcr"):
        lab.submit(lab.ada)
    lab.submit(lab.ada, docker={"docker_image": "ghcr.io/lab/train:1"})
    assert yard.lease(lab.agent())[0].images == ["ghcr.io/lab/*"]
