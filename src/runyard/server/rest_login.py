"""
Routes with which people log in. They are public: who comes here has no key yet.

    program ─▶ browser ─▶ /login/oidc ─▶ provider ─▶ /login/oidc/callback ─▶ program: a code
    program ─▶ /login/exchange: code and verifier ─▶ a key
"""

from __future__ import annotations

import base64
import hashlib
import html
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlencode

import structlog
from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from runyard.domain.errors import (
    Conflict,
    Forbidden,
    NotFound,
    RunyardError,
    Unauthenticated,
    Unavailable,
)
from runyard.domain.oidc import CODE_LIFE, LOGIN_LIFE, Person
from runyard.server.auth import public
from runyard.server.edge import SERVER, Edge
from runyard.server.settings import ServerSettings
from runyard.server.sso_settings import CALLBACK, is_wanted
from runyard.services import identities
from runyard.services.call import Call
from runyard.wire import rest_login as wire

if TYPE_CHECKING:
    from runyard.server.sso import Pending, Sso

log = structlog.get_logger(__name__)

_LONGEST: Final = 4096
_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem}"
    "code{display:block;padding:1rem;border:1px solid;overflow-wrap:anywhere;user-select:all}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_CSP: Final = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'"

Text = Annotated[str, Query(max_length=_LONGEST)]


def add(app: FastAPI, edge: Edge, settings: ServerSettings) -> None:
    """Add the routes.

    Raises:
        Invalid: the settings of the provider do not fit together.
        Unavailable: the libraries for it are not installed.
    """
    login = _Login(_sso(settings, edge) if is_wanted(settings) else None, edge, settings)

    @app.get("/api/v1/login/methods", tags=["login"])
    @public
    async def login_methods() -> wire.LoginMethodsOut:
        """Tell how people log in here: always with a key, and with a provider if one is set."""
        return login.methods()

    @app.get("/api/v1/login/oidc", tags=["login"], status_code=303, response_class=RedirectResponse)
    @public
    async def begin_login(
        challenge: Annotated[
            str, Query(max_length=64, description="S256 of a verifier that the program keeps.")
        ] = "",
        redirect_uri: Annotated[
            str,
            Query(
                max_length=200,
                description="Where the code goes: `http://127.0.0.1:PORT/PATH`, "
                "`http://[::1]:PORT/PATH`, or the server's `/login`. Empty: it is shown.",
            ),
        ] = "",
        state: Annotated[
            str, Query(max_length=128, description="Handed back with the code, as it is.")
        ] = "",
    ) -> Response:
        """Send a browser to the provider. Public; it ends at `redirect_uri` with a code."""
        return await login.begin(challenge, redirect_uri, state)

    @app.get(CALLBACK, tags=["login"], status_code=303, response_class=RedirectResponse)
    @public
    async def finish_login(
        request: Request,
        state: Text = "",
        code: Text = "",
        error: Text = "",
        iss: Text | None = None,
    ) -> Response:
        """Take a browser back from the provider. Public; for the provider's answers alone."""
        cookie = request.cookies.get(login.cookie)
        return await login.finish(cookie, state=state, code=code, error=error, issuer=iss)

    @app.post("/api/v1/login/exchange", tags=["login"], status_code=201)
    @public
    async def exchange_code(body: wire.ExchangeIn) -> wire.SessionOut:
        """Exchange the code of a login for a key. Public; a code counts once, for minutes."""
        return await login.exchange(body)


