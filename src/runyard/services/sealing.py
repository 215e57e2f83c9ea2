"""
What services know of encryption: a sealer, and what a sealed value is bound to.

The sealer comes with the call, as clock and ids do; how it keeps its keys is the edge's affair.
A value is sealed together with words on what it is for, so that a row cannot be put in the
place of another, nor an old one back in the place of a new one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Protocol

from runyard.domain.errors import Rejected


@dataclass(frozen=True, slots=True)
class Sealed:
    """`key_id` says which of the server's keys opens `data`."""

    key_id: str
    data: bytes = field(repr=False)


class Sealer(Protocol):
    """Authenticated encryption with the server's newest key; older ones still open."""

    @property
    def has_key(self) -> bool:
        """Whether there is a key; without one, `seal` makes the first."""

    @property
    def key_id(self) -> str:
        """The key that `seal` uses; empty if there is none yet."""

    def seal(self, value: bytes, about: bytes) -> Sealed:
        """Encrypt.

        Raises:
            Rejected, Unavailable: the keys cannot be had.
        """
        ...

    def open(self, sealed: Sealed, about: bytes) -> bytes:
        """Decrypt; `about` is as it was given to `seal`.

        Raises:
            Rejected: the key is not here, or the data was tampered with.
            Unavailable: the keys cannot be had now.
        """
        ...


def about(kind: str, *parts: str | int) -> bytes:
    """Return the words that a value is bound to; no two different lists give the same."""
    return json.dumps([kind, *parts]).encode()


def need(sealer: Sealer | None) -> Sealer:
    """Return the sealer that the call brought.

    Raises:
        Rejected: it brought none.
    """
    if sealer is None:
        raise Rejected("secrets are used by the server only")
    return sealer
