"""
What the operator of an agent says about its container engine, and grants to jobs.

Everything that reaches the host is named here first; a queue's configuration can only choose
from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from runyard.domain.docker_options import GRANTABLE
from runyard.domain.errors import Invalid, Violation


class Pull(StrEnum):
    ALWAYS = "always"
    MISSING = "missing"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class HostPath:
    """A directory of the host that jobs may mount; `read_only` cannot be lifted by a job."""

    path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class DockerSettings:
    """`host` is the engine's address; None is DOCKER_HOST, else the usual socket.

    `host_network` lets a job into the host's network when the server listens on loopback
    only: from a bridge network it could not be reached. `user` lets jobs choose whom they
    run as in the container. `init` puts the engine's small init before the job: without one
    a program is process 1, for which the kernel ignores a polite signal that it does not handle.
    """

    host: str | None = None
    pull: Pull = Pull.ALWAYS
    volumes: Mapping[str, HostPath] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    user: bool = False
    host_network: bool = True
    init: bool = True
    env_passthrough: tuple[str, ...] = ()

    @property
    def granted(self) -> frozenset[str]:
        """The options of `docker_options.GRANTABLE` that jobs may use here."""
        given = {
            "volume": self.volumes, "network": self.networks, "device": self.devices,
            "user": self.user,
        }  # fmt: skip
        return frozenset(name for name in GRANTABLE if given[name])


def parse_docker_settings(given: Mapping[str, Any]) -> DockerSettings:
    """Return the settings in an agent's file.

    Raises:
        Invalid: with every field that is unknown or of the wrong kind.
    """
    faults: list[Violation] = []
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in _PARSERS:
            faults.append(Violation(key, f"unknown; known are {', '.join(_PARSERS)}"))
            continue
        try:
            values[key] = _PARSERS[key](value)
        except ValueError as error:
            faults.append(Violation(key, f"{value!r} was given; allowed is {error}"))
    if faults:
        raise Invalid("; ".join(map(str, faults)), violations=faults)
    return DockerSettings(**values)


def _host(given: Any) -> str:
    if not isinstance(given, str) or not re.match(r"(unix|tcp|http|https)://.", given):
        raise ValueError("an address like unix:///var/run/docker.sock or tcp://host:2376")
    return given


def _pull(given: Any) -> Pull:
    try:
        return Pull(given)
    except ValueError:
        raise ValueError(", ".join(Pull)) from None


def _volumes(given: Any) -> dict[str, HostPath]:
    if not isinstance(given, Mapping):
        raise ValueError("a mapping of names to paths: {data: /srv/data:ro}")  # noqa: TRY004
    return {str(name): _host_path(path) for name, path in given.items()}


def _host_path(given: Any) -> HostPath:
    match = re.fullmatch(r"(/[^:\0]*)(?::(ro|rw))?", given) if isinstance(given, str) else None
    if not match:
        raise ValueError("an absolute path on the host, with :ro if jobs may only read it")
    return HostPath(match[1], match[2] == "ro")


def _names(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise ValueError("a list of names")
    return tuple(given)


def _flag(given: Any) -> bool:
    if not isinstance(given, bool):
        raise ValueError("true or false")  # noqa: TRY004  every parser raises the same
    return given


_PARSERS: Final = {
    "host": _host,
    "pull": _pull,
    "volumes": _volumes,
    "networks": _names,
    "devices": _names,
    "user": _flag,
    "host_network": _flag,
    "init": _flag,
    "env_passthrough": _names,
}
