"""Alerts of runs and charts, as the tracking client sends them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from runyard.server.settings import ServerSettings
from runyard.services.tracking import alerts
from tests.http.conftest import Caller, World
from tests.http.test_graphql import ask, told

ALERT = """mutation($e: String!, $p: String!, $r: String!, $title: String!, $text: String!,
        $severity: AlertSeverity = INFO, $wait: Duration) {
    notifyScriptableRunAlert(input: {entityName: $e, projectName: $p, runName: $r, title: $title,
        text: $text, severity: $severity, waitDuration: $wait}) { success } }"""
CHART = """mutation($e: String!, $n: String!, $a: String!, $s: JSONString!) {
    createCustomChart(input: {entity: $e, name: $n, displayName: "D", type: "vega2", access: $a,
        spec: $s}) { chart { id } } }"""
SECOND = 10**9  # in nanoseconds


def a_run(world: World) -> str:
    world.queue()
    (made,) = world.submit()
    return str(made["run"]["run_id"])


def alert(who: Caller, run: str, title: str = "low", **more: Any) -> Any:
    given = {"e": "admin", "p": "default", "r": run, "title": title, "text": "loss is NaN"} | more
    return ask(who, ALERT, **given)


@pytest.fixture
def settings(settings: ServerSettings) -> ServerSettings:
    smtp = {"smtp_host": "127.0.0.1", "smtp_port": 1, "smtp_from": "runyard@example.org"}
    return settings.model_copy(update=smtp)


def hook(world: World, name: str, **more: Any) -> None:
    body = {"name": name, "emails": ["ops@example.org"], "events": ["run.alert"], **more}
    world.admin.ok("POST", "/hooks/admin", json=body)


def deliveries(world: World, name: str) -> list[Any]:
    return world.admin.ok("GET", f"/hooks/admin/{name}")["deliveries"]  # type: ignore[no-any-return]


def is_told(answer: Any) -> Any:
    return answer.json()["data"]["notifyScriptableRunAlert"]["success"]


def test_an_alert_is_told_by_the_hooks_that_want_it(world: World) -> None:
    run = a_run(world)
    hook(world, "all")
    hook(world, "here", queue="q")
    world.queue("other")
    hook(world, "elsewhere", queue="other")
    hook(world, "items", events=["item.failed"])
    text = "see https://x:hunter2@example.org"
    assert is_told(alert(world.admin, run, severity="WARN", text=text)) is True
    (sent,) = deliveries(world, "all")
    assert sent["event"] == "run.alert"
    assert sent["text"].startswith(f"WARN: low (run admin/default/{run} of admin): see")
    assert "hunter2" not in sent["text"]
    assert len(deliveries(world, "here")) == 1
    assert deliveries(world, "elsewhere") == deliveries(world, "items") == []


def test_one_title_is_told_once_in_a_while(world: World) -> None:
    run = a_run(world)
    assert is_told(alert(world.admin, run)) is True
    assert is_told(alert(world.admin, run)) is False
    assert is_told(alert(world.admin, run, "high")) is True
    kept = world.admin.ok("GET", f"/runs/admin/default/{run}/alerts?limit=1")
    assert [(a["title"], a["text"], a["level"]) for a in kept["data"]] == [
        ("high", "loss is NaN", "INFO")
    ]
    rest = world.admin.ok("GET", f"/runs/admin/default/{run}/alerts?cursor={kept['next']}")
    assert [a["title"] for a in rest["data"]] == ["low"]
    world.clock.ahead = timedelta(seconds=61)
    assert is_told(alert(world.admin, run, wait=120 * SECOND)) is False
    assert is_told(alert(world.admin, run)) is True
    assert is_told(alert(world.admin, run, wait=0)) is True
    assert is_told(alert(world.admin, run, wait=2**62)) is False


def test_a_run_has_so_many_alerts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "MOST", 1)
    run = a_run(world)
    assert is_told(alert(world.admin, run)) is True
    assert told(alert(world.admin, run, "high"), 413)


def test_alerts_of_foreign_runs_are_refused(world: World) -> None:
    run = a_run(world)
    held = world.agent().claim()
    token = world.caller(held["run_token"])
    assert is_told(alert(token, run)) is True
    (other,) = world.submit()
    assert told(alert(token, other["run"]["run_id"]), 403)
    assert told(alert(world.user("bob"), run), 404)
    assert told(alert(world.admin, "none"), 404)


def test_a_chart_is_kept_under_its_name(world: World) -> None:
    first = ask(world.admin, CHART, e="admin", n="bars", a="private", s='{"mark": "bar"}')
    assert first.json()["data"]["createCustomChart"]["chart"]["id"] == "admin/bars"
    again = ask(world.admin, CHART, e="admin", n="bars", a="PUBLIC", s="{}")
    assert again.status_code == 200
    for wrong in ({"n": "a/b"}, {"a": "everybody"}, {"s": "[]"}, {"s": "{"}):
        given = {"e": "admin", "n": "bars", "a": "private", "s": "{}", **wrong}
        assert told(ask(world.admin, CHART, **given), 422)
    assert told(ask(world.user("bob"), CHART, e="admin", n="b", a="private", s="{}"), 404)
