from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import structlog

from runyard.cli.main import run
from tests.cli.double import KEY, Double


class Done(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the files of whoever runs it."""
    for name in ("RUNYARD_BASE_URL", "RUNYARD_API_KEY", "RUNYARD_ENTITY", "RUNYARD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RUNYARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.fixture(autouse=True)
def silent_server() -> Iterator[None]:
    """Keep the log of a server in this process out of what the commands print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


@pytest.fixture
def server() -> Iterator[Double]:
    with Double() as double:
        yield double


@pytest.fixture
def logged_in(server: Double, monkeypatch: pytest.MonkeyPatch) -> Double:
    monkeypatch.setenv("RUNYARD_BASE_URL", server.url)
    monkeypatch.setenv("RUNYARD_API_KEY", KEY)
    return server


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """Type a command; what it prints is caught at the file descriptors."""

    def type_(*words: str) -> Done:
        capfd.readouterr()
        code = run(words)
        return Done(code, *capfd.readouterr())

    return type_


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with code in it."""
    root = tmp_path / "digits"
    root.mkdir()
    (root / "train.py").write_text("print('training')\n")
    return root
