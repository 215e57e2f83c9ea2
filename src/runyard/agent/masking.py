"""
Black out secrets in a stream of bytes, without changing its length.

Offsets into what was printed stay offsets into what is shown, so a reader can go on from where
another stopped. A secret may come in several pieces: what may be the beginning of one is held
back until more is known, and nothing else is.
"""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Collection, Iterable, Iterator
from typing import Final

SHORTEST: Final = 6  # bytes; shorter ones are words that a log is full of

_COLUMNS: Final = 76  # where the usual encoders break a long text


def spellings(secrets: Iterable[str]) -> list[str]:
    """Return the texts by which secrets may show up in an output, themselves first.

    Programs print them in base64, in a URL, as JSON or a repr, and long ones line by line.
    """
    return list(dict.fromkeys(text for secret in secrets for text in _spelled(secret)))


def _spelled(secret: str) -> Iterator[str]:
    yield secret
    yield from secret.splitlines()
    data = secret.encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(data).decode()
        yield text
        yield text.rstrip("=")
        # Whatever follows the secret in what was encoded, say a line end: so much is the same.
        yield text[: len(data) // 3 * 4]
        yield from (text[at : at + _COLUMNS] for at in range(0, len(text), _COLUMNS))
    yield data.hex()
    for safe in ("", "/"):
        yield urllib.parse.quote(secret, safe=safe)
        yield urllib.parse.quote_plus(secret, safe=safe)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield json.dumps(secret).replace("/", "\\/")[1:-1]
    yield repr(secret)[1:-1]


class Mask:
    """Every byte that belongs to an occurrence of a secret becomes `*`, overlaps included."""

    def __init__(self, secrets: Collection[str]) -> None:
        found = {secret.encode() for secret in secrets}
        self._secrets = sorted(secret for secret in found if len(secret) >= SHORTEST)
        self._held = b""
        self._covered = 0  # so many bytes of what is held belong to a secret already seen

    @property
    def lookback(self) -> int:
        """How many bytes before an offset to feed (and throw away) when starting there."""
        return max((len(secret) - 1 for secret in self._secrets), default=0)

    def feed(self, chunk: bytes) -> bytes:
        """Return what can be shown now: no more bytes than were fed so far and not yet shown."""
        if not self._secrets:
            return chunk
        text = self._held + chunk
        hidden = self._hidden(text)
        keep = self._undecided(text)
        shown = bytearray(text[:keep])
        self._held, self._covered = text[keep:], 0
        for start, end in hidden:
            stop = min(end, keep)
            shown[start:stop] = b"*" * max(0, stop - start)
            self._covered = max(self._covered, end - keep)
        return bytes(shown)

    def flush(self) -> bytes:
        """Return what was held back: the stream has ended, so it was no secret."""
        rest = b"*" * self._covered + self._held[self._covered :]
        self._held, self._covered = b"", 0
        return rest

    def _hidden(self, text: bytes) -> list[tuple[int, int]]:
        spans = [(0, self._covered)] if self._covered else []
        for secret in self._secrets:
            at = text.find(secret)
            while at >= 0:
                spans.append((at, at + len(secret)))
                at = text.find(secret, at + 1)
        return spans

    def _undecided(self, text: bytes) -> int:
        """Return where the longest end of `text` begins that may be the beginning of a secret."""
        first = len(text)
        for secret in self._secrets:
            at = text.find(secret[:1], max(0, len(text) - len(secret) + 1))
            while 0 <= at < first and not secret.startswith(text[at:]):
                at = text.find(secret[:1], at + 1)
            if at >= 0:
                first = min(first, at)
        return first
