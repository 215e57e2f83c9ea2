"""Every route, asked by every role, of its own things, a colleague's and another team's."""

from __future__ import annotations

import itertools
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runyard.domain.access import Kind
from runyard.domain.items import ItemState
from runyard.server.app import create_openapi
from runyard.server.settings import ServerSettings
from runyard.store.db import Database, Tx
from tests.http.conftest import World

from .matrix import PUBLIC, RULES, Expected, Rule, Who, Whose
from .town import Town

LASTING = {"GET /api/v1/events", "GET /api/v1/runs/{entity}/{project}/{run}/events"}
STATES = [state.value for state in ItemState]
STRANGE = (Whose.FOREIGN, Whose.ABSENT, Whose.NOWHERE)


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """Roles do not know which database it is: SQLite alone."""
    path = tmp_path / "runyard.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def settings(tmp_path: Path) -> ServerSettings:
    return ServerSettings(home=tmp_path / "home", sweep_interval_s=60, max_streams=1000)


@pytest.fixture
def town(live: World) -> Town:
    town = Town(live)
    database = live.server.database
    database.write = _taken_back(database)  # type: ignore[method-assign]
    return town


class _Done(Exception):
    """Carries a result out of a transaction that leaves nothing."""


def _taken_back(database: Database) -> Callable[[Callable[[Tx], Any]], Any]:
    """Return a `write` that does all of its work and takes it back, so nobody finds a change."""
    write = database.write

    def rehearse(work: Callable[[Tx], Any]) -> Any:
        def then_leave(tx: Tx) -> None:
            raise _Done(work(tx))

        try:
            write(then_leave)
        except _Done as done:
            return done.args[0]
        raise AssertionError("unreachable")

    return rehearse


_V2 = "GET /artifactsV2/{region}/{entity}/{project}/{collection}"
_PAGE = "GET /{entity:entity}/{project}"
# What speaks with the tracking client, and is in no document of the REST API. Who may ask for what
# there is tested with each area; links are their own proof, and pages say the same to everybody.
SPOKEN = {
    **dict.fromkeys(
        (
            "POST /graphql", "POST /files/{entity}/{project}/{run}/file_stream",
            "GET /artifacts/{entity}/{md5}", f"{_V2}//{{md5}}/{{name}}",
            f"{_V2}/{{birth}}/{{md5}}/{{name}}", f"{_V2}/{{artifact}}//{{md5}}/{{name}}",
            f"{_V2}/{{artifact}}/{{birth}}/{{md5}}/{{name}}",
        ),
        frozenset({Kind.USER, Kind.RUN}),
    ),
    **dict.fromkeys(
        (
            "GET /storage/{token}/{name:path}", "PUT /storage/{token}/{name:path}",
            "OPTIONS /storage/{token}/{name:path}", "POST /oidc/token",
            "POST /sdk/otel/v1/logs", "POST /sdk/otel/v1/metrics", "GET /ready", "GET /authorize",
            _PAGE, f"{_PAGE}/{{rest:path}}",
        ),
        frozenset(),
    ),
}  # fmt: skip


def routes_of(world: World) -> set[str]:
    return {
        f"{method} {route.path}"
        for route, _ in world.server.doors
        for method in route.methods or ()
        if method != "HEAD" or "GET" not in (route.methods or ())
    }


def test_T1_every_route_is_in_the_table_and_in_the_document(live: World) -> None:
    routes, listed = routes_of(live), {rule.route for rule in RULES} | PUBLIC | set(SPOKEN)
    assert not routes - listed, "say in tests/security/matrix.py who may ask for these"
    assert not listed - routes, "these are gone: take them out of tests/security/matrix.py"
    document = {
        f"{method.upper()} {path}"
        for path, operations in create_openapi()["paths"].items()
        for method in operations
    }
    assert routes - document == {"GET /api/v1/openapi.json", *SPOKEN}
    assert not document - routes


def test_T1_the_table_opens_routes_to_the_kinds_that_they_declare(live: World) -> None:
    declared = {
        f"{method} {route.path}": door.kinds
        for route, door in live.server.doors
        for method in route.methods or ()
    }
    assert [r.route for r in RULES if r.kinds != declared[r.route]] == []
    assert [route for route in PUBLIC if declared[route]] == []
    assert [route for route, kinds in SPOKEN.items() if kinds != declared[route]] == []


def test_T15_T19_everybody_gets_what_their_role_says_and_nothing_else(town: Town) -> None:
    walk = Walk(town)
    for rule in RULES:
        for who in town.people:
            for whose in rule.among:
                walk.ask(rule, who, whose)
    walk.compare_strange()
    walk.wrong += list(selected_against_roles(town))
    assert walk.asked > 3000
    unentered = {f"{r.route} {dict(r.query)}" for r in RULES} - walk.entered
    walk.wrong += [f"nobody was let in: {route}" for route in sorted(unentered)]
    assert not walk.wrong, f"{len(walk.wrong)} deviations:\n" + "\n".join(walk.wrong)


