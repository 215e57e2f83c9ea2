"""Too much, too deep, and what no text can hold, sent by the tracking protocol (T20)."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from runyard.server.graphql.ids import encode, run_id
from tests.http.conftest import World
from tests.http.logging_artifacts import said
from tests.http.test_graphql import ask, post

from .graphql_matrix import MUTATIONS, QUERIES, Ask
from .test_graphql_matrix import ABSENT, document

NAMES = {
    **ABSENT, "entity": "admin", "project": "p", "run": "r", "our_run": "r", "queue": "q",
    "new_queue": "new", "user": "admin", "sweep": "s", "key_id": "k", "item_id": "i",
    "agent_id": "a", "run_id": run_id("r", "p", "admin"),
    "project_id": encode("Project", "v1", "p", "admin"),
    "sweep_id": encode("Sweep", "v1", "s", "p", "admin"),
}  # fmt: skip
MAKE = """mutation { upsertBucket(input: {entityName: "admin", modelName: "p", name: "r",
    config: "{}"}) { bucket { id } } }"""
DEEP = "[" * 100_000 + "]" * 100_000
DEEP_OBJECT = '{"a":' * 100_000 + "1" + "}" * 100_000
RUNS = """query($f: JSONString, $n: Int, $after: String, $o: String) {
    project(entityName: "admin", name: "p") { runs(filters: $f, first: $n, after: $after, order: $o)
    { totalCount edges { node { name } } } } }"""


@pytest.fixture
def tracked(world: World) -> World:
    said(world.admin, MAKE)
    world.queue()
    return world


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where text stands."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in inner:
        if isinstance(each, str):
            yield (*path, key)
        elif isinstance(each, dict | list):
            yield from leaves(each, (*path, key))


def with_at(value: Any, path: tuple[Any, ...], text: str) -> Any:
    made = at = copy.deepcopy(value)
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = text
    return made


def refused(answer: Any) -> bool:
    """Whether an answer is final and no mistake of ours: clients repeat a 5xx for days."""
    return 200 <= answer.status_code < 500 and '"internal"' not in answer.text


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\u202e", "x" * 70_000], ids=repr)
def test_T11_T20_odd_text_anywhere_is_taken_or_refused_and_never_a_mistake(
    tracked: World, text: str
) -> None:
    asked, wrong = 0, []
    for rule in [*QUERIES, *MUTATIONS]:
        body = document(rule, NAMES)
        for path in leaves(body["variables"]):
            changed = {**body, "variables": with_at(body["variables"], path, text)}
            headers = {"Authorization": f"Bearer {tracked.admin.key}"}
            data = json.dumps(changed)
            answer = tracked.http.request("POST", "/graphql", content=data, headers=headers)
            asked += 1
            if not refused(answer):
                wrong.append(f"{rule.field} {path}: {answer.status_code} {answer.text[:200]}")
    assert asked > 150
    assert not wrong, "\n".join(wrong)


JSON = {
    "upsertBucket": ("config", "summaryMetrics"), "createArtifact": ("metadata", "labels"),
    "updateArtifact": ("metadata",), "pushToRunQueue": ("runSpec", "templateVariableValues"),
    "pushToRunQueueByName": ("runSpec",), "createLaunchAgent": ("agentConfig",),
    "createDefaultResourceConfig": ("config", "templateVariables"),
    "upsertRunQueue": ("resourceConfig", "templateVariables", "externalLinks"),
    "upsertSweep": ("config", "controller", "scheduler", "launchScheduler", "priorRunsFilters"),
    "agentHeartbeat": ("runState", "metrics"), "enqueueSweepRun": ("config",),
    "createCustomChart": ("spec",),
}  # fmt: skip


def test_T20_what_is_nested_too_deep_within_text_is_refused(tracked: World) -> None:
    rules = {rule.field: rule for rule in MUTATIONS if "id" not in rule.arguments}
    rules |= {rule.field: rule for rule in MUTATIONS if rule.field not in rules}
    for field, names in JSON.items():
        body = document(rules[field], NAMES)
        for name in names:
            for text in (DEEP, DEEP_OBJECT, '{"a":' + "9" * 100_000 + "}"):
                changed = with_at(body["variables"], ("input",), {})
                changed["input"] = {**body["variables"]["input"], name: text}
                answer = post(tracked.admin, {**body, "variables": changed})
                assert refused(answer), (field, name, answer.text[:300])
    for filters in (DEEP, DEEP_OBJECT, '{"$and":[' * 500 + "{}" + "]}" * 500):
        answer = ask(tracked.admin, RUNS, f=filters)
        assert answer.status_code == 422, answer.text[:300]
        assert refused(answer)


def test_T20_the_largest_page_is_no_more_than_a_page(tracked: World) -> None:
    for first in (2**31 - 1, 0, -1, -(2**31)):
        answer = ask(tracked.admin, RUNS, n=first)
        assert refused(answer), answer.text
    for after in ("x", "Z" * 100_000, "\0", "W10=", "WzFd", "e30="):
        assert refused(ask(tracked.admin, RUNS, after=after)), after
        assert refused(ask(tracked.admin, RUNS, after=after, o="-config.a")), after


def test_T20_a_filter_is_as_long_as_the_database_takes(tracked: World) -> None:
    long = "x" * 60_000
    collections = """query($f: JSONString) { project(entityName: "admin", name: "p") {
        artifactCollections(filters: $f) { totalCount } } }"""
    for filters in (
        {"name": {"$contains": long}}, {"tags": long}, {"tags": {"$in": [long]}},
        {"name": {"$in": ["x"] * 5000}}, {"$or": [{"name": "x"}] * 5000},
    ):  # fmt: skip
        for query in (RUNS, collections):
            answer = ask(tracked.admin, query, f=json.dumps(filters))
            assert refused(answer), (str(filters)[:60], answer.text[:200])


def test_T20_no_pattern_of_a_filter_takes_long(tracked: World) -> None:
    said(
        tracked.admin,
        """mutation($c: JSONString) { upsertBucket(input: {entityName: "admin", modelName: "p",
        name: "r", displayName: $c}) { inserted } }""".replace("JSONString", "String"),
        c="a" * 500,
    )
    began = time.monotonic()
    for pattern in ("(a+)+$", "(a|a)*b", "(.*)*x", "a{1000}{1000}", "(?=a)" * 1000, "(a*)*" * 50):
        for field in ("display_name", "config.a.value", "name"):
            answer = ask(tracked.admin, RUNS, f=f'{{"{field}": {{"$regex": "{pattern}"}}}}')
            assert refused(answer), (pattern, answer.text)
    assert time.monotonic() - began < 20


def test_T20_ten_thousand_names_for_one_field_are_refused(tracked: World) -> None:
    many = " ".join(f"a{n}: viewer {{ id }}" for n in range(10_000))
    assert ask(tracked.admin, f"{{ {many} }}").status_code == 400
    body = [{"query": "{ viewer { id } }"}] * 100  # several requests in one
    assert post(tracked.admin, body).status_code == 422
    lists = "[" * 1000 + "]" * 1000
    answer = ask(tracked.admin, f"{{ users(query: {lists}) {{ edges {{ cursor }} }} }}")
    assert answer.status_code == 400


def test_T20_every_bomb_of_yaml_is_refused(tracked: World) -> None:
    create = next(rule for rule in MUTATIONS if rule.field == "upsertSweep")
    assert isinstance(create, Ask)
    laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]" for n in range(9)
    )
    for config in (
        laughs, "&a [*a]", "!!python/object/apply:os.system ['true']", "a: " + "[" * 5000,
        "a: " + "9" * 50_000, "method: grid\n" + "? " * 5000, "<<: {<<: {a: b}}", "\0", "---\n" * 9,
    ):  # fmt: skip
        answer = ask(
            tracked.admin,
            """mutation($c: String) { upsertSweep(input: {entityName: "admin", projectName: "p",
            config: $c}) { sweep { id } } }""",
            c=config,
        )
        assert answer.status_code == 422, (config[:40], answer.text[:200])
        assert refused(answer), (config[:40], answer.text[:200])
