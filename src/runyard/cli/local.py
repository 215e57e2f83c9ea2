"""
A server and an agent on this machine: what `runyard up` and runs without a queue stand on.

The server writes its address and a key into RUNYARD_HOME/server.json when it starts. That is
all that other commands on this machine need.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from runyard.cli.children import Child, free_port, is_free
from runyard.client.api import Api
from runyard.client.credentials import Credentials, of_this_machine
from runyard.domain.errors import Conflict, Invalid, NotFound, RunyardError, Unavailable
from runyard.wire.rest import QueueIn

START_TIMEOUT: Final = 60.0  # seconds; the first start makes the database
STOP_TIMEOUT: Final = 15.0
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104
_READY_TIMEOUT: Final = 2.0
_TICK: Final = 0.02


def running(home: Path) -> Credentials | None:
    """Return how to reach the server of that home, None if it does not run."""
    found = of_this_machine(home)
    return found if found and is_ready(found.base_url) else None


def is_ready(base_url: str) -> bool:
    """Ask a server whether it serves."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{base_url}/readyz", timeout=_READY_TIMEOUT) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def start_server(
    home: Path,
    environ: Mapping[str, str],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    detached: bool = False,
) -> tuple[Child, Credentials]:
    """Start a server and return when it serves; `port` None takes any free one.

    Raises:
        Invalid: another database than the embedded one is configured.
        Conflict: the port is taken.
        RunyardError: it ended, or did not become ready, with what it printed.
    """
    if not environ.get("RUNYARD_DATABASE_URL", "sqlite:").startswith("sqlite:"):
        raise Invalid(
            "RUNYARD_DATABASE_URL names a database of servers, which is not set up from here",
            hint="start the parts by themselves: runyard server; runyard agent",
        )
    if port is not None and not is_free(host, port):
        raise Conflict(
            f"port {port} of {host} is taken by another program",
            hint=f"choose another one: runyard up --port {port + 1}",
        )
    port = free_port(host) if port is None else port
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = None if host in LOOPBACK else _own_key(home, environ)
    (home / "server.json").unlink(missing_ok=True)  # of an earlier server, which is gone
    child = Child(
        ["server", "--host", host, "--port", str(port)],
        environ={**environ, "RUNYARD_HOME": str(home)},
        log=home / "logs" / "server.log",
        detached=detached,
    )
    near = "127.0.0.1" if host in _EVERYWHERE else host
    url = f"http://{f'[{near}]' if ':' in near else near}:{port}"
    try:
        return child, _wait_for_server(home, child, url, key)
    except BaseException:
        child.kill()
        raise


def _wait_for_server(home: Path, child: Child, url: str, key: str | None) -> Credentials:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if child.exit_code is not None:
            raise child.failure()
        if key is not None and is_ready(url):
            from runyard.server.starting import write_private

            write_private(home / "server.json", json.dumps({"url": url, "key": key}))
        if found := running(home):
            return found
        time.sleep(_TICK)
    raise RunyardError(
        f"the server did not become ready in {START_TIMEOUT:.0f} s",
        hint=f"its output: {child.log}",
    )


def _own_key(home: Path, environ: Mapping[str, str]) -> str:
    """Return the key of this machine's owner.

    A server leaves it only where nobody else can reach it, so one is started there first.
    """
    child, found = start_server(home, environ)
    child.ask_to_stop()
    if child.wait(STOP_TIMEOUT) is None:
        child.kill()
    return found.key


def start_agent(
    home: Path,
    environ: Mapping[str, str],
    server: Credentials,
    words: list[str],
    *,
    detached: bool = False,
    keep: Sequence[int] = (),
) -> Child:
    """Start `runyard agent` with these flags, for that server, with its files in that home."""
    return Child(
        ["agent", *words],
        environ={
            "RUNYARD_AGENT_WORK_DIR": str(home / "agent"),
            **environ,
            "RUNYARD_BASE_URL": server.base_url,
            "RUNYARD_API_KEY": server.key,
        },
        log=home / "logs" / "agent.log",
        detached=detached,
        keep=keep,
    )


def ensure_queue(api: Api, entity: str, name: str, resource: str) -> None:
    """Create a queue unless there is one of that name."""
    try:
        api.queue(entity, name)
    except NotFound:
        try:
            api.create_queue(QueueIn(entity=entity, name=name, resource=resource))
        except Conflict:  # somebody else was faster
            api.queue(entity, name)


def wait_for_agent(api: Api, child: Child, entity: str, queue: str, seconds: float) -> None:
    """Return when a live agent serves a queue.

    Raises:
        RunyardError: the agent ended. Unavailable: it did not come in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if child.exit_code is not None:
            raise child.failure()
        if api.queue(entity, queue).agents:
            return
        time.sleep(_TICK * 5)
    raise Unavailable(
        f"the agent did not register in {seconds:.0f} s", hint=f"its output: {child.log}"
    )


def docker_answers(environ: Mapping[str, str]) -> bool:
    """Tell whether a Docker engine on this machine can be asked, without any library for it."""
    import socket

    address = environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not address.startswith("unix://"):
        return False  # an engine elsewhere is a decision, not a default
    with socket.socket(socket.AF_UNIX) as engine:
        engine.settimeout(1.0)
        try:
            engine.connect(address.removeprefix("unix://"))
            engine.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in engine.recv(64)
        except OSError:
            return False


def remember(home: Path, children: Mapping[str, Child]) -> None:
    """Note which processes `runyard up --detach` has left running."""
    pids = {name: child.pid for name, child in children.items()}
    (home / "up.json").write_text(json.dumps(pids))
