"""AWS KMS as a wrapper of the server's keys. The only place that knows boto3 here."""

from __future__ import annotations

from typing import Any, Final

from runyard.domain.errors import Rejected, RunyardError, Unavailable

_PATIENCE: Final = 10  # seconds for a connection, and for an answer
# What may be otherwise in a moment; all else somebody has to mend.
_PASSING: Final = frozenset({
    "ThrottlingException", "KMSInternalException", "DependencyTimeoutException",
    "RequestLimitExceeded", "ServiceUnavailable", "InternalFailure", "KeyUnavailableException",
})  # fmt: skip


class AwsKms:
    """`key` is the id, ARN or alias of a symmetric key. Credentials are where boto3 looks."""

    name = "aws-kms"

    def __init__(self, key: str) -> None:
        self._key = key
        self._client: Any = None

    def wrap(self, key: bytes, key_id: str) -> bytes:
        answer = self._ask(
            "encrypt", KeyId=self._key, Plaintext=key, EncryptionContext=_context(key_id)
        )
        return bytes(answer["CiphertextBlob"])

    def unwrap(self, wrapped: bytes, key_id: str) -> bytes:
        # Which of the service's keys it was is in the text itself, so an older one goes on.
        answer = self._ask("decrypt", CiphertextBlob=wrapped, EncryptionContext=_context(key_id))
        return bytes(answer["Plaintext"])

    def _ask(self, method: str, **question: Any) -> dict[str, Any]:
        try:
            import boto3
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as error:
            raise Rejected(
                "secrets_kms_key needs boto3", hint="pip install 'runyard[aws]'"
            ) from error
        try:
            self._client = self._client or boto3.client("kms", **self._options())
            answer: dict[str, Any] = getattr(self._client, method)(**question)
        except ClientError as error:
            raise self._said(error) from error
        except BotoCoreError as error:
            raise Unavailable(f"AWS KMS could not be asked: {error}") from error
        return answer

    def _said(self, error: Any) -> RunyardError:
        told = error.response.get("Error", {})
        message = f"AWS KMS: {told.get('Code')}: {told.get('Message')}"
        if told.get("Code") in _PASSING:
            return Unavailable(message)
        return Rejected(
            message, hint=f"may the server's role encrypt and decrypt with {self._key}?"
        )

    def _options(self) -> dict[str, Any]:
        from botocore.config import Config

        config = Config(
            connect_timeout=_PATIENCE, read_timeout=_PATIENCE, retries={"max_attempts": 3}
        )
        parts = self._key.split(":")
        region = {"region_name": parts[3]} if self._key.startswith("arn:") and parts[3:] else {}
        return {"config": config, **region}


def _context(key_id: str) -> dict[str, str]:
    """Return what the wrapped key is bound to; it stands in the service's own audit log."""
    return {"runyard:key": key_id}
