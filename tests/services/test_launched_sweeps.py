"""Sweeps whose scheduler is an item of a queue."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from runyard.domain.access import Actor, Kind
from runyard.domain.errors import Forbidden, Invalid, NotFound
from runyard.domain.items import RunId
from runyard.services import queues, runs
from runyard.services.call import Call
from runyard.services.launching import pushing
from runyard.services.sweeps import agents, defining, finding, launching
from runyard.services.sweeps.defining import Told
from runyard.store import sweeps as rows
from runyard.store import views
from runyard.store.db import Row
from tests.services.conftest import Yard

GRID = "method: grid\njob: ann/p/train:latest\nparameters: {x: {values: [1, 2]}}\n"
SPEC = {
    "entity": "ann",
    "project": "p",
    "resource": "local-process",
    "uri": "placeholder-uri-scheduler",
    "name": "Scheduler.WANDB_SWEEP_ID",
    "run_id": "WANDB_SWEEP_ID",
    "author": None,
    "docker": {},
    "git": {},
    "overrides": {
        "entry_point": ["wandb", "scheduler", "WANDB_SWEEP_ID"],
        "args": ["--queue", "'code'", "--project", "'p'", "--job", "'ann/p/train:latest'"],
        "run_config": {"scheduler": {"num_workers": 4}},
    },
}


def asked(queue: str = "code", spec: Any = SPEC) -> launching.Launch:
    text = json.dumps({"queue": queue, "run_queue_project": "model-registry",
                       "run_spec": json.dumps(spec)})  # fmt: skip
    launch = launching.read(text, "null")
    assert launch is not None
    return launch


def launched(yard: Yard, queue: str = "code") -> Row:
    row, _ = defining.create(yard.call(), "ann", "p", Told(config=GRID))
    return launching.launch(yard.call(), row, asked(queue))


@pytest.fixture
def code(yard: Yard) -> Yard:
    queues.create(yard.call(), entity="ann", name="code", resource="local-process")
    return yard


def scheduler_of(yard: Yard, sweep: Row) -> Row:
    run = rows.run(yard.tx, sweep["scheduler_run_id"])
    assert run is not None
    return run


def as_scheduler(yard: Yard, sweep: Row) -> Call:
    run = scheduler_of(yard, sweep)
    token = Actor(
        Kind.RUN, yard.admin.user_id, "ann", run_id=RunId(run["id"]), run_name=run["name"],
        project_id=run["project_id"],
    )  # fmt: skip
    return yard.call(token)


def test_the_scheduler_waits_in_the_queue_under_the_sweeps_name(code: Yard) -> None:
    sweep = launched(code)
    run = scheduler_of(code, sweep)
    assert (run["name"], run["state"]) == (sweep["name"], "pending")
    item = views.item(code.tx, run["item_id"])
    assert item is not None
    spec = json.loads(item["spec"])
    assert spec["name"] == f"Scheduler.{sweep['name']}"
    assert spec["overrides"]["entry_point"] == ["wandb", "scheduler", sweep["name"]]
    assert spec["overrides"]["args"] == [
        "--queue", "code", "--project", "p", "--job", "ann/p/train:latest"
    ]  # fmt: skip
    assert spec["overrides"]["run_config"] == {"scheduler": {"num_workers": 4}}
    told = json.loads(json.loads(sweep["scheduler"])["run_spec"])
    assert told["run_id"] == sweep["name"]
    assert sweep["state"] == "PENDING"


def test_an_unknown_queue_makes_nothing(code: Yard) -> None:
    with pytest.raises(NotFound):
        launched(code, "none")


@pytest.mark.parametrize("text", ["[]", "{}", "no", '{"queue": "q"}', '{"queue": 1}',
                                  '{"queue": "q", "run_spec": "[]"}'])  # fmt: skip
def test_what_is_no_launch_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        launching.read(text, None)


def test_a_scheduler_drives_its_sweep_and_queues_its_runs(code: Yard) -> None:
    sweep = launched(code, "q")
    call = as_scheduler(code, sweep)
    worker = agents.register(call, "ann", "p", sweep["name"], "host-0")["id"]
    (command,) = agents.heartbeat(call, worker, [], silence=timedelta(minutes=5))
    spec = {
        "entity": "ann", "project": "p", "docker": {"docker_image": "busybox"},
        "run_id": command["run_id"], "sweep_id": sweep["name"],
        "overrides": {"run_config": {"x": 1}},
    }  # fmt: skip
    pushed = pushing.by_name(call, "ann", "q", spec, values=None, priority=2)
    (run,) = rows.runs_named(code.tx, sweep["id"], [command["run_id"]])
    assert run["item_id"] == pushed.id
    assert run["sweep_agent_id"] == worker
    # It waits in the queue: its worker has not lost it.
    again = agents.heartbeat(call, worker, [], silence=timedelta(minutes=5))
    assert again[0]["run_id"] != command["run_id"]
    defining.set_state(call, sweep["id"], "CANCELED")
    (run,) = rows.runs_named(code.tx, sweep["id"], [command["run_id"]])
    assert run["state"] == "killed"
    assert scheduler_of(code, sweep)["state"] == "pending"  # it ends itself


def test_a_scheduler_has_nothing_to_do_with_another_sweep(code: Yard) -> None:
    own, other = launched(code, "q"), launched(code, "q")
    call = as_scheduler(code, own)
    stranger = agents.register(code.call(), "ann", "p", other["name"], "h")["id"]
    with pytest.raises(Forbidden):
        agents.register(call, "ann", "p", other["name"], "h")
    with pytest.raises(Forbidden):
        agents.heartbeat(call, stranger, [], silence=timedelta(minutes=5))
    with pytest.raises(Forbidden):
        defining.set_state(call, other["id"], "CANCELED")
    spec = {"docker": {"docker_image": "busybox"}, "entity": "ann", "project": "p",
            "sweep_id": other["name"]}  # fmt: skip
    with pytest.raises(Forbidden):
        pushing.by_name(call, "ann", "q", spec, values=None, priority=None)
    assert finding.find(call, "ann", "p", other["name"])["name"] == other["name"]


def test_a_sweep_is_resumed_by_another_scheduler(code: Yard) -> None:
    sweep = launched(code)
    runs.stop(code.call(), "ann", "p", sweep["name"])
    defining.set_state(code.call(), sweep["id"], "FINISHED")
    again = launching.launch(code.call(), finding.by_pk(code.call(), sweep["id"]), asked())
    run = scheduler_of(code, again)
    assert run["name"].startswith(sweep["name"] + "-")
    assert run["id"] != sweep["scheduler_run_id"]
    assert again["state"] == "PENDING"
