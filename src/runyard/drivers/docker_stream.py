"""
The engine's log stream taken apart: bytes in, output bytes out, in the order they came.

Each frame is eight bytes (the stream, three zeros, the length) and then as many bytes of
output. Pieces from the network cut frames anywhere. No reader survives its process, so a
follower starts from the beginning and skips what has been seen.
"""

from __future__ import annotations

_HEADER = 8


class Frames:
    def __init__(self, *, skip: int = 0, is_raw: bool = False) -> None:
        """`skip` is in bytes of output; `is_raw` is for a terminal's stream, without frames."""
        self._skip = skip
        self._is_raw = is_raw
        self._header = b""
        self._left = 0  # bytes of the current frame still to come

    def feed(self, piece: bytes) -> bytes:
        """Return the output in the next piece, after what is to be skipped."""
        output = piece if self._is_raw else b"".join(self._payloads(piece))
        if self._skip:
            skipped = min(self._skip, len(output))
            self._skip -= skipped
            output = output[skipped:]
        return output

    def _payloads(self, piece: bytes) -> list[bytes]:
        found, at = [], 0
        while at < len(piece):
            if self._left:
                found.append(piece[at : at + self._left])
                self._left -= len(found[-1])
                at += len(found[-1])
                continue
            more = piece[at : at + _HEADER - len(self._header)]
            self._header += more
            at += len(more)
            if len(self._header) == _HEADER:
                self._left = int.from_bytes(self._header[4:], "big")
                self._header = b""
        return found
