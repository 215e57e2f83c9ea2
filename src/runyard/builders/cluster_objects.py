"""What a build's Job needs beside it: secrets, logins and settings, as objects of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from runyard.builders.base import Secret
from runyard.builders.cluster_base import (
    CONFIG,
    ClusterBuildSettings,
    ClusterOrder,
    Manifest,
    job_name,
    metadata,
    mount,
)
from runyard.builders.cluster_context import ADDRESS_KEY, scheme
from runyard.builders.cluster_secrets import DOCKER_KEY
from runyard.clouds.docker_config import auths_of
from runyard.domain.errors import Invalid
from runyard.domain.images import Login


def beside(
    order: ClusterOrder,
    settings: ClusterBuildSettings,
    *,
    secrets: Sequence[Secret] = (),
    logins: Sequence[Login] = (),
    files: Mapping[str, str],
    downloads: bool,
) -> list[Manifest]:
    """Return the objects that the order's Job names.

    `files` are the builder's settings. `downloads`: an init container fetches the context.

    Raises:
        Invalid: the secrets or logins that are given are not those that the Job will look for.
    """
    if sorted(secret.id for secret in secrets) != sorted(order.secrets):
        raise Invalid("the order names other secrets than are given")
    if bool(logins) != order.login:
        raise Invalid("the order has logins, and none are given, or the other way round")
    made = []
    if secrets:
        values = {secret.id: secret.value for secret in secrets}
        made.append(_secret(order, settings, "secrets", values))
    if logins and settings.credentials is None:
        kind = "kubernetes.io/dockerconfigjson"
        made.append(_secret(order, settings, "login", {DOCKER_KEY: _docker(logins)}, kind=kind))
    if downloads and scheme(order, settings) == "https":
        made.append(_secret(order, settings, "context", {ADDRESS_KEY: order.context}))
    if files:
        made.append(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": metadata(order, settings, suffix="-config"),
                "data": dict(files),
            }
        )
    return made


def config_volume(
    order: ClusterOrder, settings: ClusterBuildSettings, files: Mapping[str, str]
) -> list[Manifest]:
    """Return the volume with the builder's settings; none if it needs none."""
    if not files:
        return []
    return [{"name": "config", "configMap": {"name": f"{job_name(order, settings)}-config"}}]


def config_mount(volumes: Sequence[Manifest]) -> list[Manifest]:
    return [mount("config", CONFIG) for volume in volumes if volume["name"] == "config"]


def _secret(
    order: ClusterOrder,
    settings: ClusterBuildSettings,
    suffix: str,
    values: Mapping[str, str],
    *,
    kind: str = "Opaque",
) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(order, settings, suffix=f"-{suffix}"),
        "type": kind,
        "stringData": dict(values),
    }


def _docker(logins: Sequence[Login]) -> str:
    return json.dumps({"auths": auths_of(logins)}, sort_keys=True)
