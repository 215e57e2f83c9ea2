"""Whether people log in with a provider, and whether what the operator has set fits together."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from runyard.domain import oidc
from runyard.domain.errors import Invalid, RunyardError, Violation
from runyard.domain.groups import parse_rules
from runyard.server.settings import ServerSettings

CALLBACK: Final = "/api/v1/login/oidc/callback"  # what the provider has to know of the server


def client_secret(settings: ServerSettings) -> str:
    """Return the secret that proves to the provider that it is this server.

    Raises:
        RunyardError: the file cannot be read, or is empty.
    """
    if settings.oidc_client_secret_file is None:
        return settings.oidc_client_secret.get_secret_value()
    path = settings.oidc_client_secret_file.expanduser()
    try:
        secret = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RunyardError(
            "the client's secret for the login provider cannot be read",
            hint=f"look at the file {path}",
        ) from error
    if not secret:
        raise RunyardError("the client's secret for the login provider is empty",
                           hint=f"look at the file {path}")  # fmt: skip
    return secret


def is_wanted(settings: ServerSettings) -> bool:
    """Tell whether logins with a provider are configured.

    Raises:
        Invalid: everything but the provider is.
    """
    if settings.oidc_issuer:
        return True
    given = ("oidc_client_id", "oidc_allowed_groups", "oidc_teams")
    if named := [name for name in given if getattr(settings, name)]:
        raise Invalid(f"{named[0]} is set, and oidc_issuer is not", hint="set RUNYARD_OIDC_ISSUER")
    return False


def check(settings: ServerSettings) -> None:
    """Raises: Invalid: with a violation for each mistake."""
    wrong = [
        Violation(name, message)
        for name, message in (
            ("oidc_issuer", _wrong_issuer(settings.oidc_issuer)),
            ("oidc_client_id", "" if settings.oidc_client_id else "is not set"),
            ("oidc_client_secret_file", _wrong_secret(settings)),
            ("public_url", _wrong_url(settings)),
            ("oidc_allowed_groups", "" if settings.oidc_allowed_groups else
             "is not set: it says who may log in; * lets in everybody whom the provider knows"),
        )
        if message
    ]  # fmt: skip
    try:
        parse_rules(settings.oidc_allowed_groups, settings.oidc_teams)
    except Invalid as error:
        wrong += error.violations
    if wrong:
        raise Invalid(
            "the settings of the login provider are not valid: " + "; ".join(map(str, wrong)),
            hint="see the docs, Single sign-on",
            violations=wrong,
        )


def _wrong_issuer(issuer: str) -> str:
    try:
        oidc.check_address(issuer, what="it", near=True)
    except Invalid as error:
        return error.message
    return "has a query" if urlsplit(issuer).query else ""


def _wrong_secret(settings: ServerSettings) -> str:
    try:
        return "" if client_secret(settings) else "is not set, nor is oidc_client_secret"
    except RunyardError as error:
        return error.message


def _wrong_url(settings: ServerSettings) -> str:
    """Cookies and codes travel to this address: people must get there, and nobody read along."""
    if not settings.public_url:
        return "" if settings.is_loopback else "is not set: browsers must find the way back"
    parts = urlsplit(settings.public_url)
    if parts.scheme == "https" or (
        parts.scheme == "http" and oidc.is_loopback(parts.hostname or "")
    ):
        return "" if not parts.path.strip("/") else "has a path"
    return "must be https:// for logins with a provider"
