"""
OpenID Connect without its messages: what an ID token must say before it is believed, whom it
describes, and where a login may lead back to.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from runyard.domain.errors import Forbidden, Invalid, Unauthenticated

LEEWAY: Final = 60  # seconds that two clocks may be apart
CODE_LIFE: Final = 180  # seconds in which a program fetches the key of a login
LOGIN_LIFE: Final = 600  # seconds that a person may take to log in
_LONGEST_SUBJECT: Final = 255  # as the specification has it
_LONGEST_NAME: Final = 63
_MOST_GROUPS: Final = 5000
_EMAIL: Final = re.compile(r"[^\s@<>\"',;]{1,64}@[^\s@<>\"',;]{1,254}")
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")
# Told by its letters, not by a parser: browsers and parsers disagree about odd addresses.
_LOOPBACK_URL: Final = re.compile(
    r"http://(?:127\.0\.0\.1|\[::1\]):([1-9][0-9]{0,4})(?:/[A-Za-z0-9_-]{1,32}){0,4}"
)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the ID token of one login has to say. `now` is in seconds since the epoch."""

    issuer: str
    client_id: str
    nonce: str
    now: int


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the provider describes. `email` is there only if the provider has verified it."""

    subject: str
    name: str
    email: str | None
    groups: frozenset[str]


def check_claims(claims: Mapping[str, Any], expected: Expected) -> None:
    """Pass if the token was made by the provider, for us, for this login, and now (T18).

    Raises:
        Unauthenticated: it was not; the message says which claim is wrong.
    """
    if claims.get("iss") != expected.issuer:
        raise _unbelievable("iss", "is not the provider that was asked")
    _check_audience(claims, expected.client_id)
    if _seconds(claims, "exp") <= expected.now - LEEWAY:
        raise _unbelievable("exp", "the token has expired; compare the clocks of both servers")
    for name in ("iat", "nbf"):
        if (name == "iat" or name in claims) and _seconds(claims, name) > expected.now + LEEWAY:
            raise _unbelievable(name, "lies in the future; compare the clocks of both servers")
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not nonce.isascii():
        raise _unbelievable("nonce", "is missing")
    if not hmac.compare_digest(nonce, expected.nonce):
        raise _unbelievable("nonce", "is not the one of this login")
    subject_of(claims)


def _check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    audience = claims.get("aud")
    every = audience if isinstance(audience, list) else [audience]
    if client_id not in every:
        raise _unbelievable("aud", "the token is for another program")
    if len(every) > 1 and "azp" not in claims:
        raise _unbelievable("azp", "must say for which of several programs the token is")
    if "azp" in claims and claims["azp"] != client_id:
        raise _unbelievable("azp", "the token was made for another program")


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _unbelievable(name, "is missing or no time")
    return value


def subject_of(claims: Mapping[str, Any]) -> str:
    """Return the provider's lasting name of the person.

    Raises:
        Unauthenticated: there is none.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT:
        raise _unbelievable("sub", "is missing, or longer than a subject may be")
    if not subject.isprintable():
        raise _unbelievable("sub", "has characters that cannot be shown")
    return subject


def _unbelievable(claim: str, why: str) -> Unauthenticated:
    return Unauthenticated(
        f"the login provider's answer is not accepted: {claim}: {why}",
        hint="log in again; if it stays, tell an operator of the server",
    )


# -- whom it describes -------------------------------------------------------------------


def person(claims: Mapping[str, Any], *, user_claim: str, groups_claim: str) -> Person:
    """Read the checked claims.

    Raises:
        Forbidden: they do not say who it is, or not all of the groups.
    """
    subject = subject_of(claims)
    called = claim(claims, user_claim)
    if not isinstance(called, str) or not called.strip():
        raise Forbidden(
            f"the login provider does not say the claim {user_claim!r}, which names the user",
            hint="an operator can choose another one: RUNYARD_OIDC_USER_CLAIM, "
            "or ask for more: RUNYARD_OIDC_SCOPES",
        )
    return Person(subject, user_name(called), _email(claims), _groups(claims, groups_claim))


def claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, or by the dotted path to it; None if there is none."""
    if name in claims:  # names may be addresses, with dots in them
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _groups(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    found = claim(claims, name)
    elsewhere = claims.get("_claim_names")
    if found is None and isinstance(elsewhere, Mapping) and name in elsewhere:
        raise Forbidden(
            "the login provider has more groups for this person than it puts into a token",
            hint="have it send only the groups that are assigned to this application",
        )
    listed = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    if len(listed) > _MOST_GROUPS:
        raise Forbidden(f"the login provider names more than {_MOST_GROUPS} groups")
    return frozenset(group for group in listed if isinstance(group, str) and group)


def _email(claims: Mapping[str, Any]) -> str | None:
    email = claims.get("email")
    if claims.get("email_verified") is not True or not isinstance(email, str):
        return None
    return email.lower() if email.isprintable() and _EMAIL.fullmatch(email) else None


def user_name(called: str) -> str:
    """Turn what a provider calls somebody into a name by our rules; of an address, its first part.

    `Ada.Lovelace@example.org` becomes `ada-lovelace`.
    """
    plain = unicodedata.normalize("NFKD", called.strip().partition("@")[0])
    plain = plain.encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9_-]+", "-", plain).strip("-_")
    return name[:_LONGEST_NAME].rstrip("-_") or "user"


def numbered(name: str, number: int) -> str:
    """Return the name for the `number`th person who would have it; the first has it plain."""
    if number == 1:
        return name
    ending = f"-{number}"
    return name[: _LONGEST_NAME - len(ending)] + ending


# -- where a login leads back to -----------------------------------------------------------


def check_return(uri: str, own_url: str) -> None:
    """Pass if a login may end there: at a program of the person's machine, or the server's pages.

    Raises:
        Invalid: anywhere else; a login's code would be handed to a stranger.
    """
    if uri == f"{own_url}/login":
        return
    found = _LOOPBACK_URL.fullmatch(uri)
    if found is None or int(found[1]) > 65535:
        raise Invalid(
            "redirect_uri: only http://127.0.0.1:PORT/PATH, http://[::1]:PORT/PATH "
            "and the server's own /login are allowed"
        )


def challenge_of(verifier: str) -> str:
    """Return what PKCE's method S256 makes of a verifier."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def is_challenge(text: str) -> bool:
    return _CHALLENGE.fullmatch(text) is not None


def meets(verifier: str, challenge: str) -> bool:
    """Tell whether a verifier is the one that a challenge was made of."""
    if not _VERIFIER.fullmatch(verifier):
        return False
    return hmac.compare_digest(challenge_of(verifier), challenge)


def check_address(url: str, *, what: str, near: bool) -> None:
    """Pass if the server may speak to this address of a provider; `near` allows this machine.

    There is no way around https: its certificate is what keeps a name from leading to a machine
    of the inner network, which has none for that name (T16).

    Raises:
        Invalid: it may not.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if not host or parts.username or parts.password or parts.fragment or not url.isprintable():
        raise Invalid(f"{what} is no address of a server")
    local = is_loopback(host)
    if parts.scheme != "https" and not (parts.scheme == "http" and near and local):
        raise Invalid(f"{what} is no https:// address")
    if (local and not near) or _is_link_local(host):
        raise Invalid(f"{what} leads to this machine or its own network")


def is_loopback(host: str) -> bool:
    """Tell whether a host, by its name or address alone, is this machine."""
    if host.lower() in ("localhost", "localhost."):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_link_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_link_local  # where clouds tell secrets to anybody
    except ValueError:
        return False
