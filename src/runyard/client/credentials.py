"""
Which server to talk to, and with which key.

What is looked at, first match wins: the caller's arguments; RUNYARD_BASE_URL and
RUNYARD_API_KEY; the file that `runyard login` writes, one key for each server; the file that
a server on this machine leaves in RUNYARD_HOME, so that nobody logs in to their own laptop.
Both files hold keys: they are written for the owner alone, and refused if others may read them.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runyard.domain.errors import Invalid, Unauthenticated


@dataclass(frozen=True, slots=True)
class Credentials:
    """`source` says where the key was found, for messages."""

    base_url: str
    key: str = field(repr=False)
    source: str


def find(
    environ: Mapping[str, str], *, base_url: str | None = None, key: str | None = None
) -> Credentials:
    """Return the server and key to use.

    Raises:
        Unauthenticated: nothing tells which server to use, or no key for it is known.
        Invalid: a file that holds keys is broken or may be read by others.
    """
    url = base_url or environ.get("RUNYARD_BASE_URL")
    if (given := key or environ.get("RUNYARD_API_KEY")) and url:
        return Credentials(clean_url(url), given, "argument" if key else "RUNYARD_API_KEY")
    saved, own = _read(login_file(environ)), of_this_machine(home(environ))
    url = clean_url(url or saved.get("default") or (own.base_url if own else ""))
    if not url:
        raise Unauthenticated(
            "no Runyard server is configured",
            hint="start one here: runyard up; or log in to one: runyard login URL",
        )
    if given:
        return Credentials(url, given, "RUNYARD_API_KEY")
    if found := saved.get("servers", {}).get(url, {}).get("key"):
        return Credentials(url, found, str(login_file(environ)))
    if own and own.base_url == url:
        return own
    raise Unauthenticated(f"no key for {url} is known", hint=f"log in: runyard login {url}")


def server_address(environ: Mapping[str, str]) -> str:
    """Return the server to use, whether a key for it is known or not.

    Raises:
        Unauthenticated: nothing tells which.
        Invalid: a file that holds keys is broken or may be read by others.
    """
    if url := environ.get("RUNYARD_BASE_URL") or _read(login_file(environ)).get("default"):
        return clean_url(url)
    if own := of_this_machine(home(environ)):
        return own.base_url
    raise Unauthenticated("no Runyard server is configured", hint="name it: runyard login URL")


def of_this_machine(home: Path) -> Credentials | None:
    """Return what the server of that home has left there; it may have ended since.

    Raises:
        Invalid: the file is broken or may be read by others.
    """
    file = home / "server.json"
    data = _read(file)
    if not data.get("url") or not data.get("key"):
        return None
    return Credentials(clean_url(data["url"]), data["key"], str(file))


def save(environ: Mapping[str, str], credentials: Credentials) -> Path:
    """Remember a key and make its server the default; return the file."""
    path = login_file(environ)
    saved = _read(path)
    saved.setdefault("servers", {})[credentials.base_url] = {"key": credentials.key}
    saved["default"] = credentials.base_url
    _write(path, saved)
    return path


def forget(environ: Mapping[str, str], base_url: str | None = None) -> str | None:
    """Forget the key of a server (the default one if none is named) and return its address."""
    path = login_file(environ)
    saved = _read(path)
    url = clean_url(base_url or saved.get("default") or "")
    if saved.get("servers", {}).pop(url, None) is None:
        return None
    if saved.get("default") == url:
        saved["default"] = next(iter(saved["servers"]), None)
    _write(path, saved)
    return url


def login_file(environ: Mapping[str, str]) -> Path:
    if configured := environ.get("XDG_CONFIG_HOME"):
        return Path(configured, "runyard", "credentials.json")
    import platformdirs

    return Path(platformdirs.user_config_dir("runyard")) / "credentials.json"


def home(environ: Mapping[str, str]) -> Path:
    """Return where a server of this machine keeps its data."""
    return Path(environ.get("RUNYARD_HOME") or "~/.runyard").expanduser()


def clean_url(url: str) -> str:
    """Return the address without a trailing slash, so that it can be compared.

    Raises:
        Invalid: it is no http address, or carries a password, which would end up in logs.
    """
    if not url:
        return ""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid(f"server address {url!r} does not look like http://host:8080")
    if parts.username or parts.password:
        raise Invalid("the server's address holds a password; use RUNYARD_API_KEY for the key")
    return url.rstrip("/")


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                raise Invalid(
                    f"{path} holds keys and may be read by others", hint=f"chmod 600 {path}"
                )
            data = json.load(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Invalid(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise Invalid(
            f"{path} is not JSON: {error}", hint="remove it, then: runyard login"
        ) from error
    if not isinstance(data, dict):
        raise Invalid(f"{path} is not a JSON object", hint="remove it, then: runyard login")
    return data


def _write(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # A new file renamed over the old one: never half written, and never wider than 0600.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".credentials-")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(data, file, indent=2)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
