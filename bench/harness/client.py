"""Programs of the real tracking client, in a directory of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


class Client:
    """Runs programs against a server; each starts with an empty cache."""

    def __init__(self, folder: Path, key: str, entity: str) -> None:
        self._folder, self._key, self._entity = folder, key, entity
        self._programs = 0

    def run(self, url: str, program: str, *words: str) -> list[float]:
        """Run a program; return the numbers that it prints, one a line.

        Raises:
            RuntimeError: it failed.
        """
        self._programs += 1
        home = self._folder / f"client-{self._programs}"
        home.mkdir()
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        env = kept | {
            "HOME": str(home),
            "WANDB_BASE_URL": url,
            "WANDB_API_KEY": self._key,
            "WANDB_ENTITY": self._entity,
            "WANDB_PROJECT": "bench",
            "WANDB_SILENT": "true",
            "WANDB_ERROR_REPORTING": "false",
            **{f"WANDB_{name}": str(home / name.lower())
               for name in ("DIR", "CACHE_DIR", "CONFIG_DIR", "DATA_DIR", "ARTIFACT_DIR")},
        }  # fmt: skip
        (home / "dir").mkdir()
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=home, env=env, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"the client's program failed: {done.stdout}\n{done.stderr[-3000:]}")
        return [float(line) for line in done.stdout.split()]
