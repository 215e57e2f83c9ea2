"""What each job of a chaos run shall do, and what became of it, by its own records."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

LINE = 100  # bytes
QUIET, LOUD = 3, 20_000  # lines that most jobs print, and a few


@dataclass(frozen=True, slots=True)
class Planned:
    """One job: how long it sleeps, its exit code, and how many lines it prints."""

    n: int
    seconds: float
    code: int
    lines: int

    def args(self, records: Path) -> list[str]:
        return [str(records / str(self.n)), f"{self.seconds:.3f}", str(self.code), str(self.lines)]

    @property
    def log_bytes(self) -> int:
        return self.lines * LINE


def plan(jobs: int, seed: int, *, brief: bool = False) -> list[Planned]:
    """Return the same jobs for the same seed. `brief` ones end at once, with 0."""
    dice = random.Random(seed)
    if brief:
        return [Planned(n, 0.0, 0, 1) for n in range(jobs)]
    return [
        Planned(
            n,
            seconds=dice.uniform(0.1, 3.0),
            code=3 if dice.random() < 0.15 else 0,
            lines=LOUD if dice.random() < 0.05 else QUIET,
        )
        for n in range(jobs)
    ]


@dataclass(frozen=True, slots=True)
class Record:
    """What an item's jobs wrote: workload keys in the order of their starts, and the ends."""

    starts: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    overlapped: bool = False

    @property
    def ran_twice(self) -> bool:
        """An attempt that was begun twice, or a second one while the first still ran."""
        return self.overlapped or max(Counter(self.starts).values(), default=0) > 1

    @property
    def ran_once(self) -> bool:
        return len(self.starts) == len(self.ends) == 1


def read(file: Path) -> Record:
    if not file.exists():
        return Record()
    starts, ends, live, overlapped = [], [], 0, False
    for line in file.read_text().splitlines():
        what, key, _pid, _at = line.split()
        if what == "start":
            starts.append(key)
            live += 1
            overlapped = overlapped or live > 1
        else:
            ends.append(key)
            live -= 1
    return Record(tuple(starts), tuple(ends), overlapped)
