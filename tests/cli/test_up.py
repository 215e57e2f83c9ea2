"""`runyard up` and runs without a queue: the real server and agent, as processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runyard.cli.children import free_port
from tests.cli.conftest import Cli
from tests.cli.double import wait_until

RUNYARD = [sys.executable, "-m", "runyard.cli.main"]
SECONDS = 60.0
Start = Callable[..., "subprocess.Popen[str]"]


def done(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a command; what a failed test leaves is ended, and its own children see to that."""
    begun: list[subprocess.Popen[str]] = []

    def start_(*words: str) -> subprocess.Popen[str]:
        env = {**os.environ, "PYTHONUNBUFFERED": "1", "DOCKER_HOST": "unix:///nonexistent"}
        pipe = subprocess.PIPE
        argv = [*RUNYARD, *words]
        begun.append(subprocess.Popen(argv, env=env, stdout=pipe, stderr=pipe, text=True))
        return begun[-1]

    yield start_
    for process in begun:
        if process.poll() is None:
            process.kill()
            process.communicate()


def is_up(process: subprocess.Popen[str]) -> None:
    """Read on until `up` says how to stop it."""
    assert process.stderr is not None
    said = ""
    while "Stop with Ctrl-C" not in said:
        line = process.stderr.readline()
        assert line, f"it ended too early:\n{said}"
        said += line


