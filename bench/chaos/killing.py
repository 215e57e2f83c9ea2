"""Kills servers and agents at random moments, with SIGKILL, and starts them again."""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter
from collections.abc import Sequence

from harness.yard import Program


class Killer:
    """A block during which programs are killed, one at a time, and come back."""

    def __init__(
        self,
        victims: Sequence[Program],
        seed: int,
        *,
        between: tuple[float, float],
        away: tuple[float, float] = (0.05, 2.0),
    ) -> None:
        """`between` kills, and how long the victim stays `away`: bounds in seconds."""
        self._victims, self._between, self._away = victims, between, away
        self._dice = random.Random(seed)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._kill, name="killer")
        self.kills: Counter[str] = Counter()
        self.died: list[str] = []

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _kill(self) -> None:
        while not self._done.wait(self._dice.uniform(*self._between)):
            victim = self._dice.choice(self._victims)
            away = self._dice.uniform(*self._away)
            if not victim.runs:
                # Not by us: a program that gives up on its own is a finding.
                self.died.append(f"{victim.name} left with exit code {victim.exit_code}")
                victim.start()
                continue
            victim.end(signal.SIGKILL)
            self.kills[victim.name] += 1
            self._done.wait(away)
            victim.start()
