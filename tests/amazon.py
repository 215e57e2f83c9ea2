"""Amazon as moto plays it, over HTTP: a server of the tests' own, and credentials for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runyard.cli.children import free_port


@contextmanager
def serving() -> Iterator[str]:
    """Run moto's server, and say its address."""
    port = free_port("127.0.0.1")
    words = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1"]
    server = subprocess.Popen(
        [*words, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not _answers(url):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield url
    finally:
        server.kill()
        server.wait()


def give_account(
    patch: pytest.MonkeyPatch, root: Path, *, key: str = "test", secret: str = "test"
) -> None:
    """Let the environment have these credentials, and none of its own. `root` has no file."""
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        patch.delenv(name)
    patch.setenv("AWS_ACCESS_KEY_ID", key)
    patch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    patch.setenv("AWS_CONFIG_FILE", str(root / "none"))
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(root / "none"))
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
    except OSError:
        return False
    return True
