"""
A yard: real server and agent processes on this machine, in a directory of their own.

Processes are started as a user would start them, may be killed and started again under the
same name and port, and are all gone when the block ends, workloads included.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from runyard.cli.children import free_port
from runyard.cli.local import ensure_queue, is_ready
from runyard.client import making
from runyard.client.api import Api
from runyard.domain.jobs import SourceKind

START_TIMEOUT = 60.0  # seconds


def wait_for(
    done: Callable[[], bool], otherwise: str, *, seconds: float = START_TIMEOUT, every: float = 0.02
) -> None:
    """Return when `done` is true.

    Raises:
        TimeoutError: it is not, after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(every)


class Program:
    """One `runyard` command that can be started, killed and started again."""

    def __init__(self, name: str, words: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.name, self._words, self._env, self._log = name, words, env, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "runyard.cli.main", *self._words],
                env=dict(self._env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def end(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None and self.runs:
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
                return
            self._process.kill()
            self._process.wait()

    def memory_mb(self, field: str = "VmRSS") -> float:
        """Return resident memory, or the most there ever was with `VmHWM`."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
        raise ValueError(field)

    def cpu_ms(self) -> float:
        """Return the processor time that it has used; not its children's."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1e3 / os.sysconf("SC_CLK_TCK")

    def last_words(self, lines: int = 25) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])


class Yard:
    """`database_url` None is SQLite. Several servers need PostgreSQL."""

    def __init__(self, *, database_url: str | None = None, servers: int = 1) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="runyard-bench-"))
        self._database_url = database_url
        self._number = servers
        self.servers: list[Program] = []
        self.agents: list[Program] = []
        self.urls: list[str] = []
        self.key = ""
        self.entity = ""
        self.keep = False  # the directory, when the block ends

    def __enter__(self) -> Self:
        try:
            for n in range(self._number):
                self._add_server(n)
            with self.api() as api:
                self.entity = api.me().entity
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, KeyboardInterrupt):
            for program in [*self.servers, *self.agents]:
                print(f"--- {program.name}\n{program.last_words()}", file=sys.stderr)
        self.close()

    def close(self) -> None:
        for program in self.agents:
            program.end()
        self._end_workloads()
        for program in self.servers:
            program.end(signal.SIGTERM)
        if not self.keep:
            shutil.rmtree(self.root, ignore_errors=True)

    def api(self, server: int = 0) -> Api:
        return Api(self.urls[server], self.key)

    # -- parts ---------------------------------------------------------------------------

    def _env(self, home: Path) -> dict[str, str]:
        ours = {k: v for k, v in os.environ.items() if not k.startswith("RUNYARD_")}
        return {
            **ours,
            "RUNYARD_HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "RUNYARD_AGENT_WORK_DIR": str(home / "agent"),
        }

    def _add_server(self, n: int) -> None:
        home = self.root / f"server{n}"
        home.mkdir()
        port = free_port("127.0.0.1")
        words = ["server", "--port", str(port)]
        env = self._env(home)
        # Uploads are shared by all servers, as replicas have to.
        env["RUNYARD_FILES_DIR"] = str(self.root / "files")
        if self._database_url is not None:
            env["RUNYARD_DATABASE_URL"] = self._database_url
        program = Program(f"server{n}", words, env, home / "server.log")
        self.servers.append(program)
        self.urls.append(f"http://127.0.0.1:{port}")
        program.start()
        self.wait_ready(n)
        if not self.key:
            self.key = self._first_key(home, program)

    def _first_key(self, home: Path, server: Program) -> str:
        """Log in as a user would: by the file of an embedded server, else by what was printed."""
        if self._database_url is None:
            wait_for((home / "server.json").exists, "the server leaves no key")
            return str(json.loads((home / "server.json").read_text())["key"])
        printed = re.search(r"^ +(ry_\S+)$", server.last_words(), re.MULTILINE)
        if printed is None:
            raise RuntimeError(f"the server prints no key:\n{server.last_words()}")
        return printed[1]

    def wait_ready(self, n: int) -> None:
        def is_there() -> bool:
            if not self.servers[n].runs:
                raise RuntimeError(f"server {n} ended:\n{self.servers[n].last_words()}")
            return is_ready(self.urls[n])

        wait_for(is_there, f"server {n} is not there")

    def add_agent(
        self,
        *queues: str,
        entity: str | None = None,
        name: str = "agent",
        max_jobs: int = -1,
        server: int = 0,
        settings: Mapping[str, object] | None = None,
    ) -> Program:
        """Start an agent of queues of `entity`, by default the first user's own.

        `settings` are those of its file.
        """
        home = self.root / f"agent-{name}"
        home.mkdir(exist_ok=True)
        if settings is not None:
            file = home / "config" / "runyard" / "agent.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(settings))  # YAML as well
        env = self._env(home) | {
            "RUNYARD_BASE_URL": self.urls[server],
            "RUNYARD_API_KEY": self.key,
        }
        words = ["agent", "--name", name, "--max-jobs", str(max_jobs)]
        words += [word for queue in queues for word in ("--queue", queue)]
        if entity is not None:
            words += ["--entity", entity]
        program = Program(f"agent {name}", words, env, home / "agent.log")
        self.agents.append(program)
        program.start()
        return program

    def wait_agents(self, queue: str, number: int = 1) -> None:
        def are_there() -> bool:
            for program in self.agents:
                if not program.runs:
                    raise RuntimeError(f"{program.name} ended:\n{program.last_words()}")
            return api.queue(self.entity, queue).agents >= number

        with self.api() as api:
            wait_for(are_there, "the agents do not come")

    def metrics(self, server: int = 0) -> str:
        request = urllib.request.Request(
            f"{self.urls[server]}/metrics", headers={"Authorization": f"Bearer {self.key}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(answer.read().decode())

    def add_queue(self, name: str, resource: str = "local-process") -> None:
        with self.api() as api:
            ensure_queue(api, self.entity, name, resource)

    def add_job(self, files: Mapping[str, str], entry_point: Sequence[str]) -> str:
        """Save a job made of these files; return what a launch spec calls it."""
        source = self.root / "source"
        source.mkdir(exist_ok=True)
        for name, text in files.items():
            (source / name).write_text(text)
        recipe = making.Recipe(
            kind=SourceKind.CODE, path=str(source), name="bench", entry_point=entry_point
        )
        with self.api() as api, making.drafted(recipe, environ=os.environ) as draft:
            saved = making.save(api, self.entity, "default", draft)
        return saved.path

    # -- ends ----------------------------------------------------------------------------

    def workloads(self) -> Iterator[int]:
        """Yield the processes that name our directory on their command line, us excepted."""
        mark = os.fsencode(self.root)
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                if mark in (entry / "cmdline").read_bytes():
                    yield int(entry.name)

    def _end_workloads(self) -> None:
        for _ in range(20):
            left = list(self.workloads())
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
