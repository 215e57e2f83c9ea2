"""
A login provider, as the server speaks with it: discovery, published keys, codes for tokens.

The provider is the operator's choice, but what it answers is not trusted further than needed:
only https (beside loopback), no redirect is followed, an answer has a size and a time, and it is
asked again about its keys at most once in a while, whatever tokens come in.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx2
import structlog

from runyard import __version__
from runyard.domain.errors import Invalid, RunyardError, Unauthenticated, Unavailable
from runyard.domain.oidc import check_address, is_loopback

V = TypeVar("V")

log = structlog.get_logger(__name__)

_ANSWER_WITHIN: Final = 10.0  # seconds, the whole of it
_LARGEST: Final = 1 << 20  # bytes of an answer
_FRESH: Final = 3600.0  # seconds for which discovery and keys are believed
_AGAIN: Final = 60.0  # seconds between two looks for a key that was not there
_AFTER_FAILURE: Final = 5.0
_AT_ONCE: Final = 16  # requests to the provider
_MOST_KEYS: Final = 100
_WORD: Final = re.compile(r"[a-z_]{1,40}")
_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the provider says of itself."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    by_post: bool  # whether the secret goes into the body; by HTTP Basic if not


@dataclass(frozen=True, slots=True)
class Tokens:
    id_token: str = field(repr=False)
    access_token: str = field(repr=False)


class Provider:
    """One provider. `secret` is called for each request, so that the file may be renewed."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        secret: Callable[[], str],
        *,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer, self.client_id = issuer, client_id
        self._secret = secret
        self._near = is_loopback(urlsplit(issuer).hostname or "")
        self._metadata: _Kept[Metadata] = _Kept(seconds)
        self._keys: _Kept[Sequence[Mapping[str, Any]]] = _Kept(seconds)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._tls: ssl.SSLContext | None = None

    async def metadata(self) -> Metadata:
        """Return what discovery says.

        Raises:
            Unavailable: it could not be asked. RunyardError: it is not the provider we were told.
        """
        return await self._metadata.get(self._discover, _FRESH)

    async def keys(self, *, unknown: bool = False) -> Sequence[Mapping[str, Any]]:
        """Return the published keys; `unknown` looks again, if we did not just now."""
        return await self._keys.get(self._fetch_keys, _AGAIN if unknown else _FRESH)

    async def address(self, **query: str) -> str:
        """Return where a browser begins to log in."""
        start = (await self.metadata()).authorization_endpoint
        asked = {"response_type": "code", "client_id": self.client_id, **query}
        return f"{start}{'&' if urlsplit(start).query else '?'}{urlencode(asked)}"

    async def tokens(self, code: str, verifier: str, redirect_uri: str) -> Tokens:
        """Give the provider a code, and return the tokens for it.

        Raises:
            Unauthenticated: it does not know the code. Unavailable, RunyardError.
        """
        metadata = await self.metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": redirect_uri,
        }
        headers = {}
        if metadata.by_post:
            form |= {"client_id": self.client_id, "client_secret": self._secret()}
        else:
            pair = f"{quote_plus(self.client_id)}:{quote_plus(self._secret())}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        status, answer = await self._ask("POST", metadata.token_endpoint, headers, form)
        id_token, access_token = answer.get("id_token"), answer.get("access_token")
        if status != 200:
            raise _no_tokens(status, answer)
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise RunyardError(
                "the login provider gave no ID token", hint="RUNYARD_OIDC_SCOPES must have openid"
            )
        return Tokens(id_token, access_token)

    async def userinfo(self, access_token: str, subject: str) -> Mapping[str, Any]:
        """Return more claims of a person; nothing if the provider has no more, or of another.

        Raises:
            Unavailable: it could not be asked.
        """
        address = (await self.metadata()).userinfo_endpoint
        if address is None:
            return {}
        headers = {"Authorization": f"Bearer {access_token}"}
        status, answer = await self._ask("GET", address, headers)
        # Only the ID token is signed: what is said of somebody else counts for nothing.
        return answer if status == 200 and answer.get("sub") == subject else {}

    async def _discover(self) -> Metadata:
        url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
        status, found = await self._ask("GET", url)
        if status != 200:
            raise _unavailable(f"its discovery document answers {status}")
        if found.get("issuer") != self.issuer:
            raise RunyardError(
                f"the login provider calls itself {str(found.get('issuer'))[:200]!r}",
                hint="RUNYARD_OIDC_ISSUER must be exactly that, to the last slash",
            )
        for name in _ENDPOINTS:
            self._check(name, found.get(name))
        userinfo = found.get("userinfo_endpoint")
        if userinfo is not None:
            self._check("userinfo_endpoint", userinfo)
        ways = found.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        return Metadata(
            authorization_endpoint=found["authorization_endpoint"],
            token_endpoint=found["token_endpoint"],
            jwks_uri=found["jwks_uri"],
            userinfo_endpoint=userinfo,
            by_post="client_secret_basic" not in ways,
        )

    def _check(self, name: str, url: object) -> None:
        try:
            check_address(url if isinstance(url, str) else "", what=f"its {name}", near=self._near)
        except Invalid as error:
            raise RunyardError(f"the login provider cannot be used: {error.message}") from error

    async def _fetch_keys(self) -> Sequence[Mapping[str, Any]]:
        status, found = await self._ask("GET", (await self.metadata()).jwks_uri)
        keys = found.get("keys")
        if status != 200 or not isinstance(keys, list):
            raise _unavailable(f"it does not publish its keys; the answer is {status}")
        return [key for key in keys[:_MOST_KEYS] if isinstance(key, dict)]

    async def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, Any]]:
        """Return the status and the JSON object of an answer; empty if it is none."""
        try:
            async with asyncio.timeout(_ANSWER_WITHIN), self._turns:
                status, body = await self._exchange(method, url, headers or {}, form)
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, ssl.SSLError) as error:
            # The error's text may quote the request; its kind says enough.
            log.warning("the login provider cannot be reached", error=type(error).__name__)
            raise _unavailable("it does not answer") from error
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = {}
        return status, answer if isinstance(answer, dict) else {}

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> tuple[int, bytes]:
        if self._tls is None:  # reads files; once
            self._tls = await asyncio.to_thread(httpx2.create_ssl_context)
        said = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # or a small answer could become a large one here
            "User-Agent": f"runyard/{__version__}",
            **headers,
        }
        async with (
            httpx2.AsyncClient(
                verify=self._tls, follow_redirects=False, trust_env=not self._near
            ) as http,
            http.stream(method, url, headers=said, data=form) as response,
        ):
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > _LARGEST:
                    raise _unavailable(f"its answer is larger than {_LARGEST} bytes")
            return response.status_code, bytes(body)


