"""
Which module speaks with a registry, a cloud or a bucket. A vendor's module is imported on use.

The environment says as whom the agent acts. Its own cloud's registries are spoken to as that; any
other one with the login that the agent's user has made there by `docker login`, or with none.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Final
from urllib.parse import urlsplit

from runyard.clouds.base import BlobStore, Identity, Registry
from runyard.clouds.oci import docker_registry
from runyard.domain.errors import Invalid, Rejected
from runyard.domain.images import ImageRef

_REGISTRIES: Final = {
    "aws": re.compile(r"\d{12}\.dkr\.ecr(?:-fips)?\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?"),
    "gcp": re.compile(r"[a-z0-9-]+-docker\.pkg\.dev|(?:[a-z]+\.)?gcr\.io"),
    "azure": re.compile(r"[a-z0-9-]+\.azurecr\.(?:io|cn|us)"),
}
_BUCKETS: Final = {"s3": "aws", "gs": "gcp", "https": "azure"}
_AZURE_BLOBS: Final = re.compile(r"[a-z0-9]{3,24}\.blob\.core\.(?:windows\.net|chinacloudapi\.cn)")


def cloud_of(host: str) -> str | None:
    """Return the cloud whose registry a host is."""
    found = (cloud for cloud, hosts in _REGISTRIES.items() if hosts.fullmatch(host))
    return next(found, None)


def registry_for(
    where: str,
    environment: str = "local",
    *,
    env: Mapping[str, str],
    insecure: frozenset[str] = frozenset(),
) -> Registry:
    """Return the registry of a repository or an image, or of a host that has a dot in its name.

    `environment` is the type of the agent's environment; `env` says where `docker login` keeps
    logins; hosts in `insecure` are spoken to over plain http.

    Raises:
        Rejected: the cloud's library is not installed. Invalid: it is no such name.
    """
    host = where if _is_host(where) else ImageRef.parse(where).registry
    cloud = cloud_of(host)
    if cloud is None or cloud != environment:
        return docker_registry(host, env=env, insecure=insecure)
    made: Registry = _module(cloud).registry(host)
    return made


def identity_for(environment: str, region: str | None = None) -> Identity | None:
    """Return whom the agent acts as in its environment; None where that is no cloud.

    Raises:
        Rejected: the cloud's library is not installed.
    """
    if environment not in _REGISTRIES:
        return None
    made: Identity = _module(environment).identity(region)
    return made


def blobs_for(uri: str) -> BlobStore:
    """Return the bucket of an address: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, or
    `https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX`.

    Raises:
        Rejected: the cloud's library is not installed. Invalid: it is no such address.
    """
    parts = urlsplit(uri)
    cloud = _BUCKETS.get(parts.scheme)
    in_azure = cloud == "azure"
    if (
        cloud is None
        or parts.query
        or parts.fragment
        or (in_azure and not _AZURE_BLOBS.fullmatch(parts.netloc))
        or not (parts.path.strip("/") if in_azure else parts.netloc)
        or "@" in parts.netloc
    ):
        raise Invalid(
            f"{uri[:200]!r} is no bucket: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or "
            "https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX"
        )
    made: BlobStore = _module(cloud).blobs(uri)
    return made


def _is_host(where: str) -> bool:
    """Tell a host from an image of Docker Hub, such as python:3.11; neither has a slash."""
    name = where.partition(":")[0]
    return "/" not in where and ("." in name or name == "localhost" or name.startswith("["))


def _module(cloud: str) -> ModuleType:
    try:
        return importlib.import_module(f"runyard.clouds.{cloud}")
    except ModuleNotFoundError as error:
        raise Rejected(
            f"the environment {cloud} needs its library, {error.name}",
            hint=f"pip install 'runyard[{cloud}]'",
        ) from error
