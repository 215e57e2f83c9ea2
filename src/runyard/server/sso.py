"""
A login with a provider, from the browser's first request to the person that it proves.

    begin  ─▶ cookie (sealed: state, nonce, verifier, where to return) and the provider's address
    finish ◀─ cookie, state and code ─▶ tokens ─▶ checked claims ─▶ who it is

Nothing is kept here in between, so any server of the database can finish what another began.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from runyard.domain import oidc
from runyard.domain.errors import Conflict, Invalid, Unauthenticated
from runyard.domain.groups import parse_rules
from runyard.server import sso_settings
from runyard.server.edge import SERVER, Edge
from runyard.server.id_tokens import Seal, UnknownKey, verified
from runyard.server.oidc import Provider
from runyard.server.settings import ServerSettings
from runyard.services import identities
from runyard.services.call import Call


@dataclass(frozen=True, slots=True)
class Pending:
    """A login that has begun: what its end must match, and where it leads back to.

    `redirect_uri` empty: the code is shown, to be pasted. `client_state` is handed back as it is.
    """

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    challenge: str
    redirect_uri: str
    client_state: str


class Sso:
    """Logins with the provider of the settings.

    Raises (when made):
        Invalid: the settings do not fit together; with all that is wrong.
    """

    def __init__(self, settings: ServerSettings, edge: Edge) -> None:
        sso_settings.check(settings)
        self._settings, self._edge = settings, edge
        self._seal: Seal | None = None
        self.callback = settings.url + sso_settings.CALLBACK
        self.is_secure = settings.url.startswith("https:")
        self.provider = Provider(
            settings.oidc_issuer,
            settings.oidc_client_id,
            lambda: sso_settings.client_secret(settings),
        )
        self.rules = identities.Provider(
            settings.oidc_issuer,
            parse_rules(settings.oidc_allowed_groups, settings.oidc_teams),
            settings.oidc_link_by_email,
        )

    async def begin(self, challenge: str, redirect_uri: str, client_state: str) -> tuple[str, str]:
        """Return the address at which the person logs in, and the cookie to remember it by.

        Raises:
            Invalid: a login may not lead back there. Unavailable, RunyardError: the provider.
        """
        if not oidc.is_challenge(challenge):
            raise Invalid("challenge: not what PKCE's method S256 makes of a verifier")
        if redirect_uri:
            oidc.check_return(redirect_uri, self._settings.url)
        pending = Pending(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(32),
            challenge=challenge,
            redirect_uri=redirect_uri,
            client_state=client_state,
        )
        scopes = " ".join(dict.fromkeys(("openid", *self._settings.oidc_scopes)))
        address = await self.provider.address(
            scope=scopes,
            redirect_uri=self.callback,
            state=pending.state,
            nonce=pending.nonce,
            code_challenge=oidc.challenge_of(pending.verifier),
            code_challenge_method="S256",
        )
        return address, (await self._sealer()).close(asdict(pending), self._edge.clock())

    async def pending(self, cookie: str | None, state: str) -> Pending:
        """Return the login that this browser began.

        Raises:
            Unauthenticated: it began none, or another; or long ago.
        """
        sealer, now = await self._sealer(), self._edge.clock()
        found = sealer.open(cookie, now, life=oidc.LOGIN_LIFE) if cookie else None
        if found is None:
            raise Unauthenticated(
                "this browser has begun no login in the last "
                f"{oidc.LOGIN_LIFE // 60} minutes, or does not keep cookies",
                hint="begin again: runyard login --sso",
            )
        pending = Pending(**found)
        if not state.isascii() or not hmac.compare_digest(state, pending.state):
            raise Unauthenticated(
                "this answer belongs to another login than the one that this browser began last",
                hint="begin again: runyard login --sso",
            )
        return pending

    async def person(self, pending: Pending, code: str, issuer: str | None) -> oidc.Person:
        """Return whom the provider's code stands for.

        Raises:
            Unauthenticated: what it stands for is not believed. Forbidden: it says too little.
            Unavailable, RunyardError: the provider could not be used.
        """
        if issuer is not None and issuer != self.provider.issuer:
            raise Unauthenticated("this answer is from another login provider")
        tokens = await self.provider.tokens(code, pending.verifier, self.callback)
        claims = await self._verified(tokens.id_token)
        now = self._edge.clock()
        oidc.check_claims(claims, self._expected(pending, now))
        settings = self._settings
        wanted = (settings.oidc_user_claim, settings.oidc_groups_claim)
        if any(oidc.claim(claims, name) is None for name in wanted):
            more = await self.provider.userinfo(tokens.access_token, oidc.subject_of(claims))
            if "email" in claims:  # an address and its verification are from one source
                more = {name: said for name, said in more.items() if name != "email_verified"}
            claims = {**more, **claims}
        return oidc.person(
            claims, user_claim=settings.oidc_user_claim, groups_claim=settings.oidc_groups_claim
        )

    def _expected(self, pending: Pending, now: datetime) -> oidc.Expected:
        return oidc.Expected(
            issuer=self.provider.issuer,
            client_id=self.provider.client_id,
            nonce=pending.nonce,
            now=int(now.timestamp()),
        )

    async def _verified(self, token: str) -> Mapping[str, Any]:
        """Check the signature; keys that the provider has exchanged meanwhile are fetched."""
        algorithms = self._settings.oidc_algorithms
        try:
            return verified(token, await self.provider.keys(), algorithms)
        except UnknownKey:
            return verified(token, await self.provider.keys(unknown=True), algorithms)

    async def _sealer(self) -> Seal:
        if self._seal is None:
            try:
                secret = await self._edge.write(SERVER, _seal_key)
            except Conflict:  # another server made it at this moment
                secret = await self._edge.write(SERVER, _seal_key)
            self._seal = Seal(secret)
        return self._seal


def _seal_key(call: Call) -> str:
    return identities.server_key(call, "login-state")
