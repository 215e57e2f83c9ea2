"""The values of one metric of a run, in the order in which they were logged."""

from __future__ import annotations

import json
from typing import Final

from runyard.domain.sweeps.config import metric_value
from runyard.store.db import Tx
from runyard.store.tracking import lines

_MOST_LINES: Final = 200_000  # that are looked into


def values_of(tx: Tx, run_pk: str, name: str, *, most: int) -> list[float]:
    """Return the first values of a metric, `most` of them; rows without it do not count."""
    # Most rows of a history may be of other metrics: they need not be parsed.
    word = name.rpartition(".")[2].encode() if name.isascii() else b""
    values: list[float] = []
    for start, chunk in lines.chunks(tx, run_pk, "history"):
        if start >= _MOST_LINES:
            break
        for line in chunk.split(b"\n"):
            value = metric_value(json.loads(line), name) if word in line else None
            if value is not None:
                values.append(value)
            if len(values) == most:
                return values
    return values
