"""Sweeps by REST, through our own client."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from runyard.cli.main import run
from runyard.client.api import Api
from runyard.domain.errors import Conflict, Invalid, NotFound

from .conftest import Caller, World

MAKE = """mutation UpsertSweep($config: String) { upsertSweep(input: {entityName: "admin",
  projectName: "p", config: $config, displayName: "tuning"}) { sweep { name } } }"""
GRID = "method: grid\nmetric: {name: loss}\nparameters: {x: {values: [1, 2]}}\n"


def ask(who: Caller, document: str, **variables: Any) -> Any:
    basic = {"Authorization": "Basic " + b64encode(f"api:{who.key}".encode()).decode()}
    body = {"query": document, "variables": variables}
    return who("POST", "/graphql", json=body, headers=basic)


def graphql(who: Caller, document: str, **variables: Any) -> Any:
    return ask(who, document, **variables).json()


def make(who: Caller) -> str:
    name: str = graphql(who, MAKE, config=GRID)["data"]["upsertSweep"]["sweep"]["name"]
    return name


def test_sweeps_are_listed_shown_and_moved(live: World) -> None:
    names = [make(live.admin) for _ in range(3)]
    first = live.admin.ok("GET", "/sweeps/admin/p?limit=2")
    assert [s["sweep"] for s in first["data"]] == [names[2], names[1]]
    rest = live.admin.ok("GET", f"/sweeps/admin/p?limit=2&cursor={first['next']}")
    assert [s["sweep"] for s in rest["data"]] == [names[0]]
    assert rest["next"] is None
    with Api(str(live.http.base_url), live.admin.key or "") as api:
        shown = api.sweep("admin", "p", names[0])
        assert (shown.state, shown.method, shown.runs, shown.expected) == ("PENDING", "grid", 0, 2)
        assert (shown.name, shown.metric, shown.goal) == ("tuning", "loss", "minimize")
        assert shown.config == GRID
        assert len(list(api.sweeps("admin", "p"))) == 3
        for state in ("RUNNING", "PAUSED", "RUNNING", "FINISHED"):
            assert api.set_sweep_state("admin", "p", names[0], state).state == state
        with pytest.raises(Conflict):
            api.set_sweep_state("admin", "p", names[0], "CANCELED")
        with pytest.raises(Invalid):
            api.set_sweep_state("admin", "p", names[0], "DONE")
        with pytest.raises(NotFound):
            api.sweep("admin", "p", "none")


def test_sweeps_of_others_are_not_there(world: World) -> None:
    name, eve = make(world.admin), world.user("eve")
    assert eve("GET", "/sweeps/admin/p").status_code == 404
    assert eve("GET", f"/sweeps/admin/p/{name}").status_code == 404
    assert eve("PATCH", f"/sweeps/admin/p/{name}", json={"state": "CANCELED"}).status_code == 404
    answer = graphql(
        eve,
        f"""{{ project(name: "p", entityName: "admin") {{
        sweep(sweepName: "{name}") {{ name }} sweeps {{ edges {{ node {{ name }} }} }} }} }}""",
    )
    assert answer == {"data": {"project": None}}


def test_ids_of_nothing_are_refused_as_not_there(world: World) -> None:
    beat = "mutation Heartbeat($id: ID!) { agentHeartbeat(input: {id: $id}) { commands } }"
    state = """mutation UpsertSweepState($id: ID!) {
        upsertSweep(input: {id: $id, state: "PAUSED"}) { sweep { state } } }"""
    foreign = [b64encode(text).decode() for text in (b"Run:v1:a:b:c", b"Sweep:v1:a:p:admin")]
    for document, given in [(beat, "none"), (state, "x"), *((state, one) for one in foreign)]:
        answer = ask(world.admin, document, id=given)
        assert answer.status_code == 404, answer.text  # agents go home by it


def test_the_command_line_shows_and_moves_sweeps(
    live: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name = make(live.admin)
    monkeypatch.setenv("RUNYARD_BASE_URL", str(live.http.base_url))
    monkeypatch.setenv("RUNYARD_API_KEY", live.admin.key or "")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def typed(*words: str) -> str:
        capfd.readouterr()
        assert run(["sweep", *words]) == 0
        told = capfd.readouterr()
        return told.out + told.err

    assert name in typed("list", "admin/p")
    assert "0/2" in typed("list", "admin/p")
    path = f"admin/p/{name}"
    assert "method: grid" in typed("show", path)
    assert "is paused." in typed("pause", path)
    assert "is running." in typed("resume", path)
    assert '"state": "CANCELED"' in typed("cancel", path, "--json")
    assert "is running." in typed("resume", path)
    assert "is finished." in typed("stop", path)
    assert run(["sweep", "show", name]) != 0
