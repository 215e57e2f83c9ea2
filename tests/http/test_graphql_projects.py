"""Projects, as the tracking client asks for them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from runyard.services import accounts
from tests.http.conftest import Caller, World
from tests.http.test_graphql import ask, told

PROJECT = """query($p: String, $e: String) { project(name: $p, entityName: $e) {
    id internalId name entityName createdAt isBenchmark description readOnly access views
    user { name email } entity { id name isTeam } allViews(first: 5) { edges { cursor } } } }"""
UPSERT = """mutation($i: UpsertModelInput!) { upsertModel(input: $i) {
    project { id name entityName description } model { id name } inserted } }"""
MODELS = """query($e: String, $after: String, $n: Int) {
    models(entityName: $e, after: $after, first: $n) {
        edges { node { name user { name } } cursor } pageInfo { endCursor hasNextPage } } }"""
DELETE = "mutation($id: String!) { deleteModel(input: {id: $id}) { success } }"
RENAME = """mutation($i: RenameProjectInput!) { renameProject(input: $i) { project { name } } }"""
NONE = {"data": {"project": None}}


def made(who: Caller, name: str, entity: str | None = None, **more: Any) -> Any:
    answer = ask(who, UPSERT, i={"name": name, "entityName": entity, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]["upsertModel"]


def team(world: World, **roles: str) -> dict[str, Caller]:
    """Return the members of a new team, by their names."""
    world.admin.ok("POST", "/teams", json={"name": "vision"})
    callers = {name: world.user(name) for name in roles}
    for name, role in roles.items():
        world.admin.ok("PUT", f"/teams/vision/members/{name}", json={"role": role})
    return callers


def test_a_project_is_found_by_its_names(world: World) -> None:
    made(world.admin, "p", description="of cats")
    found = ask(world.admin, PROJECT, p="p").json()["data"]["project"]
    assert (found["name"], found["entityName"]) == ("p", "admin")
    assert int(found["internalId"]) >= 0
    assert found["entity"] == {"id": found["entity"]["id"], "name": "admin", "isTeam": False}
    assert (found["description"], found["user"]["name"]) == ("of cats", "admin")
    assert found["allViews"] == {"edges": []}
    assert ask(world.admin, PROJECT, p="P").json() == NONE


def test_a_project_that_is_foreign_looks_as_if_not_there(world: World) -> None:
    made(world.admin, "p")
    bob = world.user("bob")
    assert ask(bob, PROJECT, p="p", e="admin").json() == NONE
    assert ask(bob, PROJECT, p="p", e="nobody").json() == NONE
    assert ask(bob, MODELS, e="admin").json() == {"data": {"models": None}}
    for query, variables in (
        (UPSERT, {"i": {"name": "p", "entityName": "admin"}}),
        (RENAME, {"i": {"entityName": "admin", "oldProjectName": "p", "newProjectName": "q"}}),
        (DELETE, {"id": ask(world.admin, PROJECT, p="p").json()["data"]["project"]["id"]}),
        (DELETE, {"id": "nonsense"}),
    ):
        assert told(ask(bob, query, **variables), 404)


def test_the_project_of_the_queues_is_there_before_anything_is_written(world: World) -> None:
    found = ask(world.admin, PROJECT, p="model-registry").json()["data"]["project"]
    assert (found["name"], found["description"], found["user"]) == ("model-registry", None, None)
    assert found["createdAt"]
    assert ask(world.user("bob"), PROJECT, p="model-registry", e="admin").json() == NONE
    assert ask(world.admin, MODELS).json()["data"]["models"]["edges"] == []
    assert made(world.admin, "model-registry")["inserted"] is True


def test_making_a_project_again_changes_what_is_given_only(world: World) -> None:
    first = made(world.admin, "p", description="of cats")
    assert first["inserted"] is True
    assert first["project"]["id"] == first["model"]["id"]
    again = made(world.admin, "p")
    assert again["inserted"] is False
    assert again["project"] == first["project"]
    by_id = ask(world.admin, UPSERT, i={"id": first["project"]["id"], "description": "of dogs"})
    assert by_id.json()["data"]["upsertModel"]["project"]["description"] == "of dogs"


@pytest.mark.parametrize("name", ["a/b", "a:b", "..", " a", "x" * 129, "a\0b", ""])
def test_a_project_s_name_is_checked(world: World, name: str) -> None:
    answer = ask(world.admin, UPSERT, i={"name": name})
    assert answer.status_code == (422 if name else 200)  # none is the client's default


def test_projects_are_listed_page_by_page_the_newest_first(world: World) -> None:
    for n in range(5):
        made(world.admin, f"p{n}")
    seen, after, pages = [], None, 0
    while True:
        page = ask(world.admin, MODELS, after=after, n=2).json()["data"]["models"]
        seen += [edge["node"]["name"] for edge in page["edges"]]
        after, pages = page["pageInfo"]["endCursor"], pages + 1
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert (seen, pages) == ([f"p{n}" for n in reversed(range(5))], 3)
    past = ask(world.admin, MODELS, after=after).json()["data"]["models"]
    assert past["pageInfo"] == {"endCursor": after, "hasNextPage": False}


def test_members_make_projects_viewers_see_them_and_admins_rename_and_delete(world: World) -> None:
    people = team(world, eve="viewer", mia="member", ada="admin")
    wanted = {"name": "p", "entityName": "vision"}
    assert "log runs" in told(ask(people["eve"], UPSERT, i=wanted), 403)
    project = made(people["mia"], "p", "vision")["project"]
    assert ask(people["eve"], PROJECT, p="p", e="vision").json() != NONE
    rename = {"entityName": "vision", "oldProjectName": "p", "newProjectName": "q"}
    assert told(ask(people["mia"], RENAME, i=rename), 403)
    assert told(ask(people["mia"], DELETE, id=project["id"]), 403)
    assert ask(people["ada"], RENAME, i=rename).json()["data"]["renameProject"]["project"] == {
        "name": "q"
    }
    assert ask(people["ada"], PROJECT, p="p", e="vision").json() == NONE
    renamed = made(people["mia"], "q", "vision")["project"]["id"]
    assert ask(people["ada"], DELETE, id=renamed).json()["data"]["deleteModel"]["success"] is True
    assert ask(people["ada"], PROJECT, p="q", e="vision").json() == NONE
    entries = people["ada"].ok("GET", "/audit?entity=vision")["data"]
    assert {"project.rename", "project.delete"} <= {entry["action"] for entry in entries}


def test_a_project_in_use_keeps_its_name_and_one_with_runs_stays(world: World) -> None:
    world.queue()
    world.submit()
    rename = {"entityName": "admin", "oldProjectName": "default", "newProjectName": "q"}
    assert "not over" in told(ask(world.admin, RENAME, i=rename), 409)
    agent = world.agent()
    agent.finish(agent.claim())
    made(world.admin, "taken")
    assert "already" in told(ask(world.admin, RENAME, i=rename | {"newProjectName": "taken"}), 409)
    assert told(ask(world.admin, RENAME, i=rename | {"newProjectName": "a/b"}), 422)
    assert told(ask(world.admin, RENAME, i=rename | {"newProjectName": "model-registry"}), 422)
    project = ask(world.admin, PROJECT, p="default").json()["data"]["project"]
    assert "not empty" in told(ask(world.admin, DELETE, id=project["id"]), 409)
    assert ask(world.admin, RENAME, i=rename).status_code == 200


def test_a_run_s_token_opens_its_own_project_alone(world: World) -> None:
    world.queue()
    world.submit()
    made(world.admin, "other")
    run = world.caller(world.agent().claim()["run_token"])
    assert ask(run, PROJECT).json()["data"]["project"]["name"] == "default"
    assert ask(run, PROJECT, p="other", e="admin").json() == NONE
    listed = ask(run, MODELS).json()["data"]["models"]["edges"]
    assert [edge["node"]["name"] for edge in listed] == ["default"]
    assert made(run, "default", "admin")["inserted"] is False
    assert told(ask(run, UPSERT, i={"name": "other", "entityName": "admin"}), 404)
    project = ask(run, PROJECT).json()["data"]["project"]
    assert told(ask(run, DELETE, id=project["id"]), 403)


def test_a_user_or_team_has_so_many_projects(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "MOST_PROJECTS", 2)
    made(world.admin, "p")
    made(world.admin, "q")
    assert told(ask(world.admin, UPSERT, i={"name": "r"}), 413)
    assert made(world.admin, "q")["inserted"] is False


def test_two_that_make_a_project_at_once_get_the_same(world: World) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: made(world.admin, "p"), range(8)))
    assert len({answer["project"]["id"] for answer in answers}) == 1
