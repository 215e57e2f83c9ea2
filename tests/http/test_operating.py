"""Operating over HTTP: items one by one and by selection, why they wait, how a queue stands."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from runyard.domain.policy import json_schema
from runyard.services import operating

from .conftest import Agent, Caller, World

QUEUE = "/queues/lab/gpu"


class Lab:
    """Two members and an operator of a team with a queue that has priorities."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.admin.ok("POST", "/teams", json={"name": "lab"})
        self.ada, self.bob = self._with("ada", "member"), self._with("bob", "member")
        self.boss, self.viewer = self._with("boss", "operator"), self._with("vic", "viewer")
        self.stranger = world.user("eve")
        self.queue("gpu", priorities=True, max_running=4, max_running_per_user=3)

    def _with(self, name: str, role: str) -> Caller:
        who = self.world.user(name)
        self.world.admin.ok("PUT", f"/teams/lab/members/{name}", json={"role": role})
        return who

    def queue(self, name: str, **policy: Any) -> None:
        body = {"entity": "lab", "name": name, "resource": "local-container", "policy": policy}
        self.world.admin.ok("POST", "/queues", json=body)

    def submit(self, who: Caller, n: int = 1) -> list[str]:
        return [made["id"] for made in self.world.submit(n, "lab/gpu", who=who)]

    def agent(self, name: str = "a", *queues: str) -> Agent:
        return self.world.agent(name, queues or ("gpu",), entity="lab")

    def item(self, item_id: str) -> Any:
        return self.ada.ok("GET", f"/items/{item_id}")

    def failed(self, who: Caller) -> str:
        (item,) = self.submit(who)
        agent = self.agent("failing")
        agent.finish(agent.claim(), 1)
        return item


@pytest.fixture
def lab(world: World) -> Lab:
    return Lab(world)


def test_an_item_is_held_and_released_by_its_author(lab: Lab) -> None:
    (item,) = lab.submit(lab.ada)
    held = lab.ada.ok("POST", f"/items/{item}/hold", json={"reason": "new data\n comes"})
    assert (held["parked"], held["parked_why"]) == ("held", "held by ada: new data comes")
    agent = lab.agent()
    assert agent.poll()["leased"] == []
    why = lab.item(item)["waiting"]
    assert why["why"].endswith(f"release it: runyard item release {item}")
    released = lab.ada.ok("POST", f"/items/{item}/release")
    assert (released["parked"], released["parked_why"]) == (None, "")
    assert len(agent.poll()["leased"]) == 1
    assert lab.ada("POST", f"/items/{item}/hold").status_code == 409
    assert lab.item(item)["waiting"] is None


def test_releasing_what_is_not_held_is_a_conflict(lab: Lab) -> None:
    (item,) = lab.submit(lab.ada)
    answer = lab.ada("POST", f"/items/{item}/release")
    assert (answer.status_code, answer.json()["detail"]) == (409, f"item {item} is not held")


def test_what_the_operator_holds_its_author_cannot_release(lab: Lab) -> None:
    (item,) = lab.submit(lab.ada)
    lab.boss.ok("POST", f"/items/{item}/hold", json={"reason": "too many"})
    answer = lab.ada("POST", f"/items/{item}/release")
    assert (answer.status_code, answer.json()["detail"]) == (
        403, f"item {item} is held by boss: too many",
    )  # fmt: skip
    lab.boss.ok("POST", f"/items/{item}/release")


CALLS = [("hold", {}), ("release", None), ("priority", {"priority": "high"}),
         ("move", {"queue": "big"}), ("retry", {})]  # fmt: skip


@pytest.mark.parametrize(("verb", "body"), CALLS)
def test_others_and_strangers_cannot(lab: Lab, verb: str, body: Any) -> None:
    lab.queue("big")
    item = lab.failed(lab.ada) if verb == "retry" else lab.submit(lab.ada)[0]
    path = f"/items/{item}/{verb}"
    assert lab.viewer("POST", path, json=body).status_code == 403
    assert lab.stranger("POST", path, json=body).status_code == 404
    assert lab.ada("POST", f"/items/nothing/{verb}", json=body).status_code == 404
    if verb != "retry":  # which makes an item of one's own
        assert lab.bob("POST", path, json=body).status_code == 403


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("hold", {"why": "x"}),
        ("hold", {"reason": "x" * 501}),
        ("priority", {}),
        ("priority", {"priority": "urgent"}),
        ("priority", {"priority": 4}),
        ("priority", {"priority": -1}),
        ("move", {}),
        ("retry", {"changes": [1]}),
    ],
)
def test_a_body_that_makes_no_sense_is_refused(lab: Lab, verb: str, body: Any) -> None:
    (item,) = lab.submit(lab.ada)
    answer = lab.ada("POST", f"/items/{item}/{verb}", json=body)
    assert answer.status_code == 422, answer.text


