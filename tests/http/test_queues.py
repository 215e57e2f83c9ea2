"""Queues over HTTP: templates, policies, links, modes; all mistakes at once, and who may."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from runyard.domain.policy import QueuePolicy

from .conftest import IMAGE, Caller, World

QUEUE = "/queues/lab/gpu"
NEW: dict[str, Any] = {
    "entity": "lab",
    "name": "gpu",
    "resource": "local-container",
    "config": {"gpus": "{{gpus}}", "memory": "16g", "env": ["SEED={{seed}}"]},
    "variables": {
        "gpus": {"type": "integer", "default": 1, "minimum": 0, "maximum": 4},
        "seed": {"type": "integer", "default": 7, "description": "of the random numbers"},
    },
    "policy": {"priorities": True, "max_running": 4},
    "links": [{"label": "dashboard", "url": "https://grafana.example/d/1"}],
    "description": "A100s",
}


class Lab:
    """A team with one user of each built-in role, and a stranger."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.admin.ok("POST", "/teams", json={"name": "lab"})
        self.stranger = world.user("eve")
        self.owner, self.operator, self.member, self.viewer = (
            self._with(role) for role in ("admin", "operator", "member", "viewer")
        )

    def _with(self, role: str) -> Caller:
        who = self.world.user(f"the-{role}")
        self.world.admin.ok("PUT", f"/teams/lab/members/the-{role}", json={"role": role})
        return who

    def make(self, **changes: Any) -> Any:
        return self.owner.ok("POST", "/queues", json={**NEW, **changes})


@pytest.fixture
def lab(world: World) -> Lab:
    return Lab(world)


def violations(answer: Any) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    return {one["path"]: one["message"] for one in answer.json()["violations"]}


def test_a_queue_is_shown_as_it_was_made(lab: Lab) -> None:
    made = lab.make()
    shown = lab.viewer.ok("GET", QUEUE)
    del made["created_at"]  # which is shown in milliseconds
    assert {**shown, **made} == shown
    for name in ("config", "variables", "links", "description", "resource"):
        assert shown[name] == NEW[name]
    assert shown["policy"] == QueuePolicy(priorities=True, max_running=4).to_json()
    assert (shown["mode"], shown["mode_by"], shown["created_by"]) == ("open", "", "the-admin")
    assert lab.stranger("GET", QUEUE).status_code == 404


def test_T9_all_that_is_wrong_with_a_queue_is_said_at_once(lab: Lab) -> None:
    body = {
        **NEW,
        "variables": {"gpus": {"type": "integer", "minimum": 5, "maximum": 4}, "x y": {}},
        "policy": {"max_runing": 4, "aging": -1, "retry": [{"exit_codes": [0]}]},
        "links": [{"label": "x", "url": "javascript:alert(1)"}],
    }
    answer = lab.owner("POST", "/queues", json=body)
    assert violations(answer) == {
        "variables.gpus.minimum": "5 is above the maximum of 4",
        "variables.x y": "a name is letters, digits and '_', 64 at most",
        "policy.max_runing": "unknown; did you mean max_running?",
        "policy.aging": "-1 is not from 0 to 2592000",
        "policy.retry.0.exit_codes": "is a list of numbers from 1 to 255",
        "links.0.url": "is an address with http or https",
    }
    assert lab.owner("GET", QUEUE).status_code == 404


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"config": {"gpus": "{{gpu}}", "env": ["A={{seed}}"]}}, "config.gpus",
         "did you mean gpus?"),
        ({"config": {"gpus": "{{gpus}}"}}, "variables.seed", "the config has no {{seed}}"),
        ({"config": {"{{gpus}}": 1, "a": "{{gpus}}{{seed}}"}}, "config.{{gpus}}", "not in a key"),
        ({"config": {"gpus": "{{gpus}}", "env": ["{{seed"]}}, "config.env.0", "other half"),
        ({"config": {"privileged": True, "a": "{{gpus}}{{seed}}"}}, "privileged", ""),
        ({"config": {"cpus": "{{gpus}}", "env": ["S={{seed}}"]}}, "cpus", "with gpus = 0"),
    ],
)  # fmt: skip
def test_T9_a_template_that_could_not_run_is_refused(
    lab: Lab, change: dict[str, Any], path: str, said: str
) -> None:
    found = violations(lab.owner("POST", "/queues", json={**NEW, **change}))
    assert said in found[path]


