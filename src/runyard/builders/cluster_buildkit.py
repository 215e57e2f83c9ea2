"""
BuildKit in a pod, without root: the default in a cluster.

`buildctl-daemonless.sh` starts a daemon of its own for the one build. It needs its system calls
unfiltered, to make user namespaces, and `newuidmap`, whose file capabilities count for nothing in
a pod without privilege escalation. So such a pod asks for both, and for nothing else; it is uid
1000 on the node. Steps see each other's processes, for the same reason.

Layers are kept in the registry under the team's own tag, beside the images.
"""

from __future__ import annotations

from typing import Final

from runyard.builders.cluster_base import (
    BUILD,
    CONFIG,
    CONTEXT,
    LOGIN,
    SECRETS,
    ClusterBuildSettings,
    ClusterOrder,
    Manifest,
    check_dockerfile,
    env,
    job,
    literal,
    mount,
    team_cache,
)
from runyard.builders.cluster_config import laid_over
from runyard.builders.cluster_context import UID, unpacking
from runyard.builders.cluster_objects import config_mount, config_volume
from runyard.builders.cluster_secrets import ids, login, mounted, mounts

IMAGE: Final = "docker.io/moby/buildkit:rootless"
CONFIG_FILE: Final = "buildkitd.toml"
_STATE: Final = "/home/user/.local/share/buildkit"
_GROUP_READS: Final = 0o440  # the files are root's; the pod's group is ours


def manifest(order: ClusterOrder, settings: ClusterBuildSettings) -> Manifest:
    """Return the Job that builds and pushes.

    Raises:
        Invalid: a path or an address leads nowhere, or the operator's part is no Job.
    """
    init, volumes = unpacking(order, settings)
    volumes.append({"name": "state", "emptyDir": {}})
    volumes += mounted(order, settings, mode=_GROUP_READS)
    volumes += login(order, settings, mode=_GROUP_READS)
    volumes += config_volume(order, settings, files(order))
    flags = "--oci-worker-no-process-sandbox"
    if order.insecure:
        flags += f" --config={CONFIG}/{CONFIG_FILE}"
    build = {
        "name": BUILD,
        "image": settings.image or IMAGE,
        "command": ["buildctl-daemonless.sh", "build"],
        "args": literal(_args(order, settings)),
        "env": env(BUILDKITD_FLAGS=flags, DOCKER_CONFIG=LOGIN if _has(volumes, "login") else ""),
        "volumeMounts": [
            mount("context", CONTEXT),
            mount("state", _STATE, read_only=False),
            *mounts(volumes),
            *config_mount(volumes),
        ],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "allowPrivilegeEscalation": True,  # newuidmap
            "seccompProfile": {"type": "Unconfined"},
            "appArmorProfile": {"type": "Unconfined"},
        },
    }
    made = job(
        order,
        settings,
        containers=[build],
        init=init,
        volumes=volumes,
        security={"fsGroup": UID},
    )
    return laid_over(made, settings.config)


def files(order: ClusterOrder) -> dict[str, str]:
    """Return the daemon's settings, where it needs any."""
    tables = [f'[registry."{host}"]\n  http = true\n' for host in sorted(order.insecure)]
    return {CONFIG_FILE: "\n".join(tables)} if tables else {}


def _args(order: ClusterOrder, settings: ClusterBuildSettings) -> list[str]:
    args = [
        "--frontend=dockerfile.v0",
        f"--local=context={CONTEXT}",
        f"--local=dockerfile={CONTEXT}",
        f"--opt=filename={check_dockerfile(order)}",
        "--progress=plain",
        f"--output=type=image,name={order.target.tagged},push=true",
    ]
    if order.platform:
        args.append(f"--opt=platform={order.platform}")
    args += [f"--opt=label:{name}={value}" for name, value in sorted(order.labels.items())]
    args += [f"--secret=id={name},src={SECRETS}/{name}" for name in ids(order)]
    if order.fresh:
        args.append("--no-cache")
    if settings.cache:
        cache = f"type=registry,ref={order.target.repository}:{team_cache(order)}"
        told = "mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true"
        args += [f"--import-cache={cache}", f"--export-cache={cache},{told}"]
    return args


def _has(volumes: list[Manifest], name: str) -> bool:
    return any(volume["name"] == name for volume in volumes)
