"""Jobs that the tracking client makes, as Runyard's own, and Runyard's as the client sees them."""

from __future__ import annotations

from runyard.server.graphql.context import Context
from runyard.store.db import Row


def after_commit(context: Context, row: Row) -> None:
    """Take note of a version that was committed just now."""
