"""What people see of an item while its image is built."""

from __future__ import annotations

from typing import Any

from tests.http.conftest import World

IMAGE = {"place": "", "repository": "registry.example.com/ml/jobs", "tag": "abc"}


def statuses(world: World, item: dict[str, Any]) -> tuple[str, str]:
    run = item["run"]
    path = f"/runs/{run['entity']}/{run['project']}/{run['run_id']}"
    return (
        world.admin.ok("GET", f"/items/{item['id']}")["status"],
        world.admin.ok("GET", path)["status"],
    )


def test_who_builds_is_building_and_who_waits_for_it_is_starting(world: World) -> None:
    world.queue()
    first, second = world.submit(2)
    agent = world.agent()
    builder, waiter = agent.claim(), agent.claim()
    (may,) = agent.move(agent.to("build", builder, missing=True, **IMAGE))
    assert may["may_build"]["do"] == "build"
    (may,) = agent.move(agent.to("build", waiter, missing=True, **IMAGE))
    assert may["may_build"]["do"] == "wait"
    assert statuses(world, first) == ("Building", "Building")
    assert statuses(world, second) == ("Starting", "Starting")
    digest = "sha256:" + "0" * 64
    (told,) = agent.move(agent.to("built", builder, digest=digest, **IMAGE))
    assert told["code"] == "", told
    assert statuses(world, first) == ("Starting", "Starting")
