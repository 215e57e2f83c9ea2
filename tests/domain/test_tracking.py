"""Rows, their keys, samples of them, and lines of a console."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain.errors import Invalid
from runyard.domain.tracking import console, keys, rows, sampling
from runyard.domain.tracking.console import Line
from runyard.domain.tracking.keys import Known
from runyard.domain.tracking.sampling import Spec, Thinned

NUMBERS = st.one_of(st.integers(-10, 10), st.floats(-10, 10))
LEAVES = st.one_of(NUMBERS, st.text("ab"), st.booleans(), st.none(), st.lists(NUMBERS, max_size=2))
ROWS = st.lists(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.one_of(LEAVES, st.dictionaries(st.sampled_from(["x", "y"]), LEAVES, max_size=2)),
        max_size=3,
    ),
    max_size=8,
)


def flat(row: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in row.items():
        inner = flat(value) if isinstance(value, dict) else None
        found |= {name: value} if inner is None else {f"{name}.{n}": v for n, v in inner.items()}
    return found


@given(st.lists(ROWS, max_size=4))
def test_what_is_known_of_keys_does_not_depend_on_how_rows_came(batches: list[Any]) -> None:
    known: dict[str, Known] = {}
    for batch in batches:
        known = keys.merged(known, keys.describe(batch))
    columns: dict[str, list[Any]] = {}
    for row in (row for batch in batches for row in batch):
        for name, value in flat(row).items():
            columns.setdefault(name, []).append(value)
    assert known.keys() == columns.keys()
    for name, column in columns.items():
        numbers = [v for v in column if type(v) in (int, float)]
        assert sum(known[name].types.values()) == len(column)
        assert known[name].types.get("number", 0) == len(numbers)
        assert known[name].last == (numbers[-1] if numbers else None)
        assert known[name].rising == (numbers == sorted(numbers))


def test_a_medium_is_a_value_of_its_own_type() -> None:
    known = keys.describe([{"picture": {"_type": "image-file", "width": 3}, "of": {"a": 1}}])
    assert known == {"picture": Known({"image-file": 1}), "of.a": Known({"number": 1}, 1, 1)}


def test_numbers_that_cannot_be_stored_are_not_remembered() -> None:
    known = keys.describe([{"a": math.nan, "b": math.inf, "c": 10**400, "d": 2**70}])
    assert [known[name].last for name in "abcd"] == [None, None, None, float(2**70)]


def test_so_many_keys_are_known_and_no_more() -> None:
    known = keys.merged({}, keys.describe([{f"k{n}": n for n in range(keys.MOST + 5)}]))
    assert len(known) == keys.MOST
    known = keys.merged(known, keys.describe([{"k0": 7, "new": 1}]))
    assert (len(known), known["k0"].last) == (keys.MOST, 7)
    assert keys.describe([{"x" * 1000: 1, "\ud800": 1}]) == {}


@pytest.mark.parametrize(
    "line", ["", "1", "[]", "null", '"a"', "{", "{}{}", '{"a": 1} x', "[" * 9**6]
)
def test_only_a_json_object_is_a_row(line: str) -> None:
    with pytest.raises(Invalid, match="history, line 6"):
        rows.parse(5, ['{"a": NaN}', line], "history")


def test_lines_stay_as_they_came_but_for_breaks() -> None:
    found = rows.parse(0, ['{"a":\n 1.50, "b": NaN}', '{"_step": 7.0}', '{"_step": 1e300}'], "h")
    assert found.data() == b'{"a":  1.50, "b": NaN}\n{"_step": 7.0}\n{"_step": 1e300}'
    assert found.steps() == (0, 7)
    assert found.part(1, 2).data() == b'{"_step": 7.0}'


def chunk(start: int, *values: dict[str, Any]) -> tuple[int, bytes]:
    return start, "\n".join(map(json.dumps, values)).encode()


def test_keys_with_dots_are_found_wherever_their_names_end() -> None:
    spec = Spec(("a.b.c",), 10)
    same: list[dict[str, Any]] = [
        {"a.b.c": 1}, {"a": {"b": {"c": 2}}}, {"a.b": {"c": 3}}, {"a": {"b.c": 4}},
        {"a": {"b": 5}}, {"a": 6}, {"a": {"b": {"c": math.nan}}},
    ]  # fmt: skip
    expected = [{"a.b.c": value} for value in (1, 2, 3, 4, "NaN")]
    assert sampling.select([chunk(0, *same)], spec) == expected
    assert sampling.select([chunk(0, *same[:-1])], spec) == expected[:-1]


def test_steps_bound_what_is_sampled() -> None:
    chunks = [chunk(0, *({"_step": n, "a": n} for n in range(5))), chunk(5, {"a": 5}, {"a": 6})]
    assert sampling.select(chunks, Spec(("a",), 9, 3, 5)) == [{"a": 3}, {"a": 4}, {"a": 5}]
    assert sampling.whole(chunks, Spec((), 9, 6)) == [b'{"a": 6}']
    assert sampling.select(chunks, Spec((), 2)) == [{}, {}]


@given(st.lists(st.integers(1, 90), max_size=12), st.integers(0, 12))
def test_thinned_samples_are_spread_and_hold_the_first_and_the_last(
    sizes: list[int], samples: int
) -> None:
    thinned: Thinned[int] = Thinned(samples)
    thinned._most = 2 * samples + 10
    at = 0
    for size in sizes:
        thinned.add(list(range(at, at + size)))
        at += size
    found = list(thinned.chosen())
    assert len(found) == min(samples, at)
    assert found == sorted(set(found))
    if at and samples > 1:
        assert (found[0], found[-1]) == (0, at - 1)
        steps = [b - a for a, b in pairwise(found)]
        assert max(steps, default=0) <= 6 * at / samples + 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"content": "a"}', Line(3, "a")),
        ('{"ts": "T", "content": "a", "level": "error", "label": "b"}',
         Line(3, "a", "T", "error", "b")),
        ('{"ts": 1, "content": "a"}', Line(3, '{"ts": 1, "content": "a"}')),
        ('{"content"', Line(3, '{"content"')),
        ("2026-11-23T12:34:12.240494 a  b", Line(3, "a  b", "2026-11-23T12:34:12.240494")),
        ("ERROR 2026-11-23T12:34:12Z [r1] a", Line(3, "a", "2026-11-23T12:34:12", "error", "r1")),
        ("ERROR a", Line(3, "ERROR a")),
        ("", Line(3, "")),
    ],
)  # fmt: skip
def test_both_forms_of_console_lines_are_read(text: str, line: Line) -> None:
    assert console.parse(3, text) == line


def test_a_log_of_bytes_shows_what_a_terminal_would() -> None:
    assert console.seen(b"a\r\n10%\r20%\r\nlast\xff") == ["a", "20%", "last\ufffd"]


def test_lines_are_matched_in_order_and_each_once() -> None:
    told = [Line(0, "a", "t0"), Line(1, "gone", "t1"), Line(2, "a", "t2"), Line(3, "", "t3")]
    found, passed = console.matched([(7, "a "), (8, "own"), (9, "a"), (10, ""), (11, "a")], told)
    assert [(line.number, line.content, line.at) for line in found] == [
        (7, "a ", "t0"), (8, "own", ""), (9, "a", "t2"), (10, "", ""), (11, "a", ""),
    ]  # fmt: skip
    assert passed == 3


def test_a_log_grows_by_what_is_new_in_lines() -> None:
    lines = [Line(4, "same"), Line(5, "other"), Line(6, "new")]
    assert console.drawn({4: "same", 5: "was"}, lines) == b"other\nnew\n"
