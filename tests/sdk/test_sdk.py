"""Runyard from Python, as a notebook or a pipeline uses it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import runyard
from runyard import sdk
from runyard.domain.errors import Conflict, Invalid, NotFound, Unauthenticated
from tests.cli.double import KEY, Double


@pytest.fixture
def server() -> Iterator[Double]:
    with Double() as double:
        yield double


@pytest.fixture
def client(server: Double) -> Iterator[runyard.Client]:
    with runyard.Client(server.url, KEY) as client:
        yield client


def test_a_job_is_launched_waited_for_and_read(client: runyard.Client, server: Double) -> None:
    server.on_submit = lambda run: server.end(run, 3, log=b"one\n\x1b[31mtwo\n")
    run = client.launch(
        "digits", queue="gpu", run_config={"lr": 0.1}, args=["x"], name="first", project="p"
    )
    assert run.spec == {
        "job": "digits",
        "name": "first",
        "project": "p",
        "overrides": {"args": ["x"], "run_config": {"lr": 0.1}},
    }
    result = run.wait(timeout=10)
    assert (result.status, result.exit_code) == ("Failed", 3)
    assert (run.state, run.status) == ("failed", "Failed")
    assert "".join(run.logs()) == "one\ntwo\n"
    assert b"".join(run.log_bytes()) == b"one\n\x1b[31mtwo\n"
    assert client.queued_run(run.id).path == run.path == "ada/default/run-0"


def test_the_module_launches_with_the_configured_server(
    server: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNYARD_BASE_URL", server.url)
    monkeypatch.setenv("RUNYARD_API_KEY", KEY)
    run = runyard.launch(image="python:3.11-slim", entry_point="python -V", queue="gpu")
    assert server.runs[run.id].spec == {
        "docker": {"docker_image": "python:3.11-slim"},
        "overrides": {"entry_point": ["python", "-V"]},
    }
    assert repr(run) == "QueuedRun('ada/default/run-0')"


def test_a_directory_becomes_a_job_first(
    client: runyard.Client, server: Double, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text("print(1)\n")
    run = client.launch(uri=tmp_path, entry_point=["python", "train.py"], job_name="digits")
    assert server.runs[run.id].spec == {"job": "ada/default/digits:v0"}
    assert server.runs[run.id].queue == "default"


def test_how_the_image_is_built_goes_with_the_launch(
    client: runyard.Client, server: Double
) -> None:
    run = client.launch("digits", base_image="b", dockerfile="docker/Dockerfile", rebuild=True)
    assert server.runs[run.id].spec == {
        "job": "digits",
        "builder": {"base_image": "b"},
        "rebuild": True,
        "overrides": {"dockerfile": "docker/Dockerfile"},
    }
    other = client.launch("digits", accelerator_image="nvidia/cuda:12")
    assert other.spec["builder"] == {"accelerator": {"base_image": "nvidia/cuda:12"}}


def test_what_a_build_prints_is_read_beside_the_run_s_output(
    client: runyard.Client, server: Double
) -> None:
    server.on_submit = lambda run: server.end(run, log=b"one\n")
    run = client.launch("digits")
    server.runs[run.id].built = b"step 1\n"
    assert "".join(run.logs(stage="build")) == "step 1\n"
    assert b"".join(run.log_bytes(stage="build", offset=5)) == b"1\n"


def test_what_does_not_fit_together_is_refused_here(client: runyard.Client) -> None:
    with pytest.raises(Invalid, match="exactly one of"):
        client.launch("a", image="b")
    with pytest.raises(Invalid, match="exactly one of"):
        client.launch()
    with pytest.raises(Invalid, match="entry_point"):
        client.launch(uri=".")


def test_many_are_queued_in_one_request(client: runyard.Client, server: Double) -> None:
    specs = [{"job": "digits", "overrides": {"run_config": {"lr": lr}}} for lr in (1, 2, 3)]
    runs = client.launch_many(specs, queue="gpu")
    assert [run.id for run in runs] == ["0", "1", "2"]
    assert len(server.seen("POST", "/queues/ada/gpu/items")) == 1


def test_waiting_until_it_runs_returns_when_it_runs(client: runyard.Client, server: Double) -> None:
    run = client.launch("digits")
    started = threading.Timer(
        0.1,
        lambda: server.move(server.runs[run.id], state="running", status="Running", started=True),
    )
    started.start()
    assert run.wait_until_running(timeout=10).status == "Running"
    started.join()


def test_waiting_until_it_runs_raises_when_it_fails_before(
    client: runyard.Client, server: Double
) -> None:
    server.on_submit = lambda run: server.move(
        run, state="failed", status="Failed", reason="no such image"
    )
    with pytest.raises(sdk.DidNotStart, match="no such image"):
        client.launch("digits").wait_until_running(timeout=10)


def test_waiting_has_an_end_if_one_is_given(client: runyard.Client) -> None:
    run = client.launch("digits")
    with pytest.raises(TimeoutError):
        run.wait(timeout=0.1)
    with pytest.raises(TimeoutError):
        run.wait_until_running(timeout=0.1)


def test_runs_are_stopped_and_items_cancelled(client: runyard.Client, server: Double) -> None:
    run = client.launch("digits")
    assert run.stop("enough").status == "Killed"
    other = client.launch("digits")
    other.cancel()
    assert other.status == "Killed"


def test_queues_are_made_found_edited_listed_and_deleted(client: runyard.Client) -> None:
    queue = client.create_queue("big", "local-container", config={"gpus": 1})
    with pytest.raises(Conflict):
        client.create_queue("big", "local-container")
    assert client.create_queue("big", "local-process", exist_ok=True).resource == "local-container"
    assert queue.edit(config={"gpus": 2}).config == {"gpus": 2}
    assert client.queue("big").config == queue.refresh().config == {"gpus": 2}
    assert "big" in [one.name for one in client.queues()]
    client.launch("digits", queue="big")
    assert [item.status for item in queue.items()] == ["Queued"]
    queue.delete()
    with pytest.raises(NotFound):
        client.queue("big")


def test_without_a_server_the_error_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNYARD_BASE_URL", raising=False)
    monkeypatch.delenv("RUNYARD_API_KEY", raising=False)
    monkeypatch.setenv("RUNYARD_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(Unauthenticated) as caught:
        runyard.Client()
    assert "runyard up" in caught.value.hint


def test_it_works_inside_a_running_event_loop_as_in_a_notebook(
    client: runyard.Client, server: Double
) -> None:
    server.on_submit = server.end

    async def cell() -> str:
        return client.launch("digits").wait(timeout=10).status

    assert asyncio.run(cell()) == "Finished"


def test_T14_no_key_is_in_what_a_notebook_prints(client: runyard.Client) -> None:
    assert KEY not in repr(client) + repr(client.api) + repr(client.launch("digits"))


# -- operating ---------------------------------------------------------------------------------


def test_a_queue_is_paused_drained_resumed_and_explained(
    client: runyard.Client, server: Double
) -> None:
    queue = client.queue("gpu")
    paused = queue.pause("driver update")
    assert (paused.data.mode, paused.data.mode_by, paused.data.mode_why) == (
        "paused", "ada", "driver update",
    )  # fmt: skip
    assert queue.drain().data.mode == "draining"
    assert queue.resume().data.mode == queue.refresh().data.mode == "open"

    user = {"user": "ada", "waiting": 1, "running": 2, "used_s": 60.0, "room": None}
    server.explained = {"users": [user], "next": ["ada"], "max_running": 4, "running": 2}
    found = queue.explain()
    assert (found.running, found.max_running, found.next) == (2, 4, ["ada"])
    assert (found.users[0].user, found.users[0].room) == ("ada", None)


def test_a_launch_gives_values_narrows_the_policy_and_may_be_held(client: runyard.Client) -> None:
    run = client.launch(
        "digits",
        queue="gpu",
        template_variables={"gpus": 2, "debug": False},
        policy={"run_timeout": 60, "retry": []},
        hold=True,
    )
    assert run.spec == {
        "job": "digits",
        "template_variables": {"gpus": 2, "debug": False},
        "policy": {"run_timeout": 60, "retry": []},
        "hold": True,
    }


def test_what_a_launch_says_goes_over_what_its_config_says(client: runyard.Client) -> None:
    base = {
        "job": "digits", "hold": True, "policy": {"run_timeout": 60},
        "template_variables": {"gpus": 1, "note": "kept"},
    }  # fmt: skip
    run = client.launch(config=base, template_variables={"gpus": 2}, policy={"stop_grace": 5})
    assert run.spec["template_variables"] == {"gpus": 2, "note": "kept"}
    assert run.spec["policy"] == {"run_timeout": 60, "stop_grace": 5}
    assert run.spec["hold"] is True


def test_a_queue_with_a_template_is_made(client: runyard.Client) -> None:
    variables = {"gpus": {"type": "integer", "maximum": 4}}
    made = client.create_queue(
        "safe", "local-container", config={"gpus": "{{gpus}}"}, variables=variables
    )
    assert made.data.variables == variables
    wider = {"gpus": {"type": "integer", "maximum": 8}}
    assert made.edit(variables=wider).data.variables == wider
    assert made.refresh().config == {"gpus": "{{gpus}}"}


def test_a_submission_is_held_released_ranked_and_tried_again(
    client: runyard.Client, server: Double
) -> None:
    run = client.launch("digits", queue="gpu")
    run.hold("wait for the data")
    item = run.item()
    assert (item.parked, item.parked_why) == ("held", "held by ada: wait for the data")
    assert item.waiting is not None
    assert "release it" in item.waiting.why
    run.release()
    assert run.item().parked is None
    with pytest.raises(Conflict):
        run.release()
    run.reprioritise("high")
    assert run.item().priority == 1
    server.end(server.runs[run.id], 1)
    again = run.retry({"name": "second"})
    assert again.id != run.id
    assert again.spec == {"job": "digits", "name": "second"}
