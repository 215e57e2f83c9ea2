"""
The container driver on Docker, under the laws.

    RUNYARD_TEST_DOCKER=1 pytest tests/contract/test_docker.py      # needs python:3.11-slim
"""

from __future__ import annotations

import os

import pytest

from tests.contract.engines import EngineLaws

if not os.environ.get("RUNYARD_TEST_DOCKER"):
    pytest.skip("needs a Docker engine: RUNYARD_TEST_DOCKER=1 pytest", allow_module_level=True)

pytestmark = pytest.mark.docker


class TestDocker(EngineLaws):
    address = None
    image = "python:3.11-slim"
    keeps_bytes = False  # the engine's json-file log is UTF-8
