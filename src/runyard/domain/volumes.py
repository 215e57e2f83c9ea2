"""
Named volumes: directories of an agent's host that its operator lets jobs use.

A queue names them, and says where a job shall find them; which directory that is, and whether it
may be written, only the agent's own settings say. So nobody who may submit can name a path of
the host (T8). Caches that are shared come to every job by themselves, each team's own (T21).
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from runyard.domain.errors import Rejected, Violation
from runyard.domain.variables import variable_faults
from runyard.domain.workloads import Mount

KEYS: Final = ("volumes", "volume", "v")  # spellings of one key
MOST: Final = 20  # volumes of one job
JOB: Final = "/mnt/wandb"  # where a container has the job's own files
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TEXT: Final = re.compile(r"([^:]+)(?::([^:]+))?(?::(ro|rw))?")
_FIELDS: Final = ("name", "path", "read_only", "env")
_FORM: Final = "NAME, NAME:PATH, NAME:PATH:ro, or {name: …, path: …, read_only: …, env: …}"


@dataclass(frozen=True, slots=True)
class Preset:
    """Where a well-known tool is told to keep its cache."""

    path: str
    env: str


PRESETS: Final[Mapping[str, Preset]] = {
    "pip": Preset("/mnt/cache/pip", "PIP_CACHE_DIR"),
    "uv": Preset("/mnt/cache/uv", "UV_CACHE_DIR"),
    # Not HF_HOME, in which a login leaves its token for the next job.
    "huggingface": Preset("/mnt/cache/huggingface", "HF_HUB_CACHE"),
    "wandb-artifacts": Preset("/mnt/cache/wandb", "WANDB_CACHE_DIR"),
}


_SHARED: Final = "shared/"  # begins the name of a mount that nobody asked for


@dataclass(frozen=True, slots=True)
class Shared:
    """Caches that every job gets. `kinds` are presets; each team has its own below `root`."""

    root: str = ""
    kinds: tuple[str, ...] = ()

    def mounts(self, team: str, others: tuple[Mount, ...], *, container: bool) -> tuple[Mount, ...]:
        """Return a team's caches, but for those in whose place its queue has put something."""
        found = []
        for kind in self.kinds:
            preset, folder = PRESETS[kind], team_folder(team)
            path = preset.path if container else ""
            if not any(preset.env in other.env or _meet(path, other.path) for other in others):
                source = f"{self.root}/{folder}/{kind}"
                found.append(Mount(f"{_SHARED}{folder}/{kind}", source, path, env=(preset.env,)))
        return tuple(found)


def team_folder(team: str) -> str:
    """Return the name of a team's directory: another one for every team, and never a way out."""
    if _NAME.fullmatch(team):
        return team
    return f"_{hashlib.sha256(team.encode()).hexdigest()[:40]}"  # no name begins with that


def shared_of(mount: str) -> tuple[str, str] | None:
    """Return the team's folder and the kind, if this is the name of a shared cache's mount."""
    if not mount.startswith(_SHARED):
        return None
    folder, _, kind = mount.removeprefix(_SHARED).partition("/")
    return (folder, kind) if folder and kind in PRESETS else None


def _meet(one: str, other: str) -> bool:
    both = zip(_steps(one), _steps(other), strict=False)
    return bool(one and other) and all(a == b for a, b in both)


