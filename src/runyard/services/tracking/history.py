"""Reading back what a run has logged: all rows, some of them evenly chosen, or some keys of them.

The caller has checked the right to see the run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from runyard.domain.tracking import sampling
from runyard.domain.tracking.keys import Known, describe, merged
from runyard.domain.tracking.keys import told as told_keys
from runyard.domain.tracking.rows import Rows, read, step_of
from runyard.domain.tracking.sampling import Spec
from runyard.services.call import Call
from runyard.store.tracking import lines, streams
from runyard.store.values import to_text

MOST: Final = 100_000  # samples
_known: Final = msgspec.json.Decoder(dict[str, Known]).decode


def rows(
    call: Call,
    run_pk: str,
    kind: str,
    *,
    samples: int,
    min_step: int | None = None,
    max_step: int | None = None,
) -> list[str]:
    """Return rows as they came, evenly chosen if there are more; both steps may be among them."""
    spec = Spec((), min(samples, MOST), min_step, max_step)
    chunks = lines.chunks(call.tx, run_pk, kind, min_step, max_step)
    return [line.decode() for line in sampling.whole(chunks, spec)]


def sampled(call: Call, run_pk: str, spec: Spec) -> list[dict[str, Any]]:
    """Return samples of the rows that have all keys of a spec, with these keys alone."""
    found = lines.chunks(call.tx, run_pk, "history", spec.min_step, spec.max_step)
    return sampling.select(found, spec)


def tail(call: Call, run_pk: str, kind: str) -> list[str]:
    """Return the last row, if there is one."""
    last = lines.last(call.tx, run_pk, kind)
    return [] if last is None else [last.decode()]


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a run's rows without reading them. `summary` and `system` are as they came:
    JSON that may have NaN in it."""

    rows: int = 0
    last_step: int | None = None
    keys: Mapping[str, Known] = field(default_factory=dict)
    summary: str = "{}"
    system: str = "{}"


def told(call: Call, run_pk: str) -> Told:
    """Return what a run's program has told so far."""
    row = streams.get(call.tx, run_pk)
    if row is None:
        return Told()
    return Told(
        row["history_lines"], row["last_step"], _known(row["keys"]), row["summary"], row["system"]
    )


def keys(text: str, last_step: int | None) -> dict[str, Any]:
    """Return what is known of a history's keys in the tracking client's words."""
    return told_keys(_known(text), last_step)


def values(text: str) -> dict[str, Any]:
    """Return a row, or a summary, as an object that any JSON can hold."""
    plain: dict[str, Any] = sampling.plain(read(text, "a row"))
    return plain


def truncate_after(call: Call, run_pk: str, step: int) -> None:
    """Forget all rows behind the first one of a later step, as if they had never been logged.

    What is known of keys and the summary are made anew from the rows that stay.
    """
    stream = streams.lock(call.tx, run_pk)
    known: dict[str, Known] = {}
    summary: dict[str, Any] = {}
    count, size, last = 0, stream["history_bytes"], None
    is_cut = False
    for start, data in lines.chunks(call.tx, run_pk, "history"):
        if is_cut:
            size -= len(data)
            continue
        texts = data.decode().split("\n")
        kept = _until(start, texts, step)
        if len(kept.lines) < len(texts):
            is_cut = True
            size -= _cut(call, run_pk, kept, data)
        if kept.lines:
            count, most = kept.end, kept.steps()[1]
            last = most if last is None else max(last, most)
            known = merged(known, describe(kept.values))
            for row in kept.values:
                summary |= row
    if is_cut:
        lines.drop(call.tx, run_pk, "history", count)
        streams.save(
            call.tx,
            run_pk,
            {"history_lines": count, "history_bytes": size, "last_step": last,
             "keys": to_text(known), "summary": json.dumps(summary)},
        )  # fmt: skip
        call.tx.announce(f"run:{run_pk}")


def _until(start: int, texts: Sequence[str], step: int) -> Rows:
    values = []
    for number, text in enumerate(texts, start):
        row = read(text, f"line {number}")
        if step_of(row, number) > step:
            break
        values.append(row)
    return Rows(start, texts[: len(values)], values)


def _cut(call: Call, run_pk: str, kept: Rows, data: bytes) -> int:
    """Shorten a chunk to what is kept of it; return how much shorter it is."""
    if not kept.lines:
        return len(data)
    left = kept.data()
    lines.cut(call.tx, run_pk, "history", kept.start, left, len(kept.lines), kept.steps())
    return len(data) - len(left)
