"""`runyard login --sso`: the conversation with the person and the browser."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping

import typer

from runyard.cli.edge import WrongUsage
from runyard.cli.output import say
from runyard.client import credentials
from runyard.client.sso import Attempt, Listener, LoginApi, redeem
from runyard.wire.rest_login import SessionOut


def login_with_provider(url: str | None, *, browser: bool) -> None:
    """Have the server's login provider say who this is, and remember the key.

    Raises:
        NotFound: the server has no provider. Unauthenticated: it did not let the person in.
    """
    address = credentials.clean_url(url) if url else credentials.server_address(os.environ)
    with LoginApi(address) as api:
        start = api.start_url()
        session = _by_browser(api, start) if browser else _by_hand(api, start)
    found = credentials.Credentials(address, session.key, "sso")
    path = credentials.save(os.environ, found)
    until = session.expires_at.astimezone().strftime("%Y-%m-%d %H:%M")
    say(f"Logged in to {address} as {session.user}, until {until}. The key is in {path}.")
    if os.environ.get("RUNYARD_API_KEY"):
        say("RUNYARD_API_KEY is set: other commands go on using that key.")


def _by_browser(api: LoginApi, start: str) -> SessionOut:
    attempt = Attempt()
    with Listener(attempt) as listener:
        page = attempt.address(start, listener.redirect_uri)
        opened = _shows_pages(os.environ) and webbrowser.open(page)
        say(
            f"{'A browser opens' if opened else 'Open in a browser on this machine'}:\n\n    {page}"
        )
        say("\nWaiting for the login there. No browser here? Ctrl-C, then add --no-browser.")
        code = listener.wait()
    return redeem(api, code, attempt)


def _by_hand(api: LoginApi, start: str) -> SessionOut:
    attempt = Attempt()
    say(f"Open in a browser, on any machine:\n\n    {attempt.address(start)}\n")
    if sys.stdin.isatty():
        code = str(typer.prompt("Code from its last page", hide_input=True, err=True))
    else:
        code = sys.stdin.readline()
    if not code.strip():
        raise WrongUsage("no code was given", hint="runyard login --sso --no-browser URL")
    return redeem(api, code, attempt)


def _shows_pages(environ: Mapping[str, str]) -> bool:
    """Tell whether there is a screen: a browser for text would take over the terminal."""
    if not sys.platform.startswith("linux"):
        return True
    return any(environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))
