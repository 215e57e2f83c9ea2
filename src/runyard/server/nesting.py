"""How deep JSON from outside may be nested, so that no code further in runs out of stack."""

from __future__ import annotations

from typing import Final

from runyard.domain.errors import Invalid

DEEPEST: Final = 64


def check_depth(*values: object) -> None:
    """Pass if none of the values is nested deeper than anybody writes them.

    Raises:
        Invalid: one is.
    """
    level: list[object] = [list(values)]
    for _ in range(DEEPEST):
        level = [
            below
            for each in level
            for below in (each.values() if isinstance(each, dict) else each)  # type: ignore[attr-defined]
            if isinstance(below, dict | list)
        ]
        if not level:
            return
    raise Invalid(f"the body is nested deeper than {DEEPEST} levels")
