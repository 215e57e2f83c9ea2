"""
Amazon: identity by STS, images in ECR, files in S3. The agent's only place that knows boto3.

Credentials are boto3's default chain: the environment, `~/.aws`, a pod's or an instance's role.
What the role needs is in docs/guides/registries.md. Calls block, so they are made in threads.
"""

from __future__ import annotations

import asyncio
import base64
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
)

from runyard.clouds.base import Registry
from runyard.clouds.kept import KeptLogin
from runyard.clouds.oci import OciRegistry
from runyard.domain.errors import Rejected, RunyardError, Unavailable
from runyard.domain.images import ImageRef, Login

_HOST: Final = re.compile(r"(\d{12})\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_CONFIG: Final = Config(
    connect_timeout=10, read_timeout=60, retries={"mode": "standard", "max_attempts": 3}
)
_DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "403"})
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_PASSING: Final = frozenset(
    {
        "InternalError", "RequestLimitExceeded", "RequestTimeout", "RequestTimeoutException",
        "ServerException", "ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException",
        "TooManyRequestsException",
    }
)  # fmt: skip
_CREDENTIALS: Final = (
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, `aws configure`, or a role of the machine or pod"
)


class _Service:
    """A client of one service, made on the first use, for it reads files."""

    def __init__(self, name: str, region: str | None) -> None:
        self._name, self._region = name, region
        self._made: Any = None
        self._lock = threading.Lock()

    async def call(self, operation: str, **arguments: Any) -> Any:
        """Raises: ClientError, for the caller to read its code. Rejected, Unavailable."""
        return await asyncio.to_thread(self._call, operation, arguments)

    def _call(self, operation: str, arguments: dict[str, Any]) -> Any:
        with _reached(self._name):
            return getattr(self.client(), operation)(**arguments)

    def client(self) -> Any:
        with self._lock:
            if self._made is None:
                session = boto3.session.Session(region_name=self._region)
                self._made = session.client(self._name, config=_CONFIG)
            return self._made


class AwsIdentity:
    """An `Identity`: the user or role that the credentials are of."""

    def __init__(self, region: str | None = None) -> None:
        self._sts = _Service("sts", region)

    async def principal(self) -> str:
        try:
            answer = await self._sts.call("get_caller_identity")
            region = self._sts.client().meta.region_name
        except ClientError as error:
            raise _said(error, "STS") from error
        return f"{answer['Arn']}, in {region}"


class EcrRegistry:
    """A `Registry` of one account and region, both of which its host names.

    Digests come from ECR's own call: a role that may only push is not also to be given what pulls.
    Another account's images can often be pulled and not be described; those are asked for as all
    registries are, by `pulls`.
    """

    def __init__(
        self,
        host: str,
        *,
        pulls: Registry | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        found = _HOST.fullmatch(host)
        if found is None:
            raise Rejected(f"{host!r} is no registry of ECR")
        self.host, self._account, self._region = host, found[1], found[2]
        self._ecr = _Service("ecr", self._region)
        self._login = KeptLogin(self._make_login, now=now)
        self._pulls = pulls or OciRegistry(host, self._login)

    async def check(self, repository: str) -> None:
        name = ImageRef(repository).path
        try:
            await self._ecr.call(
                "describe_repositories", registryId=self._account, repositoryNames=[name]
            )
        except ClientError as error:
            if _code(error) == "RepositoryNotFoundException":
                raise Rejected(
                    f"ECR has no repository {name} in {self._region}",
                    hint=f"aws ecr create-repository --region {self._region} "
                    f"--repository-name {name}",
                ) from error
            raise _said(error, "ECR") from error

    async def digest(self, image: ImageRef) -> str | None:
        wanted = {"imageDigest": image.digest} if image.digest else {}
        try:
            answer = await self._ecr.call(
                "describe_images",
                registryId=self._account,
                repositoryName=image.path,
                imageIds=[wanted or {"imageTag": image.tag or "latest"}],
            )
        except ClientError as error:
            if _code(error) in ("ImageNotFoundException", "RepositoryNotFoundException"):
                return None
            if _code(error) in _DENIED:
                return await self._pulls.digest(image)
            raise _said(error, "ECR") from error
        return str(answer["imageDetails"][0]["imageDigest"])

    async def login(self) -> Login:
        return await self._login()

    async def delete(self, image: ImageRef) -> None:
        try:
            answer = await self._ecr.call(
                "batch_delete_image",
                registryId=self._account,
                repositoryName=image.path,
                imageIds=[{"imageDigest": image.digest}],
            )
        except ClientError as error:
            if _code(error) == "RepositoryNotFoundException":
                return
            raise _said(error, "ECR") from error
        for failure in answer.get("failures", ()):
            if failure.get("failureCode") != "ImageNotFound":
                raise Rejected(f"ECR does not delete {image}: {failure.get('failureCode')}")

    async def close(self) -> None:
        await self._pulls.close()

    async def _make_login(self) -> Login:
        try:
            answer = await self._ecr.call("get_authorization_token")
        except ClientError as error:
            raise _said(error, "ECR") from error
        told = answer["authorizationData"][0]
        name, _, password = base64.b64decode(told["authorizationToken"]).decode().partition(":")
        return Login(self.host, name, password, told["expiresAt"].astimezone(UTC))


class S3Blobs:
    """A `BlobStore` under a prefix of a bucket."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        self._bucket, prefix = parts.netloc, parts.path.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._s3 = _Service("s3", None)

    async def put(self, source: Path, key: str) -> str:
        name = self._prefix + key
        await asyncio.to_thread(self._upload, source, name)
        return f"s3://{self._bucket}/{name}"

    async def delete(self, key: str) -> None:
        try:
            await self._s3.call("delete_object", Bucket=self._bucket, Key=self._prefix + key)
        except ClientError as error:
            raise _said(error, "S3") from error

    def _upload(self, source: Path, name: str) -> None:
        try:
            with _reached("s3"):
                self._s3.client().upload_file(str(source), self._bucket, name)
        except ClientError as error:
            raise _said(error, "S3") from error


def identity(region: str | None) -> AwsIdentity:
    return AwsIdentity(region)


def registry(host: str) -> EcrRegistry:
    return EcrRegistry(host)


def blobs(uri: str) -> S3Blobs:
    return S3Blobs(uri)


@contextmanager
def _reached(service: str) -> Iterator[None]:
    """Turn what boto3 raises before there is an answer into our errors."""
    try:
        yield
    except ClientError:
        raise
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise Rejected("the agent has no credentials for AWS", hint=_CREDENTIALS) from error
    except NoRegionError as error:
        raise Rejected(
            "AWS wants a region, and there is none", hint="environment: {type: aws, region: ...}"
        ) from error
    except SSLError as error:
        raise Rejected(
            f"the certificate of {service} is not trusted", hint="AWS_CA_BUNDLE names a file of CAs"
        ) from error
    except Boto3Error as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, ClientError):  # an upload that failed wraps the answer
            raise cause from None
        raise Unavailable(f"AWS could not be asked ({service}): {type(error).__name__}") from error
    except BotoCoreError as error:
        raise Unavailable(f"AWS could not be asked ({service}): {type(error).__name__}") from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code"))


def _said(error: ClientError, service: str) -> RunyardError:
    """Return our error for an answer of AWS; of its text only the code."""
    code = _code(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _PASSING or status >= 500 or status == 429:
        return Unavailable(f"{service}: {code}")
    if code in _EXPIRED:
        return Rejected("the agent's credentials for AWS have expired", hint=_CREDENTIALS)
    action = error.operation_name
    if code in _DENIED:
        return Rejected(
            f"{service} does not let the agent do {action}",
            hint=f"let its role do {service.lower()}:{action} there",
        )
    return Rejected(
        f"{service} refuses {action}: {code}",
        hint="look at the agent's `environment` and its role",
    )
