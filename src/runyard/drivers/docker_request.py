"""
From a workload to the body of the engine's "create a container" request: pure.

The job's files are mounted at `/mnt/wandb`, and it starts there; an image that has them itself
starts where it says, or where the job says, from its root. No privilege is added, and
none can be gained (`no-new-privileges`). An engine's word for the entry point replaces the
image's own only if the job names one.

A server on this host's loopback cannot be reached through a bridge network, so with such a
WANDB_BASE_URL the container shares the host's network, unless its configuration chose a
network. Where that is not possible (not on Linux) or not allowed, the address becomes
`host.docker.internal`, which reaches servers that listen on every interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from runyard.domain.docker_options import DockerOptions, parse_docker_options
from runyard.domain.errors import Invalid, Rejected, Violation
from runyard.domain.variables import MASK, pass_through, variable_faults, word_faults
from runyard.domain.workloads import Workload
from runyard.drivers.docker_secrets import PLACE, with_shell
from runyard.drivers.docker_settings import DockerSettings

MOUNT: Final = "/mnt/wandb"
KEY_LABEL: Final = "io.runyard.key"
ROOT_LABEL: Final = "io.runyard.root"
_GATEWAY: Final = "host.docker.internal"
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_GRACE: Final = 10  # seconds, if somebody else than Runyard stops the container


@dataclass(frozen=True, slots=True)
class EngineHost:
    """What the request depends on besides the job: the agent's settings and surroundings."""

    settings: DockerSettings
    env: Mapping[str, str]
    root: str  # the name of the agent's root, for the labels
    is_linux: bool = True
    secrets: str = ""  # directory of the files of the workload's secrets, if it has some


def container_request(workload: Workload, host: EngineHost) -> dict[str, Any]:
    """Return the request's body. No secret is in it, only the mount of their files.

    Raises:
        Rejected: with everything that is wrong.
    """
    if workload.image is None:
        raise Rejected("a local-container queue needs an image, and this workload has none")
    options = _options(workload, host.settings)
    env = _variables(workload, options, host)
    network = options.network
    # the agent's word alone: a job that could say so itself would get the host's network
    if network is None and _is_loopback(workload.env.get("WANDB_BASE_URL", "")):
        if host.is_linux and host.settings.host_network:
            network = "host"
        else:
            env["WANDB_BASE_URL"] = _through_gateway(env["WANDB_BASE_URL"])
    request = {
        "Image": workload.image,
        "Entrypoint": list(workload.entry_point) or None,
        "Cmd": list(workload.args or (() if workload.entry_point else options.command)) or None,
        "Env": [f"{name}={value}" for name, value in env.items()],
        "WorkingDir": _working_dir(workload, options),
        "User": options.user,
        "StopTimeout": _GRACE,
        "Platform": options.platform,  # not of the body: the driver says it when it pulls
        "Labels": {
            **workload.labels,
            **({"io.runyard.name": options.name} if options.name else {}),
            KEY_LABEL: workload.key,
            ROOT_LABEL: host.root,
        },
        "HostConfig": _host_config(workload, options, host, network),
    }
    return _said(request)


def shown_request(workload: Workload, host: EngineHost) -> dict[str, Any]:
    """Return the request for people to read: the secrets are named, and their values masked.

    Raises:
        Rejected: as `container_request`.
    """
    request = container_request(workload, host)
    if not workload.secrets:
        return request
    if "Entrypoint" in request:  # else the image is asked for it
        request = with_shell(request, {})
    return {**request, "Secrets": dict.fromkeys(workload.secrets, MASK)}


def _options(workload: Workload, settings: DockerSettings) -> DockerOptions:
    try:
        return parse_docker_options(workload.config, settings.granted)
    except Invalid as error:
        raise Rejected(error.message, violations=error.violations) from error


def _variables(workload: Workload, options: DockerOptions, host: EngineHost) -> dict[str, str]:
    """Return the variables that are no secrets, after checking all that could go wrong."""
    listed, faults = pass_through(options.env, host.env, host.settings.env_passthrough)
    faults += variable_faults(workload.env) + variable_faults(workload.secrets, path="secrets")
    faults += word_faults((*workload.entry_point, *workload.args), path="command")
    faults += _grant_faults(options, host.settings) + _mount_faults(workload)
    path = PurePosixPath(workload.working_dir)
    if ".." in path.parts or "\0" in workload.working_dir or path.is_absolute():
        faults.append(
            Violation("working_dir", f"{workload.working_dir!r} leaves the job's directory")
        )
    if faults:
        raise Rejected("; ".join(map(str, faults)), violations=faults)
    found = {name: mount.path for mount in workload.mounts for name in mount.env}
    return {"PYTHONUNBUFFERED": "1", **found, **listed, **workload.env}


