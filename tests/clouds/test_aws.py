"""Amazon as moto plays it: who the agent is, images in ECR, files in S3. boto3 is the real one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from runyard.cli.children import free_port
from runyard.clouds.aws import AwsIdentity, EcrRegistry, S3Blobs
from runyard.domain.errors import Rejected, Unavailable
from runyard.domain.images import ImageRef, Login
from tests import amazon

REGION = "eu-central-1"
HOST = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"
REPOSITORY = f"{HOST}/ml/jobs"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with amazon.serving() as url:
        yield url


@pytest.fixture
def account(moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An empty account, which the surroundings have credentials for."""
    amazon.give_account(monkeypatch, tmp_path, key="AKIATEST", secret="secret-key-of-the-agent")
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    request = urllib.request.Request(f"{moto}/moto-api/reset", method="POST")
    urllib.request.urlopen(request, timeout=30).close()
    return moto


@pytest.fixture
def ecr(account: str) -> Any:
    client = boto3.client("ecr", region_name=REGION)
    client.create_repository(repositoryName="ml/jobs")
    return client


def push(ecr: Any, tag: str) -> str:
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "x", "size": 1, "digest": f"sha256:{'a' * 64}"},
        "layers": [],
        "annotations": {"tag": tag},
    }
    text = json.dumps(manifest)
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    ecr.put_image(repositoryName="ml/jobs", imageManifest=text, imageTag=tag, imageDigest=digest)
    return digest


def test_the_principal_is_the_arn_with_its_account(account: str) -> None:
    told = asyncio.run(AwsIdentity(REGION).principal())
    assert told.startswith("arn:aws:sts::123456789012:")
    assert told.endswith(f", in {REGION}")


def test_a_repository_that_nobody_made_fails_the_check(account: str) -> None:
    with pytest.raises(Rejected) as told:
        asyncio.run(EcrRegistry(HOST).check(REPOSITORY))
    assert f"create-repository --region {REGION}" in told.value.hint


def test_without_credentials_or_region_the_agent_is_told_what_to_set(
    account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Rejected, match="wants a region"):
        asyncio.run(AwsIdentity().principal())
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Rejected, match="no credentials for AWS") as told:
        asyncio.run(AwsIdentity(REGION).principal())
    assert "AWS_ACCESS_KEY_ID" in told.value.hint


def test_an_image_is_found_by_its_tag_and_by_its_digest(ecr: Any) -> None:
    digest = push(ecr, "v1")

    async def ask() -> list[str | None]:
        registry = EcrRegistry(HOST)
        await registry.check(REPOSITORY)
        asked = [
            ImageRef(REPOSITORY, "v1"),
            ImageRef(REPOSITORY, "v1", digest),
            ImageRef(REPOSITORY, "v2"),
            ImageRef(f"{HOST}/ml/never-made", "v1"),
        ]
        found = [await registry.digest(image) for image in asked]
        await registry.close()
        return found

    assert asyncio.run(ask()) == [digest, digest, None, None]


def test_an_image_is_deleted_by_its_digest_and_can_be_again(ecr: Any) -> None:
    image = ImageRef(REPOSITORY, "v1", push(ecr, "v1"))
    other = push(ecr, "v2")

    async def ask() -> list[str | None]:
        registry = EcrRegistry(HOST)
        await registry.delete(image)
        await registry.delete(image)
        await registry.delete(ImageRef(f"{HOST}/ml/never-made", "v1", image.digest))
        return [await registry.digest(ImageRef(REPOSITORY, tag)) for tag in ("v1", "v2")]

    assert asyncio.run(ask()) == [None, other]


