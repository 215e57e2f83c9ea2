"""A job that prints 100 MB as fast as it can: how fast it is taken, and in how much memory."""

from __future__ import annotations

import sys
import time

from harness.results import Row
from harness.yard import Yard

from measures.floors import Floors, file_mb_s

_PATIENCE = 300.0  # seconds
_SIZE_MB = 100


def rows(floors: Floors) -> list[Row]:
    size_mb = 20 if floors.quick else _SIZE_MB
    size = size_mb * 1_000_000
    program = (
        "import os; lines = b''.join(b'step %6d ' % n + b'x' * 87 + b'\\n' for n in range(1000)); "
        f"[os.write(1, lines) for _ in range({size // 100_000})]"
    )
    bare = floors.get("file", lambda: [file_mb_s(program, size_mb) for _ in range(5)])
    speeds = []
    with Yard() as yard:
        yard.add_queue("bench")
        job = yard.add_job({"README": "nothing\n"}, [sys.executable, "-c", program])
        agent = yard.add_agent("bench")
        yard.wait_agents("bench")
        with yard.api() as api:
            for _ in range(1 if floors.quick else 3):
                begun = time.perf_counter()
                ref = api.submit(yard.entity, "bench", [{"job": job}]).items[0].run
                while (run := api.run(ref)).ended_at is None:
                    if time.perf_counter() - begun > _PATIENCE:
                        raise RuntimeError("the chatty job does not end")
                    time.sleep(0.02)
                speeds.append(size_mb / (time.perf_counter() - begun))
                if run.log_bytes != size or run.exit_code != 0:
                    raise RuntimeError(f"{run.log_bytes} of {size} bytes, exit {run.exit_code}")
        server, peak = yard.servers[0].memory_mb("VmHWM"), agent.memory_mb("VmHWM")
    return [
        Row(f"a job that prints {size_mb} MB", "MB/s", speeds, bare,
            "the same program writing to a file", more_is_better=True,
            note="from submission to the recorded end, all of it kept by the server"),
        Row("  agent's most memory meanwhile", "MB", [peak]),
        Row("  server's most memory meanwhile", "MB", [server]),
    ]  # fmt: skip