def test_an_edit_replaces_what_is_named_and_leaves_the_rest(lab: Lab) -> None:
    lab.make()
    edited = lab.owner.ok("PATCH", QUEUE, json={"policy": {"fair_share": True}})
    assert edited["policy"] == QueuePolicy(fair_share=True).to_json()
    for name in ("config", "variables", "links", "description"):
        assert edited[name] == NEW[name]
    cleared = lab.owner.ok("PATCH", QUEUE, json={"links": [], "description": ""})
    assert (cleared["links"], cleared["description"]) == ([], "")
    refused = lab.owner("PATCH", QUEUE, json={"variables": {}})  # the config still has {{gpus}}
    assert violations(refused).keys() == {"config.gpus", "config.env.0"}
    assert lab.owner("PATCH", QUEUE, json={"mode": "paused"}).status_code == 422


def test_members_see_a_queue_and_its_bounds_and_change_nothing(lab: Lab) -> None:
    lab.make()
    calls: list[tuple[str, str, Any]] = [
        ("POST", "/queues", {**NEW, "name": "mine"}),
        ("PATCH", QUEUE, {"policy": {}}),
        ("DELETE", QUEUE, None),
    ]
    for method, path, body in calls:
        for who in (lab.viewer, lab.member, lab.operator):
            answer = who(method, path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), answer.text
        assert lab.stranger(method, path, json=body).status_code == 404
    for verb in ("pause", "drain", "resume"):
        assert lab.member("POST", f"{QUEUE}/{verb}", json={}).status_code == 403
        assert lab.stranger("POST", f"{QUEUE}/{verb}", json={}).status_code == 404
        assert lab.operator("POST", f"{QUEUE}/{verb}", json={}).status_code == 200
    assert lab.member.ok("GET", QUEUE)["variables"] == NEW["variables"]


def test_T9_members_launch_within_the_bounds_and_no_further(lab: Lab) -> None:
    lab.make()

    def submit(**spec: Any) -> Any:
        body = {"items": [{**IMAGE, **spec}]}
        return lab.member("POST", f"{QUEUE}/items", json=body)

    (made,) = submit(template_variables={"gpus": 4}).json()["items"]
    assert made["spec"]["resource_args"]["local-container"] == {
        "gpus": 4, "memory": "16g", "env": ["SEED=7"],
    }  # fmt: skip
    refused = submit(
        template_variables={"gpus": 5, "seed": "x"},
        resource_args={"local-container": {"--MEMORY": "64g"}},
        policy={"max_running": 64},
        priority="urgent",
    )
    told = violations(refused)
    assert told["template_variables.gpus"] == "5 is above the maximum of 4"
    assert told.keys() >= {
        "template_variables.seed", "resource_args.local-container.--MEMORY", "policy.max_running",
    }  # fmt: skip
    assert "urgent" in refused.text


def test_T9_the_same_key_twice_in_json_is_no_way_around_a_bound(lab: Lab) -> None:
    lab.make()
    text = (
        '{"items": [{"docker": {"docker_image": "busybox"},'
        ' "template_variables": {"gpus": 64, "gpus": 1}, "template_variables": {"gpus": 64}}]}'
    )
    headers = {"Content-Type": "application/json"}
    answer = lab.member("POST", f"{QUEUE}/items", content=text, headers=headers)
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("field", ["config", "variables", "policy"])
def test_T20_what_is_nested_too_deep_is_refused(lab: Lab, field: str) -> None:
    deep: Any = {}
    for _ in range(100):
        deep = {"a": deep}
    answer = lab.owner("POST", "/queues", json={**NEW, field: deep})
    assert answer.status_code == 422
    assert "nested deeper than 64 levels" in answer.json()["detail"]


