"""
kaniko in a pod, for those who have an image of it: its own project was archived in 2025.

It reads contexts from buckets itself, or from a claim, and runs the steps in its own container, as
root. So a step can read whatever that container has, the login to the registry included: only for
teams that may have that anyway. It mounts no secrets into steps.

    credentials   of the operator's: for ECR a file of AWS credentials, for Google's registries a
                  service account's key, for all others Docker's config.json
    else          logins that the agent makes; else the identity of the service account
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

from runyard.builders.cluster_base import (
    BUILD,
    CONTEXT,
    ClusterBuildSettings,
    ClusterOrder,
    Manifest,
    check_dockerfile,
    job,
    literal,
    mount,
    team_cache,
)
from runyard.builders.cluster_config import laid_over
from runyard.builders.cluster_context import claim, scheme
from runyard.builders.cluster_secrets import file_of, ids, login
from runyard.domain.errors import Invalid, Rejected

_ARCHIVE: Final = f"{CONTEXT}/context.tar.gz"
_ROOT_READS: Final = 0o400
_DOCKER: Final = "/kaniko/.docker"
_ECR: Final = re.compile(r"\d+\.dkr\.ecr(?:-fips)?\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?")
_GOOGLE: Final = re.compile(r"(?:[a-z0-9-]+-docker\.pkg\.dev|(?:[a-z]+\.)?gcr\.io)")
_AZURE: Final = re.compile(r"[a-z0-9]+\.azurecr\.io")
_AZURE_BLOB: Final = re.compile(r"https://[a-z0-9]+\.blob\.core\.windows\.net/[^?#]+")
_AZURE_KEY: Final[Manifest] = {"name": "azure-storage-access-key", "key": "password"}


def manifest(order: ClusterOrder, settings: ClusterBuildSettings) -> Manifest:
    """Return the Job that builds and pushes.

    Raises:
        Invalid: a path or an address leads nowhere, or the operator's part is no Job.
        Rejected: the order asks for what kaniko cannot do.
    """
    if not settings.image:
        raise Invalid("kaniko has no image any more that its project maintains: name yours")
    if found := ids(order):
        raise Rejected(
            f"kaniko mounts no secrets, and the build needs {', '.join(found)}",
            hint="let the agent build with `builder: {type: buildkit}`",
        )
    context, volumes = _context(order, settings)
    registry, mounts, variables = _credentials(order, settings)
    if _AZURE_BLOB.fullmatch(context):
        reference = {"secretKeyRef": {**_AZURE_KEY, "optional": True}}
        variables.append({"name": "AZURE_STORAGE_ACCESS_KEY", "valueFrom": reference})
    if volumes:
        archive = str(PurePosixPath(order.context))
        mounts.append(mount("contexts", _ARCHIVE, sub_path=archive))
    build: Manifest = {
        "name": BUILD,
        "image": settings.image,
        "args": literal(_args(order, settings, context)),
        "env": variables,
        "volumeMounts": mounts,
        "securityContext": {"runAsUser": 0, "allowPrivilegeEscalation": False},
    }
    made = job(order, settings, containers=[build], volumes=[*volumes, *registry])
    if _AZURE_BLOB.fullmatch(context) or _AZURE.fullmatch(order.target.registry):
        # With it, Azure's webhook gives the pod the identity of its service account.
        label = {"azure.workload.identity/use": "true"}
        made["spec"]["template"]["metadata"]["labels"] |= label
    return laid_over(made, settings.config)


def _context(order: ClusterOrder, settings: ClusterBuildSettings) -> tuple[str, list[Manifest]]:
    kind = scheme(order, settings)
    if kind == "claim":
        return f"tar://{_ARCHIVE}", [claim(settings)]
    if kind == "https" and not _AZURE_BLOB.fullmatch(order.context):
        raise Rejected(
            "kaniko reads a context from s3://, gs://, Azure's blobs or a claim, not from any "
            "other address",
            hint="let the agent build with `builder: {type: buildkit}`",
        )
    return order.context, []


def _credentials(
    order: ClusterOrder, settings: ClusterBuildSettings
) -> tuple[list[Manifest], list[Manifest], list[Manifest]]:
    """Return volumes, mounts and variables by which kaniko signs in to the registry."""
    secret, registry = settings.credentials, order.target.registry
    variables: list[Manifest] = []
    if secret is None or not (_ECR.fullmatch(registry) or _GOOGLE.fullmatch(registry)):
        volumes, path = login(order, settings, mode=_ROOT_READS), _DOCKER
    elif _ECR.fullmatch(registry):
        path = "/root/.aws"
        volumes = [file_of(secret, "login", "credentials", mode=_ROOT_READS)]
    else:
        path = "/kaniko/.config/gcloud"
        volumes = [file_of(secret, "login", "config.json", mode=_ROOT_READS)]
        named = {"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": f"{path}/config.json"}
        variables.append(named)
    return volumes, [mount("login", path) for _ in volumes], variables


def _args(order: ClusterOrder, settings: ClusterBuildSettings, context: str) -> list[str]:
    caches = settings.cache and not order.fresh
    args = [
        f"--context={context}",
        f"--dockerfile={check_dockerfile(order)}",
        f"--destination={order.target.tagged}",
        "--snapshot-mode=redo",
        "--compressed-caching=false",
        f"--cache={'true' if caches else 'false'}",
    ]
    if caches:
        args.append(f"--cache-repo={order.target.repository}/{team_cache(order)}")
    if order.platform:
        args.append(f"--custom-platform={order.platform}")
    args += [f"--insecure-registry={host}" for host in sorted(order.insecure)]
    return args + [f"--label={name}={value}" for name, value in sorted(order.labels.items())]
