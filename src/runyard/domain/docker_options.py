"""
The options of `docker run` that a queue or a submission may set, by allow-list.

The keys are the options without their dashes. Any spelling counts as the same option (`shm_size`,
`--SHM-SIZE`, `m` for `memory`), so that nothing slips past by being written differently, and
what is not in the table is refused. The last rows reach the host: an agent's own settings
must grant them, and then they name what its operator listed, never a path of the submitter's.
Volumes are no option here: they are not Docker's alone (`volumes`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from runyard.domain.errors import Invalid, Violation
from runyard.domain.variables import EnvList, parse_env_list

Gpus = int | Literal["all"] | tuple[str, ...]
_NO_LIMIT: Final = -1
_UNITS: Final = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


@dataclass(frozen=True, slots=True)
class Ulimit:
    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class DockerOptions:
    """What was asked for, parsed. Sizes are in bytes, `cpus` in CPUs; None means not said."""

    command: tuple[str, ...] = ()
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpu_shares: int | None = None
    cpus: float | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    env: EnvList = field(default_factory=EnvList)
    gpus: Gpus = 0
    memory: int | None = None
    memory_reservation: int | None = None
    memory_swap: int | None = None  # with `memory`, the sum of both; -1 is no limit
    name: str | None = None
    pids_limit: int | None = None
    platform: str | None = None
    shm_size: int | None = None
    ulimit: tuple[Ulimit, ...] = ()
    workdir: str | None = None
    device: tuple[str, ...] = ()
    network: str | None = None
    user: str | None = None


def _size(given: Any) -> int:
    text = _scalar(given).lower()
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", text)
    if not match or not (size := int(float(match[1]) * _UNITS[match[2]])):
        raise ValueError("a size like 512m, 1.5g or a number of bytes")
    return size


def _swap(given: Any) -> int:
    return _NO_LIMIT if _scalar(given) == "-1" else _size(given)


def _count(given: Any) -> int:
    if not re.fullmatch(r"[1-9]\d{0,17}", text := _scalar(given)):
        raise ValueError("a whole number above 0")
    return int(text)


def _limit(given: Any) -> int:
    return _NO_LIMIT if _scalar(given) == "-1" else _count(given)


def _cpus(given: Any) -> float:
    text = _scalar(given)
    if not re.fullmatch(r"\d{1,6}(\.\d+)?", text) or not float(text):
        raise ValueError("a number of CPUs above 0, like 1.5")
    return float(text)


def _matching(pattern: str, allowed: str) -> Callable[[Any], str]:
    def parse(given: Any) -> str:
        if not re.fullmatch(pattern, text := _scalar(given)):
            raise ValueError(allowed)
        return text

    return parse


def _words(given: Any) -> tuple[str, ...]:
    if isinstance(given, (list, tuple)):
        return tuple(_texts(given))
    try:
        return tuple(shlex.split(_scalar(given)))
    except ValueError as error:
        raise ValueError(f"a command with its quotes closed ({error})") from error


def _env(given: Any) -> EnvList:
    _texts(given)
    env, faults = parse_env_list(given)
    if faults:
        raise ValueError('a list like ["A=1", "NAME"]; ' + "; ".join(f.message for f in faults))
    return env


def _ulimits(given: Any) -> tuple[Ulimit, ...]:
    limits = []
    for text in _texts(given):
        match = re.fullmatch(r"([a-z]+)=(-1|\d{1,18})(?::(-1|\d{1,18}))?", text)
        if not match:
            raise ValueError("texts like nofile=1024:2048")
        limits.append(Ulimit(match[1], int(match[2]), int(match[3] or match[2])))
    return tuple(limits)


def _gpus(given: Any) -> Gpus:
    allowed = 'a number, "all", or "device=0,2"'
    if isinstance(given, (list, tuple)):
        ids = tuple(_texts([str(each) for each in given if not isinstance(each, bool)]))
    else:
        text = _scalar(given).strip('"')
        if text == "all":
            return "all"
        if re.fullmatch(r"\d{1,4}", text):
            return int(text)
        if not text.startswith("device="):
            raise ValueError(allowed)
        ids = tuple(text.removeprefix("device=").split(","))
    if not all(re.fullmatch(r"\d+|GPU-[0-9a-fA-F-]+|MIG-[0-9a-zA-Z/-]+", each) for each in ids):
        raise ValueError(allowed)
    return ids


def _devices(given: Any) -> tuple[str, ...]:
    texts = _texts(given)
    if not all(re.fullmatch(r"[\w./:=-]+", text) for text in texts):
        raise ValueError("devices as the agent's `devices` setting lists them")
    return tuple(texts)


def _scalar(given: Any) -> str:
    if isinstance(given, bool) or not isinstance(given, (str, int, float)):
        raise ValueError("one text or number")  # noqa: TRY004  every parser raises the same
    return str(given).strip()


def _texts(given: Any) -> list[str]:
    entries = [given] if isinstance(given, str) else given
    if not isinstance(entries, (list, tuple)) or not all(isinstance(e, str) for e in entries):
        raise ValueError("a list of texts")
    if not entries:
        raise ValueError("a list that is not empty; leave the option out instead")
    return list(entries)


_CPUSET: Final = _matching(r"\d+(-\d+)?(,\d+(-\d+)?)*", "CPU numbers like 0-3,8")
_PARSERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "command": _words,
    "cpu-period": _count,
    "cpu-quota": _limit,
    "cpu-shares": _count,
    "cpus": _cpus,
    "cpuset-cpus": _CPUSET,
    "cpuset-mems": _CPUSET,
    "env": _env,
    "gpus": _gpus,
    "memory": _size,
    "memory-reservation": _size,
    "memory-swap": _swap,
    "name": _matching(r"[A-Za-z0-9][\w.-]{0,127}", "letters, digits, _, . and -"),
    "pids-limit": _limit,
    "platform": _matching(r"[a-z0-9_]+(/[a-z0-9_]+){0,2}", "OS/ARCHITECTURE like linux/amd64"),
    "shm-size": _size,
    "ulimit": _ulimits,
    "workdir": _matching(r"/[^\0]*", "an absolute path in the container"),
    "device": _devices,
    "network": _matching(r"[A-Za-z0-9][\w.-]*", "a network of the agent's `networks` setting"),
    "user": _matching(r"[\w.-]+(:[\w.-]+)?", "USER or USER:GROUP"),
}
_SHORT: Final = {
    "cpu": "cpus", "e": "env", "m": "memory", "net": "network", "u": "user", "w": "workdir",
}  # fmt: skip
GRANTABLE: Final = frozenset({"device", "network", "user"})
ALLOWED: Final = frozenset(_PARSERS) - GRANTABLE


def option_name(key: str) -> str:
    """Return the one name of an option: `--SHM_SIZE` and `shm-size` are `shm-size`."""
    name = key.strip().lower().replace("_", "-").strip("-")
    return _SHORT.get(name, name)


def check_docker_options(
    config: Mapping[str, Any], *, granted: frozenset[str] = frozenset()
) -> tuple[Violation, ...]:
    """Return everything that is wrong with a configuration.

    `granted` are the options of `GRANTABLE` that the agent's settings allow. The server
    cannot know the agent: it grants them all, and the agent checks again with its own.
    """
    return _parse(config, granted)[1]


def parse_docker_options(
    config: Mapping[str, Any], granted: frozenset[str] = frozenset()
) -> DockerOptions:
    """Return the options as values.

    Raises:
        Invalid: with every violation, not just the first.
    """
    options, faults = _parse(config, granted)
    if faults:
        raise Invalid("; ".join(map(str, faults)), violations=faults)
    return options


def gpus_wanted(config: Mapping[str, Any]) -> Gpus:
    """Return how many GPUs a configuration asks for, `"all"`, or which. 0 is none.

    Raises:
        Invalid: it says something else.
    """
    given = {key: value for key, value in config.items() if option_name(key) == "gpus"}
    return parse_docker_options(given).gpus


def _parse(
    config: Mapping[str, Any], granted: frozenset[str]
) -> tuple[DockerOptions, tuple[Violation, ...]]:
    values: dict[str, Any] = {}
    faults: list[Violation] = []
    for key, given in config.items():
        name = option_name(key)
        if name in values:
            faults.append(Violation(key, f"{name} is given twice, in two spellings"))
        elif refusal := _refusal(name, granted):
            faults.append(Violation(key, refusal))
        else:
            try:
                values[name] = _PARSERS[name](given)
            except ValueError as error:
                faults.append(Violation(key, f"{given!r} was given; allowed is {error}"))
    faults += _conflicts(values)
    return DockerOptions(**{n.replace("-", "_"): v for n, v in values.items()}), tuple(faults)


def _refusal(name: str, granted: frozenset[str]) -> str:
    if name in ALLOWED or name in granted & GRANTABLE:
        return ""
    if name in GRANTABLE:
        return f"the agent's settings do not allow {name}: its operator can list what jobs may use"
    return f"not an option that jobs may set; allowed are {', '.join(sorted(ALLOWED | granted))}"


def _conflicts(values: Mapping[str, Any]) -> list[Violation]:
    faults = []
    if "cpus" in values and ("cpu-quota" in values or "cpu-period" in values):
        faults.append(Violation("cpus", "set either this or cpu-period and cpu-quota"))
    swap = values.get("memory-swap", _NO_LIMIT)
    if swap != _NO_LIMIT and swap < values.get("memory", swap + 1):
        faults.append(
            Violation("memory-swap", "is memory and swap together, so at least as much as memory")
        )
    return faults