def test_who_paused_a_queue_and_why_is_shown_until_it_is_opened(lab: Lab) -> None:
    lab.make()
    paused = lab.operator.ok("POST", f"{QUEUE}/pause", json={"reason": "  driver update "})
    told = (paused["mode"], paused["mode_by"], paused["mode_why"])
    assert told == ("paused", "the-operator", "driver update")
    again = lab.owner.ok("POST", f"{QUEUE}/drain")  # without a body
    assert (again["mode"], again["mode_by"], again["mode_why"]) == ("draining", "the-admin", "")
    opened = lab.owner.ok("POST", f"{QUEUE}/resume")
    assert (opened["mode"], opened["mode_by"], opened["mode_why"]) == ("open", "", "")
    for body in ({"reason": "x" * 501}, {"why": "x"}, {"reason": 1}):
        assert lab.owner("POST", f"{QUEUE}/pause", json=body).status_code == 422
    listed = lab.viewer.ok("GET", "/queues", params={"entity": "lab"})["data"]
    assert [one["mode"] for one in listed] == ["open"]


def test_a_draining_queue_refuses_a_submission_with_the_reason(lab: Lab) -> None:
    lab.make()
    lab.owner.ok("POST", f"{QUEUE}/drain", json={"reason": "moved to big"})
    answer = lab.member("POST", f"{QUEUE}/items", json={"items": [IMAGE]})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "draining, and takes nothing new: the-admin: moved to big" in answer.json()["detail"]
    assert "runyard queue list" in answer.json()["hint"]


def test_a_full_queue_refuses_a_submission(lab: Lab) -> None:
    lab.make(policy={"max_waiting_per_user": 1})
    lab.member.ok("POST", f"{QUEUE}/items", json={"items": [IMAGE]})
    answer = lab.member("POST", f"{QUEUE}/items", json={"items": [IMAGE]})
    assert answer.status_code == 413
    assert "allows 1" in answer.json()["detail"]


def test_deleting_a_queue_cancels_what_waits_and_keeps_what_runs(lab: Lab) -> None:
    lab.make()
    waiting, running = lab.world.submit(2, "lab/gpu", who=lab.member)
    agent = lab.world.agent(queues=("gpu",), entity="lab")
    held = agent.claim()
    answer = lab.owner("DELETE", QUEUE)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    agent.finish(held)
    assert lab.owner("DELETE", QUEUE).status_code == 204
    states = {lab.member.ok("GET", f"/items/{i['id']}")["state"] for i in (waiting, running)}
    assert states == {"CANCELLED", "FINISHED"}


def test_opening_a_queue_wakes_agents_that_wait_for_it(live: World) -> None:
    live.queue()
    live.admin.ok("POST", "/queues/admin/q/pause")
    live.submit()
    agent = live.agent()
    with ThreadPoolExecutor() as pool:
        began = time.monotonic()
        answer = pool.submit(agent.poll, 1, 20)
        time.sleep(0.5)
        assert not answer.done()
        live.admin.ok("POST", "/queues/admin/q/resume")
        assert len(answer.result(timeout=10)["leased"]) == 1
    assert time.monotonic() - began < 10


def test_a_wider_limit_wakes_agents_that_wait_for_it(live: World) -> None:
    live.queue()
    live.admin.ok("PATCH", "/queues/admin/q", json={"policy": {"max_running": 1}})
    live.submit(2)
    first, second = live.agent("a"), live.agent("b")
    first.claim()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(second.poll, 1, 20)
        time.sleep(0.5)
        assert not answer.done()
        live.admin.ok("PATCH", "/queues/admin/q", json={"policy": {"max_running": 2}})
        assert len(answer.result(timeout=10)["leased"]) == 1