def children_of(home: Path) -> list[int]:
    """Return the processes that were started with that home."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            environ = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        is_theirs = b"runyard.cli.main\0server" in command or b"runyard.cli.main\0agent" in command
        if entry.name.isdigit() and is_theirs and f"RUNYARD_HOME={home}\0".encode() in environ:
            found.append(int(entry.name))
    return found


@pytest.fixture
def home(own_home: Path) -> Path:
    return own_home / "home"


@pytest.fixture
def nothing_left(home: Path) -> Callable[[], bool]:
    return lambda: not children_of(home)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    root = tmp_path / "code"
    root.mkdir()
    (root / "exit.py").write_text("import sys\nprint('here')\nsys.exit(int(sys.argv[1]))\n")
    (root / "wait.py").write_text(
        "import pathlib, sys, time\n"
        "print('waiting', flush=True)\n"
        "while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)\n"
        "print('done', flush=True)\n"
    )
    return root


def launch(code: Path, command: str, *more: str) -> list[str]:
    return [*RUNYARD, "launch", "-u", str(code), "-E", f"{sys.executable} {command}", *more]


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("exit_code", [0, 3])
def test_a_command_runs_beside_them_and_its_exit_code_is_ours(
    start: Start, code: Path, nothing_left: Callable[[], bool], exit_code: int
) -> None:
    command = launch(code, f"exit.py {exit_code}", "-q", "--follow")
    left, out, err = done(start("up", "--port", str(free_port("127.0.0.1")), "--", *command))
    assert (left, out) == (exit_code, "here\n"), err
    wait_until(nothing_left)


def test_a_job_runs_here_and_now_without_anything_set_up(
    start: Start, code: Path, nothing_left: Callable[[], bool]
) -> None:
    left, out, err = done(start(*launch(code, "exit.py 4")[3:]))
    assert (left, out) == (4, "here\n"), err
    assert "no agent serves" not in err
    wait_until(nothing_left)


def test_an_interrupt_stops_the_job_that_runs_here(
    start: Start, code: Path, tmp_path: Path, nothing_left: Callable[[], bool]
) -> None:
    process = start(*launch(code, f"wait.py {tmp_path / 'never'}")[3:])
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    left, _, err = done(process)
    assert left == 130
    assert "Stopping" in err
    assert "Traceback" not in err
    wait_until(nothing_left)


def test_what_up_started_ends_with_it_and_running_jobs_end_first(
    start: Start, code: Path, tmp_path: Path, cli: Cli, nothing_left: Callable[[], bool]
) -> None:
    up = start("up", "--port", str(free_port("127.0.0.1")))
    is_up(up)
    # No login: the server has left its address and a key.
    assert cli("whoami").code == 0
    go = tmp_path / "go"
    assert cli(*launch(code, f"wait.py {go}", "-q")[3:]).code == 0
    (run,) = json.loads(cli("run", "list", "--json").out)
    wait_until(lambda: "waiting" in cli("logs", run["run_id"]).out, SECONDS)

    second = cli("up")
    assert second.code == 1
    assert "runs already" in second.err

    up.send_signal(signal.SIGTERM)
    assert up.stderr is not None
    while "Waiting for running jobs" not in (line := up.stderr.readline()):
        assert line, "it did not wait"
    assert up.poll() is None
    go.touch()
    assert up.wait(SECONDS) == 0
    up.communicate()
    wait_until(nothing_left)

    _, out, _ = done(start("up", "--no-agent", "--", *RUNYARD, "logs", "-f", run["run_id"]))
    assert out == "waiting\ndone\n"


def test_detached_they_outlive_the_command_until_they_are_stopped(
    start: Start, cli: Cli, home: Path, nothing_left: Callable[[], bool]
) -> None:
    left, _, err = done(start("up", "--detach", "--port", str(free_port("127.0.0.1"))))
    assert left == 0, err
    try:
        assert len(children_of(home)) == 2
        assert cli("queue", "list").code == 0
    finally:
        stopped = cli("up", "--stop")
    assert "Stopped the agent.\nStopped the server.\n" in stopped.err
    wait_until(nothing_left)
    assert cli("up", "--stop").code == 0


def test_killed_it_leaves_no_process_but_the_job_which_the_next_one_adopts(
    start: Start, code: Path, tmp_path: Path, cli: Cli, nothing_left: Callable[[], bool]
) -> None:
    up = start("up", "--port", str(free_port("127.0.0.1")))
    is_up(up)
    go = tmp_path / "go"
    assert cli(*launch(code, f"wait.py {go}", "-q", "--name", "adopted")[3:]).code == 0
    (run,) = json.loads(cli("run", "list", "--json").out)
    wait_until(lambda: "waiting" in cli("logs", run["run_id"]).out, SECONDS)
    up.kill()
    up.communicate()
    wait_until(nothing_left, SECONDS)
    go.touch()
    left, out, err = done(start("up", "--", *RUNYARD, "logs", "-f", run["run_id"]))
    assert (left, out) == (0, "waiting\ndone\n"), err
    wait_until(nothing_left)


def test_asked_to_end_a_job_that_runs_here_is_stopped_too(
    start: Start, code: Path, tmp_path: Path, nothing_left: Callable[[], bool]
) -> None:
    process = start(*launch(code, f"wait.py {tmp_path / 'never'}")[3:])
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.terminate()
    left, _, _ = done(process)
    assert left == 130
    wait_until(nothing_left)


def test_a_port_that_is_taken_is_named_with_the_next_one(cli: Cli) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = cli("up", "--port", str(port))
    assert result.code == 1
    assert f"port {port} of 127.0.0.1 is taken" in result.err
    assert f"--port {port + 1}" in result.err


def test_a_database_of_servers_is_not_set_up_in_passing(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNYARD_DATABASE_URL", "postgresql://db/runyard")
    result = cli("up")
    assert result.code == 1
    assert "runyard server; runyard agent" in result.err


def test_a_server_that_does_not_start_is_quoted(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNYARD_MAX_LOG_BYTES", "many")
    begun = time.monotonic()
    result = cli("up", "--port", str(free_port("127.0.0.1")))
    assert result.code == 1
    assert "max_log_bytes" in result.err
    assert "server.log" in result.err
    assert time.monotonic() - begun < 30


def test_open_to_other_machines_the_commands_of_this_one_are_logged_in_too(
    start: Start,
    nothing_left: Callable[[], bool],
) -> None:
    port = str(free_port("127.0.0.1"))
    command = [*RUNYARD, "whoami", "--json"]
    left, out, err = done(
        start("up", "--no-agent", "--host", "0.0.0.0", "--port", port, "--", *command)
    )
    assert left == 0, err
    assert json.loads(out)["is_admin"]
    wait_until(nothing_left)
