"""
The real tracking client, as it comes from PyPI, against a real server on a real port.

Its programs run in a process of their own, as a user's would. `RUNYARD_TEST_WANDB_PYTHON` names an
interpreter with another version of the client; CI runs the oldest one that we keep working, too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.http.conftest import World, clock, live, settings

__all__ = ["clock", "live", "settings"]

PYTHON = os.environ.get("RUNYARD_TEST_WANDB_PYTHON", sys.executable)
Run = Callable[..., subprocess.CompletedProcess[str]]

# For what the commands and agents of the client do, rather than what the server stores of it: one
# database tells. The services below have tests of their own on both.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

# The client's command as it is, but for its waits: `wandb verify` alone would sleep for 45 seconds.
COMMAND = """\
#!{python}
import importlib
import sys

WAITS = {{
    "agent": ("wandb.wandb_agent:Agent", "POLL_INTERVAL"),
    "launch-agent": ("wandb.sdk.launch.agent.agent:", "AGENT_POLLING_INTERVAL"),
    "scheduler": ("wandb.sdk.launch.sweeps.scheduler:", "DEFAULT_POLLING_SLEEP"),
    "verify": ("wandb.agents.pyagent:Agent", "HEARTBEAT_SLEEP_SECONDS"),
}}
if found := WAITS.get(sys.argv[1]):
    module, _, name = found[0].partition(":")
    place = importlib.import_module(module)
    place = getattr(place, name) if name else place
    assert getattr(place, found[1]) >= 5
    setattr(place, found[1], 0.5)

from wandb.cli.cli import cli

cli(prog_name="wandb")
"""


# Tests that wait more than they work: first, so that no worker is left with one at the end.
SLOWEST = ("a_launched_sweep", "every_check", "ours_runs", "a_launched_program", "is_stopped")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not any(word in item.name for word in SLOWEST))


class Client:
    """Runs programs and commands of the tracking client in a directory of its own."""

    def __init__(self, world: World, directory: Path, key: str | None = None) -> None:
        self.world, self.directory = world, directory
        self.key = key or world.admin.key
        self.url = str(world.http.base_url).rstrip("/")
        self.command = directory / "bin" / "wandb"
        self.command.parent.mkdir(exist_ok=True)
        self.command.write_text(COMMAND.format(python=PYTHON))
        self.command.chmod(0o755)

    def env(self, **more: str) -> dict[str, str]:
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        kept = ("PATH", "LANG", "TMPDIR", "SSL_CERT_FILE")
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "HOME": str(home),
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": self.key or "",
            "WANDB_DIR": str(self.directory),
            "WANDB_CACHE_DIR": str(self.directory / "cache"),
            "WANDB_CONFIG_DIR": str(home / "wandb"),
            "WANDB_DATA_DIR": str(self.directory / "data"),
            "WANDB_ARTIFACT_DIR": str(self.directory / "artifacts"),
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_SILENT": "false",
            "PYTHONWARNINGS": "default",
            **more,
        }

    def python(
        self, program: str, *words: str, timeout: float = 100, env: dict[str, str] | None = None
    ) -> str:
        """Run a program to its end and return what it printed; it must end well."""
        path = self.directory / "program.py"
        path.write_text(textwrap.dedent(program))
        done = self.run(PYTHON, str(path), *words, timeout=timeout, env=env)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-6000:]
        return done.stdout

    def wandb(self, *words: str, timeout: float = 100, env: dict[str, str] | None = None,
              ok: bool = True) -> str:  # fmt: skip
        """Run `wandb …`; return both of its streams."""
        done = self.run(str(self.command), *words, timeout=timeout, env=env)
        told = done.stdout + done.stderr
        assert not ok or done.returncode == 0, told[-6000:]
        return told

    def run(
        self, *argv: str, timeout: float, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            cwd=self.directory,
            env=self.env(**(env or {})),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


@pytest.fixture
def client(live: World, tmp_path: Path) -> Client:
    """The admin's client."""
    directory = tmp_path / "client"
    directory.mkdir()
    return Client(live, directory)
