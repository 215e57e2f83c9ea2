"""Which module a registry, a cloud and a bucket belong to, by their names alone."""

from __future__ import annotations

import sys

import pytest

from runyard.clouds.finding import (
    blobs_for,
    cloud_of,
    identity_for,
    registry_for,
)
from runyard.clouds.oci import OciRegistry
from runyard.domain.errors import Invalid, Rejected

ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
GAR = "europe-west4-docker.pkg.dev"
ACR = "team.azurecr.io"


@pytest.mark.parametrize(
    ("host", "cloud"),
    [
        (ECR, "aws"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "aws"),
        ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", "aws"),
        (GAR, "gcp"),
        ("gcr.io", "gcp"),
        ("eu.gcr.io", "gcp"),
        (ACR, "azure"),
        ("public.ecr.aws", None),
        ("docker.io", None),
        (f"{ECR}.evil.example", None),
        (f"{ECR}:443", None),
        ("evil-docker.pkg.dev.example", None),
        ("azurecr.io", None),
        ("a.b.azurecr.io", None),
    ],
)
def test_a_cloud_is_known_by_the_whole_of_a_host(host: str, cloud: str | None) -> None:
    assert cloud_of(host) == cloud


@pytest.mark.parametrize(
    ("where", "host"),
    [
        ("ghcr.io/team/jobs", "ghcr.io"),
        ("ghcr.io/team/jobs:v1", "ghcr.io"),
        ("127.0.0.1:5000/jobs", "127.0.0.1:5000"),
        ("127.0.0.1:5000", "127.0.0.1:5000"),
        ("localhost:5000", "localhost:5000"),
        ("ghcr.io", "ghcr.io"),
        ("python", "docker.io"),
        ("python:3.11-slim", "docker.io"),
        ("team/jobs", "docker.io"),
        ("docker.io", "docker.io"),
    ],
)
def test_a_registry_is_that_of_an_image_or_a_host(where: str, host: str) -> None:
    found = registry_for(where, env={})
    assert isinstance(found, OciRegistry)
    assert found.host == host


@pytest.mark.parametrize(("host", "cloud"), [(ECR, "aws"), (GAR, "gcp"), (ACR, "azure")])
def test_the_environments_own_registries_are_spoken_to_as_the_environment(
    host: str, cloud: str
) -> None:
    found = registry_for(f"{host}/p/jobs", cloud, env={})
    assert type(found).__module__ == f"runyard.clouds.{cloud}"
    # Elsewhere the agent is whoever has logged in to that registry.
    for other in {"local", "aws", "gcp", "azure"} - {cloud}:
        assert type(registry_for(f"{host}/p/jobs", other, env={})) is OciRegistry


def test_an_environment_has_an_identity_unless_it_is_local() -> None:
    assert identity_for("local") is None
    for cloud in ("aws", "gcp", "azure"):
        assert type(identity_for(cloud, "eu-central-1")).__module__ == f"runyard.clouds.{cloud}"


@pytest.mark.parametrize(
    ("uri", "cloud"),
    [
        ("s3://bucket", "aws"),
        ("s3://bucket/some/prefix", "aws"),
        ("gs://bucket/prefix/", "gcp"),
        ("https://account1.blob.core.windows.net/container/prefix", "azure"),
    ],
)
def test_a_bucket_is_known_by_its_address(uri: str, cloud: str) -> None:
    assert type(blobs_for(uri)).__module__ == f"runyard.clouds.{cloud}"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "s3://",
        "s3:///prefix",
        "bucket/prefix",
        "http://account1.blob.core.windows.net/container",
        "https://account1.blob.core.windows.net/",
        "https://account1.blob.core.windows.net.evil.example/container",
        "https://user@account1.blob.core.windows.net/container",
        "https://account1.blob.core.windows.net/container?sig=x",
        "gs://user@bucket",
        "file:///etc",
    ],
)
def test_what_is_no_bucket_is_refused(uri: str) -> None:
    with pytest.raises(Invalid, match="is no bucket"):
        blobs_for(uri)


@pytest.mark.parametrize(
    ("cloud", "library"), [("aws", "boto3"), ("gcp", "google.auth"), ("azure", "azure.identity")]
)
def test_a_missing_library_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, cloud: str, library: str
) -> None:
    for name in [n for n in sys.modules if n == library or n.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"runyard.clouds.{cloud}", raising=False)
    with pytest.raises(Rejected) as told:
        identity_for(cloud)
    assert told.value.hint == f"pip install 'runyard[{cloud}]'"
