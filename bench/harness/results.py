"""
A figure is never alone: it comes with how often it was taken, how it was spread, what the
machine was doing, and the floor below which nothing on that machine can go.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """Samples of one quantity, summed up."""

    n: int
    min: float
    p25: float
    median: float
    p95: float
    max: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        ordered = sorted(samples)
        last = len(ordered) - 1

        def at(share: float) -> float:
            return ordered[round(share * last)]

        return cls(
            n=len(ordered),
            min=ordered[0],
            p25=at(0.25),
            median=statistics.median(ordered),
            p95=at(0.95),
            max=ordered[-1],
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `floor` is the bare machine's median in the same unit.

    `more_is_better` says which way round the ratio reads. `target` is in the same unit.
    """

    name: str
    unit: str
    samples: Sequence[float]
    floor: float | None = None
    floor_name: str = ""
    target: float | None = None
    more_is_better: bool = False
    note: str = ""
    load1: float = field(default_factory=lambda: os.getloadavg()[0])
    calibration_ms: float = field(default_factory=lambda: calibration_ms())

    @property
    def spread(self) -> Spread:
        return Spread.of(self.samples)

    @property
    def ratio(self) -> float | None:
        """How many times worse than the floor."""
        if not self.floor or not self.spread.median:
            return None
        ratio = self.spread.median / self.floor
        return 1 / ratio if self.more_is_better else ratio

    @property
    def reached(self) -> bool | None:
        if self.target is None:
            return None
        median = self.spread.median
        return median >= self.target if self.more_is_better else median <= self.target

    def as_json(self) -> dict[str, Any]:
        s = self.spread
        return {
            "name": self.name, "unit": self.unit, "n": s.n, "min": s.min, "p25": s.p25,
            "median": s.median, "p95": s.p95, "max": s.max, "floor": self.floor,
            "floor_name": self.floor_name, "ratio": self.ratio, "target": self.target,
            "reached": self.reached, "note": self.note, "load1": self.load1,
            "spawn_calibration_ms": self.calibration_ms,
        }  # fmt: skip


def calibration_ms(n: int = 7) -> float:
    """Return what starting a bare interpreter takes now: more than usual means a busy machine."""
    taken = []
    for _ in range(n):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        taken.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(taken)


def machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load1": os.getloadavg()[0],
        "spawn_calibration_ms": calibration_ms(),
    }
