"""
Links into a store of our own: addresses that a keyed hash makes good for one thing and a while.

    /storage/<token>/<name>      token = what is granted, and HMAC-SHA256 of that and the name

All servers of a database have the same key, so each honours what another has signed. What a link
grants cannot be stretched: the object, the deed, the end and the name are all under the hash.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Final
from urllib.parse import quote

import msgspec

from runyard.domain.errors import Forbidden

PREFIX: Final = "/storage"
_MAC: Final = 32  # bytes
_LONGEST: Final = 1024  # characters of a token
_WRONG: Final = "this link is not one of ours, or not for this"


class Deed(StrEnum):
    GET = "get"
    PUT = "put"
    PART = "part"


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """What a link is good for. `md5` (hex): the content that may be put; empty is any."""

    deed: Deed
    key: str
    until: int  # seconds since 1970
    md5: str = ""
    upload: str = ""
    part: int = 0


class Signer:
    """Makes tokens and believes its own. `unlock` comes first."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._key = b""
        self._decode = msgspec.msgpack.Decoder(Grant)

    def unlock(self, secret: str) -> None:
        """Take the key that all servers of the database share."""
        self._key = secret.encode()

    def end(self, seconds: int) -> int:
        return int(self._clock().timestamp()) + seconds

    def url(self, grant: Grant, name: str, base: str) -> str:
        """Return the address of a grant; a name is shown as the address's last part."""
        name = name.encode(errors="replace").decode()
        packed = msgspec.msgpack.encode(grant)
        token = base64.urlsafe_b64encode(packed + self._mac(packed, name)).rstrip(b"=").decode()
        return f"{base}{PREFIX}/{token}/{quote(name)}"

    def read(self, token: str, name: str, *deeds: Deed) -> Grant:
        """Return what a token grants.

        Raises:
            Forbidden: it is not one of ours, is for another deed or name, or has expired.
        """
        grant = self._grant(token, name)
        if grant is None or grant.deed not in deeds:
            raise Forbidden(_WRONG, hint="ask for a new one")
        if self._clock().timestamp() >= grant.until:
            raise Forbidden("this link has expired", hint="ask for a new one")
        return grant

    def _grant(self, token: str, name: str) -> Grant | None:
        if len(token) > _LONGEST or not token.isascii():
            return None
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (binascii.Error, ValueError):
            return None
        packed, mac = raw[:-_MAC], raw[-_MAC:]
        # Compared before anything of it is read.
        if not hmac.compare_digest(mac, self._mac(packed, name)):
            return None
        return self._decode.decode(packed)

    def _mac(self, packed: bytes, name: str) -> bytes:
        assert self._key, "the key of links is loaded before the first request"
        # With its length before it, no other grant and name make the same bytes.
        signed = len(packed).to_bytes(4) + packed + name.encode(errors="replace")
        return hmac.digest(self._key, signed, "sha256")