class _Kept(Generic[V]):
    """A value that one at a time fetches, and that is not asked for again right after a failure."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds, self._lock = seconds, asyncio.Lock()
        self._value: tuple[V, float] | None = None
        self._failure: tuple[RunyardError, float] | None = None

    async def get(self, fetch: Callable[[], Awaitable[V]], younger: float) -> V:
        """Return the value if it is younger than so many seconds, a new one otherwise."""
        async with self._lock:
            now = self._seconds()
            if self._value is not None and now - self._value[1] < younger:
                return self._value[0]
            if self._failure is not None and now - self._failure[1] < _AFTER_FAILURE:
                raise self._failure[0].with_traceback(None)
            try:
                value = await fetch()
            except RunyardError as error:
                self._failure = (error, self._seconds())
                raise
            self._value = (value, self._seconds())
            return value


def _no_tokens(status: int, answer: Mapping[str, Any]) -> RunyardError:
    """Return what to say of an answer of the token endpoint; of its text only a plain word."""
    word = str(answer.get("error"))
    word = word if _WORD.fullmatch(word) else f"status {status}"
    log.warning("the login provider gave no tokens", error=word)
    if word == "invalid_grant":
        return Unauthenticated(
            "the login provider does not accept its code any more", hint="log in again"
        )
    if status >= 500 or status == 429:
        return _unavailable(f"it answers {word}")
    return RunyardError(
        f"the login provider refuses this server: {word}",
        hint="an operator should look at RUNYARD_OIDC_CLIENT_ID and the client's secret",
    )


def _unavailable(why: str) -> Unavailable:
    return Unavailable(f"the login provider cannot be asked: {why}", hint="try again in a moment")
