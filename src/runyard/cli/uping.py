"""
What `runyard up` does: start in order, stay, stop in the reverse order.

The agent is stopped first and the server last, so that the ends of jobs are still recorded.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from runyard.agent.config import default_name
from runyard.cli import local
from runyard.cli.children import Child, is_free
from runyard.cli.edge import WrongUsage
from runyard.cli.output import say
from runyard.client.api import Api
from runyard.client.credentials import Credentials, home
from runyard.domain.errors import Conflict, RunyardError

_AGENT_START: Final = 30.0  # seconds
_AGENT_LEAVE: Final = 10.0
_NOTICE: Final = 2.0  # seconds of draining before we say what we wait for
_TICK: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The flags of `runyard up`."""

    host: str
    port: int
    agent: bool
    max_jobs: int | None
    detach: bool
    command: list[str]


class Interrupted(BaseException):
    """A signal asked us to end; BaseException, so that nothing on the way handles it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Pair:
    """A server and perhaps an agent that were started here."""

    def __init__(self) -> None:
        self.server: Child | None = None
        self.agent: Child | None = None

    def check(self) -> None:
        """Raise RunyardError if one of them has ended by itself."""
        for child in (self.agent, self.server):
            if child is not None and child.exit_code is not None:
                raise child.failure()

    def stop(self) -> None:
        """Let the agent finish what runs, then end the server. A second interrupt hurries."""
        try:
            self._drain()
        except Interrupted:
            say("Not waiting. What runs goes on, and the next `runyard up` takes it over.")
            self._leave()
        if self.server is not None:
            self.server.ask_to_stop()
            if self.server.wait(local.STOP_TIMEOUT) is None:
                self.server.kill()

    def _leave(self) -> None:
        if self.agent is not None:
            self.agent.ask_to_stop()  # the second time: it goes at once
            if self.agent.wait(_AGENT_LEAVE) is None:
                self.agent.kill()

    def _drain(self) -> None:
        if self.agent is None:
            return
        self.agent.ask_to_stop()
        if self.agent.wait(_NOTICE) is None:
            say("Waiting for running jobs to end; Ctrl-C again leaves them to themselves.")
            self.agent.wait()


def run(plan: Plan) -> int:
    """Bring everything up; return the exit code of the command.

    Raises:
        Conflict: a server runs here already, or the port is taken.
        RunyardError: the server or the agent did not start, or ended.
    """
    if plan.detach and plan.command:
        raise WrongUsage("--detach and a command after `--` contradict each other")
    where = home(os.environ)
    found = local.running(where)
    if found and not plan.command:
        raise Conflict(
            f"a server of {where} runs already, at {found.base_url}",
            hint="use it: runyard whoami; or stop it: Ctrl-C where it runs, or runyard up --stop",
        )
    pair = Pair()
    leave_running = False
    with _signals():
        try:
            found = found or _start(plan, where, pair)
            if plan.command:
                return _command(plan.command, found)
            leave_running = plan.detach
            return 0 if plan.detach else _stay(pair)
        except Interrupted as interrupt:
            say("\nStopping.")
            return 128 + interrupt.number if plan.command else 0
        finally:
            if not leave_running:
                pair.stop()


def down() -> int:
    """Stop what `runyard up --detach` has left; return the exit code."""
    where = home(os.environ)
    note = where / "up.json"
    if not note.exists():
        say(f"Nothing was started with --detach in {where}.")
        return 0
    pids = json.loads(note.read_text())
    for name in ("agent", "server"):
        if (pid := pids.get(name)) and _is_ours(pid, name):
            os.kill(pid, signal.SIGTERM)
            _wait_for_end(pid, name)
            say(f"Stopped the {name}.")
    note.unlink()
    return 0


def _wait_for_end(pid: int, name: str) -> None:
    begun = time.monotonic()
    told = False
    while _is_ours(pid, name):
        time.sleep(_TICK)
        if not told and time.monotonic() - begun > _NOTICE:
            say(f"Waiting for the {name}; running jobs end first.")
            told = True


def _start(plan: Plan, where: Path, pair: Pair) -> Credentials:
    # A command does not care about the port; a person who reads it does.
    any_port = plan.command and not is_free(plan.host, plan.port)
    pair.server, found = local.start_server(
        where,
        os.environ,
        host=plan.host,
        port=None if any_port else plan.port,
        detached=plan.detach,
    )
    say(f"Server  {found.base_url}  (data in {where})")
    with Api(found.base_url, found.key) as api:
        entity = api.me().entity
        if plan.agent:
            queues = _queues(api, entity)
            pair.agent = _agent(plan, where, found, entity, queues)
            local.wait_for_agent(api, pair.agent, entity, queues[0], _AGENT_START)
            say(f"Agent   serves {', '.join(queues)}")
    if plan.detach:
        children = {"server": pair.server} | ({"agent": pair.agent} if pair.agent else {})
        local.remember(where, children)
    if not plan.command:
        _next_steps(plan, found, where)
    return found


def _queues(api: Api, entity: str) -> list[str]:
    local.ensure_queue(api, entity, "default", "local-process")
    if not local.docker_answers(os.environ):
        return ["default"]
    local.ensure_queue(api, entity, "docker", "local-container")
    return ["default", "docker"]


def _agent(plan: Plan, where: Path, found: Credentials, entity: str, queues: list[str]) -> Child:
    jobs = plan.max_jobs or os.cpu_count() or 1
    words = [word for queue in queues for word in ("--queue", queue)]
    # Not the name that `runyard agent` takes by itself, or that would end this one.
    name = f"{default_name()[:60]}-up"
    words += ["--entity", entity, "--max-jobs", str(jobs), "--name", name]
    return local.start_agent(where, os.environ, found, words, detached=plan.detach)


def _next_steps(plan: Plan, found: Credentials, where: Path) -> None:
    say(f"Logs    {where / 'logs'}")
    say("\nCommands on this machine are logged in already. Try:")
    say('  runyard launch -u PATH -E "python train.py" -q default --follow')
    if plan.host in local.LOOPBACK:
        say(f"Only this machine can reach {found.base_url}; --host 0.0.0.0 changes that.")
    else:
        say("On another machine: runyard login URL, with a key of: runyard key create NAME")
    say("Stop with " + ("runyard up --stop" if plan.detach else "Ctrl-C"))


def _stay(pair: Pair) -> int:
    while True:
        pair.check()
        time.sleep(_TICK)


def _command(command: list[str], found: Credentials) -> int:
    """Run the command as part of our own terminal, and hand on the signals that we get."""
    env = {**os.environ, "RUNYARD_BASE_URL": found.base_url, "RUNYARD_API_KEY": found.key}
    try:
        process = subprocess.Popen(command, env=env)
    except OSError as error:
        raise RunyardError(f"cannot start {command[0]!r}: {error.strerror}") from error
    try:
        code = _patiently(process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    return code if code >= 0 else 128 - code


def _patiently(process: subprocess.Popen[bytes]) -> int:
    while True:
        try:
            return process.wait()
        except Interrupted as interrupt:
            # Ctrl-C has reached it already, through the terminal.
            if interrupt.number != signal.SIGINT:
                process.send_signal(interrupt.number)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_ours(pid: int, name: str) -> bool:
    """Tell whether that process is the one we started: numbers are used again."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        argv = ["ps", "-o", "args=", "-p", str(pid)]  # where there is no /proc
        if Path("/proc/self").exists():
            return False
        command = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    return f"runyard.cli.main {name}" in command
