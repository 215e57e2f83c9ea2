"""Secrets of a build in the cluster: mounted as files, from Secret objects that the Job names."""

from __future__ import annotations

from typing import Final

from runyard.builders.cluster_base import (
    LOGIN,
    SECRETS,
    ClusterBuildSettings,
    ClusterOrder,
    Manifest,
    SecretKey,
    job_name,
    mount,
)

DOCKER_KEY: Final = ".dockerconfigjson"


def ids(order: ClusterOrder) -> list[str]:
    """Return the ids of all secrets that steps may mount."""
    return sorted({*order.secrets, *order.borrowed})


def mounted(order: ClusterOrder, settings: ClusterBuildSettings, *, mode: int) -> list[Manifest]:
    """Return the volume with the secrets of the steps, a file for each id; none without secrets."""
    sources = [_source(name, secret) for name, secret in sorted(order.borrowed.items())]
    if order.secrets:
        items = [{"key": name, "path": name} for name in sorted(order.secrets)]
        own = {"name": f"{job_name(order, settings)}-secrets", "items": items}
        sources.append({"secret": own})
    if not sources:
        return []
    return [{"name": "secrets", "projected": {"defaultMode": mode, "sources": sources}}]


def login(order: ClusterOrder, settings: ClusterBuildSettings, *, mode: int) -> list[Manifest]:
    """Return the volume with `config.json`, logins as Docker has them; none if nobody has any."""
    found = settings.credentials
    if found is None and order.login:
        found = SecretKey(f"{job_name(order, settings)}-login", DOCKER_KEY)
    return [] if found is None else [file_of(found, "login", "config.json", mode=mode)]


def file_of(secret: SecretKey, volume: str, path: str, *, mode: int) -> Manifest:
    """Return a volume with one entry of a Secret as a file."""
    items = [{"key": secret.key, "path": path}]
    return {
        "name": volume,
        "secret": {"secretName": secret.name, "defaultMode": mode, "items": items},
    }


def mounts(volumes: list[Manifest]) -> list[Manifest]:
    """Return the mounts of those of the volumes that are of this module, at their usual places."""
    places = {"secrets": SECRETS, "login": LOGIN}
    return [mount(v["name"], places[v["name"]]) for v in volumes if v["name"] in places]


def _source(path: str, secret: SecretKey) -> Manifest:
    return {"secret": {"name": secret.name, "items": [{"key": secret.key, "path": path}]}}
