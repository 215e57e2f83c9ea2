"""Images that a test builds on a real engine, and what is seen of them; all go with the test."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

PYTHON = "python:3.11-slim"


def accelerator() -> str:
    """Return the stand-in for an accelerator's base image; CI is not to go without one."""
    name = os.environ.get("RUNYARD_TEST_ACCELERATOR")
    if name is None:
        told = "set RUNYARD_TEST_ACCELERATOR to a Debian image without Python"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    return name


def docker(*words: str, **env: str) -> str:
    done = subprocess.run(
        ["docker", *words],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def fails(*words: str) -> bool:
    return subprocess.run(["docker", *words], capture_output=True, check=False).returncode != 0


def inside(image: str, script: str, *options: str) -> str:
    return docker("run", "--rm", *options, "--entrypoint", "sh", image, "-c", script).strip()


def inspected(image: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("image", "inspect", image))[0]
    return found


def history(image: str) -> Sequence[str]:
    return docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image).splitlines()


@contextmanager
def named() -> Iterator[str]:
    """Lend a name for an image that is removed afterwards."""
    name = f"runyard-test-{uuid.uuid4().hex[:12]}"
    try:
        yield f"{name}:1"
    finally:
        subprocess.run(["docker", "image", "rm", f"{name}:1"], capture_output=True, check=False)
