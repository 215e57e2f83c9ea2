"""The audit log over HTTP: pages, filters, and an export of any size."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from runyard.server.rest_audit import COLUMNS, defused
from runyard.store import tables as t

from .conftest import World


@pytest.fixture
def lab(world: World) -> World:
    world.admin.ok("POST", "/teams", json={"name": "lab"})
    world.admin.ok("PUT", "/teams/lab/roles/own", json={"permissions": ["submit"]})
    return world


def actions(world: World, **params: Any) -> list[str]:
    return [e["action"] for e in world.admin.ok("GET", "/audit", params=params)["data"]]


def fill(world: World, n: int, **values: str) -> None:
    row = {"at": 0, "actor": "x", "actor_kind": "user", "action": "queue.edit", "thing": "q"}
    if not n:
        return
    with world.server.database.begin() as tx:
        tx.run(insert(t.audit), [{**row, **values} for _ in range(n)])


def test_entries_are_shown_with_what_differs(lab: World) -> None:
    lab.admin.ok("PUT", "/teams/lab/roles/own", json={"permissions": ["serve"]})
    entry = lab.admin.ok("GET", "/audit", params={"entity": "lab", "limit": 1})["data"][0]
    assert (entry["actor"], entry["actor_kind"], entry["entity"]) == ("admin", "user", "lab")
    assert (entry["action"], entry["thing"]) == ("role.edit", "own")
    assert entry["before"] == {"permissions": ["see", "submit"]}
    assert entry["after"] == {"permissions": ["see", "serve"]}


def test_filters_narrow_and_cursors_go_on(lab: World) -> None:
    assert actions(lab, entity="lab") == ["role.create", "team.create"]
    assert actions(lab, entity="lab", action="team") == ["team.create"]
    assert actions(lab, actor="nobody") == []
    soon = datetime.now(UTC) + timedelta(hours=1)
    assert actions(lab, since=soon.isoformat()) == []
    assert actions(lab, until=soon.isoformat(), entity="lab") == ["role.create", "team.create"]
    first = lab.admin.ok("GET", "/audit", params={"entity": "lab", "limit": 1})
    then = lab.admin.ok("GET", "/audit", params={"entity": "lab", "cursor": first["next"]})
    assert [e["action"] for e in then["data"]] == ["team.create"]
    for wrong in ({"cursor": "eA"}, {"since": "yesterday"}, {"since": "2030-01-01T00:00:00"}):
        assert lab.admin("GET", "/audit", params=wrong).status_code == 422


def test_who_may_not_read_the_log_is_told_what_it_takes(lab: World) -> None:
    mel = lab.user("mel")
    for path in ("/audit", "/audit/export"):
        assert mel("GET", path).status_code == 403
        assert mel("GET", path, params={"entity": "lab"}).status_code == 404
    lab.admin.ok("PUT", "/teams/lab/members/mel", json={"role": "member"})
    for path in ("/audit", "/audit/export"):
        answer = mel("GET", path, params={"entity": "lab"})
        assert answer.status_code == 403
        assert "see_audit" in answer.json()["detail"]
    lab.admin.ok("PUT", "/teams/lab/members/mel", json={"role": "operator"})
    assert mel.ok("GET", "/audit", params={"entity": "lab"})["data"]


@pytest.mark.parametrize("n", [0, 1, 499, 500, 501, 1203])
def test_an_export_has_every_entry_once_the_oldest_first(world: World, n: int) -> None:
    fill(world, n, thing="bulk")
    answer = world.admin("GET", "/audit/export", params={"actor": "x"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert "attachment" in answer.headers["content-disposition"]
    seen = [json.loads(line)["seq"] for line in answer.text.splitlines()]
    assert len(seen) == n
    assert seen == sorted(set(seen))


def test_an_export_as_csv_reads_back(lab: World) -> None:
    answer = lab.admin("GET", "/audit/export", params={"format": "csv", "entity": "lab"})
    assert answer.headers["content-type"].startswith("text/csv")
    head, *rows = csv.reader(io.StringIO(answer.text))
    assert tuple(head) == COLUMNS
    last = dict(zip(head, rows[-1], strict=True))
    assert (last["action"], last["entity"], last["thing"]) == ("role.create", "lab", "own")
    assert json.loads(last["after"])["permissions"] == ["see", "submit"]
    assert last["at"].endswith("Z")


@pytest.mark.parametrize("begins", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_no_cell_of_a_csv_is_a_formula(world: World, begins: str) -> None:
    fill(world, 1, thing=f'{begins}HYPERLINK("http://x")', actor=f"{begins}1")
    answer = world.admin("GET", "/audit/export", params={"format": "csv", "action": "queue"})
    (row,) = list(csv.reader(io.StringIO(answer.text, newline="")))[1:]
    assert row[2] == f"'{begins}1"
    assert row[6].startswith(f"'{begins}")
    assert defused("plain") == "plain"


def test_T20_an_export_of_any_size_takes_little_memory(live: World) -> None:
    fill(live, 10_000, thing="x" * 2000)
    key = {"Authorization": f"Bearer {live.admin.key}"}
    live.admin.ok("GET", "/audit")  # what is imported and kept once is no part of it
    tracemalloc.start()
    try:
        with live.http.stream("GET", "/api/v1/audit/export", headers=key) as answer:
            lines = sum(piece.count(b"\n") for piece in answer.iter_bytes())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lines >= 10_000
    assert peak < 8 << 20, peak  # of some 21 MB


def test_T3_an_export_counts_as_a_stream_and_asks_for_rights_at_each_piece(world: World) -> None:
    fill(world, 1)
    assert world.caller(None)("GET", "/audit/export").status_code == 401
    for _ in range(world.server.settings.max_streams + 2):  # each is given back at its end
        assert world.admin("GET", "/audit/export").status_code == 200
