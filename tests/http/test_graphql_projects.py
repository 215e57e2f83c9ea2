"""Projects, as the tracking client asks for them."""

from __future__ import annotations

from tests.http.conftest import World
from tests.http.test_graphql import ask


def test_a_project_is_found_by_its_names(world: World) -> None:
    world.queue()
    world.submit()
    query = """query($p: String, $e: String) { project(name: $p, entityName: $e) {
        id internalId name entityName createdAt isBenchmark user { name } entity { id name } } }"""
    found = ask(world.admin, query, p="default").json()["data"]["project"]
    assert (found["name"], found["entityName"]) == ("default", "admin")
    assert int(found["internalId"]) >= 0
    assert found["entity"]["name"] == "admin"
    none = {"data": {"project": None}}
    assert ask(world.admin, query, p="none").json() == none
    assert ask(world.admin, query, p="default", e="nobody").json() == none
    assert ask(world.user("bob"), query, p="default", e="admin").json() == none
    queues = ask(world.admin, query, p="model-registry").json()["data"]["project"]
    assert queues["name"] == "model-registry"
