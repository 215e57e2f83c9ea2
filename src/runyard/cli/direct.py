"""
Running a job here and now: `runyard launch` without a queue.

It takes the way of every other job: a server (the one in use, or one started for the occasion),
a personal queue `direct-<resource>`, and an agent of its own that ends with the job. The item
is pinned to that agent, so nobody else's agent can take it, and nothing behaves differently on
a queue later.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from runyard.cli import local
from runyard.cli.children import Child
from runyard.cli.edge import WrongUsage
from runyard.cli.following import follow
from runyard.cli.launch_flags import Flags
from runyard.cli.launching import make_job, planned
from runyard.cli.output import print_json, print_model, say
from runyard.client.api import Api
from runyard.client.credentials import Credentials, find, home
from runyard.domain.errors import RunyardError, Unauthenticated

if TYPE_CHECKING:
    from runyard.wire.rest import RunRef

_LEAVE: Final = 30.0  # seconds for the agent to end after its job has
_SLOTS: Final = 1000


def run_here(flags: Flags, spec: dict[str, Any]) -> int:
    """Run the job on this machine; return its exit code.

    Raises:
        WrongUsage: --async without a server that stays. RunyardError: what went wrong.
    """
    if flags.uri and flags.dry_run:
        return planned(flags, spec)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an orderly end for this, too
    where = home(os.environ)
    with _server(where, stays=flags.no_wait) as server, Api(server.base_url, server.key) as api:
        entity = api.me().entity
        if flags.uri:
            spec["job"] = make_job(api, flags, spec, entity)
        resource = spec.get("resource") or _resource(api, spec, entity)
        queue = f"direct-{resource}"
        local.ensure_queue(api, entity, queue, resource)
        with _agent_name(where) as (agent_name, lock):
            answer = api.submit(entity, queue, [spec], dry_run=flags.dry_run, agent=agent_name)
            item = answer.items[0]
            for warning in item.warnings:
                say(f"warning: {warning}")
            if flags.dry_run:
                print_json(item.spec)
                return 0
            words = ["--queue", queue, "--entity", entity, "--name", agent_name, "--max-jobs", "1"]
            agent = _start(api, where, server, words, item.run, lock if flags.no_wait else None)
            path = f"{item.run.entity}/{item.run.project}/{item.run.run_id}"
            if flags.no_wait:
                print_model(item) if flags.as_json else say(f"Run {path} goes on without us.")
                return 0
            try:
                _guard(api, agent, item.run)
                code = follow(api, item.run, raw=flags.raw, as_json=flags.as_json, here=True)
                if agent.exit_code:
                    raise agent.failure()
                return code
            finally:
                _end(agent)


def _resource(api: Api, spec: dict[str, Any], entity: str) -> str:
    """Return what runs such a job on one machine: containers for images, else processes."""
    from runyard.domain.jobs import JobRef, SourceKind

    if spec.get("docker"):
        return "local-container"
    ref = JobRef.parse(spec["job"])
    owner = ref.entity or spec.get("entity") or entity
    project = ref.project or spec.get("project") or "default"
    source = api.job_version(owner, project, ref.name, ref.alias).source
    return "local-container" if source["kind"] == SourceKind.IMAGE else "local-process"


@contextlib.contextmanager
def _server(where: Path, *, stays: bool) -> Iterator[Credentials]:
    """Give the server in use; where none is, one that runs for as long as the block."""
    configured = _configured(where)
    if configured is not None:
        yield configured
        return
    if stays:
        raise WrongUsage(
            "--async needs a server that stays when this command ends",
            hint="start one: runyard up --detach",
        )
    child, found = local.start_server(where, os.environ)
    try:
        yield found
    finally:
        child.ask_to_stop()
        if child.wait(local.STOP_TIMEOUT) is None:
            child.kill()


def _configured(where: Path) -> Credentials | None:
    try:
        found = find(os.environ)
    except Unauthenticated:
        if os.environ.get("RUNYARD_BASE_URL"):
            raise
        return None
    of_this_machine = found.source == str(where / "server.json")
    return None if of_this_machine and not local.is_ready(found.base_url) else found


@contextlib.contextmanager
def _agent_name(where: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Give a name that no other direct run on this machine has now.

    Names are used again, not made of process ids: an agent's caches live under its name.
    """
    host = socket.gethostname().partition(".")[0] or "here"
    folder = where / "direct"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for n in range(_SLOTS):
        with (folder / str(n)).open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield f"direct-{host[:48]}-{n}", lock
            return
    raise RunyardError(f"{_SLOTS} jobs run here without a queue already")


def _start(
    api: Api,
    where: Path,
    server: Credentials,
    words: list[str],
    run: RunRef,
    lock: IO[bytes] | None,
) -> Child:
    """Start the agent. With a lock it is on its own, and keeps its name while it lives."""
    words = [*words, "--exit-when-idle"]
    try:
        return local.start_agent(
            where,
            os.environ,
            server,
            words,
            detached=lock is not None,
            keep=() if lock is None else (lock.fileno(),),
        )
    except BaseException:
        # Nobody else may run it, so it would wait for ever.
        with contextlib.suppress(RunyardError):
            api.stop_run(run, "the agent could not be started")
        raise


def _guard(api: Api, agent: Child, run: RunRef) -> None:
    """End the run if its agent fails, since no other agent may run it."""

    def watch() -> None:
        agent.wait()
        if agent.exit_code:
            with contextlib.suppress(RunyardError):
                api.stop_run(run, "the agent failed")

    threading.Thread(target=watch, daemon=True, name="guard").start()


def _end(agent: Child) -> None:
    agent.ask_to_stop()
    if agent.wait(_LEAVE) is None:
        agent.kill()
        print("note: the agent did not leave in time and was ended", file=sys.stderr)