@dataclass(frozen=True, slots=True)
class Volume:
    """What the operator names. `queues` are those that may use it; empty is all of them."""

    name: str
    path: str
    read_only: bool = False
    queues: tuple[str, ...] = ()
    preset: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a queue asks for. Without a path and variables they are the volume's preset's."""

    name: str
    path: str = ""
    read_only: bool = False
    env: tuple[str, ...] = ()


def taken_out(
    config: Mapping[str, Any], *, container: bool
) -> tuple[dict[str, Any], tuple[Wanted, ...], list[Violation]]:
    """Return a configuration without its volumes, these, and what is wrong with them.

    A path is absolute in a container; for a process it is a link in the job's directory.
    """
    spelled = [key for key in config if is_key(key)]
    rest = {key: value for key, value in config.items() if key not in spelled}
    faults = [Violation(key, "volumes are given twice, in two spellings") for key in spelled[1:]]
    wanted: list[Wanted] = []
    for key in spelled[:1]:
        given = [config[key]] if isinstance(config[key], str | Mapping) else config[key]
        if not isinstance(given, list | tuple) or not 1 <= len(given) <= MOST:
            faults.append(Violation(key, f"is a list of 1 to {MOST} volumes: {_FORM}"))
            continue
        for n, each in enumerate(given):
            path = f"{key}.{n}" if isinstance(config[key], list | tuple) else key
            one, wrong = _wanted(each, path, container)
            faults += wrong
            wanted += [one] if one else []
        faults += _doubles(wanted, key)
    return rest, tuple(wanted), faults


def is_key(key: str) -> bool:
    """Tell whether a key of a configuration means volumes, however it is written."""
    return key.strip().lower().replace("_", "-").strip("-") in KEYS


def granted(
    wanted: tuple[Wanted, ...], volumes: Mapping[str, Volume], queue: str, *, container: bool
) -> tuple[Mount, ...]:
    """Return what the agent mounts.

    Raises:
        Rejected: a volume that it has not, or not for this queue; the message names what it has.
    """
    mounts, faults = [], []
    there = sorted(v.name for v in volumes.values() if not v.queues or queue in v.queues)
    for one in wanted:
        volume = volumes.get(one.name)
        if volume is None or one.name not in there:
            why = "is not for this queue" if volume else "is no volume of this agent"
            has = f"it has {', '.join(there)}" if there else "it has none for this queue"
            faults.append(Violation("volumes", f"{one.name!r} {why}; {has}"))
            continue
        preset = PRESETS.get(volume.preset or one.name)
        path = one.path or (preset.path if preset and container else "")
        env = one.env or ((preset.env,) if preset else ())
        if not path and (container or not env):
            faults.append(Violation("volumes", f"{one.name!r}: say where: {one.name}:PATH"))
            continue
        read_only = one.read_only or volume.read_only
        mounts.append(Mount(one.name, volume.path, path, read_only, env))
    faults += _doubles(mounts, "volumes")
    if faults:
        raise Rejected(
            "; ".join(map(str, faults)),
            violations=faults,
            hint="the agent's operator names volumes in its settings, under `volumes`",
        )
    return tuple(mounts)


def _wanted(given: Any, path: str, container: bool) -> tuple[Wanted | None, list[Violation]]:
    if isinstance(given, str):
        match = _TEXT.fullmatch(given)
        if not match:
            return None, [Violation(path, f"{given!r} was given; allowed is {_FORM}")]
        fields: dict[str, Any] = {"name": match[1], "read_only": match[3] == "ro"}
        if match[2]:
            fields["path"] = match[2]
    elif isinstance(given, Mapping):
        fields = dict(given)
    else:
        return None, [Violation(path, f"{given!r} was given; allowed is {_FORM}")]
    faults = [Violation(f"{path}.{k}", f"unknown{_near(k)}") for k in fields if k not in _FIELDS]
    name, target, env = fields.get("name"), fields.get("path", ""), fields.get("env", ())
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        faults.append(Violation(path, f"{name!r} is no name of a volume"))
    if not isinstance(target, str) or (target and (told := _wrong_path(target, container))):
        told = told if isinstance(target, str) else "is a text"
        faults.append(Violation(path, f"path {target!r}: {told}"))
    if not isinstance(fields.get("read_only", False), bool):
        faults.append(Violation(f"{path}.read_only", "is true or false"))
    env = (env,) if isinstance(env, str) else env
    if not isinstance(env, list | tuple) or not all(isinstance(e, str) for e in env):
        faults.append(Violation(f"{path}.env", "is the name of a variable, or a list of names"))
    else:
        faults += variable_faults(dict.fromkeys(env, ""), path=f"{path}.env")
    if faults:
        return None, faults
    return Wanted(str(name), str(target), bool(fields.get("read_only")), tuple(env)), []


def _wrong_path(path: str, container: bool) -> str:
    steps = _steps(path)
    if "\0" in path or ":" in path or ".." in steps or len(path) > 500:
        return "holds neither '..' nor ':'"
    if container and not path.startswith("/"):
        return "is absolute, in the container"
    if container and _steps(JOB)[: len(steps)] == steps:
        return "would hide the job's own files"
    if not container and (path.startswith("/") or not steps):
        return "is relative to the job's directory, where a link is made"
    return ""


def _steps(path: str) -> list[str]:
    return [step for step in path.split("/") if step not in ("", ".")]


def _doubles(mounts: list[Wanted] | list[Mount], key: str) -> list[Violation]:
    seen: set[str] = set()
    faults = []
    for mount in mounts:
        places = ["/".join(_steps(mount.path))] if mount.path else []
        for place in (*places, *(f"${name}" for name in mount.env)):
            if place in seen:
                faults.append(Violation(key, f"{place} is given to two volumes"))
            seen.add(place)
    return faults


def _near(key: Any) -> str:
    near = difflib.get_close_matches(str(key), _FIELDS, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(_FIELDS)}"
