"""
Names of an item's trace and of its spans: the same for every process that works them out.

So the agent can tell a program under which span it runs, long before a server exports that span,
and an export that is made twice makes the same spans.
"""

from __future__ import annotations

import hashlib

_SAMPLED = "01"


def trace_id(item_id: str) -> int:
    """Return 128 bits, never 0."""
    return _bits(f"trace {item_id}", 16)


def span_id(item_id: str, name: str, n: int = 0) -> int:
    """Return 64 bits for the `n`-th span of a name, never 0."""
    return _bits(f"span {item_id} {name} {n}", 8)


def running_span(item_id: str, attempt: int) -> int:
    """Return the id of the span in which an attempt's program runs."""
    return span_id(item_id, "running", attempt)


def traceparent(item_id: str, attempt: int) -> str:
    """Return the W3C `traceparent` under which an attempt's program goes on with the trace."""
    return f"00-{trace_id(item_id):032x}-{running_span(item_id, attempt):016x}-{_SAMPLED}"


def _bits(text: str, size: int) -> int:
    digest = hashlib.sha256(f"runyard {text}".encode()).digest()
    return int.from_bytes(digest[:size]) or 1
