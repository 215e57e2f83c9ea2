"""
Google: identity by default credentials, images in Artifact Registry, files in Cloud Storage.

The agent's only place that knows Google's libraries. Credentials are the application default ones:
GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default login`, or the account of the
machine or pod. The calls block, so they are made in threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import google.auth
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError
from google.auth.transport.requests import Request

from runyard.clouds.kept import MARGIN, KeptLogin
from runyard.clouds.oci import OciRegistry
from runyard.domain.errors import Rejected, Unavailable
from runyard.domain.images import Login

USER: Final = "oauth2accesstoken"  # the name by which Google's registries know a token
_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
_PATIENCE: Final = 60  # seconds for an answer of Cloud Storage
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
_HINT: Final = (
    "GOOGLE_APPLICATION_CREDENTIALS=FILE, gcloud auth application-default login, or the service "
    "account of the machine or pod"
)


class _Credentials:
    """The default credentials, found on the first use, and refreshed as they expire."""

    def __init__(self) -> None:
        self._found: Any = None
        self._lock = threading.Lock()

    async def fresh(self) -> Any:
        """Return them with a token that holds.

        Raises:
            Rejected: there are none, or Google does not take them. Unavailable: it is away.
        """
        return await asyncio.to_thread(self._fresh)

    def _fresh(self) -> Any:
        with self._lock, _understood():
            if self._found is None:
                self._found, _ = google.auth.default(scopes=_SCOPES)
            if not self._found.valid or _ends_soon(self._found):
                self._found.refresh(Request())
            return self._found


class GcpIdentity:
    """An `Identity`: a service account, or a user who has logged in on this machine."""

    def __init__(self) -> None:
        self._credentials = _Credentials()

    async def principal(self) -> str:
        found = await self._credentials.fresh()
        email = getattr(found, "service_account_email", None) or getattr(found, "account", None)
        return str(email) if email else f"credentials of kind {type(found).__module__}"


class GcpRegistry(OciRegistry):
    """A `Registry`: Artifact Registry, or the older gcr.io, which delete what has no tag."""

    def __init__(self, host: str, *, insecure: frozenset[str] = frozenset()) -> None:
        self._credentials = _Credentials()
        super().__init__(host, KeptLogin(self._make_login), insecure=insecure, untags=True)

    async def _make_login(self) -> Login:
        found = await self._credentials.fresh()
        return Login(self.host, USER, found.token, _end_of(found))


class GcsBlobs:
    """A `BlobStore` under a prefix of a bucket; `endpoint` is a service that is not Google's."""

    def __init__(self, uri: str, endpoint: str = "") -> None:
        parts = urlsplit(uri)
        self._name, prefix = parts.netloc, parts.path.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._endpoint = endpoint
        self._credentials = _Credentials()

    async def put(self, source: Path, key: str) -> str:
        name = self._prefix + key
        credentials = await self._credentials.fresh()
        await asyncio.to_thread(self._upload, credentials, source, name)
        return f"gs://{self._name}/{name}"

    async def delete(self, key: str) -> None:
        credentials = await self._credentials.fresh()
        await asyncio.to_thread(self._delete, credentials, self._prefix + key)

    def _upload(self, credentials: Any, source: Path, name: str) -> None:
        with _understood(), self._client(credentials) as client:
            blob = client.bucket(self._name).blob(name)
            blob.upload_from_filename(str(source), timeout=_PATIENCE)

    def _delete(self, credentials: Any, name: str) -> None:
        from google.cloud.exceptions import NotFound

        with _understood(), self._client(credentials) as client:
            try:
                client.bucket(self._name).blob(name).delete(timeout=_PATIENCE)
            except NotFound:
                return

    @contextmanager
    def _client(self, credentials: Any) -> Iterator[Any]:
        from google.cloud import storage

        options = {"api_endpoint": self._endpoint} if self._endpoint else None
        client = storage.Client(credentials=credentials, client_options=options)
        try:
            yield client
        finally:
            client.close()


def identity(region: str | None) -> GcpIdentity:  # noqa: ARG001  (Google's have none)
    return GcpIdentity()


def registry(host: str) -> GcpRegistry:
    return GcpRegistry(host)


def blobs(uri: str) -> GcsBlobs:
    return GcsBlobs(uri)


def _end_of(credentials: Any) -> datetime | None:
    # Google's libraries keep times without a zone, in UTC.
    return credentials.expiry.replace(tzinfo=UTC) if credentials.expiry else None


def _ends_soon(credentials: Any) -> bool:
    ends = _end_of(credentials)
    return ends is not None and ends - datetime.now(UTC) < MARGIN


@contextmanager
def _understood() -> Iterator[None]:
    """Turn what Google's libraries raise into our errors."""
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from requests.exceptions import RequestException

    try:
        yield
    except DefaultCredentialsError as error:
        raise Rejected("the agent has no credentials for Google Cloud", hint=_HINT) from error
    except RefreshError as error:
        if error.retryable:
            raise Unavailable("Google gives the agent no token just now") from error
        raise Rejected(
            "Google does not take the agent's credentials; they may be expired or deleted",
            hint=_HINT,
        ) from error
    except GoogleAPICallError as error:
        if error.code in _PASSING:
            raise Unavailable(f"Google Cloud Storage: {error.code}") from error
        raise Rejected(
            f"Google Cloud Storage refuses the agent: {error.code}",
            hint="look at the name of the bucket, and what the service account may do there",
        ) from error
    except (GoogleAuthError, RetryError, RequestException) as error:
        raise Unavailable(
            f"Google could not be asked: {type(error).__name__}", retry_after=timedelta(seconds=5)
        ) from error
