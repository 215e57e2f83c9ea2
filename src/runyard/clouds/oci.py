"""
A registry of images, by the protocol that all of them speak (OCI distribution, Docker v2).

https, unless the host is among those that an operator lists as insecure; one on this machine may
be either, as it is for Docker. A redirect is followed only to ask for a digest, only by https, and
without credentials.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urljoin, urlsplit

from runyard.clouds.docker_config import HUB as HUB_LOGIN
from runyard.clouds.docker_config import IDENTITY_TOKEN, login_for
from runyard.clouds.oci_access import Access, Logins
from runyard.clouds.web import Answer, Web, refused
from runyard.domain.errors import Rejected
from runyard.domain.images import HUB, ImageRef, Login
from runyard.domain.oidc import is_loopback

_HUB_HOST: Final = "registry-1.docker.io"
_HUB_NAMES: Final = frozenset({HUB, "index.docker.io", _HUB_HOST, HUB_LOGIN})
_MANIFESTS: Final = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 3


class OciRegistry:
    """A `Registry`. `logins` is asked when the registry wants a login, and for those who push.

    `untags`: the registry deletes an image only when no tag names it any more.
    """

    def __init__(
        self,
        host: str,
        logins: Logins,
        *,
        insecure: frozenset[str] = frozenset(),
        untags: bool = False,
    ) -> None:
        self.host = HUB if host in _HUB_NAMES else host
        self._logins, self._insecure, self._untags = logins, insecure, untags
        self._web = Web(self.host)
        self._access = Access(self._web, logins, self._secure_enough)
        self._base = ""  # scheme and host, once known

    async def check(self, repository: str) -> None:
        """A repository that is not there yet is made by the first push."""
        await self.digest(ImageRef(repository, "latest"))

    async def digest(self, image: ImageRef) -> str | None:
        answer = await self._ask("HEAD", image, _reference(image), "pull")
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._refused(answer, image)
        told = answer.headers.get("Docker-Content-Digest")
        if told is None:  # which the protocol allows: a digest is the content's
            answer = await self._ask("GET", image, _reference(image), "pull")
            if answer.status != 200:
                raise self._refused(answer, image)
            told = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        if not _DIGEST.fullmatch(told):
            raise Rejected(f"{self.host} names {image.repository} by {told[:100]!r}, no sha256")
        return told

    async def login(self) -> Login | None:
        return await self._logins()

    async def delete(self, image: ImageRef) -> None:
        if self._untags and image.tag:
            await self._delete(image, image.tag)
        await self._delete(image, image.digest)

    async def close(self) -> None:
        await self._web.close()

    async def _delete(self, image: ImageRef, reference: str) -> None:
        answer = await self._ask("DELETE", image, reference, "pull,delete")
        if answer.status in (200, 202, 204):
            return
        gone = answer.status == 404 and await self._is_gone(image, reference)
        if gone:
            return
        if answer.status in (400, 404, 405):
            raise Rejected(
                f"{self.host} does not delete {image.repository}, with status {answer.status}",
                hint="deleting may be disabled there (REGISTRY_STORAGE_DELETE_ENABLED=true for "
                "Docker's own registry), or another tag or index may need the image",
            )
        raise self._refused(answer, image)

    async def _is_gone(self, image: ImageRef, reference: str) -> bool:
        answer = await self._ask("HEAD", image, reference, "pull")
        return answer.status == 404

    async def _ask(self, method: str, image: ImageRef, reference: str, actions: str) -> Answer:
        url = f"{await self._address()}/v2/{image.path}/manifests/{reference}"
        scope = f"repository:{image.path}:{actions}"
        headers = {"Accept": _MANIFESTS}
        known = self._access.header(scope)
        answer = await self._web.ask(method, url, headers=_with(headers, known))
        if answer.status == 401:
            self._access.forget(scope)
            known = await self._access.answer(answer, scope)
            answer = await self._web.ask(method, url, headers=_with(headers, known))
            if answer.status == 401:
                self._access.forget(scope)
        if method == "DELETE":
            return answer
        return await self._followed(method, url, headers, answer)

    async def _followed(
        self, method: str, url: str, headers: Mapping[str, str], answer: Answer
    ) -> Answer:
        for _ in range(_MOST_REDIRECTS):
            if answer.status not in _REDIRECTS:
                break
            url = urljoin(url, answer.headers.get("Location", ""))
            if not _is_https(url):
                break
            answer = await self._web.ask(method, url, headers=headers)
        return answer

    async def _address(self) -> str:
        if not self._base:
            host = _HUB_HOST if self.host == HUB else self.host
            plain = self.host in self._insecure
            if not plain and is_loopback(_name(host)):
                plain = await self._web.speaks_http(f"http://{host}/v2/")
            self._base = f"{'http' if plain else 'https'}://{host}"
        return self._base

    def _secure_enough(self, realm: str) -> bool:
        if _is_https(realm):
            return True
        parts = urlsplit(realm)
        is_own = self._base == f"http://{parts.netloc}"
        return parts.scheme == "http" and (is_own or parts.netloc in self._insecure)

    def _refused(self, answer: Answer, image: ImageRef) -> Rejected:
        whom = f"{self.host}, asked for {image.repository},"
        if answer.status in _REDIRECTS:
            return refused(whom, answer, hint="name the registry that it redirects to")
        if answer.status == 403:
            advice = "the agent's login there lacks a permission for this repository"
        else:
            advice = f"there may be no such repository. Otherwise: {self._access.advice}"
        return refused(whom, answer, hint=advice)


def docker_registry(
    host: str, *, env: Mapping[str, str], insecure: frozenset[str] = frozenset()
) -> OciRegistry:
    """Return a registry with the login that the agent's user has made by `docker login`."""
    name = HUB if host in _HUB_NAMES else host

    async def login() -> Login | None:
        found = await asyncio.to_thread(login_for, f"{name}/any", env)
        if found is None:
            return None
        if "identitytoken" in found:
            return Login(name, IDENTITY_TOKEN, found["identitytoken"])
        return Login(name, found["username"], found["password"])

    return OciRegistry(host, login, insecure=insecure)


def _reference(image: ImageRef) -> str:
    return image.digest or image.tag or "latest"


def _with(headers: Mapping[str, str], authorization: str | None) -> Mapping[str, str]:
    return {**headers, "Authorization": authorization} if authorization else headers


def _name(host: str) -> str:
    return urlsplit(f"//{host}").hostname or ""


def _is_https(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc
