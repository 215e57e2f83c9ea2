"""
Objects in S3, or in a service that speaks like it. The only place here that knows boto3.

Credentials are where boto3 looks; links are good for as long as these are, at most. S3 checks the
`Content-MD5` that a link was signed with, so other content never becomes an object.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final

from runyard.domain.errors import Invalid, NotFound, Rejected, TooMuch, Unavailable
from runyard.store.objects.base import Link, Stat
from runyard.store.objects.content import PIECE, attachment, content_md5, spooled, verified

_PATIENCE: Final = 20  # seconds for a connection, and for an answer
_AT_ONCE: Final = 1000  # keys in one request to delete
_MD5: Final = re.compile(r"[0-9a-f]{32}")
_MISSING: Final = frozenset({"404", "NoSuchKey", "NotFound"})
# What may be otherwise in a moment; all else somebody has to mend.
_PASSING: Final = frozenset({
    "SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling",
    "ThrottlingException", "RequestLimitExceeded", "OperationAborted", "500", "502", "503", "504",
})  # fmt: skip
_WRONG_PARTS: Final = frozenset({"InvalidPart", "InvalidPartOrder", "EntityTooSmall"})


class S3Store:
    """An `ObjectStore` in a bucket; `endpoint` is the address of a service that is not Amazon's."""

    def __init__(self, bucket: str, prefix: str = "", endpoint: str = "") -> None:
        """Raises: Invalid: boto3 is not installed."""
        try:
            import boto3  # noqa: F401
        except ImportError as error:
            raise Invalid(
                "files_url s3:// needs boto3", hint="pip install 'runyard[aws]'"
            ) from error
        self._bucket, self._endpoint = bucket, endpoint
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._made: Any = None
        self._lock = threading.Lock()

    def stat(self, key: str) -> Stat | None:
        try:
            with _understood():
                found = self._client.head_object(**self._at(key))
        except NotFound:
            return None
        return Stat(int(found["ContentLength"]), _md5_of(found), found["LastModified"])

    def read(self, key: str, *, at_most: int) -> bytes:
        with _understood():
            found = self._client.get_object(**self._at(key))
            with closing(found["Body"]) as body:
                if int(found["ContentLength"]) > at_most:
                    raise TooMuch(f"the file is larger than {at_most} bytes")
                return bytes(body.read())

    def stream(self, key: str) -> Iterator[bytes]:
        with _understood(), closing(self._client.get_object(**self._at(key))["Body"]) as body:
            yield from body.iter_chunks(PIECE)

    def write(self, key: str, pieces: Iterator[bytes]) -> Stat:
        with spooled(pieces) as (spool, _), _understood():
            self._client.upload_fileobj(spool, self._bucket, self._prefix + key)
        stat = self.stat(key)
        if stat is None:
            raise Unavailable("S3 does not find what it has just taken")
        return stat

    def delete(self, keys: Sequence[str]) -> None:
        self._delete([self._prefix + key for key in keys])

    def clear(self, prefix: str) -> None:
        with _understood():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}{prefix}/"
            )
            for page in pages:
                self._delete([each["Key"] for each in page.get("Contents", ())])

    def verify(self, key: str, md5: str) -> int | None:
        return verified(self, key, md5)

    def put_link(
        self,
        key: str,
        *,
        name: str,  # noqa: ARG002
        md5: str | None,
        seconds: int,
        base: str,  # noqa: ARG002
    ) -> Link:
        return self._put("put_object", self._at(key), md5, seconds)

    def get_link(self, key: str, *, name: str, seconds: int, base: str) -> str:  # noqa: ARG002
        how, kind = attachment(name)
        params = {"ResponseContentDisposition": how, "ResponseContentType": kind}
        return self._signed("get_object", {**self._at(key), **params}, seconds)

    def begin_parts(self, key: str) -> str:
        with _understood():
            return str(self._client.create_multipart_upload(**self._at(key))["UploadId"])

    def part_link(
        self,
        key: str,
        upload: str,
        n: int,
        *,
        md5: str,
        seconds: int,
        base: str,  # noqa: ARG002
    ) -> Link:
        params = {**self._at(key), "UploadId": upload, "PartNumber": n}
        return self._put("upload_part", params, md5, seconds)

    def finish_parts(self, key: str, upload: str, etags: Sequence[tuple[int, str]]) -> None:
        parts = [{"PartNumber": n, "ETag": etag} for n, etag in sorted(etags)]
        try:
            with _understood():
                self._client.complete_multipart_upload(
                    **self._at(key), UploadId=upload, MultipartUpload={"Parts": parts}
                )
        except _NoUpload:
            if self.stat(key) is None:  # else somebody asks again who did not hear the answer
                raise

    def drop_parts(self, key: str, upload: str) -> None:
        try:
            with _understood():
                self._client.abort_multipart_upload(**self._at(key), UploadId=upload)
        except _NoUpload:
            return

    def _put(self, operation: str, params: dict[str, Any], md5: str | None, seconds: int) -> Link:
        if md5 is None:
            return Link(self._signed(operation, params, seconds))
        encoded = content_md5(md5)
        url = self._signed(operation, {**params, "ContentMD5": encoded}, seconds)
        return Link(url, {"Content-MD5": encoded})

    def _signed(self, operation: str, params: dict[str, Any], seconds: int) -> str:
        with _understood():
            return str(
                self._client.generate_presigned_url(operation, Params=params, ExpiresIn=seconds)
            )

    def _delete(self, keys: Sequence[str]) -> None:
        for at in range(0, len(keys), _AT_ONCE):
            objects = [{"Key": key} for key in keys[at : at + _AT_ONCE]]
            with _understood():
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True}
                )
            if errors := answer.get("Errors"):
                raise Unavailable(f"S3 did not delete {len(errors)} files: {errors[0].get('Code')}")

    def _at(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}

    @property
    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = _client(self._endpoint)
            return self._made


class _NoUpload(Invalid):
    """The upload in parts is over, or was given up."""


def _client(endpoint: str) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        signature_version="s3v4",
        connect_timeout=_PATIENCE,
        read_timeout=_PATIENCE,
        retries={"max_attempts": 3},
        max_pool_connections=32,
        # Others than Amazon do not all know the newer checksums, and links cannot carry them.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if endpoint else "auto"},
    )
    session = boto3.session.Session()
    region = session.region_name or ("us-east-1" if endpoint else None)
    return session.client("s3", endpoint_url=endpoint or None, region_name=region, config=config)


def _md5_of(found: dict[str, Any]) -> str | None:
    """Return the MD5 of an object, where its ETag is that."""
    etag = str(found.get("ETag", "")).strip('"')
    is_md5 = _MD5.fullmatch(etag) and found.get("ServerSideEncryption", "AES256") == "AES256"
    return etag if is_md5 and "SSECustomerAlgorithm" not in found else None


@contextmanager
def _understood() -> Iterator[None]:
    """Turn what boto3 raises into our errors."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        PartialCredentialsError,
    )

    try:
        yield
    except ClientError as error:
        raise _said(error.response.get("Error", {})) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise Rejected(
            "the server has no credentials for S3", hint="AWS_ACCESS_KEY_ID, or a role"
        ) from error
    except (BotoCoreError, Boto3Error) as error:
        raise Unavailable(f"S3 could not be asked: {type(error).__name__}") from error


def _said(told: dict[str, Any]) -> NotFound | Invalid | Rejected | Unavailable:
    code = str(told.get("Code"))
    if code in _MISSING:
        return NotFound("there is no such file; it was never uploaded, or is deleted")
    if code == "NoSuchUpload":
        return _NoUpload("this upload in parts is over, or was given up")
    if code in _WRONG_PARTS:
        return Invalid(f"the parts do not make a file: {told.get('Message')}")
    if code in _PASSING:
        return Unavailable(f"S3: {code}")
    return Rejected(
        f"S3 refuses the server: {code}", hint="an operator should look at files_url and its role"
    )