def test_a_priority_is_a_name_or_a_number_and_takes_effect(lab: Lab) -> None:
    first, second, third = lab.submit(lab.ada, 3)
    assert lab.ada.ok("POST", f"/items/{third}/priority", json={"priority": "high"})
    assert lab.ada.ok("POST", f"/items/{first}/priority", json={"priority": 3})["priority"] == 3
    assert [lab.item(i)["waiting"]["ahead"] for i in (third, second, first)] == [0, 1, 2]
    leased = lab.agent().poll(3)["leased"]
    assert [one["item_id"] for one in leased] == [third, second, first]


def test_an_item_moves_with_its_run_to_another_queue_of_the_team(lab: Lab) -> None:
    lab.queue("big")
    (item,) = lab.submit(lab.ada)
    run = lab.item(item)["run"]
    moved = lab.ada.ok("POST", f"/items/{item}/move", json={"queue": "big"})
    assert (moved["queue"], moved["run"]) == ("big", run)
    assert lab.agent().poll()["leased"] == []
    assert len(lab.agent("b", "big").poll()["leased"]) == 1
    assert lab.ada("POST", f"/items/{item}/move", json={"queue": "gpu"}).status_code == 409
    (other,) = lab.submit(lab.ada)
    gone = lab.ada("POST", f"/items/{other}/move", json={"queue": "bgi"})
    assert gone.status_code == 404
    assert "big" in gone.json()["detail"]


def test_a_move_wakes_the_agents_of_the_other_queue(live: World) -> None:
    lab = Lab(live)
    lab.queue("big")
    (item,) = lab.submit(lab.ada)
    agent = lab.agent("b", "big")
    _wakes(agent, lambda: lab.ada.ok("POST", f"/items/{item}/move", json={"queue": "big"}))


def test_a_release_wakes_agents_that_wait(live: World) -> None:
    lab = Lab(live)
    (item,) = lab.submit(lab.ada)
    lab.ada.ok("POST", f"/items/{item}/hold")
    _wakes(lab.agent(), lambda: lab.ada.ok("POST", f"/items/{item}/release"))


def _wakes(agent: Agent, act: Any) -> None:
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(agent.poll, 1, 20)
        time.sleep(0.5)
        assert not answer.done()
        act()
        assert len(answer.result(timeout=10)["leased"]) == 1


def test_what_has_ended_is_tried_again_with_changes(lab: Lab) -> None:
    item = lab.failed(lab.ada)
    path = f"/items/{item}/retry"
    changes = {"overrides": {"args": ["--small"]}, "priority": "high"}
    answer = lab.ada("POST", path, json={"changes": changes})
    assert answer.status_code == 201
    again = answer.json()
    assert again["id"] != item
    assert again["run"]["run_id"] != lab.item(item)["run"]["run_id"]
    assert again["spec"]["overrides"]["args"] == ["--small"]
    assert lab.item(again["id"])["priority"] == 1
    assert lab.ada("POST", f"/items/{again['id']}/retry").status_code == 409
    wrong = lab.ada("POST", path, json={"changes": {"priorty": 1, "policy": {"max_running": 9}}})
    assert wrong.status_code == 422
    others = lab.bob.ok("POST", path)  # whoever may submit may do the same again
    assert lab.item(others["id"])["author"] == "bob"


def test_T20_changes_nested_too_deep_are_refused(lab: Lab) -> None:
    deep: Any = {}
    for _ in range(100):
        deep = {"a": deep}
    item = lab.failed(lab.ada)
    selection = {"action": "retry", "changes": deep}
    for path, body in (
        (f"/items/{item}/retry", {"changes": deep}),
        (f"{QUEUE}/select", selection),
    ):
        answer = lab.ada("POST", path, json=body)
        assert answer.status_code == 422
        assert "nested deeper than 64 levels" in answer.json()["detail"]


# -- by selection ------------------------------------------------------------------------------


def select(who: Caller, **body: Any) -> Any:
    return who.ok("POST", f"{QUEUE}/select", json=body)


def test_items_are_selected_tried_and_then_changed(lab: Lab) -> None:
    mine, theirs = lab.submit(lab.ada, 2), lab.submit(lab.bob, 1)
    tried = select(lab.boss, action="hold", author="ada", dry_run=True)
    assert tried == {"changed": mine, "refused": {}, "next": None, "dry_run": True}
    assert lab.item(mine[0])["parked"] is None
    assert select(lab.boss, action="hold", ids=[mine[0]], reason="x")["changed"] == [mine[0]]
    assert select(lab.boss, action="hold", held=False)["changed"] == [mine[1], *theirs]
    assert lab.item(mine[0])["parked_why"] == "held by boss: x"  # as it was
    assert select(lab.boss, action="release", held=True)["changed"] == mine + theirs
    assert select(lab.boss, action="priority", priority="low", author="bob")["changed"] == theirs
    assert select(lab.boss, action="cancel", of_priority="low")["changed"] == theirs
    assert lab.item(theirs[0])["state"] == "CANCELLED"


def test_what_is_not_ones_own_is_refused_item_by_item(lab: Lab) -> None:
    mine, theirs = lab.submit(lab.ada), lab.submit(lab.bob)
    done = select(lab.ada, action="hold")
    assert done["changed"] == mine
    assert done["refused"].keys() == set(theirs)
    assert lab.item(theirs[0])["parked"] is None


