"""The routes of secrets, and what nobody finds in any answer or log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import World

VALUE = "s3cret-value-of-a-test"


def put(world: World, name: str, **body: Any) -> Any:
    return world.admin("PUT", f"/secrets/admin/{name}", json={"value": VALUE, **body})


def test_a_secret_is_written_listed_and_deleted(world: World) -> None:
    made = put(world, "hf-token", description="of the hub").json()
    assert (made["version"], made["for_jobs"], made["created_by"]) == (1, False, "admin")
    assert put(world, "hf-token", for_jobs=True).json()["version"] == 2
    shown = world.admin.ok("GET", "/secrets/admin/hf-token")
    assert (shown["description"], shown["for_jobs"]) == ("of the hub", True)
    assert world.admin.ok("GET", "/secrets", params={"entity": "admin"})["data"] == [shown]
    world.admin.ok("DELETE", "/secrets/admin/hf-token")
    assert world.admin("GET", "/secrets/admin/hf-token").status_code == 404
    assert world.admin("DELETE", "/secrets/admin/hf-token").status_code == 404


def test_what_is_said_of_a_secret_changes_without_its_value(world: World) -> None:
    put(world, "hf", description="old")
    edited = world.admin.ok("PATCH", "/secrets/admin/hf", json={"for_jobs": True})
    assert (edited["version"], edited["for_jobs"], edited["description"]) == (1, True, "old")
    edited = world.admin.ok("PATCH", "/secrets/admin/hf", json={"description": ""})
    assert (edited["for_jobs"], edited["description"]) == (True, "")
    noted = world.admin.ok("GET", "/audit")["data"]
    assert [e["action"] for e in noted if e["thing"] == "hf"][:2] == ["secret.edit"] * 2
    assert world.admin("PATCH", "/secrets/admin/none", json={}).status_code == 404
    assert world.user("eve")("PATCH", "/secrets/admin/hf", json={}).status_code == 404


def test_lists_come_in_pages(world: World) -> None:
    for n in range(5):
        put(world, f"s{n}")
    names, cursor = [], None
    while True:
        more = {"cursor": cursor} if cursor else {}
        page = world.admin.ok("GET", "/secrets", params={"limit": 2, **more})
        names += [s["name"] for s in page["data"]]
        if (cursor := page["next"]) is None:
            break
    assert names == [f"s{n}" for n in range(5)]


def test_T14_no_route_gives_a_value_to_anybody(world: World) -> None:
    put(world, "hf", for_jobs=True)
    paths = [
        path
        for path in world.admin.ok("GET", "/api/v1/openapi.json")["paths"]
        if "secret" in path
    ]  # fmt: skip
    assert sorted(paths) == ["/api/v1/secrets", "/api/v1/secrets/{entity}/{name}"]
    told = [world.admin("GET", p.format(entity="admin", name="hf")).text for p in paths]
    told += [world.admin("GET", "/audit").text, put(world, "hf").text]
    assert "s3cret" not in "".join(told)


@pytest.mark.parametrize(
    "body",
    [
        {"value": [VALUE]}, {"value": {"a": VALUE}}, {"valeu": VALUE}, {"value": VALUE, "x": VALUE},
        {"value": VALUE, "for_jobs": VALUE}, {"value": VALUE, "description": [VALUE]},
        {"value": VALUE + "\0"}, {"value": VALUE * 4000}, {"value": ""}, [VALUE], VALUE,
    ],
)  # fmt: skip
def test_T14_what_is_wrong_with_a_body_is_said_without_quoting_it(
    world: World, body: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = world.admin("PUT", "/secrets/admin/hf", json=body)
    assert answer.status_code == 422, answer.text
    logged = capfd.readouterr()
    assert "s3cret" not in answer.text + logged.out + logged.err


def test_T14_a_body_that_is_no_json_is_not_quoted_either(world: World) -> None:
    headers = {"Content-Type": "application/json"}
    answer = world.admin(
        "PUT", "/secrets/admin/hf", content=f'{{"value": "{VALUE}', headers=headers
    )
    assert answer.status_code == 422
    assert "s3cret" not in answer.text


@pytest.mark.parametrize("name", ["health", "ready", "login", "static", "a.b", "x" * 128])
def test_T2_names_that_look_like_paths_of_the_server_are_names(world: World, name: str) -> None:
    assert put(world, name).json()["name"] == name
    assert world.caller(None)("GET", f"/secrets/admin/{name}").status_code == 401


@pytest.mark.parametrize("name", ["..", "%2e%2e", "a%2Fb", "a b", ".a", "-a", "x" * 129, "a%00"])
def test_T11_other_names_are_refused(world: World, name: str) -> None:
    assert put(world, name).status_code in (404, 405, 422)


def test_T14_strangers_see_nothing_and_members_names_alone(world: World) -> None:
    world.admin.ok("POST", "/teams", json={"name": "vision"})
    ada, eve = world.user("ada"), world.user("eve")
    world.admin.ok("PUT", "/teams/vision/members/ada", json={"role": "member"})
    world.admin.ok("PUT", "/secrets/vision/hf", json={"value": VALUE})
    assert ada.ok("GET", "/secrets")["data"][0]["name"] == "hf"
    assert ada("PUT", "/secrets/vision/hf", json={"value": VALUE}).status_code == 403
    assert ada("DELETE", "/secrets/vision/hf").status_code == 403
    assert eve.ok("GET", "/secrets")["data"] == []
    for method, body in (
        ("GET", {}),
        ("DELETE", {}),
        ("PATCH", {"json": {}}),
        ("PUT", {"json": {"value": VALUE}}),
    ):
        assert eve(method, "/secrets/vision/hf", **body).status_code == 404
    assert eve("GET", "/secrets", params={"entity": "vision"}).status_code == 404


def test_T15_neither_agents_nor_runs_may_ask_for_secrets(world: World) -> None:
    world.queue()
    put(world, "hf")
    agent = world.agent()
    world.submit()
    held = agent.claim()
    for key in (agent.registered["token"], held["run_token"]):
        answer = world.caller(key)("GET", "/secrets/admin/hf")
        assert answer.status_code in (401, 403)


def test_T22_an_agent_gets_the_secrets_of_what_it_claims_and_no_others(world: World) -> None:
    put(world, "hf")
    put(world, "other")
    body = {"name": "q", "resource": "local-container", "config": {"secrets": {"HF": "hf"}}}
    world.admin.ok("POST", "/queues", json=body)
    world.submit()
    agent = world.agent()
    (held,) = agent.poll()["leased"]
    assert VALUE not in json.dumps(held)
    (answer,) = agent.move(agent.to("claim", held))
    assert answer["secrets"] == {"HF": VALUE}
    item = world.admin.ok("GET", f"/items/{held['item_id']}")
    assert VALUE not in json.dumps(item)
    assert item["spec"]["secrets"] == {"HF": {"entity": "admin", "name": "hf"}}


def test_an_unknown_secret_is_refused_with_the_nearest_name(world: World) -> None:
    put(world, "hf-token")
    body = {"name": "q", "resource": "local-container", "config": {"secrets": {"A": "hf-tokne"}}}
    answer = world.admin("POST", "/queues", json=body)
    assert answer.status_code == 422
    assert "did you mean 'hf-token'" in answer.text


def test_T14_a_submission_cannot_name_secrets(world: World) -> None:
    put(world, "hf")
    world.queue()
    spec = {
        "docker": {"docker_image": "busybox"},
        "resource_args": {"local-container": {"secrets": {"A": "hf"}}},
    }
    answer = world.admin("POST", "/queues/admin/q/items", json={"items": [spec]})
    assert answer.status_code == 422
    assert "secrets" in answer.text


def test_a_jobs_secrets_are_those_for_jobs(world: World) -> None:
    world.queue()
    source = {"kind": "image", "image": "busybox", "secrets": {"A": "hf"}}
    world.admin.ok("POST", "/jobs/admin/p/j/versions", json={"source": source})
    body = {"items": [{"job": "admin/p/j:latest"}]}
    put(world, "hf")
    answer = world.admin("POST", "/queues/admin/q/items", json=body)
    assert answer.status_code == 422
    assert "may not ask" in answer.text
    put(world, "hf", for_jobs=True)
    world.admin.ok("POST", "/queues/admin/q/items", json=body)
    agent = world.agent()
    (held,) = agent.poll()["leased"]
    (answer,) = agent.move(agent.to("claim", held))
    assert answer["secrets"] == {"A": VALUE}