class _Login:
    """What the routes do; `sso` is None where no provider is set."""

    def __init__(self, sso: Sso | None, edge: Edge, settings: ServerSettings) -> None:
        self._sso, self._edge, self._settings = sso, edge, settings
        is_secure = sso is not None and sso.is_secure
        # With this prefix browsers take the cookie from this very host alone, and over TLS.
        self.cookie = "__Host-runyard-login" if is_secure else "runyard-login"
        self._is_secure = is_secure

    def methods(self) -> wire.LoginMethodsOut:
        if self._sso is None:
            return wire.LoginMethodsOut(sso=None)
        url = f"{self._settings.url}/api/v1/login/oidc"
        return wire.LoginMethodsOut(sso=wire.SsoOut(text=self._settings.oidc_button, url=url))

    async def begin(self, challenge: str, redirect_uri: str, client_state: str) -> Response:
        address, sealed = await self._wanted().begin(challenge, redirect_uri, client_state)
        answer = RedirectResponse(address, 303)
        answer.set_cookie(
            self.cookie, sealed, max_age=LOGIN_LIFE, path="/", secure=self._is_secure,
            httponly=True, samesite="lax",
        )  # fmt: skip
        return answer

    async def finish(
        self, cookie: str | None, *, state: str, code: str, error: str, issuer: str | None
    ) -> Response:
        """Answer the browser with a redirect to the program, or with a page where there is none."""
        sso = self._wanted()
        try:
            pending = await sso.pending(cookie, state)
        except Unauthenticated as wrong:
            return _page("Not logged in", wrong.message, wrong.hint, status=wrong.status)
        try:
            if error or not code:
                raise _declined(error)
            person = await sso.person(pending, code, issuer)
            ended = await self._signed_in(sso, person, pending)
        except RunyardError as wrong:
            log.warning("a login failed", error=wrong.message)
            ended = _failed(pending, wrong)
        ended.delete_cookie(
            self.cookie, path="/", secure=self._is_secure, httponly=True, samesite="lax"
        )
        return ended

    async def _signed_in(self, sso: Sso, person: Person, pending: Pending) -> Response:
        def sign_in(call: Call) -> tuple[identities.SignedIn, str]:
            who = identities.sign_in(call, sso.rules, person)
            if who.refused:
                return who, ""
            return who, identities.hand_out(call, who.user_id, pending.challenge)

        try:
            who, code = await self._edge.write(SERVER, sign_in)
        except Conflict:  # two first logins at the same moment: now the other's is there
            who, code = await self._edge.write(SERVER, sign_in)
        if who.refused:
            raise Forbidden(f"{who.name}: {who.refused}", hint="ask an admin of the server")
        log.info("logged in", user=who.name)
        if not pending.redirect_uri:
            return _code_page(who.name, code)
        return _back(pending, code=code)

    async def exchange(self, body: wire.ExchangeIn) -> wire.SessionOut:
        self._wanted()
        # Looked for first: whoever comes with nothing must not keep others from writing (T20).
        if not await self._edge.read(SERVER, lambda call: identities.knows(call, body.code)):
            raise identities.refused_code()
        hours = self._settings.oidc_session_hours
        made = await self._edge.write(
            SERVER, lambda call: identities.redeem(call, body.code, body.verifier, hours=hours)
        )
        if made is None:  # said after the commit: the code is used up all the same
            raise identities.refused_code()
        return wire.SessionOut(user=made.name, key=made.secret, expires_at=made.expires_at)

    def _wanted(self) -> Sso:
        if self._sso is None:
            raise NotFound(
                "nobody logs in with a provider here", hint="log in with a key: runyard login"
            )
        return self._sso


def _sso(settings: ServerSettings, edge: Edge) -> Sso:
    try:
        from runyard.server.sso import Sso
    except ImportError as error:
        raise Unavailable(
            f"logins with a provider need a library that is not installed: {error.name}",
            hint="pip install 'runyard[oidc]'",
        ) from error
    return Sso(settings, edge)


def _declined(error: str) -> RunyardError:
    word = error if error.isascii() and error.isidentifier() else "no reason given"
    return Unauthenticated(f"the login provider did not let you in: {word[:40]}")


def _failed(pending: Pending, wrong: RunyardError) -> Response:
    if pending.redirect_uri:
        said = f"{wrong.message} ({wrong.hint})" if wrong.hint else wrong.message
        return _back(pending, error="login_failed", error_description=said[:500])
    return _page("Not logged in", wrong.message, wrong.hint, status=wrong.status)


def _back(pending: Pending, **said: str) -> Response:
    query = urlencode({**said, "state": pending.client_state})
    return RedirectResponse(f"{pending.redirect_uri}?{query}", 303)


def _code_page(name: str, code: str) -> Response:
    return _page(
        f"Logged in as {name}",
        f"Paste this code where you typed runyard login, within {CODE_LIFE // 60} minutes:",
        "It is for you alone. Whoever asks you for it, or sent you here, wants to act as you.",
        code=code,
    )


def _page(title: str, text: str, more: str, *, code: str = "", status: int = 200) -> Response:
    said = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(text)}</p>"]
    if code:
        said.append(f"<code>{html.escape(code)}</code>")
    if more:
        said.append(f"<p>{html.escape(more)}</p>")
    return HTMLResponse(
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>Runyard: {html.escape(title)}</title><style>{_STYLE}</style>"
        f"{''.join(said)}</html>",
        status,
        {"Content-Security-Policy": _CSP},
    )