def test_items_of_another_queue_are_not_selected_by_their_id(lab: Lab) -> None:
    (mine,) = lab.submit(lab.ada)
    lab.queue("big")
    body = {"action": "cancel", "ids": [mine]}
    done = lab.boss.ok("POST", "/queues/lab/big/select", json=body)
    assert (done["changed"], done["refused"]) == ([], {})
    assert lab.item(mine)["state"] == "PENDING"


def test_failed_items_are_tried_again_by_selection(lab: Lab) -> None:
    by_its_exit_code, at_the_start, well, stopped, _waits = items = lab.submit(lab.ada, 5)
    agent = lab.agent()
    agent.finish(agent.claim(), 1)
    held = agent.claim()
    agent.move(agent.to("fail", held, stage="run", message="no such image"))
    agent.finish(agent.claim(), 0)
    held = agent.claim()
    lab.ada.ok("POST", f"/items/{stopped}/cancel")
    agent.finish(held, 143)
    assert [lab.item(i)["status"] for i in items] == [
        "Failed", "Failed", "Finished", "Killed", "Queued",
    ]  # fmt: skip
    done = select(lab.ada, action="retry", changes={"name": "again"})
    assert done["changed"] == [by_its_exit_code, at_the_start]
    made = lab.ada.ok("GET", "/items", params={"entity": "lab"})["data"]
    assert [one["run"]["name"] for one in made if one["id"] not in items] == ["again"] * 2
    assert select(lab.ada, action="retry", states=["FINISHED"], ids=[well])["changed"] == [well]


def test_a_long_selection_is_gone_through_page_by_page(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operating, "MOST", 2)
    items, found, after = lab.submit(lab.ada, 5), [], None
    for _ in range(3):
        done = select(lab.boss, action="hold", after=after)
        found += done["changed"]
        after = done["next"]
    assert (found, after) == (items, None)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"action": "explode"}, 422),
        ({}, 422),
        ({"action": "hold", "of_priority": "urgent"}, 422),
        ({"action": "hold", "waited_s": -1}, 422),
        ({"action": "hold", "auther": "ada"}, 422),
        ({"action": "hold", "author": "nobody"}, 404),
        ({"action": "hold", "ids": ["x"] * 1001}, 422),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(
    lab: Lab, body: dict[str, Any], status: int
) -> None:
    lab.submit(lab.ada)
    assert lab.boss("POST", f"{QUEUE}/select", json=body).status_code == status
    assert lab.stranger("POST", f"{QUEUE}/select", json={"action": "hold"}).status_code == 404


# -- how it stands -----------------------------------------------------------------------------


def test_a_queue_explains_itself_to_whoever_may_see_it(lab: Lab) -> None:
    lab.submit(lab.ada, 4)
    (held, *_) = lab.submit(lab.bob, 2)
    lab.bob.ok("POST", f"/items/{held}/hold")
    agent = lab.agent()
    agent.poll(2)
    found = lab.viewer.ok("GET", f"{QUEUE}/explain")
    assert (found["entity"], found["queue"], found["mode"]) == ("lab", "gpu", "open")
    assert [rule.partition(" = ")[0] for rule in found["rules"]] == [
        "priorities", "max_running", "max_running_per_user",
    ]  # fmt: skip
    assert (found["running"], found["max_running"], found["waiting"], found["held"]) == (2, 4, 3, 1)
    assert found["agents"]["live"] == 1
    assert {(u["user"], u["waiting"], u["running"], u["room"]) for u in found["users"]} == {
        ("ada", 2, 2, 1), ("bob", 1, 0, 3),
    }  # fmt: skip
    assert found["next"] == ["ada", "bob"]  # ada has room for one more
    assert lab.stranger("GET", f"{QUEUE}/explain").status_code == 404
    assert lab.viewer("GET", "/queues/lab/gpuu/explain").status_code == 404


def test_why_an_item_waits_is_in_its_answer(lab: Lab) -> None:
    items = lab.submit(lab.ada, 5)
    assert "no live agent serves queue lab/gpu" in lab.item(items[0])["waiting"]["why"]
    lab.agent().poll(5)
    waits = lab.item(items[4])["waiting"]
    assert waits["why"] == ("ada has 3 of 3 items running in queue lab/gpu (max_running_per_user)")
    lab.boss.ok("POST", f"{QUEUE}/pause", json={"reason": "driver"})
    assert lab.item(items[4])["waiting"]["why"] == "queue lab/gpu is paused by boss: driver"
    lab.ada.ok("POST", f"/items/{items[4]}/cancel")
    assert lab.item(items[4])["waiting"] is None


def test_the_schema_of_a_policy_is_served(lab: Lab) -> None:
    assert lab.ada.ok("GET", "/schemas/queue-policy") == json_schema()
    assert lab.world.caller(None)("GET", "/schemas/queue-policy").status_code == 401
