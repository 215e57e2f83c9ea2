"""Runs found by filters and orders: the database and the filter itself decide alike."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runyard.domain.access import Action
from runyard.domain.errors import Invalid, TooMuch
from runyard.domain.run_conditions import Field
from runyard.domain.run_filters import parse_filter
from runyard.services import service_accounts
from runyard.services.tracking import finding, life, places, upserting
from runyard.services.tracking.upserting import Told
from runyard.store.tracking import run_search
from tests.services.conftest import Yard

NAMES = ("a", "b", "c", "d", "e", "f")


@pytest.fixture
def made(yard: Yard) -> Yard:
    """Six runs, a minute apart, of which no two are alike."""
    for n, name in enumerate(NAMES):
        config = {"lr": {"value": [0.1, float("nan"), 0.3, "x", None, 0.2][n]}}
        if name == "f":
            config = {}
        told = Told(
            entity="ann", project="p", name=name, display_name=f"Run {n % 3}",
            group_name=[None, "g", "h"][n % 3], tags=[["x"], [], ['q"', "x"]][n % 3],
            job_type=["train", None][n % 2], config=json.dumps(config),
            summary=json.dumps({"loss": n % 4, "v": {"acc": -n}}),
        )  # fmt: skip
        row, _ = upserting.upsert(yard.call(), told)
        if n < 4:
            life.said_end(yard.call(), row["pk"], n % 2)
        yard.later(minutes=1)
    yard.tx.run(
        run_search.t.runs.update().where(run_search.t.runs.c.name == "e").values(said_exit=0)
    )
    upserting.upsert(yard.call(), Told(entity="ann", project="other", name="z"))
    return yard


def found(yard: Yard, told: Any = None, order: str | None = None, n: int = 50) -> list[str]:
    """All names that are found, by pages of `n`; the count agrees."""
    place = places.find(yard.call(), "ann", "p")
    search = finding.search(yard.call(), place, told and json.dumps(told), order)
    names: list[str] = []
    after = None
    while True:
        page = search.page(after, n)
        names += [row["name"] for row in page.rows]
        assert len(page.rows) <= n
        if not page.has_more:
            assert search.count() == len(names)
            return names
        after = page.cursors[-1]


FILTERS: list[dict[str, Any]] = [
    {}, {"name": "b"}, {"name": {"$ne": "b"}}, {"display_name": "Run 1"},
    {"display_name": {"$regex": "[12]$"}}, {"state": "finished"}, {"state": "running"},
    {"state": {"$in": ["failed", "running"]}}, {"state": {"$nin": ["failed"]}},
    {"group": "g"}, {"group": {"$ne": "g"}}, {"group": None}, {"group": {"$in": ["g", "h"]}},
    {"group": {"$nin": ["g"]}}, {"jobType": "train"}, {"jobType": {"$exists": False}},
    {"username": "ann"}, {"username": "bob"}, {"tags": "x"}, {"tags": 'q"'},
    {"tags": {"$ne": "x"}}, {"sweep": None}, {"created_at": {"$gt": "2030-01-01T00:02:30"}},
    {"createdAt": {"$lte": "2030-01-01T00:02:00Z"}}, {"heartbeat_at": {"$gte": "2030-01-01"}},
    {"config.lr.value": {"$lt": 0.25}}, {"config.lr.value": None},
    {"summary_metrics.loss": {"$gt": 1}}, {"summary_metrics.v.acc": {"$lte": -4}},
    {"$or": [{"name": "a"}, {"group": "h"}]}, {"$or": [{"name": "a"}, {"config.lr": "x"}]},
    {"$nor": [{"group": "g"}, {"name": "a"}]}, {"$or": []}, {"$and": []},
    {"$and": [{"state": "finished"}, {"config.lr.value": 0.1}]},
    {"$not": {"group": "g"}}, {"group": {"$not": {"$in": ["g"]}}}, {"name": 3},
]  # fmt: skip


def test_the_database_decides_as_the_filter_does(made: Yard) -> None:
    place = places.find(made.call(), "ann", "p")
    rows = run_search.facts(
        made.tx, place.id, (), wanted=list(Field), config=True, summary=True, after="",
        descending=False, limit=100,
    )  # fmt: skip
    facts = {row["name"]: finding._facts(row, list(Field)) for row in rows}
    for told in FILTERS:
        tree = parse_filter(json.dumps(told))
        right = [name for name in NAMES if tree.holds(facts[name])]
        assert found(made, told) == right, told
        assert found(made, told, "-created_at", n=2) == right[::-1], told


def test_orders_go_through_all_pages(made: Yard) -> None:
    for order, names in (
        (None, "abcdef"), ("+created_at", "abcdef"), ("-created_at", "fedcba"),
        ("summary_metrics.loss", "aebfcd"), ("-summary_metrics.loss", "dcfbea"),
        ("summary_metrics.v.acc", "fedcba"), ("heartbeat_at", "abcdef"),
        ("display_name", "adbecf"), ("-name", "fedcba"),
    ):  # fmt: skip
        for n in (1, 4, 50):
            assert "".join(found(made, None, order, n)) == names, (order, n)


def test_values_of_several_types_have_an_order(made: Yard) -> None:
    ascending = found(made, None, "config.lr.value", 2)
    assert [name for name in ascending if name in "acd"] == ["a", "c", "d"]
    assert found(made, None, "-config.lr.value", 2) == ascending[::-1]


def test_a_cursor_is_ours_and_of_this_order(made: Yard) -> None:
    place = places.find(made.call(), "ann", "p")
    by_age = finding.search(made.call(), place, None, None)
    by_loss = finding.search(made.call(), place, None, "summary_metrics.loss")
    for cursor in ("x", "AAAA", by_loss.page(None, 1).cursors[0], "WzEsWzFdLCJhIl0="):
        with pytest.raises(Invalid):
            by_age.page(cursor, 1)
    with pytest.raises(Invalid):
        by_loss.page(by_age.page(None, 1).cursors[0], 1)


def test_a_question_that_would_read_too_much_is_refused(
    made: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "_BATCH", 2)
    monkeypatch.setattr(finding, "_MOST_READ", 4)
    with pytest.raises(TooMuch):
        found(made, {"config.lr.value": 77})
    assert found(made, {"group": "g", "config.lr.value": "none"}) == []  # narrowed first


def test_a_service_account_that_is_kept_to_queues_sees_its_own_runs(yard: Yard) -> None:
    yard.team("lab")
    told = {"entity": "lab", "project": "p"}
    upserting.upsert(yard.call(), Told(**told, name="anns"))
    made = service_accounts.create(yard.call(), "lab", "bot", role="member", queues=["q"])
    assert made is not None
    bot = yard.user("bot")
    upserting.upsert(yard.call(bot), Told(**told, name="bots"))
    place = places.find(yard.call(bot), "lab", "p", Action.SEE)
    assert [
        r["name"] for r in finding.search(yard.call(bot), place, None, None).page(None, 9).rows
    ] == ["bots"]
