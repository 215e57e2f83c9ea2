from collections.abc import Iterator
from pathlib import Path

import pytest

from runyard.testing.git_server import GitServer, git_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with git_server(tmp_path / "repositories") as served:
        yield served


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
