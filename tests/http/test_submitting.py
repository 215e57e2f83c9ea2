from __future__ import annotations

from typing import Any

import pytest

from .conftest import IMAGE, World


def test_a_submission_is_queued_and_shown(world: World) -> None:
    world.queue()
    (made,) = world.submit()
    item = world.admin.ok("GET", f"/items/{made['id']}")
    assert (item["state"], item["status"]) == ("PENDING", "Idle")
    assert item["spec"] == made["spec"]
    assert [e["became"] for e in item["events"]] == ["PENDING"]
    run = made["run"]
    shown = world.admin.ok("GET", f"/runs/{run['entity']}/{run['project']}/{run['run_id']}")
    assert shown["item_id"] == made["id"]


def test_the_same_key_sent_again_acts_once(world: World) -> None:
    world.queue()
    send: dict[str, Any] = {"json": {"items": [IMAGE]}, "headers": {"Idempotency-Key": "k"}}
    first = world.admin("POST", "/queues/admin/q/items", **send)
    again = world.admin("POST", "/queues/admin/q/items", **send)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert "idempotent-replay" not in first.headers
    assert again.headers["idempotent-replay"] == "true"
    assert len(world.admin.ok("GET", "/items")["data"]) == 1


def test_a_key_used_for_another_request_is_refused(world: World) -> None:
    world.queue()
    headers = {"Idempotency-Key": "k"}
    world.admin.ok("POST", "/queues/admin/q/items", json={"items": [IMAGE]}, headers=headers)
    other = world.admin(
        "POST", "/queues/admin/q/items", json={"items": [IMAGE] * 2}, headers=headers
    )
    assert (other.status_code, other.json()["code"]) == (409, "conflict")


def test_a_dry_run_leaves_nothing_not_even_the_default_queue(world: World) -> None:
    source = {"kind": "git", "remote": "https://h.example/r.git", "commit": "a" * 40}
    source |= {"entry_point": ["python", "a.py"]}
    world.admin.ok("POST", "/jobs/admin/p/j/versions", json={"source": source})
    made = world.admin.ok(
        "POST",
        "/queues/admin/default/items",
        params={"dry_run": "true"},
        json={"items": [{"job": "admin/p/j", "project": "new"}]},
    )
    assert made["dry_run"]
    assert made["items"][0]["spec"]["queue"] == "default"
    assert world.admin.ok("GET", "/queues")["data"] == []
    assert world.admin.ok("GET", "/items")["data"] == []


def test_one_bad_spec_of_many_queues_none_and_says_which(world: World) -> None:
    world.queue()
    body = {"items": [IMAGE, {**IMAGE, "priorty": 1}, IMAGE]}
    answer = world.admin("POST", "/queues/admin/q/items", json=body)
    assert answer.status_code == 422
    (violation,) = answer.json()["violations"]
    assert violation["path"] == "items.1.priorty"
    assert "priority" in violation["message"]
    assert world.admin.ok("GET", "/items")["data"] == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "object"),
        (b'{"items": []}', "items"),
        (b'{"items": [1]}', "items"),
        (b'{"item": [{}]}', "item"),
        (b'{"items": [{}], "x": 1}', "x"),
        (b'{"items": [' + b"{}," * 5000 + b"{}]}", "5000"),
        (b'{"items": [{"a": ' + b"[" * 100 + b"]" * 100 + b"}]}", "nested"),
        (b'{"items": [{"a": "' + b"[" * 100 + b'"}]}', "a"),
    ],
)
def test_a_bad_body_is_answered_with_what_is_wrong(world: World, body: bytes, says: str) -> None:
    world.queue()
    answer = world.admin("POST", "/queues/admin/q/items", content=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid")
    assert says in problem["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_unknown_queue_is_answered_with_the_nearest_names(world: World) -> None:
    world.queue("training")
    answer = world.admin("POST", "/queues/admin/trainin/items", json={"items": [IMAGE]})
    assert answer.status_code == 404
    assert "training" in answer.json()["detail"]
    assert "runyard queue" in answer.json()["hint"]


def test_a_minimal_answer_leaves_the_specs_out(world: World) -> None:
    world.queue()
    assert [m["spec"] for m in world.submit(3, minimal="true")] == [None] * 3


def test_pages_follow_each_other_without_overlap(world: World) -> None:
    world.queue()
    made = {m["id"] for m in world.submit(7, minimal="true")}
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 3}
    while True:
        page = world.admin.ok("GET", "/items", params=params)
        seen += [i["id"] for i in page["data"]]
        if page["next"] is None:
            break
        params["cursor"] = page["next"]
    assert seen == sorted(made, reverse=True)


@pytest.mark.parametrize("cursor", ["?", "AAAA", "%00", "🙂"])
def test_a_cursor_that_is_none_of_ours_is_refused(world: World, cursor: str) -> None:
    answer = world.admin("GET", "/items", params={"cursor": cursor})
    assert answer.status_code == 422
    assert "cursor" in answer.json()["detail"]


def test_filters_narrow_lists(world: World) -> None:
    world.queue()
    world.queue("other")
    (made,) = world.submit()
    world.submit(2, "admin/other")
    world.admin.ok("POST", f"/items/{made['id']}/cancel")

    def n(path: str, **params: str) -> int:
        return len(world.admin.ok("GET", path, params=params)["data"])

    assert n("/items") == 3
    assert n("/items", queue="other") == 2
    assert n("/items", state="CANCELLED") == 1
    assert n("/items", state="CANCELLED,PENDING") == 3
    assert n("/items", author="admin") == 3
    assert n("/runs", state="killed") == 1
    assert n("/runs", author="admin", project="default") == 3
    assert world.admin("GET", "/items", params={"state": "GONE"}).status_code == 422
