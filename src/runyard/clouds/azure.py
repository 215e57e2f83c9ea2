"""
Azure: identity by default credentials, images in Container Registry, files in Blob Storage.

The agent's only place that knows Azure's library, of which only the credentials are used: a
registry takes one of their tokens for a login of its own, and Blob Storage takes the token itself.
The calls of the library block, so they are made in threads.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote, urlsplit

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.identity import CredentialUnavailableError, DefaultAzureCredential

from runyard.clouds.kept import KeptLogin
from runyard.clouds.oci import OciRegistry
from runyard.clouds.web import Answer, Web, refused
from runyard.domain.errors import Rejected, Unavailable
from runyard.domain.images import Login

USER: Final = "00000000-0000-0000-0000-000000000000"  # whose password is a registry's token
_MANAGEMENT: Final = {
    "io": "https://management.azure.com/.default",
    "cn": "https://management.chinacloudapi.cn/.default",
    "us": "https://management.usgovcloudapi.net/.default",
}
_STORAGE: Final = "https://storage.azure.com/.default"
_BLOB_VERSION: Final = "2021-12-02"  # of the service; a file is put at once, up to 5000 MiB
_UPLOAD_WITHIN: Final = 3600.0  # seconds
_PIECE: Final = 1 << 20
_ASSUMED: Final = timedelta(hours=1)  # how long a login holds if it does not say
_HINT: Final = (
    "AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET, az login, or the managed identity "
    "of the machine or pod"
)


class _Credential:
    """The default credential, made on the first use."""

    def __init__(self) -> None:
        self._made: DefaultAzureCredential | None = None
        self._lock = threading.Lock()

    async def token(self, scope: str) -> str:
        """Return a token of Entra ID; the library keeps it until it expires.

        Raises:
            Rejected: there are no credentials, or refused ones. Unavailable: nobody could be asked.
        """
        return await asyncio.to_thread(self._token, scope)

    def _token(self, scope: str) -> str:
        with self._lock, _understood():
            if self._made is None:
                self._made = DefaultAzureCredential()
            return str(self._made.get_token(scope).token)


class AzureIdentity:
    """An `Identity`: the user, or the application of a service or a managed identity."""

    def __init__(self) -> None:
        self._credential = _Credential()

    async def principal(self) -> str:
        claims = claims_of(await self._credential.token(_MANAGEMENT["io"]))
        user = claims.get("upn") or claims.get("unique_name")
        name = user or f"application {claims.get('appid') or claims.get('azp') or 'unknown'}"
        return f"{name}, object {claims.get('oid')}, tenant {claims.get('tid')}"


class AcrRegistry(OciRegistry):
    """A `Registry`: one Azure Container Registry."""

    def __init__(self, host: str, *, insecure: frozenset[str] = frozenset()) -> None:
        self._credential = _Credential()
        super().__init__(host, KeptLogin(self._exchange), insecure=insecure)

    async def _exchange(self) -> Login:
        """Give the registry a token of Entra ID, for one of its own."""
        scope = _MANAGEMENT.get(self.host.rpartition(".")[2], _MANAGEMENT["io"])
        token = await self._credential.token(scope)
        form = {"grant_type": "access_token", "service": self.host, "access_token": token}
        if tenant := claims_of(token).get("tid"):
            form["tenant"] = str(tenant)
        answer = await self._web.ask("POST", f"{await self._address()}/oauth2/exchange", form=form)
        given = answer.json().get("refresh_token")
        if answer.status != 200 or not isinstance(given, str):
            raise refused(
                self.host, answer, hint="give the agent's identity the role AcrPush there"
            )
        return Login(self.host, USER, given, _end_of(given))


class AzureBlobs:
    """A `BlobStore` under a prefix of a container."""

    def __init__(self, uri: str) -> None:
        self._root = uri.rstrip("/")
        self._whom = urlsplit(uri).netloc
        self._credential = _Credential()

    async def put(self, source: Path, key: str) -> str:
        size = (await asyncio.to_thread(source.stat)).st_size
        with await asyncio.to_thread(source.open, "rb") as file:
            answer = await self._ask("PUT", key, _pieces(file), size=size)
        if answer.status != 201:
            raise self._refused(answer)
        return self._address(key)

    async def delete(self, key: str) -> None:
        answer = await self._ask("DELETE", key)
        if answer.status not in (202, 404):
            raise self._refused(answer)

    async def _ask(
        self, method: str, key: str, content: AsyncIterator[bytes] | None = None, size: int = 0
    ) -> Answer:
        headers = {
            "Authorization": f"Bearer {await self._credential.token(_STORAGE)}",
            "x-ms-version": _BLOB_VERSION,
        }
        if content is not None:
            headers |= {"x-ms-blob-type": "BlockBlob", "Content-Length": str(size)}
        web = Web(self._whom)
        try:
            return await web.ask(
                method, self._address(key), headers=headers, content=content,
                patience=_UPLOAD_WITHIN,
            )  # fmt: skip
        finally:
            await web.close()

    def _address(self, key: str) -> str:
        return f"{self._root}/{quote(key)}"

    def _refused(self, answer: Answer) -> Rejected:
        return refused(
            self._whom, answer,
            hint="the container must be there, and the agent's identity have the role Storage "
            "Blob Data Contributor on it",
        )  # fmt: skip


def identity(region: str | None) -> AzureIdentity:  # noqa: ARG001  (Azure's have none)
    return AzureIdentity()


def registry(host: str) -> AcrRegistry:
    return AcrRegistry(host)


def blobs(uri: str) -> AzureBlobs:
    return AzureBlobs(uri)


def claims_of(token: str) -> Mapping[str, Any]:
    """Return what a token says of itself, which is to be shown and never to be trusted."""
    middle = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        found = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _end_of(token: str) -> datetime:
    ends = claims_of(token).get("exp")
    if isinstance(ends, int) and 0 < ends < 1 << 33:
        return datetime.fromtimestamp(ends, UTC)
    return datetime.now(UTC) + _ASSUMED


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, _PIECE):
        yield piece


@contextmanager
def _understood() -> Iterator[None]:
    """Turn what Azure's library raises into our errors; its texts quote answers, and stay out."""
    try:
        yield
    except CredentialUnavailableError as error:
        raise Rejected("the agent has no credentials for Azure", hint=_HINT) from error
    except ClientAuthenticationError as error:
        status = error.status_code or 0
        if status >= 500 or status == 429:
            raise Unavailable(f"Azure gives the agent no token just now: {status}") from error
        raise Rejected("the agent has no credentials that Azure takes", hint=_HINT) from error
    except HttpResponseError as error:
        raise Unavailable(f"Azure gives the agent no token: {error.status_code}") from error
    except AzureError as error:
        raise Unavailable(f"Azure could not be asked: {type(error).__name__}") from error
    except ValueError as error:  # a variable of its own that it cannot read
        raise Rejected("the agent's credentials for Azure are not valid", hint=_HINT) from error
