"""Memory at rest, and what it takes to print a help text."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from harness.results import Row
from harness.yard import Yard

from measures.floors import Floors, interpreter_ms

_AT_REST = 5.0  # seconds of silence
_INTERPRETER = "a bare interpreter that sleeps"


def rows(floors: Floors) -> list[Row]:
    bare = floors.get("memory", lambda: [_bare_mb()])
    with Yard() as yard:
        yard.add_queue("bench")
        agent = yard.add_agent("bench")
        yard.wait_agents("bench")
        time.sleep(_AT_REST)
        servers, agents = [], []
        for _ in range(5):
            servers.append(yard.servers[0].memory_mb())
            agents.append(agent.memory_mb())
            time.sleep(0.2)
    return [
        Row("server at rest", "MB", servers, bare, _INTERPRETER, 150),
        Row("agent at rest", "MB", agents, bare, _INTERPRETER, 80),
    ]


def help_rows(floors: Floors) -> list[Row]:
    n = 5 if floors.quick else 30
    runyard = Path(sys.executable).with_name("runyard")
    taken = []
    for _ in range(n):
        begun = time.perf_counter()
        subprocess.run([runyard, "--help"], check=True, stdout=subprocess.DEVNULL)
        taken.append((time.perf_counter() - begun) * 1e3)
    bare = floors.get("interpreter", lambda: interpreter_ms(sys.executable, n))
    return [
        Row("runyard --help", "ms", taken, bare, "the same interpreter doing nothing", 150),
    ]


def _bare_mb() -> float:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        time.sleep(0.5)
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise ValueError("VmRSS")
    finally:
        process.kill()
        process.wait()
