"""Agents that are set aside, over HTTP: what they, people and other agents see of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .conftest import Agent, World

WELL = {"checks": [{"name": "disk", "ok": True, "detail": "20 GiB free"}]}
ILL = {"checks": [{"name": "disk", "ok": False, "detail": "0 MiB free"}]}


def fail(agent: Agent) -> None:
    held = agent.claim()
    (answer,) = agent.move(
        agent.to("fail", held, stage="fetch", message="no space left on device", host=True)
    )
    assert answer["code"] == "", answer


def shown(world: World, agent: Agent) -> Any:
    (found,) = [a for a in world.admin.ok("GET", "/agents")["data"] if a["id"] == agent.id]
    return found


def set_aside(world: World) -> Agent:
    world.queue()
    agent = world.agent()
    world.submit()
    for _ in range(3):
        fail(agent)
    return agent


def test_three_faults_of_its_host_set_an_agent_aside(world: World) -> None:
    agent = set_aside(world)
    answer = agent.poll()
    assert answer["leased"] == []
    assert "no space left on device" in answer["set_aside"]
    found = shown(world, agent)
    assert (found["strikes"], found["set_aside_why"]) == (3, answer["set_aside"])
    assert found["set_aside_at"] is not None

    other = world.agent("b")
    assert len(other.poll()["leased"]) == 1


def test_a_check_that_passes_brings_it_back_and_one_that_fails_does_not(world: World) -> None:
    agent = set_aside(world)
    answer = agent.caller.ok("POST", f"/agents/{agent.id}/check", json=ILL)
    assert "disk: 0 MiB free" in answer["set_aside"]
    assert agent.poll()["leased"] == []
    assert agent.caller.ok("POST", f"/agents/{agent.id}/check", json=WELL) == {"set_aside": ""}
    assert len(agent.poll()["leased"]) == 1


@pytest.mark.parametrize("body", [{}, {"checks": []}, {"checks": [{"name": "a"}]}, [], {"x": 1}])
def test_a_check_of_another_shape_is_refused(world: World, body: Any) -> None:
    agent = set_aside(world)
    answer = agent.caller("POST", f"/agents/{agent.id}/check", json=body)
    assert answer.status_code == 422
    assert shown(world, agent)["set_aside_at"] is not None


def test_T22_nobody_else_may_tell_how_an_agents_host_is(world: World) -> None:
    agent = set_aside(world)
    other = world.agent("b")
    for caller in (other.caller, world.admin, world.user("eve")):
        assert caller("POST", f"/agents/{agent.id}/check", json=WELL).status_code == 403
    assert shown(world, agent)["set_aside_at"] is not None


def test_people_set_aside_and_readmit(world: World) -> None:
    world.queue()
    agent = world.agent()
    world.submit()
    made = world.admin.ok("POST", f"/agents/{agent.id}/set-aside", json={"reason": "new disk"})
    assert made["set_aside_why"] == "set aside by admin: new disk"
    assert agent.poll()["leased"] == []
    assert agent.caller.ok("POST", f"/agents/{agent.id}/check", json=WELL)["set_aside"]
    made = world.admin.ok("POST", f"/agents/{agent.id}/readmit")
    assert (made["set_aside_at"], made["strikes"], made["queues"]) == (None, 0, ["q"])
    assert len(agent.poll(wait_s=5)["leased"]) == 1  # the news may take a moment


def test_a_stranger_neither_sets_aside_nor_readmits(world: World) -> None:
    agent = set_aside(world)
    eve = world.user("eve")
    assert eve("POST", f"/agents/{agent.id}/readmit").status_code == 404
    assert eve("POST", f"/agents/{agent.id}/set-aside", json={}).status_code == 404
    assert agent.caller("POST", f"/agents/{agent.id}/readmit").status_code == 403


def test_a_reason_without_bounds_is_refused(world: World) -> None:
    agent = set_aside(world)
    answer = world.admin("POST", f"/agents/{agent.id}/set-aside", json={"reason": "x" * 501})
    assert answer.status_code == 422


def test_a_waiting_agent_hears_of_it_at_once(live: World) -> None:
    live.queue()
    agent = live.agent()
    agent.poll()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(agent.poll, 0, 20)
        time.sleep(0.3)
        began = time.monotonic()
        live.admin.ok("POST", f"/agents/{agent.id}/set-aside", json={})
        assert waiting.result()["set_aside"] == "set aside by admin"
        waiting = pool.submit(agent.poll, 0, 20)
        time.sleep(0.3)
        live.admin.ok("POST", f"/agents/{agent.id}/readmit")
        assert waiting.result()["set_aside"] == ""
    assert time.monotonic() - began < 10


def test_an_agent_that_is_set_aside_does_not_swallow_the_wake_of_another(live: World) -> None:
    live.queue()
    aside, other = live.agent("a"), live.agent("b")
    aside.poll()
    other.poll()
    live.admin.ok("POST", f"/agents/{aside.id}/set-aside", json={})
    with ThreadPoolExecutor() as pool:
        idle = pool.submit(aside.poll, 5, 3)  # asks for items all the same
        time.sleep(0.3)
        waiting = pool.submit(other.poll, 1, 20)
        time.sleep(0.3)
        began = time.monotonic()
        live.submit()
        assert len(waiting.result()["leased"]) == 1
        assert time.monotonic() - began < 5
        assert idle.result()["leased"] == []


def test_what_waits_when_it_comes_back_is_found(live: World) -> None:
    """An agent that is aside must not leave the queue noted as empty."""
    live.queue()
    agent = live.agent()
    agent.poll()
    live.admin.ok("POST", f"/agents/{agent.id}/set-aside", json={})
    live.submit()
    agent.poll(5)
    live.admin.ok("POST", f"/agents/{agent.id}/readmit")
    agent.poll(0)
    assert len(agent.poll(1, 5)["leased"]) == 1
