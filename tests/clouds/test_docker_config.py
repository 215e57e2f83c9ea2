"""How the login of the agent's user is found."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from runyard.clouds.docker_config import HUB, auths_of, login_for, registry_of, with_registry
from runyard.domain.errors import Rejected
from runyard.domain.images import Login

AUTH = base64.b64encode(b"ann:pass:word").decode()


def env(home: Path, config: Any) -> dict[str, str]:
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(json.dumps(config))
    return {"HOME": str(home), "PATH": f"{home}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("python", HUB),
        ("team/image:1", HUB),
        ("docker.io/library/python", HUB),
        ("ghcr.io/team/image", "ghcr.io"),
        ("localhost/image", "localhost"),
        ("127.0.0.1:5000/image@sha256:ab", "127.0.0.1:5000"),
    ],
)
def test_the_registry_is_read_from_the_images_name(image: str, registry: str) -> None:
    assert registry_of(image) == registry


def test_docker_hub_is_written_out_where_a_registry_is_needed() -> None:
    assert with_registry("python:3") == "docker.io/library/python:3"
    assert with_registry("team/image") == "docker.io/team/image"
    assert with_registry("docker.io/team/image") == "docker.io/team/image"
    assert with_registry("ghcr.io/a/b") == "ghcr.io/a/b"


def test_a_login_that_docker_kept_is_used_for_its_registry_alone(tmp_path: Path) -> None:
    given = env(tmp_path, {"auths": {"ghcr.io": {"auth": AUTH}}})
    assert login_for("ghcr.io/a/b", given) == {"username": "ann", "password": "pass:word"}
    assert login_for("ghcr.io.evil.example/a/b", given) is None
    assert login_for("python", given) is None


def test_without_a_config_there_is_no_login(tmp_path: Path) -> None:
    assert login_for("ghcr.io/a/b", {"HOME": str(tmp_path)}) is None


@pytest.mark.parametrize(
    ("answer", "login"),
    [
        ('{"Username": "ann", "Secret": "s3cret"}', {"username": "ann", "password": "s3cret"}),
        ('{"Username": "<token>", "Secret": "s3cret"}', {"identitytoken": "s3cret"}),
    ],
)
def test_a_helper_is_asked(tmp_path: Path, answer: str, login: dict[str, str]) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text(f"#!/bin/sh\nread registry; [ \"$registry\" = ghcr.io ] && echo '{answer}'\n")
    helper.chmod(0o755)
    given = env(tmp_path, {"credHelpers": {"ghcr.io": "test", "other.io": "test"}})
    assert login_for("ghcr.io/a/b", given) == login
    assert login_for("other.io/a/b", given) is None


@pytest.mark.parametrize(
    "config",
    [{"credsStore": "no-such-helper"}, {"credsStore": "../x"}, {"auths": {HUB: {"auth": "ä"}}}],
    ids=str,
)
def test_a_login_that_cannot_be_read_is_said(tmp_path: Path, config: Any) -> None:
    with pytest.raises(Rejected, match=r"docker-credential|helper|damaged"):
        login_for("python", env(tmp_path, config))


def test_logins_are_written_as_they_are_read(tmp_path: Path) -> None:
    logins = [
        Login("docker.io", "ann", "pass:word"),
        Login("ghcr.io", "bob", "secret"),
        Login("team.azurecr.io", "<token>", "refresh"),
    ]
    given = env(tmp_path, {"auths": auths_of(logins)})
    found = [login_for(name, given) for name in ("python", "ghcr.io/a", "team.azurecr.io/a")]
    assert found == [
        {"username": "ann", "password": "pass:word"},
        {"username": "bob", "password": "secret"},
        {"identitytoken": "refresh"},
    ]
