"""
The container driver on podman's Docker-compatible socket, under the laws.

    podman system service --time=0 unix:///tmp/podman.sock &
    RUNYARD_TEST_PODMAN=unix:///tmp/podman.sock pytest tests/contract/test_podman.py

needs the image localhost/python:3.11-slim.
"""

from __future__ import annotations

import os

import pytest

from tests.contract.engines import EngineLaws

if not os.environ.get("RUNYARD_TEST_PODMAN"):
    pytest.skip(
        "needs podman's socket: RUNYARD_TEST_PODMAN=unix:///path/podman.sock pytest",
        allow_module_level=True,
    )

pytestmark = pytest.mark.podman


class TestPodman(EngineLaws):
    address = os.environ.get("RUNYARD_TEST_PODMAN")
    image = "localhost/python:3.11-slim"
