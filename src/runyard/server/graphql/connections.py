"""Pages in the form of the protocol: edges with cursors, and where the next page begins."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from runyard.domain.errors import Invalid

S = TypeVar("S")
Source = dict[str, Any]
_LONGEST: Final = 8_000  # characters of a cursor


def size_of(first: int | None, *, default: int, most: int) -> int:
    """Return how many to show. Raises: Invalid: none or fewer."""
    if first is None:
        return default
    if first < 1:
        raise Invalid(f"first: {first} is not 1 or more")
    return min(first, most)


def cursor(*place: int | str) -> str:
    """Return an opaque text for a place in a list."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def place_of(text: str | None, *kinds: type[int] | type[str]) -> tuple[Any, ...] | None:
    """Return the place that a cursor stands for, None for the beginning.

    Raises:
        Invalid: it is not one of ours for such a list.
    """
    if not text:
        return None
    try:
        place = json.loads(base64.urlsafe_b64decode(text[:_LONGEST]))
    except (binascii.Error, ValueError, RecursionError):
        place = None
    if not isinstance(place, list) or [type(each) for each in place] != list(kinds):
        raise Invalid("after: not a cursor that this server gave for this list")
    return tuple(place)


def connection(
    shown: Sequence[S],
    edge: Callable[[S], Source],
    *,
    has_more: bool,
    total: int | Callable[[], int],
    end: str | None = None,
) -> Source:
    """Return a page; `edge` makes the node and the cursor of each. `end` is of an empty page."""
    edges = [edge(each) for each in shown]
    return {
        "edges": edges,
        "pageInfo": {
            "startCursor": edges[0]["cursor"] if edges else None,
            "endCursor": edges[-1]["cursor"] if edges else end,
            "hasNextPage": has_more,
            "hasPreviousPage": False,
        },
        "totalCount": total,
    }
