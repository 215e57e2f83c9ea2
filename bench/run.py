"""
`make bench`: how fast and how small Runyard is on this machine, beside the bare machine.

    bench/run.py [--quick] [--only NAME]... [--json FILE]

Starts real servers and agents, and ends them. With RUNYARD_TEST_POSTGRES (the URL of a server
on which databases may be made) PostgreSQL is measured too, and with RUNYARD_TEST_DOCKER (and
RUNYARD_TEST_REGISTRY, if images are to be pushed) a Docker engine. Nothing fails for being slow.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from harness.results import Row, machine
from harness.table import render
from measures import (
    artifacts,
    client,
    floors,
    footprint,
    images,
    output,
    policies,
    starting,
    tracking,
    traffic,
    waiting,
)
from measures.floors import Floors

MEASURES: dict[str, Callable[[Floors], list[Row]]] = {
    "floor": floors.rows,
    "start": starting.rows,
    "images": images.rows,
    "traffic": traffic.rows,
    "policies": policies.rows,
    "tracking": tracking.rows,
    "client": client.rows,
    "artifacts": artifacts.rows,
    "memory": footprint.rows,
    "idle": waiting.idle_rows,
    "waiting": waiting.rows,
    "output": output.rows,
    "help": footprint.help_rows,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--quick", action="store_true", help="fewer samples: a minute or two")
    parser.add_argument("--only", action="append", choices=MEASURES, help="repeatable")
    parser.add_argument("--json", type=Path, help="write all figures to this file too")
    flags = parser.parse_args()
    here = machine()
    known = Floors(flags.quick)
    rows: list[Row] = []
    for name in flags.only or MEASURES:
        print(f"{name} …", file=sys.stderr, flush=True)
        rows += MEASURES[name](known)
    print(
        f"{here['cores']} cores, {here['system']} {here['machine']}, Python {here['python']}; "
        f"load {here['load1']:.1f} at the start, a bare interpreter starts in "
        f"{here['spawn_calibration_ms']:.1f} ms\n"
    )
    print(render(rows))
    if flags.json:
        document = {"machine": here, "rows": [row.as_json() for row in rows]}
        flags.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
