"""Pages of lists: an opaque cursor that stands for the last thing seen."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query
from starlette.requests import Request

from runyard.domain.access import Actor
from runyard.domain.errors import Invalid
from runyard.server.auth import actor_of
from runyard.wire import rest

S = TypeVar("S")

MOST = 500

Limit = Annotated[int, Query(ge=1, le=MOST, description="How many to return at most.")]
Cursor = Annotated[
    str | None,
    Query(max_length=400, description="`next` of the page before; leave out for the first page."),
]
Entity = Annotated[
    str | None, Query(max_length=128, description="A user or team; default: all you may see.")
]


def _caller(request: Request) -> Actor:
    return actor_of(request.scope)


Caller = Annotated[Actor, Depends(_caller)]


def after(cursor: str | None) -> str:
    """Return the key that a cursor stands for, empty for the first page.

    Raises:
        Invalid: not one of ours.
    """
    if cursor is None:
        return ""
    try:
        key = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, UnicodeError):
        key = ""
    if not key or not key.isascii() or not key.isprintable():
        raise Invalid("cursor: not one that this server gave", hint="begin without a cursor")
    return key


def cursor(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def page(
    found: Sequence[S], limit: int, key: Callable[[S], str], shape: Callable[[S], Any]
) -> rest.Page[Any]:
    """Shape a page; the caller has asked for one more than `limit`, to know if there is one."""
    shown = found[:limit]
    more = len(found) > limit
    return rest.Page(
        data=[shape(each) for each in shown], next=cursor(key(shown[-1])) if more else None
    )
