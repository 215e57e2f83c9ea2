"""
What the operator of an agent says about its container engine, and grants to jobs.

Everything that reaches the host is named here first; a queue's configuration can only choose
from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from runyard.domain.docker_options import GRANTABLE
from runyard.domain.errors import Invalid, Violation


class Pull(StrEnum):
    ALWAYS = "always"
    MISSING = "missing"
    NEVER = "never"


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
    networks: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    user: bool = False
    host_network: bool = True
    init: bool = True
    env_passthrough: tuple[str, ...] = ()

    @property
    def granted(self) -> frozenset[str]:
        """The options of `docker_options.GRANTABLE` that jobs may use here."""
        given = {"network": self.networks, "device": self.devices, "user": self.user}
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
    "networks": _names,
    "devices": _names,
    "user": _flag,
    "host_network": _flag,
    "init": _flag,
    "env_passthrough": _names,
}
