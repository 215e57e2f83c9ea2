"""Warnings that items are born with, many at once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from runyard.store import tables as t
from runyard.store.bulk import insertion
from runyard.store.db import Tx
from runyard.store.values import to_ms

_NEW: Final = insertion(t.item_warnings, "item_id", "at", "stage", "message")


def add(tx: Tx, warnings: Iterable[tuple[str, str]], *, stage: str, now: datetime) -> None:
    """Insert (item's id, message) pairs; nobody looks whether they are there already."""
    at = to_ms(now)
    rows = [
        {"item_id": item_id, "at": at, "stage": stage, "message": message}
        for item_id, message in warnings
    ]
    if rows:
        _NEW.run(tx, rows)
