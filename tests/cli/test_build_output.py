"""What the build of an image prints: `runyard logs --stage build`, and while following."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from runyard.client import follow
from runyard.client.api import Api
from runyard.wire.rest import RunOut, RunRef
from tests.cli.conftest import Cli
from tests.cli.double import Double, Run, wait_until

IMAGE = ("-d", "python:3.11-slim", "-q", "gpu")
BUILT = b"step 1\nstep \x1b[31m2\x1b[0m\nno newline"


@pytest.fixture
def run(logged_in: Double, cli: Cli) -> Run:
    assert cli("launch", *IMAGE).code == 0
    (only,) = logged_in.runs.values()
    only.built = BUILT
    return only


def test_the_log_of_a_build_is_read_as_any_other(cli: Cli, run: Run) -> None:
    done = cli("logs", "run-0", "--stage", "build")
    assert (done.code, done.out, done.err) == (0, "step 1\nstep 2\nno newline", "")
    assert cli("logs", "run-0", "--stage", "build", "--raw").out.encode() == BUILT
    assert (
        cli("logs", "run-0", "--stage", "build", "--offset", "7", "--raw").out.encode()
        == (BUILT[7:])
    )
    assert cli("logs", "run-0", "--stage", "build", "--tail", "1").out == "no newline"
    assert cli("run", "logs", "0", "--stage", "build").out == done.out


def test_a_run_without_output_says_where_that_of_its_build_is(
    logged_in: Double, cli: Cli, run: Run
) -> None:
    logged_in.move(run, state="failed", status="Failed", reason="build: no package named nope")
    done = cli("logs", "run-0")
    assert (done.code, done.out) == (0, "")
    assert "runyard logs ada/default/run-0 --stage build" in done.err
    assert "runyard logs 0 --stage build" in cli("item", "show", "0").out
    run.log = b"hello\n"
    assert cli("logs", "run-0").err == ""


def test_where_nothing_was_built_this_is_said(logged_in: Double, cli: Cli, run: Run) -> None:
    run.built = b""
    assert "Nothing was built for this run so far." in cli("logs", "0", "--stage", "build").err
    logged_in.end(run)
    assert "Nothing was built for this run." in cli("logs", "0", "--stage", "build").err


def test_a_build_is_followed_until_the_program_runs(logged_in: Double, cli: Cli, run: Run) -> None:
    def build() -> None:
        wait_until(lambda: bool(logged_in.seen("GET", "/runs/ada/default/run-0/logs")))
        logged_in.move(run, built=BUILT + b" yet\n")
        logged_in.move(run, state="running", status="Running", started=True)

    builder = threading.Thread(target=build)
    builder.start()
    done = cli("logs", "-f", "0", "--stage", "build")
    builder.join()
    assert (done.code, done.out) == (0, "step 1\nstep 2\nno newline yet\n")


def test_following_shows_the_build_beside_and_the_program_on_stdout(
    logged_in: Double, cli: Cli
) -> None:
    def on_submit(run: Run) -> None:
        def work() -> None:
            wait_until(lambda: bool(logged_in.seen("GET", "/runs/ada/default/run-0/logs")))
            logged_in.move(run, built=BUILT)
            logged_in.move(run, state="running", status="Running", started=True, log=b"one\n")
            logged_in.end(run, 3, log=b"two\n")

        threading.Thread(target=work).start()

    logged_in.on_submit = on_submit
    done = cli("launch", *IMAGE, "--follow")
    assert (done.code, done.out) == (3, "one\ntwo\n")
    built = [line for line in done.err.splitlines() if line.startswith("build | ")]
    assert built == ["build | step 1", "build | step 2", "build | no newline"]
    assert "--stage build" not in done.err  # the program has printed something


def test_a_failed_build_ends_with_its_cause_and_where_its_log_is(
    logged_in: Double, cli: Cli
) -> None:
    logged_in.on_submit = lambda run: logged_in.move(
        run, state="failed", status="Failed", built=BUILT, reason="build: no package named nope"
    )
    done = cli("launch", *IMAGE, "--follow")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-2:] == [
        "Failed: build: no package named nope",
        "The build's log: runyard logs ada/default/run-0 --stage build",
    ]


def test_the_moment_between_a_build_and_what_follows_is_no_state_to_tell(
    logged_in: Double, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = threading.Event()

    def changes(api: Api, run: RunRef) -> Iterator[RunOut]:
        now = api.run(run)
        for status in ("Starting", "Building", "Starting"):
            yield now.model_copy(update={"status": status})
        shown.set()

    def on_submit(run: Run) -> None:
        def work() -> None:
            assert shown.wait(10)
            logged_in.move(run, state="failed", status="Failed", reason="no")

        threading.Thread(target=work).start()

    monkeypatch.setattr(follow, "changes", changes)
    logged_in.on_submit = on_submit
    told = cli("launch", *IMAGE, "--follow").err.splitlines()
    states = [line for line in told if line in ("Starting", "Building", "Failed: no")]
    assert states == ["Starting", "Building", "Failed: no"]


def test_who_comes_when_the_program_runs_is_not_shown_its_build(
    logged_in: Double, cli: Cli, run: Run
) -> None:
    logged_in.end(run, log=b"hello\n")
    done = cli("logs", "-f", "0")
    assert (done.code, done.out) == (0, "hello\n")
    assert "build" not in done.err
