"""Names of traces: the same in every process, of the form that others read."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from runyard.domain.tracing import running_span, span_id, trace_id, traceparent


@given(st.text(min_size=1), st.integers(1, 1000))
def test_a_traceparent_names_the_span_of_the_attempts_program(item: str, attempt: int) -> None:
    found = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01", traceparent(item, attempt))
    assert found
    assert int(found[1], 16) == trace_id(item) != 0
    assert int(found[2], 16) == running_span(item, attempt) != 0


def test_names_are_the_same_in_every_process_and_version() -> None:
    """Agents and servers of different versions meet in one trace: these never change."""
    item = "01jb3x6q8v7zt5n4m2k9c0d1ef"
    assert traceparent(item, 2) == ("00-12f8166e05e806967a60ce864a533f70-bcb68d21d8ad2cb3-01")


def test_items_attempts_and_names_have_ids_of_their_own() -> None:
    ids = {span_id(i, name, n) for i in ("a", "b") for name in ("x", "y") for n in range(3)}
    assert len(ids) == 12
    assert trace_id("a") != trace_id("b")
