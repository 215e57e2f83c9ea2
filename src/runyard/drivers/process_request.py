"""
What to start for a workload that is a process: pure, secrets apart.

The job gets a short list of the host's variables, never the agent's environment: that holds
the agent's own key. What else it needs of the host, the queue asks for by name and the agent's
settings allow.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

from runyard.domain.docker_options import gpus_wanted
from runyard.domain.errors import Invalid, Rejected, Violation
from runyard.domain.variables import (
    MASK,
    parse_env_list,
    pass_through,
    variable_faults,
    word_faults,
)
from runyard.domain.workloads import Workload

MARK: Final = "RUNYARD_WORKLOAD"
HOST_VARIABLES: Final = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ",
    "TMPDIR", "LD_LIBRARY_PATH", "CUDA_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE", "PIP_CERT",
)  # fmt: skip
_KEYS: Final = ("env", "gpus")


@dataclass(frozen=True, slots=True)
class ProcessRequest:
    """`directory` is None for one of the driver's own; `working_dir` is relative to it."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    directory: str | None
    working_dir: str
    links: Mapping[str, str] = field(default_factory=dict)  # in the directory, to the host's
    unwritable: tuple[str, ...] = ()  # directories of the host that it may only read

    def masked(self) -> dict[str, Any]:
        return {
            "argv": list(self.argv),
            "env": {**self.env, **dict.fromkeys(self.secrets, MASK)},
            "directory": self.directory,
            "working_dir": self.working_dir,
            "links": dict(self.links),
        }


def process_request(
    workload: Workload, host: Mapping[str, str], allowed: Collection[str]
) -> ProcessRequest:
    """Return what to start. `allowed` are the host's variables that a queue may ask for.

    Raises:
        Rejected: with everything that is wrong, not just the first thing.
    """
    if workload.image is not None:
        raise Rejected(
            f"a local-process queue runs no images, and this job is the image {workload.image}",
            hint="submit it to a local-container queue: runyard queue list",
        )
    argv = (*workload.entry_point, *workload.args)
    listed, faults = _listed(workload.config, host, allowed)
    faults += _argv_faults(workload, argv) + _directory_faults(workload.working_dir)
    faults += variable_faults(workload.env) + variable_faults(workload.secrets, path="secrets")
    if faults:
        raise Rejected("; ".join(map(str, faults)), violations=faults)
    given = {name: host[name] for name in HOST_VARIABLES if name in host}
    gpus = {"CUDA_VISIBLE_DEVICES": ",".join(workload.gpus)} if workload.gpus else {}
    found = {name: mount.source for mount in workload.mounts for name in mount.env}
    env = {
        "PYTHONUNBUFFERED": "1", **given, **found, **listed, **workload.env, **gpus,
        MARK: workload.key,
    }  # fmt: skip
    return ProcessRequest(
        argv, env, workload.secrets, workload.directory, workload.working_dir,
        links={mount.path: mount.source for mount in workload.mounts if mount.path},
        unwritable=tuple(mount.source for mount in workload.mounts if mount.read_only),
    )  # fmt: skip


def _listed(
    config: Mapping[str, Any], host: Mapping[str, str], allowed: Collection[str]
) -> tuple[dict[str, str], list[Violation]]:
    faults = [
        Violation(key, f"unknown to local-process; it takes {', '.join(_KEYS)}")
        for key in config
        if key not in _KEYS
    ]
    try:
        gpus_wanted(config)
    except Invalid as error:
        faults += error.violations
    env, wrong = parse_env_list(config.get("env", ()))
    values, refused = pass_through(env, host, allowed)
    return values, faults + wrong + refused


def _argv_faults(workload: Workload, argv: tuple[str, ...]) -> list[Violation]:
    if not workload.entry_point or not argv[0]:
        return [Violation("entry_point", "missing: a local process needs a command to start")]
    if argv[0].startswith("-"):
        return [Violation("entry_point", f"{argv[0]!r} is an option, not a command")]
    return word_faults(argv, path="command")


def _directory_faults(working_dir: str) -> list[Violation]:
    path = PurePosixPath(working_dir)
    if path.is_absolute() or ".." in path.parts or "\0" in working_dir:
        return [Violation("working_dir", f"{working_dir!r} leaves the job's directory")]
    return []
