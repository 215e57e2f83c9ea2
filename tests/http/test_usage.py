"""The usage report over HTTP: JSON, CSV, and who is told of what."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import pytest

from runyard.domain.usage import Figures, Group, Window
from runyard.server.rest_usage import as_csv
from runyard.services.usage import Report
from tests.http.conftest import Caller, World
from tests.services.conftest import T0


def use(world: World, hours: float, *, gpus: int = 0, who: Caller | None = None) -> None:
    agent = world.agent()
    world.submit(who=who)
    held = agent.claim()
    handle = {"driver": "d", "version": 1, "data": {}}
    agent.move(
        agent.to("keep", held, handle=handle, gpus=gpus),
        agent.to("observe", held, phase="running"),
    )
    world.clock.ahead += timedelta(hours=hours)
    with world.server.database.begin() as tx:  # as if the agent had renewed its claim
        tx.connection.exec_driver_sql("UPDATE items SET lease_expires_at = 9999999999999")
    agent.finish(held)


def test_usage_is_told_as_json_and_as_csv(world: World) -> None:
    world.queue()
    use(world, 2, gpus=3)
    params = {"group": "user,queue", "until": (T0 + timedelta(days=999)).isoformat()}
    made = world.admin.ok("GET", "/usage", params=params | {"since": "2020-01-01T00:00:00Z"})
    (line,) = made["lines"]
    assert line["by"] == {"user": "admin", "queue": "admin/q"}
    assert line["period"] is None
    assert (line["runs"], line["attempts"]) == (1, 1)
    assert line["hours"] == pytest.approx(2, abs=0.01)
    assert line["gpu_hours"] == pytest.approx(6, abs=0.03)
    assert made["total"] == {k: line[k] for k in made["total"]}
    answer = world.admin("GET", "/usage", params={"format": "csv", "interval": "day"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    head, *rows = csv.reader(io.StringIO(answer.text))
    assert head == ["period", "user", "runs", "attempts", "hours", "running_hours", "gpu_hours"]
    assert sum(float(row[4]) for row in rows) == pytest.approx(2, abs=0.01)


def test_days_are_in_utc_wherever_the_question_comes_from(world: World) -> None:
    world.queue()
    use(world, 0)
    params = {"interval": "day"}
    (line,) = world.admin.ok("GET", "/usage", params=params)["lines"]
    assert line["period"].endswith("T00:00:00Z")
    with world.server.database.begin() as tx:
        tx.connection.exec_driver_sql("UPDATE attempts SET claimed_at = 0")  # 50 years, cut
    params = {"interval": "day", "since": "2020-01-01T02:00:00+05:00",
              "until": "2020-01-02T00:00:00+05:00"}  # fmt: skip
    lines = world.admin.ok("GET", "/usage", params=params)["lines"]
    assert [(line["period"], line["hours"]) for line in lines] == [
        ("2019-12-31T00:00:00Z", 3.0), ("2020-01-01T00:00:00Z", 19.0),
    ]  # fmt: skip


def test_T14_others_use_is_not_told_without_the_permission(world: World) -> None:
    world.admin.ok("POST", "/teams", json={"name": "t"})
    eve, op = world.user("eve"), world.user("op")
    world.admin.ok("PUT", "/teams/t/members/eve", json={"role": "member"})
    world.admin.ok("PUT", "/teams/t/members/op", json={"role": "operator"})
    world.queue("q", "t")
    agent = world.agent(entity="t")
    for who in (world.admin, eve):
        world.submit(queue="t/q", who=who)
        agent.finish(agent.claim())
    for who, users in ((eve, {"eve"}), (op, {"admin", "eve"}), (world.admin, {"admin", "eve"})):
        for params in ({}, {"entity": "t"}):
            made = who.ok("GET", "/usage", params=params)
            assert {line["by"]["user"] for line in made["lines"]} == users
    zoe = world.user("zoe")
    assert zoe.ok("GET", "/usage")["lines"] == []
    assert zoe("GET", "/usage", params={"entity": "t"}).status_code == 404
    assert agent.caller("GET", "/usage").status_code == 403


@pytest.mark.parametrize(
    "params",
    [
        {"group": "nonsense"},
        {"since": "2030-01-02T00:00:00Z", "until": "2030-01-01T00:00:00Z"},
        {"since": "2030-01-01T00:00:00"},
        {"since": "yesterday"},
        {"interval": "hour"},
        {"format": "xml"},
        {"since": "0001-01-01T00:00:00Z", "interval": "day"},
        {"until": "0001-01-01T00:00:00Z"},
        {"until": "9999-12-31T23:59:59-13:00"},
        {"since": "0001-01-01T00:00:00+13:00"},
    ],
)
def test_bad_questions_are_answered_with_what_is_wrong(world: World, params: Any) -> None:
    answer = world.admin("GET", "/usage", params=params)
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("name", ["=cmd|'/c calc'!A1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_of_the_csv_is_a_formula(name: str) -> None:
    made = Report(Window(T0, T0 + timedelta(days=1)), (Group.JOB,))
    made.add(None, (name,), Figures(1, 1))
    _, row = csv.reader(io.StringIO(as_csv(made), newline=""))
    assert row[0] == "'" + name
