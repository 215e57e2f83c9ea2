"""The testing switch: users and teams for conformance suites, on loopback alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from runyard.server.app import create_app
from runyard.server.settings import ServerSettings
from runyard.store.db import Database
from tests.http.conftest import Caller, Clock, World
from tests.http.test_graphql import ask

ANN = "user_ann_" + "a" * 40
BEN = "user_ben_" + "b" * 90  # longer than people's names can be
VIEWER = "{ viewer { username admin teams { edges { node { name } } } } }"


@pytest.fixture
def settings(settings: ServerSettings) -> ServerSettings:
    return settings.model_copy(update={"testing_switch": True})


@pytest.fixture
def world(database: Database, settings: ServerSettings, clock: Clock) -> Iterator[World]:
    server = create_app(settings, database=database, clock=clock, say=lambda _: None)
    near = ("127.0.0.1", 50_000)
    with TestClient(server, base_url="http://localhost", client=near) as http:
        yield World(server, http, clock)


def send(world: World, kind: str, command: str, **more: Any) -> Any:
    return world.http.request("POST", f"/api/testing/db/{kind}", json={"command": command, **more})


def user(world: World, command: str, name: str | None = None, **more: Any) -> Any:
    return send(world, "user", command, username=name, password=None, **{"admin": False, **more})


def team(world: World, command: str, name: str, admin: str | None) -> Any:
    data = {"planName": "p", "team": {"name": name}, "organization": {"name": "o"}}
    return send(world, "team", command, username=admin, fixtureData=data)


def viewer(world: World, name: str) -> Any:
    answer = ask(Caller(world.http, name), VIEWER)
    return answer.json()["data"]["viewer"] if answer.status_code == 200 else answer.status_code


def test_a_user_is_made_whose_key_is_its_name(world: World) -> None:
    for name in (ANN, BEN):
        for command in ("up", "password", "up", "login", "logout"):
            assert user(world, command, name).status_code == 200
        assert viewer(world, name)["username"] == name
        assert viewer(world, name)["admin"] is False
    assert user(world, "up", ANN, admin=True).status_code == 200
    world.server.keys.forget()
    assert viewer(world, ANN)["admin"] is True


def test_a_user_that_is_down_is_gone_with_all_that_was_theirs(world: World) -> None:
    user(world, "up", ANN)
    ann = Caller(world.http, ANN)
    ann.ok("POST", "/queues", json={"name": "q", "resource": "local-container"})
    ann.ok("POST", f"/queues/{ANN}/q/items", json={"items": [{"docker": {"docker_image": "b"}}]})
    for _ in range(2):
        assert user(world, "down", ANN).status_code == 200
    assert viewer(world, ANN) == 401
    user(world, "up", ANN)
    assert ann.ok("GET", "/queues")["data"] == []
    assert ann.ok("GET", "/items")["data"] == []


def test_all_that_were_made_so_go_down_and_nobody_else(world: World) -> None:
    bob = world.user("bob")
    user(world, "up", ANN)
    user(world, "up", BEN)
    assert user(world, "down_all").status_code == 200
    assert (viewer(world, ANN), viewer(world, BEN)) == (401, 401)
    assert ask(bob, VIEWER).status_code == ask(world.admin, VIEWER).status_code == 200


def test_a_team_is_made_of_such_users(world: World) -> None:
    user(world, "up", ANN)
    for _ in range(2):
        assert team(world, "up", "team_of_ann", ANN).status_code == 200
    names = [edge["node"]["name"] for edge in viewer(world, ANN)["teams"]["edges"]]
    assert names == [ANN, "team_of_ann"]
    for _ in range(2):
        assert team(world, "down", "team_of_ann", None).status_code == 200
    assert [e["node"]["name"] for e in viewer(world, ANN)["teams"]["edges"]] == [ANN]


def test_organizations_are_accepted_although_there_are_none(world: World) -> None:
    members = {"members": [{"username": ANN, "role": "viewer"}]}
    for command, data in (("up", None), ("add_members", members), ("down", None)):
        answer = send(world, "organization", command, orgName="o", username=ANN, fixtureData=data)
        assert answer.status_code == 200


def test_it_leaves_alone_what_it_has_not_made(world: World) -> None:
    world.user("bob")
    world.admin.ok("POST", "/teams", json={"name": "vision"})
    user(world, "up", ANN)
    for answer in (
        user(world, "up", "admin"), user(world, "down", "bob"), user(world, "up", "vision"),
        team(world, "up", "vision", ANN), team(world, "down", "vision", None),
        team(world, "up", "bob", ANN), team(world, "up", "lab", "bob"),
    ):  # fmt: skip
        assert answer.status_code == 409, answer.text
    assert viewer(world, "admin") == viewer(world, "bob") == 401


@pytest.mark.parametrize("name", ["a/b", "", "api", "a b", "x" * 129, "ü", "a\0"])
def test_names_are_checked(world: World, name: str) -> None:
    assert user(world, "up", name).status_code == 422
    assert user(world, "up").status_code == user(world, "fly", ANN).status_code == 422


def test_it_answers_programs_of_this_machine_alone(
    database: Database, settings: ServerSettings
) -> None:
    server = create_app(settings, database=database, say=lambda _: None)
    for far in ("192.0.2.1", "testclient"):
        with TestClient(server, base_url="http://localhost", client=(far, 1)) as http:
            for kind in ("user", "organization", "team"):
                answer = http.post(f"/api/testing/db/{kind}", json={"command": "up"})
                assert answer.status_code == 403


def test_it_is_not_there_unless_it_is_switched_on(database: Database) -> None:
    settings = ServerSettings(database_url="sqlite:///unused.db")
    server = create_app(settings, database=database, say=lambda _: None)
    assert not [route for route, _ in server.doors if "testing" in route.path]


def test_it_is_refused_where_others_could_reach_it() -> None:
    with pytest.raises(ValueError, match="testing_switch needs host"):
        ServerSettings(host="0.0.0.0", testing_switch=True)
