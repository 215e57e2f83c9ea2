"""
How the agent's user has logged in to a registry: as `docker login` left it.

`~/.docker/config.json` (or DOCKER_CONFIG) holds the login itself, or names a helper program
that keeps it. Read anew for each pull, for tokens of cloud registries live for hours.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from runyard.domain.errors import Rejected
from runyard.domain.images import HUB as HUB_HOST
from runyard.domain.images import Login

HUB: Final = "https://index.docker.io/v1/"  # the name under which logins to Docker Hub are kept
# A user of this name has an OAuth 2 refresh token for a password, as Docker's helpers have it.
IDENTITY_TOKEN: Final = "<token>"  # noqa: S105  (no password itself)
_HELPER_PATIENCE: Final = 30  # seconds


def registry_of(image: str) -> str:
    """Return the registry's host of an image's name, or `HUB`."""
    first, slash, _ = image.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost")
    return first if is_host and first not in ("docker.io", "index.docker.io") else HUB


def with_registry(image: str) -> str:
    """Return the image's name with its registry written out."""
    if registry_of(image) != HUB or image.startswith(("docker.io/", "index.docker.io/")):
        return image
    return f"docker.io/{image}" if "/" in image else f"docker.io/library/{image}"


def login_for(image: str, env: Mapping[str, str]) -> dict[str, str] | None:
    """Return the login for the image's registry, or None if there is none. Blocks.

    Raises:
        Rejected: there should be one, and it cannot be read; it is never quoted.
    """
    home = env.get("DOCKER_CONFIG") or f"{env.get('HOME', '')}/.docker"
    registry = registry_of(image)
    try:
        config = json.loads(Path(home, "config.json").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Rejected(f"{home}/config.json cannot be read, so {image} is not pulled") from error
    helper = (config.get("credHelpers") or {}).get(registry) or config.get("credsStore")
    if helper:
        return _ask(str(helper), registry, env)
    return _kept((config.get("auths") or {}).get(registry) or {}, registry)


def auths_of(logins: Iterable[Login]) -> dict[str, dict[str, str]]:
    """Return logins as the `auths` of a config.json, which docker, buildah and others read."""
    return {
        HUB if login.registry == HUB_HOST else login.registry: _entry(login) for login in logins
    }


def _entry(login: Login) -> dict[str, str]:
    if login.username == IDENTITY_TOKEN:
        return {"identitytoken": login.password}
    pair = f"{login.username}:{login.password}".encode()
    return {"auth": base64.b64encode(pair).decode()}


def _kept(entry: Mapping[str, Any], registry: str) -> dict[str, str] | None:
    if token := entry.get("identitytoken"):
        return {"identitytoken": token}
    if not entry.get("auth"):
        return None
    try:
        name, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
    except ValueError as error:  # no base64, or no text in it
        raise Rejected(
            f"the login for {registry} is damaged", hint=f"docker login {registry}"
        ) from error
    return {"username": name, "password": password.rstrip("\0")}


def _ask(helper: str, registry: str, env: Mapping[str, str]) -> dict[str, str] | None:
    """Ask a credential helper; one that knows nothing of the registry is no error."""
    if not re.fullmatch(r"[\w.-]+", helper):
        raise Rejected(f"{helper!r} in Docker's config.json is no name of a credential helper")
    try:
        answer = subprocess.run(
            [f"docker-credential-{helper}", "get"],
            input=registry, capture_output=True, text=True, timeout=_HELPER_PATIENCE,
            env=dict(env), check=False,
        )  # fmt: skip
        login = json.loads(answer.stdout) if answer.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise Rejected(
            f"docker-credential-{helper} cannot be asked for the login to {registry}"
        ) from error
    if login is None:
        return None
    if login["Username"] == IDENTITY_TOKEN:
        return {"identitytoken": login["Secret"]}
    return {"username": login["Username"], "password": login["Secret"]}
