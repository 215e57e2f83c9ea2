"""
How a build context reaches the pod: it is downloaded, or lies in a claim, and is unpacked.

    fetch    https, s3 or gs → /fetched/context.tar.gz      (a claim: mounted there)
    unpack   /fetched/context.tar.gz → /context

Each is an init container that runs as nobody in particular. Of a claim only the one file is
mounted: the contexts of other teams lie beside it.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from runyard.builders.cluster_base import (
    CONTEXT,
    ClusterBuildSettings,
    ClusterOrder,
    Manifest,
    env,
    job_name,
    literal,
    mount,
)
from runyard.domain.errors import Invalid

ADDRESS_KEY: Final = "address"  # of the Secret that has an https address
TOOLS_IMAGE: Final = "docker.io/library/alpine:3"
UID: Final = 1000
_AWS_IMAGE: Final = "public.ecr.aws/aws-cli/aws-cli:latest"
_GOOGLE_IMAGE: Final = "gcr.io/google.com/cloudsdktool/google-cloud-cli:slim"
_FETCHED: Final = "/fetched"
_ARCHIVE: Final = f"{_FETCHED}/context.tar.gz"
_HARMLESS: Final[Manifest] = {
    "runAsNonRoot": True,
    "runAsUser": UID,
    "runAsGroup": UID,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}


def scheme(order: ClusterOrder, settings: ClusterBuildSettings) -> str:
    """Return where the context is: https, s3, gs, or claim.

    Raises:
        Invalid: nowhere that a pod could get it from, or not where the settings say.
    """
    found, separator, rest = order.context.partition("://")
    if settings.claim:
        path = PurePosixPath(order.context)
        if separator or path.is_absolute() or ".." in path.parts or not path.parts:
            raise Invalid(f"context {order.context!r}: a path within the claim {settings.claim!r}")
        return "claim"
    if not separator or found not in ("https", "s3", "gs") or not rest:
        told = "an address such as s3://bucket/key, gs://bucket/key or https://host/path"
        raise Invalid(f"context {order.context!r}: {told}")
    return found


def unpacking(
    order: ClusterOrder, settings: ClusterBuildSettings
) -> tuple[list[Manifest], list[Manifest]]:
    """Return the init containers that bring the context, and the volumes that they need.

    Raises:
        Invalid: as `scheme`.
    """
    kind = scheme(order, settings)
    volumes: list[Manifest] = [{"name": "context", "emptyDir": {}}]
    containers: list[Manifest] = []
    if kind == "claim":
        volumes.append(claim(settings))
        archive = mount("contexts", _ARCHIVE, sub_path=str(PurePosixPath(order.context)))
    else:
        volumes.append({"name": "fetched", "emptyDir": {}})
        archive = mount("fetched", _FETCHED)
        containers.append(_fetch(kind, order, settings))
    containers.append(
        {
            "name": "unpack",
            "image": settings.unpack_image or TOOLS_IMAGE,
            "command": ["tar", "-xzf", _ARCHIVE, "-C", CONTEXT],
            "volumeMounts": [archive, mount("context", CONTEXT, read_only=False)],
            "securityContext": _HARMLESS,
        }
    )
    return containers, volumes


def claim(settings: ClusterBuildSettings) -> Manifest:
    """Return the volume that contexts are left in."""
    source = {"claimName": settings.claim, "readOnly": True}
    return {"name": "contexts", "persistentVolumeClaim": source}


def _fetch(kind: str, order: ClusterOrder, settings: ClusterBuildSettings) -> Manifest:
    variables = env(HOME="/tmp")  # noqa: S108  # of the container's own
    if kind == "https":
        image = TOOLS_IMAGE
        command = ["wget", "-q", "-O", _ARCHIVE, "$(CONTEXT_ADDRESS)"]  # Kubernetes fills it in
        secret = {"name": f"{job_name(order, settings)}-context", "key": ADDRESS_KEY}
        variables.append({"name": "CONTEXT_ADDRESS", "valueFrom": {"secretKeyRef": secret}})
    elif kind == "s3":
        image = _AWS_IMAGE
        command = literal(["aws", "s3", "cp", "--no-progress", order.context, _ARCHIVE])
    else:
        image = _GOOGLE_IMAGE
        command = literal(["gcloud", "storage", "cp", order.context, _ARCHIVE])
    return {
        "name": "fetch",
        "image": settings.fetch_image or image,
        "command": command,
        "env": variables,
        "volumeMounts": [mount("fetched", _FETCHED, read_only=False)],
        "securityContext": _HARMLESS,
    }
