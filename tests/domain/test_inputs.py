"""A job's declared inputs: what is filled, refused and warned of, and at what cost."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from runyard.domain.errors import Invalid, TooMuch
from runyard.domain.input_fields import fields_of
from runyard.domain.inputs import Inputs, budget_for, check_inputs
from runyard.domain.patterns import HEAVIEST, Pattern, weight
from runyard.domain.schemas import Budget, Schema, check_schema

CONFIG = "@wandb.config"
TRAIN: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["lr"],
    "$defs": {
        "Optimizer": {
            "type": "object",
            "properties": {
                "name": {"enum": ["adam", "sgd"], "default": "adam"},
                "beta": {"type": "number", "default": 0.9},
            },
        }
    },
    "properties": {
        "lr": {"type": "number", "minimum": 0.001, "description": "Step size"},
        "epochs": {"type": "integer", "default": 3, "maximum": 100},
        "seed": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}], "default": None},
        "optimizer": {"$ref": "#/$defs/Optimizer"},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    },
}


def given_to(schema: Any, run_config: Any, files: Any = None) -> Any:
    declared = schema if CONFIG in schema else {CONFIG: schema}
    return Inputs(check_inputs(declared)).checked(run_config, files or {}, budget_for(1))


def mistakes(schema: Any, run_config: Any, files: Any = None) -> dict[str, str]:
    with pytest.raises(Invalid) as raised:
        given_to(schema, run_config, files)
    return {v.path: v.message for v in raised.value.violations}


def unsaveable(schemas: Any) -> str:
    with pytest.raises(Invalid) as raised:
        check_inputs(schemas)
    return "\n".join(map(str, raised.value.violations))


def test_defaults_are_filled_at_every_depth_and_what_was_said_stays() -> None:
    given = {"lr": 0.1, "optimizer": {"name": "sgd"}}
    found = given_to(TRAIN, given)
    assert found.run_config == {
        "lr": 0.1, "epochs": 3, "seed": None, "optimizer": {"name": "sgd", "beta": 0.9},
    }  # fmt: skip
    assert found.warnings == ()
    assert given == {"lr": 0.1, "optimizer": {"name": "sgd"}}  # untouched
    assert given_to(TRAIN, {"lr": 1}).run_config["optimizer"] == {"name": "adam", "beta": 0.9}


def test_a_mapping_that_still_needs_something_is_not_made_of_defaults() -> None:
    schema = {
        "properties": {
            "db": {
                "type": "object",
                "required": ["host"],
                "properties": {"host": {"type": "string"}, "port": {"default": 5432}},
            },
            "shards": {"items": {"properties": {"size": {"default": 1}}}},
            "all": {"allOf": [{"properties": {"x": {"default": 1}}}]},
        }
    }
    assert given_to(schema, {}).run_config == {"all": {"x": 1}}
    found = given_to(schema, {"db": {"host": "h"}, "shards": [{}, 3]}).run_config
    assert found["db"] == {"host": "h", "port": 5432}
    assert found["shards"] == [{"size": 1}, 3]


def test_all_violations_are_told_at_once_with_dotted_paths() -> None:
    assert mistakes(
        TRAIN,
        {"lr": 0, "epochs": 2.5, "seed": -1, "optimizer": {"name": "adm"}, "tags": ["a", 1, "a"],
         "lrr": 1},
    ) == {
        "overrides.run_config.lr": "0 is less than the minimum 0.001",
        "overrides.run_config.epochs": "2.5 is not of type integer",
        "overrides.run_config.seed": "-1 is less than the minimum 0",
        "overrides.run_config.optimizer.name":
            '"adm" is none of "adam", "sgd"; did you mean adam?',
        "overrides.run_config.tags.1": "1 is not of type string",
        "overrides.run_config.tags": "has an element twice",
        "overrides.run_config.lrr": "unknown; did you mean lr?",
    }  # fmt: skip
    assert mistakes(TRAIN, {}) == {"overrides.run_config.lr": "is required"}


def test_unknown_keys_warn_where_the_schema_does_not_forbid_them() -> None:
    open_ = {"properties": {"lr": {}, "net": {"properties": {"depth": {}}}}}
    assert given_to(open_, {"lrr": 1, "net": {"dept": 2, "depth": 1}}).warnings == (
        "overrides.run_config.lrr: is no input of the job; did you mean lr?",
        "overrides.run_config.net.dept: is no input of the job; did you mean depth?",
    )
    assert given_to({**open_, "additionalProperties": True}, {"x": 1}).warnings == ()
    assert given_to({"type": "object"}, {"x": 1}).warnings == ()
    either = {"oneOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}, "required": ["b"]}]}
    assert given_to(either, {"a": 1}).warnings == ()


def test_a_files_overrides_are_a_part_of_the_file() -> None:
    schemas = {CONFIG: {}, "conf/train.yaml": TRAIN}
    found = given_to(schemas, {}, {"conf/train.yaml": {"epochs": 5}, "conf/trian.yaml": {}})
    assert found.files["conf/train.yaml"] == {"epochs": 5}  # the rest is in the file: no defaults
    assert found.warnings == (
        "overrides.files[conf/trian.yaml]: is no input of the job; did you mean conf/train.yaml?",
    )
    assert mistakes(schemas, {}, {"conf/train.yaml": {"epochs": 500}}) == {
        "overrides.files[conf/train.yaml].epochs": "500 is more than the maximum 100"
    }


def test_a_job_that_declares_nothing_takes_everything() -> None:
    found = Inputs({}).checked({"a": 1}, {"b.json": 2}, budget_for(1))
    assert (found.run_config, found.files, found.warnings) == ({"a": 1}, {"b.json": 2}, ())


@pytest.mark.parametrize(
    ("name", "ok"),
    [("a.yaml", True), ("conf/a.json", True), ("a.yml", True), ("a.toml", False),
     ("/etc/a.yaml", False), ("../a.yaml", False), ("a/../b.yaml", False), ("a//b.yaml", False),
     ("a\\b.yaml", False), ("config", False)],
)  # fmt: skip
def test_an_input_is_the_config_or_a_file_within_the_job(name: str, ok: bool) -> None:
    if ok:
        check_inputs({name: {}})
    else:
        assert "relative to its directory" in unsaveable({name: {}})


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ([], "is a JSON schema"),
        ({"type": "flaot"}, "type: is none of its choices"),
        ({"properties": {"a": {"minimum": "1"}}}, "properties.a.minimum"),
        ({"properties": {"a": {"type": "integer", "default": "x"}}}, "properties.a.default"),
        ({"$ref": "https://example.com/x.json"}, "only parts of the schema itself"),
        ({"$ref": "other.json"}, "only parts of the schema itself"),
        ({"$ref": "#/$defs/none"}, "no such part"),
        ({"enum": [{"pattern": "("}], "$ref": "#/enum/0"}, "no such part"),
        ({"$id": "https://example.com/x"}, "$id"),
        ({"$dynamicRef": "#a"}, "$dynamicRef"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "$schema"),
        ({"pattern": "("}, "pattern"),
        ({"pattern": "(?=a)b"}, "look-around"),
        ({"patternProperties": {"(a)\\1": {}}}, "patternProperties"),
        ({"patternProperties": {"a": {}}, "unevaluatedProperties": False}, "together"),
    ],
)
def test_a_schema_that_cannot_be_enforced_is_not_saved(schema: Any, told: str) -> None:
    assert told in unsaveable({CONFIG: schema})


def test_names_that_look_like_keywords_are_only_names() -> None:
    schema = {"properties": {"$id": {"const": {"$ref": "http://x"}}, "pattern": {"type": "string"}}}
    assert check_schema(schema, "") == []
    assert given_to(schema, {"pattern": "("}).run_config == {"pattern": "("}


# -- what strangers' schemas may cost ------------------------------------------------------


def nested(depth: int) -> Any:
    return {"not": nested(depth - 1)} if depth else {}


@pytest.mark.parametrize(
    "schema",
    [
        {"description": "x" * (65 << 10)},
        nested(40),
        {"allOf": [{}] * 3000},
        {"pattern": "a" * 201},
        {"pattern": "((a{100}){100}){100}"},
        {"pattern": r"(\w{90}){90}"},
        {"anyOf": [{"pattern": f"{n}" + "b{5000}"} for n in range(5)]},
    ],
    ids=["large", "deep", "wide", "long", "repeats", "classes", "many"],
)
def test_T20_schemas_have_a_largest_size(schema: Any) -> None:
    started = time.process_time()
    assert check_schema(schema, "s")
    assert time.process_time() - started < 1


EXPONENTIAL = {
    "$defs": {
        **{f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)},
        "d30": {"type": "object"},
    },
    "$ref": "#/$defs/d0",
}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (EXPONENTIAL, {}),
        ({"properties": {"x": {"enum": list(range(500))}}, "items": {"$ref": "#"},
          "allOf": [{"items": {"enum": list(range(500))}}] * 20}, [[0] * 100] * 1000),
        ({"allOf": [{"type": "string"}] * 1500}, {"big": ["x" * 100] * 5000}),
        ({"uniqueItems": True, "unevaluatedItems": False}, [[n] for n in range(50_000)]),
        ({"unevaluatedProperties": {"type": "string"}}, {str(n): 1 for n in range(50_000)}),
    ],
    ids=["references", "lists", "messages", "unique", "unevaluated"],
)  # fmt: skip
def test_T20_trying_a_schema_ends_when_its_steps_are_used_up(schema: Any, value: Any) -> None:
    assert check_schema(schema, "s") == []
    started = time.process_time()
    with suppress(TooMuch):
        Schema(schema).violations(value, "v", Budget())
    assert time.process_time() - started < 5


def test_T20_a_schema_that_refers_to_itself_ends() -> None:
    for schema in ({"$ref": "#"}, {"allOf": [{"$ref": "#"}]}, {"not": {"$ref": "#"}}):
        (only,) = mistakes(schema, {"a": 1}).values()
        assert only == "its schema refers to itself without end"
    tree = {"properties": {"child": {"$ref": "#"}, "size": {"default": 1}}}
    assert given_to(tree, {"child": {}}).run_config["child"]["size"] == 1


def test_T20_defaults_that_multiply_run_out_of_steps() -> None:
    many = {f"p{n}": {"$ref": "#/$defs/big"} for n in range(900)}
    schema = {"$defs": {"big": {"default": ["x" * 1000] * 30}}, "properties": many}
    with pytest.raises(TooMuch):
        given_to(schema, {})


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|aa)+$", "^(a|a?)+$", "(.*a){12}$", r"^(\w+\s?)*$"]
)
def test_T20_no_pattern_takes_long(pattern: str) -> None:
    schema = {"properties": {"x": {"pattern": pattern}}}
    started = time.process_time()
    assert mistakes(schema, {"x": "a" * 4000 + "!"})
    assert mistakes(schema, {"x": "a" * 5000}) == {
        "overrides.run_config.x": "is longer than 4096 characters"
    }
    assert time.process_time() - started < 1


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab01()[]{},*+?|.\\wd^$-", max_size=40))
def test_T20_a_pattern_that_is_taken_is_compiled_and_tried_at_once(text: str) -> None:
    started = time.process_time()
    try:
        pattern = Pattern(text)
    except ValueError:
        pass
    else:
        assert pattern.weight <= HEAVIEST
        pattern.found_in("ab01" * 1000)
    assert time.process_time() - started < 0.5


def test_T20_a_pattern_that_repeats_too_much_is_not_even_compiled() -> None:
    with pytest.raises(ValueError, match="repeats too much"):
        Pattern("a{6000}b{6000}")


def test_a_patterns_weight_counts_what_it_repeats() -> None:
    assert weight("abc") == 3
    assert weight("(ab){10}") == 20
    assert weight("((ab){10}c){5}") == 105
    assert weight(r"[a-z]{3}\{9}") == 6
    assert weight("a{2,7}") == 7


# -- the library as the judge ----------------------------------------------------------------

_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, "", "a", "ab"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=8,
)


def _keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    schemas = st.lists(inner, min_size=1, max_size=3)
    named = st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    names = st.lists(st.sampled_from("abc"), unique=True, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", "integer", "number", "string", "null"]),
            "properties": named, "required": names, "items": inner, "prefixItems": schemas,
            "additionalProperties": inner, "propertyNames": inner, "contains": inner,
            "allOf": schemas, "anyOf": schemas, "oneOf": schemas, "not": inner, "if": inner,
            "then": inner, "else": inner, "dependentSchemas": named,
            "dependentRequired": st.dictionaries(st.sampled_from("abc"), names, max_size=2),
            "unevaluatedProperties": inner, "unevaluatedItems": inner,
            "uniqueItems": st.booleans(), "minLength": st.integers(0, 2),
            "maxItems": st.integers(0, 2), "minProperties": st.integers(0, 2),
            "minimum": st.integers(-2, 2), "exclusiveMaximum": st.integers(-2, 2),
            "multipleOf": st.sampled_from([1, 2, 0.5]), "pattern": st.sampled_from(["^a", "b$"]),
            "enum": st.lists(_values, min_size=1, max_size=3), "const": _values,
        },
    )  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.recursive(st.booleans() | st.just({}), _keywords, max_leaves=6), _values)
def test_the_verdict_is_always_the_librarys(schema: Any, value: Any) -> None:
    assert check_schema(schema, "") == []
    expected = Draft202012Validator(schema).is_valid(value)
    found = Schema(schema).violations(value, "v", Budget(10**7))
    assert (not found) is expected, found
    json.dumps([str(violation) for violation in found])


def test_fields_are_what_people_read() -> None:
    rows = {f.name: f for f in fields_of(TRAIN)}
    assert list(rows) == [
        "lr", "epochs", "seed", "optimizer", "optimizer.name", "optimizer.beta", "tags",
    ]  # fmt: skip
    assert (rows["lr"].type, rows["lr"].default) == ("number", "(required)")
    assert (rows["lr"].bounds, rows["lr"].description) == ("≥ 0.001", "Step size")
    assert rows["optimizer.name"].bounds == 'one of "adam", "sgd"'
    assert set(rows["seed"].type.split(" or ")) == {"integer", "null"}
    assert fields_of({"properties": {"a": {"$ref": "#"}}})[0].name == "a"  # and it ends


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"properties": {"a" * 39 + str(n): {} for n in range(900)}},
         {"a" * 38 + str(n): 1 for n in range(20_000)}),
        ({"properties": {"xs": {"items": {"$ref": "#/$defs/a"}}},
          "$defs": {"a": {"allOf": [{"properties": {"p": {}}}] * 900}}},
         {"xs": [{}] * 50_000}),
        ({"properties": {str(n): {"$ref": "#/$defs/a"} for n in range(500)},
          "$defs": {"a": {"anyOf": [{"properties": {"p": {}}}] * 600}}},
         {str(n): {"p": 1} for n in range(500)}),
    ],
    ids=["hints", "lists", "choices"],
)  # fmt: skip
def test_T20_filling_and_warning_are_paid_for_too(schema: Any, value: Any) -> None:
    assert check_schema(schema, "s") == []
    started = time.process_time()
    with suppress(TooMuch):
        given_to(schema, value)
    assert time.process_time() - started < 5


def test_T20_a_schema_from_elsewhere_is_shown_within_bounds() -> None:
    tree: Any = {"properties": {f"c{n}": {"$ref": "#"} for n in range(30)}}
    assert len(fields_of(tree)) == 30
    wide = {"properties": {f"c{n}": {"properties": {"x": {}, "y": {}}} for n in range(400)}}
    assert len(fields_of(wide)) == 500
