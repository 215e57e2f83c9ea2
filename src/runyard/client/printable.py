"""
Output as text that may be shown on a terminal.

It is data from a stranger's program. A terminal takes commands from what it shows: it can be
made to hide lines, to change its title, to write to the clipboard, even to type. Only text
passes.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

_SEQUENCE: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # titles, links
    r"|\x1b[ -/]+[0-~]"
    r"|\x1b[0-OQ-WYZ`-~]"
)
_BEGUN: Final = re.compile(
    r"(?:(?:\x1b\[|\x9b)[0-?]*[ -/]*"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*\x1b?"
    r"|\x1b[ -/]*"
    r"|\r)\Z"
)
_LONGEST: Final = 4096  # characters of an unfinished sequence: more is no sequence, but text
# What is left of the controls, and the characters that turn the direction of writing.
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Printable:
    """Output as text that cannot steer a terminal, piece by piece.

    Colours, titles, cursor moves and clipboard writes are taken out. A lone carriage return
    becomes a line end: what it would have overwritten stays to be read.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, data: bytes) -> str:
        """Return what can be printed now; an unfinished sequence waits for its end."""
        text = self._held + self._decoder.decode(data)
        begun = _BEGUN.search(text)
        cut = begun.start() if begun and len(text) - begun.start() <= _LONGEST else len(text)
        self._held = text[cut:]
        return clean(text[:cut])

    def rest(self) -> str:
        """Return what was still held back when the output ended."""
        text, self._held = self._held + self._decoder.decode(b"", final=True), ""
        return clean(text)


def clean(text: str) -> str:
    """Return a whole text without anything that steers a terminal."""
    text = _SEQUENCE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("", text)