def _mount_faults(workload: Workload) -> list[Violation]:
    """Return which volumes would hide what we mount ourselves."""
    ours = (PurePosixPath(MOUNT), PurePosixPath(PLACE))
    return [
        Violation("volumes", f"{mount.path} would hide what the job is given at {place}")
        for mount in workload.mounts
        for place in ours
        if place.is_relative_to(mount.path)
        or (place == ours[1] and PurePosixPath(mount.path).is_relative_to(place))
    ]


def _grant_faults(options: DockerOptions, settings: DockerSettings) -> list[Violation]:
    asked = {
        "network": ([options.network] if options.network else [], settings.networks),
        "device": (options.device, settings.devices),
    }
    return [
        Violation(option, f"{name!r} is not on the agent's list: {', '.join(allowed) or 'empty'}")
        for option, (names, allowed) in asked.items()
        for name in names
        if name not in allowed
    ]


def _host_config(
    workload: Workload, options: DockerOptions, host: EngineHost, network: str | None
) -> dict[str, Any]:
    return _said(
        {
            "RestartPolicy": {"Name": "no"},
            "Init": host.settings.init,
            "LogConfig": {"Type": "json-file"},  # never rotated: logs are read from an offset
            "SecurityOpt": ["no-new-privileges"],
            "Mounts": _mounts(workload, host),
            "NetworkMode": network,
            "ExtraHosts": [f"{_GATEWAY}:host-gateway"] if host.is_linux and not network else None,
            "Devices": [_device(device) for device in options.device] or None,
            "DeviceRequests": _gpus(workload, options),
            "Memory": options.memory,
            "MemoryReservation": options.memory_reservation,
            "MemorySwap": options.memory_swap,
            "NanoCpus": round(options.cpus * 1e9) if options.cpus else None,
            "CpuPeriod": options.cpu_period,
            "CpuQuota": options.cpu_quota,
            "CpuShares": options.cpu_shares,
            "CpusetCpus": options.cpuset_cpus,
            "CpusetMems": options.cpuset_mems,
            "PidsLimit": options.pids_limit,
            "ShmSize": options.shm_size,
            "Ulimits": [{"Name": u.name, "Soft": u.soft, "Hard": u.hard} for u in options.ulimit]
            or None,
        }
    )


def _mounts(workload: Workload, host: EngineHost) -> list[dict[str, Any]] | None:
    mounts = [_bind(mount.source, mount.path, mount.read_only) for mount in workload.mounts]
    if workload.directory is not None:
        mounts.append(_bind(workload.directory, MOUNT, read_only=False))
    if workload.secrets:
        mounts.append(_bind(host.secrets, PLACE, read_only=True))
    return mounts or None


def _bind(source: str, target: str, read_only: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}


def _device(name: str) -> dict[str, str]:
    return {"PathOnHost": name, "PathInContainer": name, "CgroupPermissions": "rwm"}


def _gpus(workload: Workload, options: DockerOptions) -> list[dict[str, Any]] | None:
    """Ask for the devices that the agent gave out; it counts, so that no two jobs share one."""
    wanted = {"Driver": "", "Capabilities": [["gpu"]]}
    if workload.gpus:
        return [{**wanted, "DeviceIDs": list(workload.gpus)}]
    match options.gpus:
        case "all":
            return [{**wanted, "Count": -1}]
        case int(count):
            return [{**wanted, "Count": count}] if count else None
        case ids:
            return [{**wanted, "DeviceIDs": list(ids)}]


def _working_dir(workload: Workload, options: DockerOptions) -> str | None:
    if options.workdir:
        return options.workdir
    if workload.directory is not None:
        return str(PurePosixPath(MOUNT, workload.working_dir))
    return f"/{workload.working_dir}" if workload.working_dir else None


def _is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in _LOOPBACK


def _through_gateway(url: str) -> str:
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"{_GATEWAY}{port}").geturl()


def _said(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
