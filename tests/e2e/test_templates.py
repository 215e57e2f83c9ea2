"""
A member on a queue with a template: the same through REST, the command line and Python.

What is inside the bounds runs with the values; everything else is refused, in any spelling, all
of it at once, and in the same words whichever way it came.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

import runyard
from bench.harness.yard import Yard
from runyard.domain.errors import Forbidden, Invalid
from runyard.wire.rest import ItemDetail, QueueIn, QueuePatch
from tests.e2e.conftest import runyard as type_
from tests.e2e.test_policies import TEAM, Lab

QUEUE = "safe"
CONFIG = {
    "env": ["SIZE={{size}}", "MODE={{mode}}", "RATIO={{ratio}}", "DEBUG={{debug}}", "FIXED=1"],
    "gpus": 0,
}
VARIABLES = {
    "size": {"type": "integer", "default": 1, "minimum": 1, "maximum": 4},
    "mode": {"type": "string", "enum": ["calm", "fast"], "default": "calm"},
    "ratio": {"type": "number", "minimum": 0.1, "maximum": 0.5},
    "debug": {"type": "boolean", "default": False},
}
Refused = set[tuple[str, str]]  # path and message of each violation


@dataclass(frozen=True)
class Asked:
    """What a member asks of the queue."""

    values: Mapping[str, Any] = field(default_factory=dict)
    resource_args: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)

    def spec(self, job: str) -> dict[str, Any]:
        return {
            "job": job,
            "template_variables": dict(self.values),
            "resource_args": dict(self.resource_args),
            "policy": dict(self.policy),
        }


class Member:
    """A member, and three ways to launch: each returns the id of the item, or why not."""

    def __init__(self, lab: Lab, name: str, job: str) -> None:
        self.lab, self.job = lab, job
        self.key = lab.admin.create_key("templates", user=name).key
        self.url = lab.yard.urls[0]
        self.yard = copy(lab.yard)
        self.yard.key = self.key

    def rest(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        url = f"{self.url}/api/v1{path}"
        return httpx2.request(method, url, json=body, headers=headers, timeout=30)

    def by_rest(self, asked: Asked) -> str | Refused:
        body = {"items": [asked.spec(self.job)]}
        answer = self.rest("POST", f"/queues/{TEAM}/{QUEUE}/items", body)
        if answer.status_code == 422:
            return {(v["path"], v["message"]) for v in answer.json()["violations"]}
        assert answer.status_code == 201, answer.text
        return str(answer.json()["items"][0]["id"])

    def by_cli(self, asked: Asked) -> str | Refused:
        words = ["launch", "-j", self.job, "-q", f"{TEAM}/{QUEUE}", "--json"]
        for name, value in asked.values.items():
            text = value if isinstance(value, str) else json.dumps(value)
            words += ["--set-var", f"{name}={text}"]
        if asked.resource_args:
            words += ["--resource-args", json.dumps(asked.resource_args)]
        if asked.policy:
            words += ["--policy", json.dumps(asked.policy)]
        done = type_(self.yard, *words)
        if done.returncode:
            assert done.stdout == ""
            return told(done.stderr)
        return str(json.loads(done.stdout)["id"])

    def by_python(self, asked: Asked) -> str | Refused:
        with runyard.Client(self.url, self.key) as client:
            try:
                made = client.launch(
                    self.job,
                    queue=QUEUE,
                    queue_entity=TEAM,
                    template_variables=asked.values,
                    resource_args=asked.resource_args,
                    policy=asked.policy,
                )
            except Invalid as error:
                return {(v.path, v.message) for v in error.violations}
        return made.id


def told(stderr: str) -> Refused:
    """Read the violations as they are printed: one by itself, several below a summary."""
    first, *lines = [line for line in stderr.splitlines() if not line.startswith("hint: ")]
    assert first.startswith("error: ")
    found = [line.removeprefix("  ") for line in lines] or [first.removeprefix("error: ")]
    pairs = [line.partition(": ") for line in found]
    return {(path, message) for path, _, message in pairs}


WAYS: dict[str, Callable[[Member, Asked], str | Refused]] = {
    "REST": Member.by_rest,
    "CLI": Member.by_cli,
    "Python": Member.by_python,
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Yard() as yard:
        yield Lab(yard, QUEUE)


@pytest.fixture(scope="module")
def ada(lab: Lab) -> Member:
    lab.admin.create_queue(
        QueueIn(
            entity=TEAM, name=QUEUE, resource="local-process", config=CONFIG, variables=VARIABLES
        )
    )
    say = 'echo "$SIZE $MODE $RATIO $DEBUG $FIXED"'
    return Member(lab, "ada", lab.job("saying", "sh", "-c", say))


@pytest.mark.parametrize("way", WAYS)
def test_values_inside_the_bounds_are_what_runs(lab: Lab, ada: Member, way: str) -> None:
    given = WAYS[way](ada, Asked({"size": 3, "mode": "fast", "ratio": 0.25, "debug": True}))
    usual = WAYS[way](ada, Asked({"ratio": 0.5}))
    for item, said in ((given, "3 fast 0.25 true 1\n"), (usual, "1 calm 0.5 false 1\n")):
        assert isinstance(item, str), item
        found = lab.ended(item)
        assert (found.status, found.author, lab.log(found)) == ("Finished", "ada", said)


OUTSIDE = {
    "values": Asked({"size": 9, "mode": "wild", "ratio": 0.01, "debug": "maybe", "sise": 1}),
    "types": Asked({"size": "two", "ratio": "half", "debug": "yes"}),
    "nothing given": Asked(),
    "settings": Asked({"ratio": 0.2}, {"local-process": {"env": ["SIZE=64"], "gpus": 8}}),
    "spellings": Asked(
        {"ratio": 0.2},
        {
            "local-process": {
                "ENV": ["SIZE=64"], "--gpus": 8, "gpus ": 8, "volumes": None, "": 1, "secrets": {},
                "{{size}}": 1, "ｅｎｖ": [],
            },
            "local_process": {"env": []},
            "LOCAL-PROCESS": {"env": []},
            "local-container": {"privileged": True},
        },
    ),
    "everything": Asked(
        {"size": 9, "ratio": 0.2},
        {"local-process": {"gpus": 8}},
        {"max_running": 9, "run_timeot": 1},
    ),
}  # fmt: skip
NUMBER = {"values": 5, "types": 3, "nothing given": 1, "settings": 2, "spellings": 12}


@pytest.mark.parametrize("case", OUTSIDE)
def test_T9_what_is_outside_is_refused_alike_and_all_at_once(
    lab: Lab, ada: Member, case: str
) -> None:
    before = sum(1 for _ in lab.admin.items(entity=TEAM))
    rest, cli, python = (launch(ada, OUTSIDE[case]) for launch in WAYS.values())
    assert isinstance(rest, set), rest
    assert rest == cli == python
    assert len(rest) == NUMBER.get(case, len(rest)), rest
    assert sum(1 for _ in lab.admin.items(entity=TEAM)) == before


def test_T9_all_parts_of_a_submission_are_judged_together(ada: Member) -> None:
    refused = dict(ada.by_rest(OUTSIDE["everything"]))
    assert refused.keys() == {
        "template_variables.size", "resource_args.local-process.gpus", "policy.max_running",
        "policy.run_timeot",
    }  # fmt: skip
    assert refused["template_variables.size"] == "9 is above the maximum of 4"
    assert refused["resource_args.local-process.gpus"] == (
        "queue safe lets you set size, mode, ratio, debug, by --set-var"
    )


def test_T9_members_cannot_move_the_bounds(lab: Lab, ada: Member) -> None:
    wider = {"variables": {**VARIABLES, "size": {"type": "integer"}}}
    path = f"/queues/{TEAM}/{QUEUE}"
    assert ada.rest("PATCH", path, wider).status_code == 403
    assert ada.rest("DELETE", path).status_code == 403
    assert ada.rest("POST", f"{path}/pause", {}).status_code == 403
    new = {"entity": TEAM, "name": "mine", "resource": "local-process"}
    assert ada.rest("POST", "/queues", new).status_code == 403

    done = type_(ada.yard, "queue", "edit", f"{TEAM}/{QUEUE}", "--set", "variables.size.maximum=64")
    assert (done.returncode, done.stdout) == (1, "")
    assert "admin" in done.stderr

    with runyard.Client(ada.url, ada.key) as client:
        queue = client.queue(QUEUE, entity=TEAM)
        for change in (
            lambda: queue.edit(variables=wider["variables"]),
            lambda: queue.edit(config={}),
            lambda: queue.edit(policy={"locked": False}),
            queue.pause,
            queue.delete,
        ):
            with pytest.raises(Forbidden):
                change()
    assert lab.admin.queue(TEAM, QUEUE).variables == VARIABLES


def tampered(lab: Lab, item_id: str, change: Callable[[dict[str, Any]], None]) -> ItemDetail:
    """Change a waiting item in the database, let it go, and return how it ended."""
    with sqlite3.connect(lab.yard.root / "server0" / "runyard.db", timeout=30) as database:
        ((text,),) = database.execute("SELECT spec FROM items WHERE id = ?", [item_id])
        spec = json.loads(text)
        change(spec)
        changed = database.execute(
            "UPDATE items SET spec = ? WHERE id = ?", [json.dumps(spec), item_id]
        )
        assert changed.rowcount == 1
    database.close()
    lab.cli("item", "release", item_id)
    return lab.ended(item_id)


def more_than_was_chosen(spec: dict[str, Any]) -> None:
    spec["resource_args"]["local-process"]["env"][0] = "SIZE=64"


def more_than_may_be_chosen(spec: dict[str, Any]) -> None:
    more_than_was_chosen(spec)
    spec["template"]["values"]["size"] = 64


def another_setting(spec: dict[str, Any]) -> None:
    spec["resource_args"]["local-process"]["volumes"] = ["cache:/etc"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (more_than_was_chosen, "configuration is not what its queue's template makes"),
        (more_than_may_be_chosen, "64 is above the maximum of 4"),
        (another_setting, "configuration is not what its queue's template makes"),
    ],
)
def test_T9_an_agent_refuses_what_was_tampered_with_while_it_waited(
    lab: Lab, ada: Member, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    with runyard.Client(ada.url, ada.key) as client:
        queued = client.launch(
            ada.job, queue=QUEUE, queue_entity=TEAM, template_variables={"ratio": 0.2}, hold=True
        )
    found = tampered(lab, queued.id, change)
    assert found.status == "Failed"
    assert found.failure is not None
    assert "the agent does not run this" in found.failure.message
    assert said in found.failure.message
    assert lab.log(found) == ""
    assert said in lab.cli("item", "show", queued.id)


def test_an_admin_lays_settings_over_and_moves_bounds(lab: Lab, ada: Member) -> None:
    asked = Asked({"ratio": 0.2}, {"local-process": {"env": ["SIZE=64", "FIXED=2"]}})
    boss = Member(lab, "admin", ada.job)
    item = boss.by_cli(asked)
    assert isinstance(item, str), item
    found = lab.ended(item)
    assert found.status == "Finished"
    assert lab.log(found).split()[0] == "64"

    wider = {**VARIABLES, "size": {**VARIABLES["size"], "maximum": 8}}
    try:
        lab.admin.edit_queue(TEAM, QUEUE, QueuePatch(variables=wider))
        item = ada.by_rest(Asked({"size": 8, "ratio": 0.2}))
        assert isinstance(item, str), item
    finally:
        lab.admin.edit_queue(TEAM, QUEUE, QueuePatch(variables=VARIABLES))
