"""What a program streams of its run: by offset, as a whole or not at all, and read back."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from tests.http.conftest import Agent, Caller, World

URL = "/files/admin/p/r1/file_stream"
HISTORY, EVENTS, SUMMARY, OUTPUT = (
    "wandb-history.jsonl", "wandb-events.jsonl", "wandb-summary.json", "output.log",
)  # fmt: skip
READ = """query($n: String!) { project(name: "p", entityName: "admin") { run(name: $n) {
  state historyLineCount eventsLineCount logLineCount historyTail eventsTail historyKeys
  summaryMetrics systemMetrics history(samples: 10000) events } } }"""
LINES = """query($n: String!, $first: Int, $last: Int, $after: String) {
  project(name: "p", entityName: "admin") { run(name: $n) { logLineCount
    logLines(first: $first, last: $last, after: $after, useImprovedPagination: true) {
      edges { node { number timestamp level label line } cursor }
      pageInfo { endCursor hasNextPage } } } } }"""


def graphql(who: Caller, query: str, **variables: Any) -> Any:
    body = {"query": query, "variables": variables}
    answer = who.http.request(
        "POST", "/graphql", json=body, headers={"Authorization": f"Bearer {who.key}"}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def run_of(who: Caller, query: str = READ, name: str = "r1", **variables: Any) -> Any:
    return graphql(who, query, n=name, **variables)["project"]["run"]


def make(who: Caller, name: str = "r1") -> None:
    """Begin a run, as a program does."""
    graphql(
        who,
        """mutation($n: String!) { upsertBucket(input: {name: $n, modelName: "p",
        entityName: "admin"}) { bucket { id } } }""",
        n=name,
    )


def part(offset: int, lines: Sequence[str]) -> dict[str, Any]:
    return {"offset": offset, "content": list(lines)}


def rows(*steps: int) -> list[str]:
    return [json.dumps({"_step": n, "loss": n / 10, "of": {"a": n}}) for n in steps]


def send(who: Caller, body: Any, url: str = URL, **more: Any) -> Any:
    headers = {"Authorization": f"Bearer {who.key}", "Content-Type": "application/json"}
    headers |= more.pop("headers", {})
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return who.http.request("POST", url, content=content, headers=headers)


def ok(who: Caller, body: Any, url: str = URL, **more: Any) -> Any:
    answer = send(who, body, url, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def admin(world: World) -> Caller:
    make(world.admin)
    return world.admin


def test_rows_events_and_the_summary_are_read_back_as_they_came(admin: Caller) -> None:
    event = '{"system.cpu": 3.5, "_wandb": true, "_runtime": 2, "_timestamp": 1.5}'
    files = {
        HISTORY: part(0, rows(0, 1)),
        EVENTS: part(0, [event]),
        SUMMARY: part(0, ['{"loss": NaN}']),
    }
    assert ok(admin, {"files": files}) == {"exitcode": None, "limits": {}, "stopped": False}
    ok(admin, {"files": {HISTORY: part(2, rows(2))}})
    run = run_of(admin)
    assert run["history"] == rows(0, 1, 2)
    assert (run["historyLineCount"], run["eventsLineCount"], run["logLineCount"]) == (3, 1, 0)
    assert json.loads(run["historyTail"]) == rows(2)
    assert json.loads(run["eventsTail"]) == run["events"] == [event]
    assert json.loads(run["systemMetrics"])["system.cpu"] == 3.5
    assert run["summaryMetrics"] == '{"loss": NaN}'
    keys = run["historyKeys"]["keys"]
    assert keys["loss"] == {
        "typeCounts": [{"type": "number", "count": 3}], "monotonic": True, "previousValue": 0.2,
    }  # fmt: skip
    assert keys["of.a"]["previousValue"] == 2
    assert run["historyKeys"]["lastStep"] == 2


def test_a_run_that_has_logged_nothing_is_told_without_nulls(admin: Caller) -> None:
    run = run_of(admin)
    assert (run["history"], run["events"]) == ([], [])
    assert (run["historyTail"], run["eventsTail"]) == ("[]", "[]")
    assert run["historyKeys"] == {"keys": {}, "sets": [], "lastStep": -1}
    assert (run["summaryMetrics"], run["systemMetrics"]) == ("{}", "{}")


def test_a_request_that_comes_again_or_overlaps_changes_nothing(admin: Caller) -> None:
    first = {"files": {HISTORY: part(0, rows(0, 1, 2)), OUTPUT: part(0, ["a", "b"])}}
    ok(admin, first)
    before = run_of(admin), text(admin)
    ok(admin, first)
    assert (run_of(admin), text(admin)) == before
    ok(admin, {"files": {HISTORY: part(1, rows(1, 2, 3))}})
    ok(admin, {"files": {HISTORY: part(6, rows(6))}})
    ok(admin, {"files": {HISTORY: part(2, rows(2, 3, 4, 5, 6, 7))}})
    run = run_of(admin)
    assert run["history"] == rows(*range(8))
    assert run["historyLineCount"] == 8
    assert run["historyKeys"]["keys"]["loss"]["typeCounts"] == [{"type": "number", "count": 8}]


@pytest.mark.parametrize(
    "files",
    [
        {HISTORY: part(3, [*rows(3), "[1]"])},
        {HISTORY: part(3, ["nothing"])},
        {HISTORY: part(-1, rows(3))},
        {HISTORY: part(2**31 - 1, rows(3))},
        {HISTORY: part(3, ["[" * 100_000])},
        {HISTORY: part(3, rows(3)), EVENTS: part(0, ["1"])},
        {HISTORY: part(3, rows(3)), SUMMARY: part(0, ["null"])},
        {OUTPUT: part(-1, ["a"])},
        {OUTPUT: {"offset": "x", "content": ["a"]}},
    ],
)
def test_a_broken_request_changes_nothing(admin: Caller, files: Any) -> None:
    ok(admin, {"files": {HISTORY: part(0, rows(0, 1, 2)), SUMMARY: part(0, ['{"a": 1}'])}})
    before = run_of(admin)
    answer = send(admin, {"files": files})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["message"]
    assert run_of(admin) == before


def test_what_is_no_json_is_refused_for_good(admin: Caller) -> None:
    assert send(admin, b"{").status_code == 422
    assert send(admin, b'{"files": 3}').status_code == 422
    odd = "application/vnd.wandb.filestream.v1+protobuf"
    assert send(admin, b"{}", headers={"Content-Type": odd}).status_code == 415
    assert send(admin, b"{}", headers={"Content-Encoding": "br"}).status_code == 415
    assert send(admin, b"{}", headers={"Content-Encoding": "gzip"}).status_code == 422


def test_bodies_may_be_packed_within_bounds(admin: Caller) -> None:
    packed = {"Content-Encoding": "gzip"}
    body = gzip.compress(json.dumps({"files": {HISTORY: part(0, rows(0))}}).encode())
    ok(admin, body, headers=packed)
    assert run_of(admin)["historyLineCount"] == 1
    bomb = gzip.compress(b" " * (40 << 20))
    assert send(admin, bomb, headers=packed).status_code == 413
    assert send(admin, body[:-9], headers=packed).status_code == 422


def test_numbers_that_json_lacks_pass_through(admin: Caller) -> None:
    odd = ['{"_step": 0, "loss": NaN, "x": -Infinity}', '{"_step": 1, "loss": 1e999, "x": 1}']
    ok(admin, {"files": {HISTORY: part(0, odd)}})
    run = run_of(admin)
    assert run["history"] == odd
    assert run["historyKeys"]["keys"]["loss"]["previousValue"] is None
    query = """query($n: String!) { project(name: "p", entityName: "admin") { run(name: $n) {
      sampledHistory(specs: ["{\\"keys\\": [\\"_step\\", \\"loss\\", \\"x\\"]}"]) } } }"""
    (found,) = run_of(admin, query)["sampledHistory"]
    assert found[0] == {"_step": 0, "loss": "NaN", "x": "-Infinity"}


def sampled(who: Caller, **spec: Any) -> Any:
    query = """query($n: String!, $specs: [JSONString!]!) { project(name: "p", entityName: "admin")
      { run(name: $n) { sampledHistory(specs: $specs) } } }"""
    return run_of(who, query, specs=[json.dumps(spec)])["sampledHistory"][0]


def test_samples_have_all_keys_and_no_others(admin: Caller) -> None:
    lines = [json.dumps({"_step": n, "loss": n, "deep": {"a.b": {"c": n}}}) for n in range(100)]
    lines[50] = '{"_step": 50, "other": 1}'
    for at in range(0, 100, 10):
        ok(admin, {"files": {HISTORY: part(at, lines[at : at + 10])}})
    assert sampled(admin, keys=["_step", "deep.a.b.c"], minStep=48, maxStep=52) == [
        {"_step": n, "deep.a.b.c": n} for n in (48, 49, 51, 52)
    ]
    few = sampled(admin, keys=["loss"], samples=4)
    assert [row["loss"] for row in few] == [0, 32, 66, 99]
    assert sampled(admin, keys=["loss", "other"]) == []
    query = """query($n: String!) { project(name: "p", entityName: "admin") { run(name: $n) {
      page: history(minStep: 20, maxStep: 23, samples: 1000) few: history(samples: 3)
      parquetHistory(liveKeys: ["a"]) { parquetUrls liveData } } } }"""
    run = run_of(admin, query)
    assert run["page"] == lines[20:23]
    assert run["few"] == [lines[0], lines[49], lines[99]]
    assert run["parquetHistory"] == {"parquetUrls": [], "liveData": []}


def test_an_end_is_told_once_and_a_heartbeat_says_whether_to_stop(world: World) -> None:
    make(world.admin)
    assert ok(world.admin, {})["stopped"] is False
    world.admin.ok("POST", "/runs/admin/p/r1/stop")
    assert ok(world.admin, {})["stopped"] is True
    make(world.admin, "r2")
    url = URL.replace("r1", "r2")
    end = {"files": {HISTORY: part(0, rows(0))}, "complete": True, "exitcode": 3}
    assert ok(world.admin, end, url)["exitcode"] == 3
    ok(world.admin, end, url)
    ok(world.admin, {"uploaded": ["config.yaml", "../x"]}, url)
    run = run_of(world.admin, name="r2")
    assert (run["state"], run["historyLineCount"]) == ("failed", 1)


def test_a_preempted_run_is_told_as_such(admin: Caller) -> None:
    ok(admin, {"preempting": True})
    assert run_of(admin)["state"] == "preempting"
    ok(admin, {"complete": True, "exitcode": 1})
    assert run_of(admin)["state"] == "preempted"


def test_foreign_runs_look_as_if_not_there(world: World) -> None:
    make(world.admin)
    bob = world.user("bob")
    assert send(bob, {}).status_code == 404
    assert send(world.admin, {}, URL.replace("r1", "r9")).status_code == 404
    assert send(world.caller("ry_" + "x" * 44), {}).status_code == 401


def text(who: Caller, name: str = "r1") -> str:
    answer = who("GET", f"/runs/admin/p/{name}/logs")
    assert answer.status_code == 200
    return str(answer.text)


def log(who: Caller, name: str = "r1", **page: Any) -> list[dict[str, Any]]:
    found = run_of(who, LINES, name, **page)["logLines"]
    return [edge["node"] for edge in found["edges"]]


def test_console_lines_are_one_log_by_both_doors(admin: Caller) -> None:
    told = {"ts": "2026-11-23T12:34:12.240494", "content": "one"}
    wrong = {**told, "content": "two", "level": "error", "label": "rank1"}
    plain = "ERROR 2026-11-23T12:34:13.000001 [rank2] three"
    lines = [json.dumps(told), json.dumps(wrong), plain, "2026-11-23T12:34:14 10%"]
    ok(admin, {"files": {OUTPUT: part(0, lines)}})
    ok(admin, {"files": {OUTPUT: part(3, ["2026-11-23T12:34:15 90%", "2026-11-23T12:34:16 end"])}})
    assert text(admin) == "one\ntwo\nthree\n10%\n90%\nend\n"
    nodes = log(admin)
    assert [n["line"] for n in nodes] == ["one", "two", "three", "90%", "end"]
    assert nodes[1] == {
        "number": 1, "timestamp": told["ts"], "level": "error", "label": "rank1", "line": "two",
    }  # fmt: skip
    assert (nodes[2]["level"], nodes[2]["label"]) == ("error", "rank2")
    assert [n["line"] for n in log(admin, last=2)] == ["90%", "end"]
    page = run_of(admin, LINES, first=3)["logLines"]
    assert page["pageInfo"]["hasNextPage"]
    rest = run_of(admin, LINES, first=3, after=page["pageInfo"]["endCursor"])
    assert [e["node"]["number"] for e in rest["logLines"]["edges"]] == [3, 4]
    assert not rest["logLines"]["pageInfo"]["hasNextPage"]
    assert rest["logLineCount"] == 5


def test_lines_of_the_console_may_leave_gaps(admin: Caller) -> None:
    ok(admin, {"files": {OUTPUT: part(2_000_000, ["far"])}})
    ok(admin, {"files": {OUTPUT: part(7, ["near"])}})
    assert [n["number"] for n in log(admin)] == [7, 2_000_000]
    page = run_of(admin, LINES, first=1)["logLines"]
    assert page["pageInfo"]["hasNextPage"]
    after = page["pageInfo"]["endCursor"]
    assert [n["line"] for n in log(admin, first=1, after=after)] == ["far"]


def agents_run(world: World, output: bytes) -> tuple[Agent, dict[str, Any], Caller]:
    world.queue()
    body = {"items": [{"docker": {"docker_image": "busybox"}, "run_id": "r1", "project": "p"}]}
    world.admin.ok("POST", "/queues/admin/q/items", json=body)
    agent = world.agent()
    held = agent.claim()
    agent.log(held, 0, output)
    return agent, held, world.caller(held["run_token"])


def test_what_the_agent_saw_is_the_log_with_the_times_that_the_program_told(world: World) -> None:
    output = b"pip install\nstep 1\rstep 2\nsame\nsame\nlast"
    agent, held, program = agents_run(world, output)
    told = ["step 2", "same", "same", "only the client has this"]
    stamped = [f"2026-11-23T12:00:0{n} {line}" for n, line in enumerate(told)]
    ok(program, {"files": {OUTPUT: part(0, stamped)}})
    assert text(world.admin) == output.decode()
    nodes = log(world.admin)
    assert [(n["number"], n["line"], n["timestamp"]) for n in nodes] == [
        (0, "pip install", None), (1, "step 2", "2026-11-23T12:00:00"),
        (2, "same", "2026-11-23T12:00:01"), (3, "same", "2026-11-23T12:00:02"),
        (4, "last", None),
    ]  # fmt: skip
    paged: list[Any] = []
    after = None
    for _ in range(5):
        page = run_of(world.admin, LINES, first=1, after=after)["logLines"]
        paged += [edge["node"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
    assert paged == nodes
    assert not page["pageInfo"]["hasNextPage"]
    assert log(world.admin, last=2) == nodes[-2:]
    # The agent goes on where it was: nothing of the program's came between.
    assert agent.log(held, len(output), b" words\n").size == len(output) + 7
    assert run_of(world.admin, LINES)["logLineCount"] == 5


def test_what_an_agent_may_mask_is_not_shown_before_the_agent_has_sent_it(world: World) -> None:
    agent, held, program = agents_run(world, b"")
    ok(program, {"files": {OUTPUT: part(0, ["2026-11-23T12:00:00 secret", "own"])}})
    assert log(world.admin) == []
    assert text(world.admin) == ""
    agent.log(held, 0, b"******\nown\n")
    assert [n["line"] for n in log(world.admin)] == ["******", "own"]


def test_a_runs_token_streams_its_own_run_alone(world: World) -> None:
    _, _, program = agents_run(world, b"")
    make(world.admin, "r2")
    assert ok(program, {"files": {HISTORY: part(0, rows(0))}})["stopped"] is False
    assert send(program, {}, URL.replace("r1", "r2")).status_code == 403
    assert send(program, {}, URL.replace("/p/", "/other/")).status_code == 404


def test_many_runs_stream_at_once_and_nothing_is_lost(live: World) -> None:
    runs, requests, each = 20, 10, 20
    for n in range(runs):
        make(live.admin, f"r{n}")

    def stream(n: int) -> None:
        for at in range(0, requests * each, each):
            ok(live.admin, {"files": {HISTORY: part(at, rows(*range(at, at + each)))}},
               f"/files/admin/p/r{n}/file_stream")  # fmt: skip

    threads = [threading.Thread(target=stream, args=(n,)) for n in range(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(runs):
        assert run_of(live.admin, name=f"r{n}")["history"] == rows(*range(requests * each))


def test_what_was_logged_is_read_by_rest_too(world: World) -> None:
    make(world.admin)
    lines = [*rows(0, 1, 2), '{"_step": 3, "loss": NaN, "rare": "x"}']
    event = '{"system.cpu": 3.5, "_runtime": 2}'
    files = {HISTORY: part(0, lines), EVENTS: part(0, [event]), SUMMARY: part(0, ['{"a": NaN}'])}
    ok(world.admin, {"files": files})
    told = world.admin.ok("GET", "/runs/admin/p/r1/metrics")
    assert (told["rows"], told["last_step"], told["summary"]) == (4, 3, {"a": "NaN"})
    assert told["system"] == json.loads(event)
    by_key = {m["key"]: m for m in told["metrics"]}
    assert by_key["of.a"] == {"key": "of.a", "types": {"number": 3}, "last": 2, "rising": True}
    path = "/runs/admin/p/r1/history"
    assert world.admin.ok("GET", path)["data"][0] == json.loads(lines[0])
    found = world.admin.ok("GET", path, params={"keys": "loss,_step", "min_step": 2})["data"]
    assert found == [{"loss": 0.2, "_step": 2}, {"loss": "NaN", "_step": 3}]
    found = world.admin.ok("GET", path, params={"keys": "of.a", "samples": 2, "max_step": 2})
    assert found["data"] == [{"of.a": 0}, {"of.a": 2}]
    found = world.admin.ok("GET", "/runs/admin/p/r1/system-metrics")
    assert found["data"] == [json.loads(event)]
    bob = world.user("bob")
    for what in ("metrics", "history", "system-metrics"):
        assert bob("GET", f"/runs/admin/p/r1/{what}").status_code == 404
