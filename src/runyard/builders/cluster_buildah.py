"""
buildah in a pod, as the pod's root: steps run in a chroot, layers are plain copies (vfs).

    build   an init container: builds into a volume of the pod
    push    the container: pushes what lies there

It needs its system calls unfiltered, to make namespaces, and no privilege beyond: no process of
it may gain any. Nothing is kept from one build to the next; BuildKit does that.
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
)
from runyard.builders.cluster_config import laid_over
from runyard.builders.cluster_context import unpacking
from runyard.builders.cluster_objects import config_mount, config_volume
from runyard.builders.cluster_secrets import ids, login, mounted, mounts

IMAGE: Final = "quay.io/buildah/stable:latest"
CONFIG_FILE: Final = "registries.conf"
_STORAGE: Final = "/var/lib/containers"
_ROOT_READS: Final = 0o400
_SECURITY: Final[Manifest] = {
    "runAsUser": 0,
    "allowPrivilegeEscalation": False,
    "seccompProfile": {"type": "Unconfined"},
}


def manifest(order: ClusterOrder, settings: ClusterBuildSettings) -> Manifest:
    """Return the Job that builds and pushes.

    Raises:
        Invalid: a path or an address leads nowhere, or the operator's part is no Job.
    """
    init, volumes = unpacking(order, settings)
    volumes.append({"name": "storage", "emptyDir": {}})
    volumes += mounted(order, settings, mode=_ROOT_READS)
    logins = login(order, settings, mode=_ROOT_READS)
    volumes += logins + config_volume(order, settings, files(order))
    both: Manifest = {
        "image": settings.image or IMAGE,
        "env": env(
            STORAGE_DRIVER="vfs",
            CONTAINERS_REGISTRIES_CONF=f"{CONFIG}/{CONFIG_FILE}",
            REGISTRY_AUTH_FILE=f"{LOGIN}/config.json" if logins else "",
        ),
        "securityContext": _SECURITY,
    }
    store = [mount("storage", _STORAGE, read_only=False), *config_mount(volumes)]
    build = {
        "name": BUILD,
        **both,
        "command": ["buildah", "build"],
        "args": literal(_args(order)),
        "workingDir": CONTEXT,  # the build context is where it stands
        "volumeMounts": [mount("context", CONTEXT), *store, *mounts(volumes)],
    }
    push = {
        "name": "push",
        **both,
        "command": ["buildah", "push", order.target.tagged],
        "volumeMounts": [*store, *mounts(logins)],
    }
    made = job(order, settings, containers=[push], init=[*init, build], volumes=volumes)
    return laid_over(made, settings.config)


def files(order: ClusterOrder) -> dict[str, str]:
    """Return which registries there are: names without a host are of Docker Hub."""
    tables = [
        f'[[registry]]\nlocation = "{host}"\ninsecure = true\n' for host in sorted(order.insecure)
    ]
    head = 'unqualified-search-registries = ["docker.io"]\nshort-name-mode = "permissive"\n'
    return {CONFIG_FILE: "\n".join([head, *tables])}


def _args(order: ClusterOrder) -> list[str]:
    args = [
        "--isolation=chroot",
        "--cap-drop=CAP_SYS_CHROOT",  # by which a step would leave the chroot
        "--layers=false",  # every build is a fresh one: nothing is looked for in an earlier one
        f"--file={CONTEXT}/{check_dockerfile(order)}",
        f"--tag={order.target.tagged}",
    ]
    if order.platform:
        args.append(f"--platform={order.platform}")
    args += [f"--label={name}={value}" for name, value in sorted(order.labels.items())]
    return args + [f"--secret=id={name},src={SECRETS}/{name}" for name in ids(order)]
