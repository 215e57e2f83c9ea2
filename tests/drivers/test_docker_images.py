"""With whose login an engine pulls an image, and when it does not pull at all."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from runyard.domain.errors import Rejected
from runyard.domain.images import Login
from runyard.drivers.docker_images import Images
from runyard.drivers.docker_settings import Pull

pytestmark = pytest.mark.anyio

FIXED = f"registry.example.com/ml/jobs@sha256:{'a' * 64}"
ID = f"sha256:{'b' * 64}"
OURS = Login("registry.example.com", "agent", "s3cret")


class Engine:
    """Has some images, and notes with which login it pulls others."""

    def __init__(self, *there: str, podman: bool = False) -> None:
        self.there, self.pulled, self.podman = set(there), list[tuple[str, Any]](), podman
        self.images = self

    def client(self) -> Engine:
        return self

    def asking(self, _: str, *, unless: Any = ()) -> Any:
        return nullcontext()

    async def is_podman(self) -> bool:
        return self.podman

    async def inspect(self, image: str) -> dict[str, Any]:
        if image not in self.there:
            raise LookupError(image)
        return {}

    def pull(self, image: str, *, auth: Any, **_: Any) -> AsyncIterator[Any]:
        self.pulled.append((image, auth))

        async def progress() -> AsyncIterator[Any]:
            self.there.add(image)
            yield {}

        return progress()


def images(engine: Engine, home: Path, policy: Pull = Pull.ALWAYS) -> Images:
    made = Images(engine, policy, {"HOME": str(home)})  # type: ignore[arg-type]

    async def has(image: str) -> bool:
        return image in engine.there

    made._has_image = has  # type: ignore[method-assign]
    return made


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of a user who is logged in to the registry as somebody else."""
    auth = base64.b64encode(b"user:own").decode()
    (tmp_path / ".docker").mkdir()
    config = {"auths": {"registry.example.com": {"auth": auth}}}
    (tmp_path / ".docker" / "config.json").write_text(json.dumps(config))
    return tmp_path


async def test_what_the_agent_pushed_is_pulled_with_the_agents_own_login(home: Path) -> None:
    engine = Engine()
    await images(engine, home).provide(FIXED, None, login=OURS)
    assert engine.pulled == [(FIXED, {"username": "agent", "password": "s3cret"})]


async def test_other_images_are_pulled_with_the_users_login(home: Path) -> None:
    engine = Engine()
    await images(engine, home).provide(FIXED, None)
    assert engine.pulled == [(FIXED, {"username": "user", "password": "own"})]


async def test_a_login_that_is_a_token_is_given_as_one(home: Path) -> None:
    engine = Engine()
    token = Login("registry.example.com", "<token>", "t0ken")
    await images(engine, home).provide(FIXED, None, login=token)
    assert engine.pulled == [(FIXED, {"identitytoken": "t0ken"})]


@pytest.mark.parametrize("image", [FIXED, ID])
async def test_what_is_there_and_can_never_change_is_not_pulled(home: Path, image: str) -> None:
    engine = Engine(image)
    await images(engine, home).provide(image, None, login=OURS)
    assert engine.pulled == []


@pytest.mark.parametrize(
    ("image", "podman", "pulls"),
    [
        ("localhost/python:3", True, 0),
        ("localhost/python:3", False, 1),
        ("localhost:5000/python:3", True, 1),
    ],
)
async def test_podmans_name_for_an_image_of_its_host_is_no_registrys(
    home: Path, image: str, podman: bool, pulls: int
) -> None:
    engine = Engine(image, podman=podman)
    await images(engine, home).provide(image, None)
    assert len(engine.pulled) == pulls


async def test_an_image_by_its_id_is_never_asked_of_a_registry(home: Path) -> None:
    engine = Engine()
    with pytest.raises(Rejected, match="this engine does not have it"):
        await images(engine, home).provide(ID, None)
    assert engine.pulled == []
