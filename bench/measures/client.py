"""`wandb.init` of the real client, against us and against a server that answers at once."""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness.client import Client
from harness.replaying import recording, replaying
from harness.results import Row
from harness.yard import Yard

from measures.floors import Floors, median

_EACH = 4  # runs of a program: the first starts the client's own service, too
_INIT = """
import sys, time, wandb
for n in range(int(sys.argv[2])):
    begun = time.perf_counter()
    run = wandb.init(id=sys.argv[1].format(n))
    print((time.perf_counter() - begun) * 1e3)
    run.finish()
"""


def rows(floors: Floors) -> list[Row]:
    ours: list[list[float]] = []
    bare: list[list[float]] = []
    with tempfile.TemporaryDirectory() as temporary, Yard() as yard:
        folder = Path(temporary)
        client = Client(folder, yard.key, yard.entity)
        with recording(yard.urls[0]) as (url, answers):
            client.run(url, _INIT, "canned", "1")
        with replaying(answers, folder) as at_once:
            for turn in range(3 if floors.quick else 10):
                bare.append(client.run(at_once, _INIT, "canned", str(_EACH)))
                ours.append(client.run(yard.urls[0], _INIT, f"init-{turn}-{{}}", str(_EACH)))
    stub = "wandb.init against a server that gives recorded answers at once"
    return [
        _row("wandb.init, the first of a program", ours, bare, slice(1), stub),
        _row("wandb.init, the next ones", ours, bare, slice(1, None), f"{stub}, the next ones"),
    ]


def _row(
    name: str, ours: list[list[float]], bare: list[list[float]], which: slice, stub: str
) -> Row:
    floor = median([taken for one in bare for taken in one[which]])
    samples = [taken for one in ours for taken in one[which]]
    return Row(name, "ms", samples, floor, stub, 1.2 * floor, note="the target is 1.2 x the floor")