def selected_against_roles(town: Town) -> Iterator[str]:
    """Ask for many items at once: each is refused to whom it would be refused alone."""
    alone = {r.route.rpartition("/")[2]: r for r in RULES if "/items/{item_id}/" in r.path}
    for who, whose in itertools.product(town.people, (Whose.OWN, Whose.MATE)):
        if who.kind is not Kind.USER or not who.granted or (who.name, whose) == ("out", Whose.OWN):
            continue
        for verb in ("hold", "release", "priority", "move", "cancel", "retry"):
            names = town.names(who, whose)
            item = names[alone[verb].fill.get("item_id", "item_id")]
            body = {"action": verb, "ids": [item], "dry_run": True, "states": STATES}
            path = f"/api/v1/queues/lab/{names['queue']}/select"
            headers = {"Authorization": f"Bearer {who.key}"}
            answer = town.world.http.post(path, json=body, headers=headers).json()
            expected = [item] if alone[verb].expect(who, whose) is Expected.IN else []
            if answer["changed"] != expected:
                yield f"select {verb} | {who.name} | {whose} | {answer}"


class Walk:
    """Asks, compares, and remembers what was not as expected."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.wrong: list[str] = []
        self.entered: set[str] = set()
        self.asked = 0
        self._strange: dict[tuple[int, str], dict[Whose, tuple[int, str]]] = defaultdict(dict)

    def ask(self, rule: Rule, who: Who, whose: Whose) -> None:
        if whose in STRANGE and who.is_rival:
            return  # they are at home there, as `lab` is here
        if whose in (Whose.ABSENT, Whose.NOWHERE) and who.is_admin:
            return  # there is nothing to hide from them
        try:
            names = self.town.names(who, whose)
            status, text = self._send(rule, who, names)
        except KeyError:
            assert whose is Whose.OWN, (rule.route, who.name, whose)
            return
        self.asked += 1
        expected = rule.expect(who, whose)
        if not _is_as(expected, status, rule):
            self._tell(rule, who, whose, f"expected {expected}, got {status}: {text[:160]}")
        if expected is Expected.IN and 200 <= status < 300:
            self.entered.add(f"{rule.route} {dict(rule.query)}")
            for word in _never_told(who):
                if word in text and word not in rule.tells:
                    at = text.index(word)
                    self._tell(rule, who, whose, f"is told {text[max(0, at - 60) : at + 40]!r}")
        if whose in STRANGE:
            shown = _without(names, text)
            self._strange[RULES.index(rule), who.name][whose] = status, shown

    def compare_strange(self) -> None:
        """What another team has must look like what nobody has."""
        for (number, name), answers in self._strange.items():
            rule = RULES[number]
            if Whose.FOREIGN in answers and len(set(answers.values())) > 1 and name != "admin":
                told = "; ".join(f"{whose}: {a}" for whose, a in answers.items())
                self.wrong.append(f"{rule.route} {dict(rule.query)} tells {name} apart: {told}")

    def _send(self, rule: Rule, who: Who, names: dict[str, str]) -> tuple[int, str]:
        names = {**names, **{part: names[name] for part, name in rule.fill.items()}}
        path = rule.path.format(**names)
        more: dict[str, Any] = {"params": {k: v.format(**names) for k, v in rule.query.items()}}
        headers = {"Authorization": f"Bearer {who.key}"}
        if rule.json is not None:
            more["json"] = rule.json(names)
        if rule.content is not None:
            more["content"] = rule.content
            headers["Content-Type"] = rule.media
        if rule.route in LASTING:
            with self.town.world.http.stream(rule.method, path, headers=headers, **more) as answer:
                if not answer.is_success:
                    answer.read()
                return answer.status_code, "" if answer.is_success else answer.text
        answer = self.town.world.http.request(rule.method, path, headers=headers, **more)
        return answer.status_code, answer.text

    def _tell(self, rule: Rule, who: Who, whose: Whose, what: str) -> None:
        self.wrong.append(f"{rule.route} {dict(rule.query)} | {who.name} | {whose} | {what}")


def _never_told(who: Who) -> Iterator[str]:
    """Yield words that stand in nothing that this caller is shown."""
    if who.is_admin:
        return
    yield from ('"lab"', "mate") if who.is_rival else ("rival",)
    if who.is_kept:
        yield "elsewhere"


def _is_as(expected: Expected, status: int, rule: Rule) -> bool:
    if expected is Expected.FORBIDDEN:
        return status == 403
    if expected is Expected.NOT_FOUND:
        return status == 404
    return 200 <= status < 300 or status in rule.meets


def _without(names: dict[str, str], text: str) -> str:
    for name, value in sorted(names.items(), key=lambda pair: -len(pair[1])):
        text = text.replace(value, f"<{name}>")
    at = text.find('"request_id"')
    return text if at < 0 else text[:at]


def test_the_table_would_see_a_hole() -> None:
    rule = next(r for r in RULES if r.route.startswith("DELETE") and "queues" in r.route)
    viewer = Who("v", "", frozenset({next(iter(rule_actions()))}))
    assert rule.expect(viewer, Whose.MATE) is Expected.FORBIDDEN
    assert rule.expect(viewer, Whose.FOREIGN) is Expected.NOT_FOUND
    assert not _is_as(Expected.FORBIDDEN, 204, rule)
    assert not _is_as(Expected.NOT_FOUND, 403, rule)
    assert not _is_as(Expected.IN, 404, rule)
    assert rule.expect(Who("r", "", kind=Kind.RUN), Whose.OWN) is Expected.FORBIDDEN


def rule_actions() -> frozenset[Any]:
    from .matrix import VIEWER

    return VIEWER
