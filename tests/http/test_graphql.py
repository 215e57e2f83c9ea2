"""The engine of /graphql: documents, their bounds, errors and what they become."""

from __future__ import annotations

from typing import Any

from tests.http.conftest import Caller, World


def ask(who: Caller, query: str, **variables: Any) -> Any:
    return who.http.request(
        "POST",
        "/graphql",
        json={"query": query, "variables": variables},
        headers={"Authorization": f"Bearer {who.key}"},
    )


def test_a_project_is_found_by_its_names(world: World) -> None:
    world.queue()
    world.submit()
    query = """query($p: String, $e: String) { project(name: $p, entityName: $e) {
        id internalId name entityName createdAt isBenchmark user { name } entity { id name } } }"""
    found = ask(world.admin, query, p="default").json()["data"]["project"]
    assert (found["name"], found["entityName"]) == ("default", "admin")
    assert int(found["internalId"]) >= 0
    assert found["entity"]["name"] == "admin"
    assert ask(world.admin, query, p="none").json() == {"data": {"project": None}}
    assert ask(world.admin, query, p="default", e="nobody").json() == {"data": {"project": None}}
    assert ask(world.user("bob"), query, p="default", e="admin").json() == {
        "data": {"project": None}
    }
    queues = ask(world.admin, query, p="model-registry").json()["data"]["project"]
    assert queues["name"] == "model-registry"
