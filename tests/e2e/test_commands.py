"""What an ML engineer types, against a real server and agent."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest

from bench.harness.yard import Yard
from runyard.client import follow
from tests.e2e.conftest import runyard, until


@pytest.fixture
def served(yard: Yard) -> Yard:
    yard.add_queue("default")
    yard.add_agent("default")
    yard.wait_agents("default")
    return yard


def project(yard: Yard, text: str) -> str:
    path = yard.root / "project"
    path.mkdir()
    (path / "train.py").write_text(text)
    return str(path)


def processes_with(*words: str) -> list[str]:
    """Return the command lines that hold all of these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_text().replace("\0", " "))
    return [line for line in found if all(word in line for word in words)]


def launch(yard: Yard, text: str, *more: str):
    path = project(yard, text)
    return runyard(yard, "launch", "-u", path, "-E", "python train.py", "-q", "default", *more)


@pytest.mark.parametrize("code", [0, 3])
def test_follow_prints_the_live_log_and_leaves_with_the_jobs_exit_code(served, code):
    done = launch(served, f"print('hello'); raise SystemExit({code})", "--follow")

    assert (done.stdout, done.returncode) == ("hello\n", code), done.stderr


def test_a_job_that_calls_no_sdk_is_finished_or_failed_by_its_exit_code(served):
    launch(served, "raise SystemExit(7)", "--follow")

    (run,) = json.loads(runyard(served, "run", "list", "--json").stdout)
    assert (run["status"], run["exit_code"]) == ("Failed", 7)


def test_stop_ends_a_running_job_and_it_was_killed(served):
    launched = launch(served, "import time\nprint('up', flush=True)\ntime.sleep(60)", "--json")
    item = json.loads(launched.stdout)
    run = item["run"]["run_id"]
    with served.api() as api:
        until(lambda: api.item(item["id"]).status == "Running")
        stopped = runyard(served, "run", "stop", run)
        assert stopped.returncode == 0, stopped.stderr
        until(lambda: api.item(item["id"]).ended_at is not None)
        assert api.item(item["id"]).status == "Killed"
    assert processes_with(str(served.root), "train.py") == []


def test_an_unknown_queue_is_answered_with_the_nearest_and_exit_code_1(served):
    path = project(served, "")
    done = runyard(served, "launch", "-u", path, "-E", "python train.py", "-q", "defalt")

    assert done.returncode == 1
    assert "default" in done.stderr
    assert "Traceback" not in done.stderr
    with served.api() as api:
        assert list(api.items()) == []


def test_without_a_queue_the_job_runs_here_and_now(yard):
    path = project(yard, "print('here'); raise SystemExit(4)")
    done = runyard(yard, "launch", "-u", path, "-E", "python train.py")

    assert (done.stdout, done.returncode) == ("here\n", 4), done.stderr


def test_a_dry_run_prints_what_would_be_done_and_stores_nothing(served):
    done = launch(served, "", "--dry-run", "--json")

    planned = json.loads(done.stdout)
    assert planned["job"]["source"]["entry_point"] == ["python", "train.py"]
    assert json.loads(runyard(served, "job", "list", "-p", "default", "--json").stdout) == []
    with served.api() as api:
        assert list(api.items()) == []


def test_100_mb_of_output_arrive_whole_and_do_not_fill_memory(served):
    text = (
        "import sys\nline = 'x' * 1023 + '\\n'\nfor n in range(100 * 1024):\n"
        "    sys.stdout.write(line)\n"
    )
    launched = launch(served, text, "--json")
    item = json.loads(launched.stdout)
    with served.api() as api:
        until(lambda: api.item(item["id"]).ended_at is not None, seconds=110)
        run = api.item(item["id"]).run
        size = sum(len(chunk) for chunk in follow.log(api, run))
    assert size == 100 * 1024 * 1024
    assert served.agents[0].memory_mb("VmHWM") < 200
    assert served.servers[0].memory_mb("VmHWM") < 300