def test_the_login_is_ecrs_and_is_kept_until_it_expires(ecr: Any) -> None:
    clock = [datetime(2014, 12, 31, tzinfo=UTC)]  # moto's logins end with that year

    async def ask() -> list[Login]:
        registry = EcrRegistry(HOST, now=lambda: clock[0])
        logins = [await registry.login(), await registry.login()]
        clock[0] = datetime(2014, 12, 31, 23, 55, tzinfo=UTC)
        return [*logins, await registry.login()]

    first, second, third = asyncio.run(ask())
    assert (first.registry, first.username) == (HOST, "AWS")
    assert first.password
    assert first.expires_at == datetime(2015, 1, 1, tzinfo=UTC)
    assert first is second
    assert third is not first


def test_what_may_be_pulled_and_not_described_is_asked_for_as_any_registry(
    ecr: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto has no policies: the answer that AWS gives is put in its place."""
    from botocore.exceptions import ClientError

    class Pulls:
        async def digest(self, image: ImageRef) -> str:
            return f"asked for {image}"

    async def denied(operation: str, **_: object) -> None:
        answer = {"Error": {"Code": "AccessDeniedException", "Message": "no"}}
        raise ClientError(answer, operation)  # type: ignore[arg-type]

    registry = EcrRegistry(HOST, pulls=Pulls())  # type: ignore[arg-type]
    monkeypatch.setattr(registry._ecr, "call", denied)
    image = ImageRef(REPOSITORY, "v1")
    assert asyncio.run(registry.digest(image)) == f"asked for {image}"
    with pytest.raises(Rejected, match="does not let the agent") as told:
        asyncio.run(registry.delete(image.pinned(f"sha256:{'a' * 64}")))
    assert "ecr:" in told.value.hint


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        ("ThrottlingException", Unavailable, "Throttling"),
        ("ServerException", Unavailable, "ServerException"),
        ("ExpiredTokenException", Rejected, "have expired"),
        ("UnrecognizedClientException", Rejected, "UnrecognizedClientException"),
    ],
)
def test_each_kind_of_refusal_says_what_to_do(
    ecr: Any, monkeypatch: pytest.MonkeyPatch, code: str, error: type[Exception], words: str
) -> None:
    from botocore.exceptions import ClientError

    async def refused(operation: str, **_: object) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "quoted"}}, operation)

    registry = EcrRegistry(HOST)
    monkeypatch.setattr(registry._ecr, "call", refused)
    with pytest.raises(error, match=words) as told:
        asyncio.run(registry.digest(ImageRef(REPOSITORY, "v1")))
    assert "quoted" not in str(told.value)


def test_aws_that_is_away_is_not_an_empty_registry(
    ecr: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port('127.0.0.1')}")
    with pytest.raises(Unavailable, match="could not be asked"):
        asyncio.run(EcrRegistry(HOST).digest(ImageRef(REPOSITORY, "v1")))


def test_files_go_into_the_bucket_under_the_prefix(
    account: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="contexts")
    source = tmp_path / "context.tgz"
    source.write_bytes(b"the context")

    async def ask() -> str:
        blobs = S3Blobs("s3://contexts/some/prefix/")
        await blobs.put(source, "a/b.tgz")
        source.write_bytes(b"another context")
        return await blobs.put(source, "a/b.tgz")

    assert asyncio.run(ask()) == "s3://contexts/some/prefix/a/b.tgz"
    kept = s3.get_object(Bucket="contexts", Key="some/prefix/a/b.tgz")["Body"].read()
    assert kept == b"another context"

    async def delete() -> None:
        blobs = S3Blobs("s3://contexts/some/prefix")
        await blobs.delete("a/b.tgz")
        await blobs.delete("a/b.tgz")

    asyncio.run(delete())
    assert s3.list_objects_v2(Bucket="contexts")["KeyCount"] == 0
    with pytest.raises(Rejected, match="NoSuchBucket"):
        asyncio.run(S3Blobs("s3://no-such-bucket").put(source, "x"))


def test_no_secret_comes_into_a_log(ecr: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)  # botocore itself writes whole answers at DEBUG
    login = asyncio.run(EcrRegistry(HOST).login())
    assert login.password not in caplog.text + repr(login)
    assert login.password
    assert "secret-key-of-the-agent" not in caplog.text
