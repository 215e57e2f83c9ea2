"""What the documentation tells people to type works, page by page, on a fresh home."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .documents import ROOT, examples, pages_with_examples

pytestmark = pytest.mark.network  # the example project installs scikit-learn


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", pages_with_examples(), ids=lambda page: page.stem)
def test_what_a_page_tells_to_type_works(page: Path, tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "examples",
        tmp_path / "examples",
        ignore=shutil.ignore_patterns("output", "__pycache__"),
    )
    script = tmp_path / "page.sh"
    script.write_text("set -euxo pipefail\n" + "\n".join(examples(page)), encoding="utf-8")
    commands = Path(sys.executable).parent
    done = subprocess.run(
        [commands / "runyard", "up", "--port", str(_free_port()), "--", "bash", script],
        cwd=tmp_path,
        env={**_clean_environment(tmp_path), "PATH": f"{commands}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"{page.relative_to(ROOT)}\n{done.stdout[-8000:]}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _clean_environment(tmp_path: Path) -> dict[str, str]:
    """Return this process's environment without whatever would lead to another server."""
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("RUNYARD_", "WANDB_"))}
    return {
        **outside,
        "RUNYARD_HOME": str(tmp_path / "home"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
