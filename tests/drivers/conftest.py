import secrets

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def key() -> str:
    return f"test-{secrets.token_hex(6)}"
