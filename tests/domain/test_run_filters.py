"""Filters and orders of runs: what they mean, and what is refused."""

import itertools
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain.errors import Invalid
from runyard.domain.run_conditions import MISSING, Facts, Field, Path, places_in
from runyard.domain.run_filters import Order, parse_filter, parse_order, place_of, sort_key

FACTS = Facts(
    {
        Field.NAME: "abc", Field.DISPLAY_NAME: "Calm-1", Field.STATE: "finished",
        Field.GROUP: None, Field.TAGS: ["good", "v2"], Field.USERNAME: "ann",
        Field.CREATED_AT: 1_893_456_000_000,  # 2030-01-01
    },
    {"lr": 0.1, "opt": {"name": "adam", "betas": [0.9]}, "a.b": 1, "on": True, "none": None},
    {"loss": math.nan, "acc": 3, "val": {"acc": 0.5}},
)  # fmt: skip

HOLD: list[dict[str, Any]] = [
    {},
    {"state": "finished"},
    {"state": "finished", "display_name": "Calm-1", "username": "ann"},
    {"state": {"$ne": "running"}},
    {"state": {"$in": ["running", "finished"]}},
    {"state": {"$nin": ["running"]}},
    {"tags": "good"},
    {"tags": ["good", "v2"]},
    {"tags": {"$in": ["x", "v2"]}},
    {"tags": {"$nin": ["x"]}},
    {"group": None},
    {"group": {"$exists": False}},
    {"jobType": {"$ne": "train"}},
    {"createdAt": {"$gte": "2030-01-01", "$lt": "2030-01-01T00:00:01Z"}},
    {"created_at": {"$gt": 1893455999}},
    {"config.lr.value": 0.1},
    {"config.lr": {"$gt": 0.01, "$lte": 0.1}},
    {"config.opt.value.name": "adam"},
    {"config.opt.name.value": "adam"},
    {"config.opt.value.betas": 0.9},
    {"config.opt.value": {"name": "adam", "betas": [0.9]}},
    {"config.a.b.value": 1},
    {"config.on.value": True},
    {"config.on.value": {"$ne": 1}},
    {"config.none.value": None},
    {"config.none.value": {"$exists": True}},
    {"config.no.value": None},
    {"summary_metrics.acc": {"$gt": 2.5}},
    {"summaryMetrics.val.acc": 0.5},
    {"summary_metrics.loss": {"$exists": True}},
    {"summary_metrics.loss": {"$not": {"$lt": 1}}},
    {"display_name": {"$regex": "^calm", "$options": "i"}},
    {"tags": {"$regex": "^v"}},
    {"$or": [{"state": "running"}, {"name": "abc"}]},
    {"$and": [{"state": "finished"}, {"name": "abc"}]},
    {"$nor": [{"state": "running"}, {"name": "x"}]},
    {"$not": {"state": "running"}},
    {"state": {"$not": {"$in": ["running"]}}},
]


@pytest.mark.parametrize("told", HOLD, ids=json.dumps)
def test_what_holds(told: dict[str, Any]) -> None:
    assert parse_filter(json.dumps(told)).holds(FACTS)
    if told:
        assert not parse_filter(json.dumps({"$not": told})).holds(FACTS)


@pytest.mark.parametrize(
    "told",
    [
        {"config.lr.value": {"$gt": "a"}},
        {"config.on.value": 1},
        {"config.on.value": {"$gt": 0}},
        {"config.no.value": {"$lt": 1}},
        {"summary_metrics.loss": {"$gt": 0}},
        {"name": {"$regex": "^b"}},
        {"$or": []},
        {"tags": ["good"]},
    ],
    ids=json.dumps,
)
def test_what_does_not_hold(told: dict[str, Any]) -> None:
    assert not parse_filter(json.dumps(told)).holds(FACTS)


def nested(depth: int) -> Any:
    return {"$and": [nested(depth - 1)]} if depth else {}


@pytest.mark.parametrize(
    "told",
    [
        "[1]", "{", "3", '{"nothing": 1}', '{"$where": "x"}', '{"state": {"$near": 1}}',
        '{"state": {"$in": "x"}}', '{"$and": {}}', '{"name": {"$regex": 3}}',
        '{"name": {"$regex": "("}}', '{"createdAt": {"$gt": "soon"}}', json.dumps(nested(20)),
        json.dumps({"$or": [{"name": str(n)} for n in range(600)]}), '{"config.": 1}',
        '{"a":' * 50_000, " " * 70_000 + "{}", json.dumps({"config." + "a." * 60 + "b": 1}),
    ],
    ids=lambda told: told[:30],
)  # fmt: skip
def test_what_is_refused(told: str) -> None:
    with pytest.raises(Invalid):
        parse_filter(told)


def test_orders() -> None:
    assert parse_order(None) == parse_order("+created_at") == parse_order("created_at") == Order()
    assert parse_order("-heartbeat_at") == Order(Field.HEARTBEAT_AT, descending=True)
    assert parse_order("-summary_metrics.val.acc") == Order(Path(False, ("val", "acc")), True)
    assert parse_order("config.lr.value").place == Path(True, ("lr",))
    with pytest.raises(Invalid):
        parse_order("+nothing")


def test_a_filter_tells_what_it_asks_for() -> None:
    told = '{"$or": [{"state": "x"}, {"$not": {"config.lr.value": 1}}], "name": "a"}'
    wanted = {Field.STATE, Field.NAME, place_of("config.lr")}
    assert places_in(parse_filter(told)) == wanted
    assert places_in(parse_filter(None)) == set()


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())
)


@given(st.lists(VALUES | st.just(MISSING)))
def test_values_of_any_types_have_an_order(values: list[Any]) -> None:
    keys = sorted(sort_key(value) for value in values)
    assert all(not later < before for before, later in itertools.pairwise(keys))


@given(st.recursive(VALUES, lambda v: st.dictionaries(
    st.sampled_from(["$and", "$or", "$not", "$in", "$gt", "$regex", "$exists", "name", "config.x"]),
    v | st.lists(v, max_size=3), max_size=3), max_leaves=12))  # fmt: skip
def test_anything_is_read_or_refused(told: Any) -> None:
    try:
        tree = parse_filter(json.dumps(told))
    except Invalid:
        return
    assert tree.holds(FACTS) in (True, False)
