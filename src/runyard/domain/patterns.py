"""
Regular expressions of strangers, matched in linear time.

A schema's author may be anybody who may save a job, and the schema is tried on the server.
Python's own engine goes back and tries again, so that a short pattern can hold a whole process
for years. pydantic's engine is Rust's `regex`, which has no such patterns; it knows no
look-around and no back-references, and a pattern that has them is refused with its words.
"""

from __future__ import annotations

import re
from typing import Final

from pydantic_core import SchemaError, SchemaValidator, ValidationError, core_schema

LONGEST: Final = 200  # characters of a pattern
LONGEST_TEXT: Final = 4096  # characters that a pattern is tried on
HEAVIEST: Final = 10_000  # states, about; see `weight`
_MANY: Final = 20  # states, about, of what means many characters: \w, [^a], .
_TOKEN: Final = re.compile(
    r"(?P<many>\\[wWdDsSpP]|\.)|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]"
    r"|(?P<repeat>\{(\d+)(?:,(\d*))?\})|(?P<open>\((?:\?:)?)|(?P<close>\))|.",
    re.DOTALL,
)


class Pattern:
    """A pattern as JSON Schema means it: found anywhere in a text unless it is anchored."""

    def __init__(self, text: str) -> None:
        """Compile it.

        Raises:
            ValueError: it is none, or larger than anybody writes them; the message says what.
        """
        if len(text) > LONGEST:
            raise ValueError(f"is longer than {LONGEST} characters")
        if "(?" in text.replace("(?:", ""):
            raise ValueError("look-around, flags and named groups are not supported")
        self.weight = weight(text)
        if self.weight > HEAVIEST:
            raise ValueError("repeats too much")
        try:
            self._engine = SchemaValidator(
                core_schema.str_schema(pattern=text, regex_engine="rust-regex")
            )
        except SchemaError as error:
            raise ValueError(_reason(error)) from None

    def found_in(self, text: str) -> bool:
        """Tell whether it is found; `text` is at most LONGEST_TEXT long."""
        try:
            self._engine.validate_python(text)
        except ValidationError:
            return False
        return True


def weight(pattern: str) -> int:
    """Return about how many states a pattern has once its counted repetitions are written out."""
    groups, last = [0], 0
    for token in _TOKEN.finditer(pattern):
        if token["open"]:
            groups.append(0)
            last = 0
        elif token["close"] and len(groups) > 1:
            last = groups.pop()
            groups[-1] += last
        elif token["repeat"]:
            most = max(int(n) for n in (token[3], token[4]) if n)
            groups[-1] += last * (most - 1)
            last *= most
        else:
            last = _MANY if token["many"] or token[0].startswith("[^") else 1
            groups[-1] += last
    return sum(groups)


def _reason(error: SchemaError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    found = next((line for line in lines if line.startswith("error: ")), lines[-1])
    return found.removeprefix("error: ").removeprefix("SchemaError: ").lower()
