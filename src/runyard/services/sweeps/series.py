"""The values of one metric of a run, in the order in which they were logged."""

from __future__ import annotations

import json

from runyard.domain.sweeps.config import metric_value
from runyard.store import sweeps as rows
from runyard.store.db import Tx


def values_of(tx: Tx, run_pk: str, name: str, *, most: int) -> list[float]:
    """Return the first values of a metric, `most` of them; rows without it do not count."""
    values: list[float] = []
    for chunk in rows.history_chunks(tx, run_pk):
        for line in chunk.splitlines():
            value = metric_value(json.loads(line), name)
            if value is not None:
                values.append(value)
                if len(values) == most:
                    return values
    return values
