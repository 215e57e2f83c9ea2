"""
Signatures of ID tokens, and the seal of what a browser carries between two requests.

The only module that imports what `runyard[oidc]` brings. A token chooses nothing here (T18): the
algorithms are the operator's, the keys are the provider's published ones, and whatever else a
header may point to (`jku`, `x5u`, an embedded key) is not looked at.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken
from joserfc import jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from runyard.domain.errors import Unauthenticated

LONGEST: Final = 64 << 10  # characters of a token; groups are what makes one long
_LEAST_RSA_BITS: Final = 2048
_SAME: Final = {"EdDSA": "Ed25519"}  # two names of one algorithm
_KEY_TYPES: Final[Mapping[str, tuple[str, type[RSAKey] | type[ECKey] | type[OKPKey]]]] = {
    "RS": ("RSA", RSAKey), "PS": ("RSA", RSAKey), "ES": ("EC", ECKey), "Ed": ("OKP", OKPKey),
}  # fmt: skip
# Of a published key only these are read: what it is, and its public half.
_PUBLIC: Final = frozenset({"kty", "n", "e", "crv", "x", "y"})

Jwk = Mapping[str, Any]


class UnknownKey(Unauthenticated):
    """The token's key is not among those that were published when we last looked."""


class _Registry(JWSRegistry):
    """Knows the chosen algorithms alone, by their names."""

    max_header_length = 8 << 10
    max_payload_length = LONGEST

    def get_alg(self, name: str) -> Any:
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError(f"{name} is not allowed")
        return self.algorithms[name]


def verified(token: str, keys: Sequence[Jwk], algorithms: Collection[str]) -> dict[str, Any]:
    """Return the claims of a token that one of these published keys has signed.

    Raises:
        UnknownKey: it names a key that is not among them.
        Unauthenticated: it is no such token.
    """
    if len(token) > LONGEST or not token.isascii() or token.count(".") != 2:
        raise _refused("it is no signed token, or a very long one")
    header = _header(token)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise _refused(f"it is not signed with {' or '.join(sorted(algorithms))}")
    if "crit" in header or "b64" in header:
        raise _refused("its header asks for more than a signature")
    key = _key(_chosen(header.get("kid"), keys, algorithm), algorithm)
    registry = _Registry(algorithms=[algorithm], strict_check_header=False)
    try:
        found = jwt.decode(token, key, algorithms=[algorithm], registry=registry)
    except (JoseError, ValueError) as error:
        raise _refused("its signature is wrong") from error
    return dict(found.claims)


def _header(token: str) -> Mapping[str, Any]:
    try:
        text = base64.urlsafe_b64decode(token.partition(".")[0] + "==")
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refused("its header cannot be read") from error
    if not isinstance(header, dict):
        raise _refused("its header cannot be read")
    return header


def _chosen(kid: object, keys: Sequence[Jwk], algorithm: str) -> Jwk:
    """Return the published key of that id; without an id, the only one that would do."""
    kind, _ = _KEY_TYPES[algorithm[:2]]
    fitting = [key for key in keys if _fits(key, kind, algorithm)]
    if kid is not None:
        fitting = [key for key in fitting if key.get("kid") == kid]
    if not fitting:
        raise UnknownKey("the login provider's answer is not accepted: its key is not published")
    if len(fitting) > 1:
        raise _refused("it does not say which of several keys has signed it")
    return fitting[0]


def _fits(key: Jwk, kind: str, algorithm: str) -> bool:
    made_for = key.get("alg", algorithm)
    is_for_it = _SAME.get(made_for, made_for) == _SAME.get(algorithm, algorithm)
    return key.get("kty") == kind and key.get("use", "sig") == "sig" and is_for_it


def _key(published: Jwk, algorithm: str) -> RSAKey | ECKey | OKPKey:
    _, kind = _KEY_TYPES[algorithm[:2]]
    try:
        if kind is RSAKey and _bits(published["n"]) < _LEAST_RSA_BITS:
            raise _refused(f"the published key has fewer than {_LEAST_RSA_BITS} bits")
        return kind.import_key({name: published[name] for name in _PUBLIC & published.keys()})
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise _refused("the published key cannot be read") from error


def _bits(number: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(number + "==")).bit_length()


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(
        f"the login provider's answer is not accepted: {why}",
        hint="log in again; if it stays, tell an operator of the server",
    )


class Seal:
    """Makes and opens sealed values. Only servers of one database can, and not for long."""

    def __init__(self, secret: str) -> None:
        digest = hashlib.sha256(secret.encode()).digest()
        self._fernet = Fernet(base64.urlsafe_b64encode(digest))

    def close(self, values: Mapping[str, str], now: datetime) -> str:
        text = json.dumps(values).encode()
        return self._fernet.encrypt_at_time(text, int(now.timestamp())).decode()

    def open(self, sealed: str, now: datetime, *, life: int) -> dict[str, str] | None:
        """Return what was sealed at most `life` seconds ago; None if it is not ours, or older."""
        try:
            text = self._fernet.decrypt_at_time(sealed.encode(), life, int(now.timestamp()))
        except (InvalidToken, ValueError):
            return None
        values: dict[str, str] = json.loads(text)
        return values
