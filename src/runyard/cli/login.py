"""`runyard login`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from runyard.cli.tree import examples, leaf

app = leaf()


@app.command(
    **examples(
        "runyard login https://runyard.example.org",
        "runyard login https://runyard.example.org < key.txt",
        "runyard login --sso https://runyard.example.org",
    )
)
def login(
    url: Annotated[
        str | None,
        typer.Argument(
            envvar="RUNYARD_BASE_URL",
            help="Address of the server; default: the one of this machine.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            envvar="RUNYARD_API_KEY",
            help="Your API key. Others can see it in the list of processes: better leave it "
            "out, and be asked for it or pipe it in.",
        ),
    ] = None,
    sso: Annotated[
        bool,
        typer.Option("--sso", help="Log in with the server's login provider, in a browser."),
    ] = False,
    no_browser: Annotated[
        bool,
        typer.Option(
            "--no-browser",
            help="With --sso: print the address, to open on any machine, and ask for the code "
            "that its last page shows.",
        ),
    ] = False,
) -> None:
    """Remember a server and your key for it, and make it the one that is used.

    The key is tried first, then written to a file that only you may read. With --sso the
    server's login provider says who you are, and the key is good for some hours.
    """
    if sso or no_browser:
        from runyard.cli.sso import login_with_provider

        login_with_provider(url, browser=not no_browser)
        return
    from runyard.cli.output import say
    from runyard.client import credentials
    from runyard.client.api import Api
    from runyard.domain.errors import Unauthenticated

    if url is None:
        found = credentials.find(os.environ, key=key)
    else:
        address = credentials.clean_url(url)
        found = credentials.Credentials(address, key or _ask(address), "typed")
    with Api(found.base_url, found.key) as api:
        try:
            me = api.me()
        except Unauthenticated as error:
            raise Unauthenticated(
                f"{found.base_url} does not accept this key",
                hint="ask an admin for one: runyard key create --user NAME",
            ) from error
    path = credentials.save(os.environ, found)
    say(f"Logged in to {found.base_url} as {me.name}. The key is in {path}.")


def _ask(url: str) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(f"API key for {url}", hide_input=True, err=True)).strip()
    key = sys.stdin.readline().strip()
    if not key:
        from runyard.cli.edge import WrongUsage

        raise WrongUsage("no key was given", hint=f"runyard login {url} < FILE_WITH_KEY")
    return key
