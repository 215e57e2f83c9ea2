"""
Getting in at a registry: what it asks for in `WWW-Authenticate`, and the header that answers it.

A password goes to the registry itself, or to the token service that the registry names: by https,
or by plain http where an operator has said so of that very host. Tokens are kept until shortly
before they expire, a password for a few minutes.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import urlencode, urlsplit

from runyard.clouds.docker_config import IDENTITY_TOKEN
from runyard.clouds.web import Answer, Web
from runyard.domain.errors import Rejected
from runyard.domain.images import Login

Logins = Callable[[], Awaitable[Login | None]]

_SCHEME: Final = re.compile(r"(?:^|,)\s*(Basic|Bearer)\s", re.IGNORECASE)
_PARAMETER: Final = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,"]+))')
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,65536}")
_LEAST: Final = 60.0  # seconds that a token lives if nothing is said
_MARGIN: Final = 10.0  # seconds before its end at which a token is not used any more
_PASSWORD_KEPT: Final = 300.0
_MOST: Final = 1000  # headers kept: repositories are named by whoever submits jobs


class Access:
    """`secure_enough` tells of an address whether credentials may go there."""

    def __init__(
        self,
        web: Web,
        logins: Logins,
        secure_enough: Callable[[str], bool],
        *,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._web, self._logins, self._secure_enough = web, logins, secure_enough
        self._seconds = seconds
        self._kept: dict[str, tuple[str, float]] = {}

    def header(self, scope: str) -> str | None:
        """Return the header that worked for a scope, as long as it holds."""
        value, until = self._kept.get(scope, ("", 0.0))
        return value if self._seconds() < until else None

    def forget(self, scope: str) -> None:
        self._kept.pop(scope, None)

    async def answer(self, refusal: Answer, scope: str) -> str:
        """Return the header for what a registry asked for.

        Raises:
            Rejected: it asks for what we have not. Unavailable: its token service is away.
        """
        basic, bearer = _challenges(refusal.headers.get("WWW-Authenticate", ""))
        if bearer is not None:
            value, holds = await self._token(bearer, scope)
        elif basic:
            value, holds = self._basic(await self._login()), _PASSWORD_KEPT
        else:
            raise Rejected(f"{self._web.whom} wants a login of a kind that is unknown here")
        while len(self._kept) >= _MOST:
            del self._kept[next(iter(self._kept))]
        self._kept[scope] = (value, self._seconds() + holds)
        return value

    async def _login(self) -> Login:
        login = await self._logins()
        if login is None:
            raise Rejected(
                f"{self._web.whom} wants a login, and the agent has none", hint=self.advice
            )
        if login.username == IDENTITY_TOKEN:
            raise Rejected(
                f"{self._web.whom} wants a user and a password; the login kept for it is a token",
                hint=self.advice,
            )
        return login

    @property
    def advice(self) -> str:
        return (
            f"docker login {self._web.whom}, as the agent's user; for a cloud's registry, "
            "`environment` in the agent's configuration"
        )

    async def _token(self, challenge: Mapping[str, str], scope: str) -> tuple[str, float]:
        """Return a header with a token of the token service, and for how many seconds."""
        realm = challenge.get("realm", "")
        if not self._secure_enough(realm):
            host = urlsplit(realm).netloc.rpartition("@")[2] or "nowhere"
            raise Rejected(
                f"{self._web.whom} sends the agent to {host[:200]!r} for a token, not by https",
                hint="add that host to `insecure_registries` of the agent's builder, if it may be",
            )
        asked = {"scope": challenge.get("scope") or scope}
        if challenge.get("service"):
            asked["service"] = challenge["service"]
        login = await self._logins()
        if login is not None and login.username == IDENTITY_TOKEN:
            form = {
                **asked, "grant_type": "refresh_token", "client_id": "runyard",
                "refresh_token": login.password,
            }  # fmt: skip
            answer = await self._web.ask("POST", realm, form=form)
        else:
            headers = {"Authorization": self._basic(login)} if login else {}
            address = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(asked)}"
            answer = await self._web.ask("GET", address, headers=headers)
        found = answer.json()
        token = found.get("token") or found.get("access_token")
        if answer.status != 200 or not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise Rejected(
                f"{self._web.whom} gives the agent no token, with status {answer.status}: "
                + ("the login is wrong, or has expired" if login else "it has no login there"),
                hint=self.advice,
            )
        lives = found.get("expires_in")
        lives = float(lives) if isinstance(lives, int) else _LEAST
        return f"Bearer {token}", max(lives, _LEAST) - _MARGIN

    @staticmethod
    def _basic(login: Login) -> str:
        pair = f"{login.username}:{login.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


def _challenges(header: str) -> tuple[bool, Mapping[str, str] | None]:
    """Return whether Basic is asked for, and what is said of Bearer, if it is."""
    basic, bearer = False, None
    parts = _SCHEME.split(header[:4096])[1:]
    for scheme, rest in zip(parts[::2], parts[1::2], strict=True):
        if scheme.lower() == "basic":
            basic = True
        else:
            found = _PARAMETER.findall(rest)
            bearer = {name.lower(): quoted or plain for name, quoted, plain in found}
    return basic, bearer
