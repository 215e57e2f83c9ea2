"""YAML read strictly: plain data with lines, and every mistake at once."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runyard.sdk.platform.reading import documents


def read(text: str) -> Any:
    (one,) = documents(text, "f.yaml")
    assert not one.mistakes, one.mistakes
    return one.value


def mistakes(text: str) -> list[tuple[int, str, str]]:
    return [(m.line, m.path, m.message) for one in documents(text, "f.yaml") for m in one.mistakes]


def test_values_know_their_lines() -> None:
    (one,) = documents("a:\n  b: 1\n  c:\n    - x\n    - y: 2\n", "f.yaml")
    assert one.value == {"a": {"b": 1, "c": ["x", {"y": 2}]}}
    assert [one.line(p) for p in (("a",), ("a", "b"), ("a", "c", 1, "y"))] == [1, 2, 5]
    assert one.line(("a", "b", "nothing", "here")) == 2


def test_a_name_given_twice_is_a_mistake_at_every_depth() -> None:
    found = mistakes("a: 1\nb:\n  c: 1\n  c: 2\na: 2\n")
    assert found == [
        (4, "b.c", "is given twice; first on line 3"),
        (5, "a", "is given twice; first on line 1"),
    ]


@pytest.mark.parametrize(
    "word",
    ["yes", "No", "on", "OFF", "1:30", "0777", "1_000", "2030-01-01", "0b11", "190:20:30.15"],
)
def test_words_that_versions_of_yaml_read_differently_need_quotes(word: str) -> None:
    ((line, path, message),) = mistakes(f"a:\n  b: {word}\n")
    assert (line, path) == (2, "a.b")
    assert "quotes" in message
    assert read(f"a: '{word}'") == {"a": word}


def test_names_are_texts_whatever_they_look_like() -> None:
    assert read("on: 1\nno: 2\n2024: 3\n") == {"on": 1, "no": 2, "2024": 3}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: !!python/object/apply:os.system [id]", "tag"),
        ("a: !!binary aGk=", "tag"),
        ("a: !mine x", "tag"),
        ("a: .inf", "number"),
        ("a: .nan", "number"),
        ("? [a, b]\n: 1", "name"),
        ("a: [1, 2", "not YAML"),
        ("a: &x [*x]", "contains itself"),
        ("a: *nobody", "not YAML"),
        ("<<: 3", "takes a mapping"),
        ("a: " + "[" * 120 + "]" * 120, "deeply"),
        ("a: " + "[" * 5000 + "]" * 5000, "deeply"),
    ],
)
def test_what_is_no_plain_data_is_a_mistake(text: str, part: str) -> None:
    assert part in mistakes(text)[0][2]


def test_T20_an_alias_bomb_is_refused_at_once() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    began = time.monotonic()
    assert "more than" in mistakes("\n".join(levels))[0][2]
    assert time.monotonic() - began < 5


def test_anchors_and_merges_spare_repetition() -> None:
    text = "base: &b {x: 1, y: 2}\nother: &o {y: 3, z: 4}\none: {<<: [*b, *o], x: 9}\n"
    assert read(text)["one"] == {"x": 9, "y": 2, "z": 4}


def test_several_documents_and_empty_ones() -> None:
    found = documents("---\na: 1\n---\n# nothing\n---\nb: 2\n", "f.yaml")
    assert [one.value for one in found] == [{"a": 1}, {"b": 2}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_what_is_written_as_yaml_or_json_is_read_as_it_was(value: Any) -> None:
    from runyard.sdk.platform.exporting import to_yaml

    assert read(to_yaml({"a": value})) == {"a": value}
    assert json.loads(json.dumps(value)) == value


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    for one in documents(text, "f.yaml"):
        if not one.mistakes:
            json.dumps(one.value)


def test_it_reads_plain_yaml_as_the_safe_loader_does() -> None:
    text = "a: {b: [1, -2.5, 1.0e+3, 0x1f, true, null, ~, x y, '1']}\nc: |\n  two\n  lines\n"
    assert read(text) == yaml.safe_load(text)
