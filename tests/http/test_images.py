"""Images through the API: built and used by agents, listed, pruned, deleted by agents."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from runyard.client.agent_api import AgentApi
from runyard.wire import agent as wire

from .conftest import Agent, World

REPO, DIGEST = "registry.example:5000/jobs", "sha256:" + "a" * 64


def image(tag: str, **more: Any) -> dict[str, Any]:
    return {"place": "", "repository": REPO, "tag": tag, **more}


def build(agent: Agent, held: dict[str, Any], tag: str) -> dict[str, Any]:
    (asked,) = agent.move(agent.to("build", held, **image(tag, about={"base": "python"})))
    assert asked["may_build"]["do"] == "build"
    (told,) = agent.move(agent.to("built", held, **image(tag, digest=DIGEST, size=5)))
    assert told["code"] == ""
    return held


@pytest.fixture
def agent(world: World) -> Agent:
    world.queue()
    return world.agent()


def listed(world: World, **params: Any) -> list[str]:
    return [one["tag"] for one in world.admin.ok("GET", "/images", params=params)["data"]]


def test_an_image_is_listed_with_who_built_it_and_who_uses_it(world: World, agent: Agent) -> None:
    (made,) = world.submit()
    held = build(agent, agent.claim(), "one")

    (shown,) = world.admin.ok("GET", "/images")["data"]
    assert shown["run"]["run_id"] == made["run"]["run_id"]
    assert (shown["entity"], shown["state"], shown["digest"]) == ("admin", "READY", DIGEST)
    assert (shown["size"], shown["in_use"], shown["about"]) == (5, 1, {"base": "python"})
    assert shown["built_at"] is not None
    agent.finish(held)
    assert world.admin.ok("GET", "/images")["data"][0]["in_use"] == 0


def test_an_image_that_was_found_was_built_by_nobody_known(world: World, agent: Agent) -> None:
    world.submit()
    held = agent.claim()
    agent.move(agent.to("use", held, **image("one", digest=DIGEST)))

    (shown,) = world.admin.ok("GET", "/images")["data"]
    assert (shown["state"], shown["run"], shown["built_at"]) == ("READY", None, None)


def test_images_are_listed_page_by_page_and_by_what_is_known_of_them(
    world: World, agent: Agent
) -> None:
    for n in range(3):
        world.submit()
        agent.finish(build(agent, agent.claim(), f"t{n}"))
    world.submit()
    held = agent.claim()
    agent.move(agent.to("build", held, **image("t3")))

    first = world.admin.ok("GET", "/images", params={"limit": 3})
    assert [one["tag"] for one in first["data"]] == ["t3", "t2", "t1"]
    assert listed(world, limit=3, cursor=first["next"]) == ["t0"]
    assert listed(world, state="BUILDING") == ["t3"]
    assert listed(world, repository=REPO, state="READY") == ["t2", "t1", "t0"]
    assert listed(world, repository="elsewhere") == []
    assert listed(world, job="admin/") == []
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert listed(world, unused_since=yesterday) == []
    assert len(listed(world, unused_since=tomorrow, entity="admin")) == 4
    assert world.admin("GET", "/images", params={"state": "ready"}).status_code == 422


def test_what_nothing_needs_is_pruned_and_deleted_by_an_agent(world: World, agent: Agent) -> None:
    world.submit()
    agent.finish(build(agent, agent.claim(), "one"))
    body = {"repository": REPO, "dry_run": True}

    dry = world.admin.ok("POST", "/images/prune", json=body)
    assert [one["tag"] for one in dry["images"]] == ["one"]
    assert (dry["bytes"], dry["more"], listed(world, state="DOOMED")) == (5, False, [])
    assert world.admin.ok("POST", "/images/prune", json={"older_than_s": 3600})["images"] == []
    assert world.admin.ok("POST", "/images/prune", json={"keep_last": 1})["images"] == []
    done = world.admin.ok("POST", "/images/prune", json={})
    assert [one["tag"] for one in done["images"]] == ["one"]
    assert listed(world, state="DOOMED") == ["one"]

    asked = {"place": "", "repository": REPO}
    path = f"/agents/{agent.id}/doomed-images"
    (told,) = agent.caller.ok("POST", path, json=asked)["images"]
    assert (told["tag"], told["digest"]) == ("one", DIGEST)
    gone = {**asked, "gone": [told["id"]]}
    assert agent.caller.ok("POST", path, json=gone)["images"] == []
    assert listed(world) == []


def test_what_waits_keeps_its_image(world: World, agent: Agent) -> None:
    world.submit()
    agent.finish(build(agent, agent.claim(), "one"))
    world.submit()  # of the same source

    pruned = world.admin.ok("POST", "/images/prune", json={})

    assert (pruned["images"], pruned["needed"]) == ([], 1)
    assert listed(world, state="READY") == ["one"]


@pytest.mark.parametrize(
    "body",
    [{"older_than_s": -1}, {"unused_for_s": 10**12}, {"keep_last": -1}, {"all": True},
     {"repository": "x" * 256}],
)  # fmt: skip
def test_a_prune_that_is_not_understood_is_refused(world: World, body: dict[str, Any]) -> None:
    assert world.admin("POST", "/images/prune", json=body).status_code == 422


def test_images_of_a_team_are_nothing_to_others_T21(world: World, agent: Agent) -> None:
    world.submit()
    agent.finish(build(agent, agent.claim(), "one"))
    stranger = world.user("stranger")

    assert stranger.ok("GET", "/images")["data"] == []
    assert stranger("GET", "/images", params={"entity": "admin"}).status_code == 404
    assert stranger("POST", "/images/prune", json={"entity": "admin"}).status_code == 404
    assert stranger.ok("POST", "/images/prune", json={})["images"] == []
    assert listed(world, state="READY") == ["one"]


def test_a_service_account_for_some_queues_sees_no_images(world: World, agent: Agent) -> None:
    world.admin.ok("POST", "/teams", json={"name": "lab"})
    world.queue("q", "lab")
    body = {"name": "bot", "role": "admin", "queues": ["q"]}
    world.admin.ok("POST", "/teams/lab/service-accounts", json=body)
    bot = world.caller(world.admin.ok("POST", "/keys", json={"user": "bot"})["key"])
    theirs = world.agent("l", ("q",), entity="lab")
    world.submit(1, "lab/q")
    theirs.finish(build(theirs, theirs.claim(), "one"))

    assert len(world.admin.ok("GET", "/images", params={"entity": "lab"})["data"]) == 1
    assert bot.ok("GET", "/images")["data"] == []
    assert bot("GET", "/images", params={"entity": "lab"}).status_code == 403
    assert bot("POST", "/images/prune", json={"entity": "lab"}).status_code == 403


def test_what_becomes_of_images_is_counted(world: World, agent: Agent) -> None:
    world.submit(2)
    first, second = agent.claim(), agent.claim()
    agent.move(agent.to("build", first, **image("one")))
    agent.move(agent.to("build", second, **image("one")))
    agent.move(agent.to("built", first, **image("one", error="no")))
    agent.move(agent.to("build", second, **image("one", waits=True)))

    text = world.admin("GET", "/metrics").text
    for what in ("build", "wait", "failed", "fail"):
        assert f'runyard_images_total{{what="{what}"}} 1.0' in text


def test_an_agents_client_hears_of_doomed_images_and_says_when_they_are_gone(
    live: World,
) -> None:
    live.queue()
    live.submit()
    builder = live.agent()
    builder.finish(build(builder, builder.claim(), "one"))
    live.admin.ok("POST", "/images/prune", json={})
    asked = wire.AskDoomed(place="", repository=REPO)

    async def ask() -> None:
        api = AgentApi(str(live.http.base_url).rstrip("/"), live.admin.key or "")
        await api.register(wire.Register(name="a", hostname="h", version="1", queues=["q"]))
        (told,) = await api.doomed(asked)
        assert (told.repository, told.tag, told.digest) == (REPO, "one", DIGEST)
        assert await api.doomed(msgspec.structs.replace(asked, gone=[told.id])) == []
        await api.close()

    asyncio.run(ask())
    assert listed(live) == []
