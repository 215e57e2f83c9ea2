"""Artifacts through the door: who finds them, and who gets their content."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from tests.http.conftest import Caller, World
from tests.http.logging_artifacts import log, md5, said
from tests.http.test_graphql import ask

FRAGMENT = """
fragment P on Project { id internalId name entity { name } }
fragment A on Artifact {
  __typename id versionIndex artifactType { name } description metadata ttlDurationSeconds
  ttlIsInherited tags { __typename id name } historyStep state size digest digestAlgorithm
  commitHash fileCount createdAt updatedAt
  artifactSequence { __typename name project { ...P } }
  aliases { __typename id alias artifactCollection { __typename name project { ...P } } }
}"""
BY_ID = "query($id: ID!) { artifact(id: $id) { ...A } }" + FRAGMENT
BY_NAME = (
    """query($e: String, $p: String, $name: String!) { project(name: $p, entityName: $e) {
    artifactCollectionMembership(name: $name) { id versionIndex createdAt aliases { id alias }
    artifactCollection { __typename name project { ...P } } artifact { ...A } } } }"""
    + FRAGMENT
)
VERSIONS = (
    """query($e: String, $p: String, $c: String!, $first: Int, $after: String, $order: String,
    $filters: JSONString) { project(name: $p, entityName: $e) { artifactType(name: "dataset") {
    artifactCollection(name: $c) { __typename
    artifacts(first: $first, after: $after, order: $order, filters: $filters) {
    totalCount pageInfo { endCursor hasNextPage } edges { version node { ...A } } } } } } }"""
    + FRAGMENT
)
URLS = """query($e: String, $p: String, $c: String!, $a: String!, $after: String, $n: Int) {
    project(name: $p, entityName: $e) { artifactCollection(name: $c) { __typename
    artifactMembership(aliasName: $a) { files(after: $after, first: $n) {
    pageInfo { endCursor hasNextPage } edges { node { name directUrl } } } } } } }"""
EVERYTHING = """query($e: String, $p: String) { project(name: $p, entityName: $e) {
    artifactTypes { edges { node { id name description createdAt } } }
    artifactCollections(order: "name") { totalCount edges { node {
        __typename id name description createdAt updatedAt state project { name }
        type: defaultArtifactType { name } tags { edges { node { name } } }
        artifacts { totalCount edges { node { id state aliases { alias } artifactSequence { name } }
        } } } } } } }"""
LINK = """mutation($input: LinkArtifactInput!) { linkArtifact(input: $input) {
    versionIndex artifactMembership { id } } }"""


@pytest.fixture
def town(world: World) -> tuple[Caller, Caller]:
    """Ann with a version of `ann/p/data`, and eve, who has nothing to do with it."""
    return world.user("ann"), world.user("eve")


@contextmanager
def counted(world: World) -> Iterator[list[str]]:
    """Collect the statements that are sent to the database."""
    sent: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        sent.append(statement)

    engines = {world.server.database.raw_engine(), world.server.database._reader}
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield sent
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


def test_T15_a_foreign_artifact_is_as_good_as_not_there(
    world: World, town: tuple[Caller, Caller]
) -> None:
    ann, eve = town
    artifact = log(ann, "ann/p/data", {"a.txt": b"mine"})
    names = {"e": "ann", "p": "p", "name": "data:latest"}
    where = {"e": "ann", "p": "p", "c": "data", "a": "v0"}
    assert said(ann, BY_ID, id=artifact)["artifact"]["digest"]
    assert said(ann, BY_NAME, **names)["project"]["artifactCollectionMembership"]
    assert said(ann, URLS, **where)["project"]["artifactCollection"]
    assert said(eve, BY_ID, id=artifact) == {"artifact": None}
    assert said(eve, BY_NAME, **names) == {"project": None}
    assert said(eve, URLS, **where) == {"project": None}
    paths = (
        f"/artifactsV2/default/ann/p/data/{artifact}/{md5(b'mine')}/a.txt",
        f"/artifactsV2/default/ann/p/data//{md5(b'mine')}/a.txt",
        f"/artifactsV2/default/ann/p/data/{artifact}/{artifact}/{md5(b'mine')}/a.txt",
        f"/artifacts/ann/{md5(b'mine')}",
    )
    for path in paths:
        answer = get(ann, path)
        assert answer.status_code == 307, (path, answer.text)
        assert get(ann, answer.headers["location"], signed=True).content == b"mine"
        assert get(eve, path).status_code == 404, path
    assert get(ann, f"/artifacts/ann/{md5(b'other')}").status_code == 404
    assert get(ann, "/artifacts/ann/..%2F..%2Fetc%2Fpasswd").status_code == 404
    # Content of one's own under the same name gives nothing of another's.
    log(eve, "eve/p/data", {"a.txt": b"hers"})
    assert get(eve, f"/artifacts/eve/{md5(b'mine')}").status_code == 404


def get(who: Caller, path: str, *, signed: bool = False) -> Any:
    headers = {} if signed else {"Authorization": f"Bearer {who.key}"}
    return who.http.request("GET", path, headers=headers, follow_redirects=False)


def test_a_link_into_a_shared_project_shares_the_version(world: World) -> None:
    world.admin.ok("POST", "/teams", json={"name": "lab"})
    ann, bob = world.user("ann"), world.user("bob")
    for name in ("ann", "bob"):
        world.admin.ok("PUT", f"/teams/lab/members/{name}", json={"role": "member"})
    artifact = log(ann, "ann/p/data", {"a.txt": b"mine"}, refs={"r": "s3://bucket/key"})
    assert said(bob, BY_ID, id=artifact) == {"artifact": None}
    where = {"artifactID": artifact, "artifactPortfolioName": "best", "entityName": "lab",
             "projectName": "shelf", "aliases": [{"artifactCollectionName": "best",
             "alias": "prod"}]}  # fmt: skip
    said(ann, LINK, input=where)
    found = said(bob, BY_NAME, e="lab", p="shelf", name="best:prod")["project"]
    member = found["artifactCollectionMembership"]
    assert member["artifactCollection"]["__typename"] == "ArtifactPortfolio"
    assert member["artifact"]["artifactSequence"]["name"] == "data"
    shown = {(a["alias"], a["artifactCollection"]["name"]) for a in member["artifact"]["aliases"]}
    assert shown == {("prod", "best"), ("latest", "best"), ("v0", "data")}
    files = said(bob, URLS, e="lab", p="shelf", c="best", a="prod")["project"]
    edges = files["artifactCollection"]["artifactMembership"]["files"]["edges"]
    links = {edge["node"]["name"]: edge["node"]["directUrl"] for edge in edges}
    assert get(bob, links["a.txt"], signed=True).content == b"mine"
    assert links["r"] == "s3://bucket/key"
    path = f"/artifactsV2/default/lab/shelf/best/{artifact}/{md5(b'mine')}/a.txt"
    assert get(bob, path).status_code == 307
    assert get(bob, f"/artifacts/ann/{md5(b'mine')}").status_code == 404


def test_T15_a_runs_token_reads_its_own_project_and_no_other(world: World) -> None:
    world.queue()
    agent = world.agent()
    world.submit()
    token = world.caller(agent.claim()["run_token"])
    mine = log(world.admin, "admin/default/data", {"a.txt": b"here"})
    other = log(world.admin, "admin/elsewhere/data", {"b.txt": b"there"})
    assert said(token, BY_ID, id=mine)["artifact"]["id"] == mine
    assert said(token, BY_ID, id=other) == {"artifact": None}
    assert said(token, BY_NAME, e="admin", p="elsewhere", name="data:v0") == {"project": None}
    assert get(token, f"/artifacts/admin/{md5(b'here')}").status_code == 307
    assert get(token, f"/artifacts/admin/{md5(b'there')}").status_code == 404


def test_what_is_missing_is_null_and_what_is_wrong_is_told(
    world: World, town: tuple[Caller, Caller]
) -> None:
    ann, _ = town
    log(ann, "ann/p/data", {"a.txt": b"1"})
    for name in (
        "data:v1",
        "data:none",
        "none:v0",
        "data:" + "0" * 32,
        "",
        ":",
        "data:v99999999999",
    ):
        found = said(ann, BY_NAME, e="ann", p="p", name=name)
        assert found == {"project": {"artifactCollectionMembership": None}}, name
    digest = said(ann, BY_NAME, e="ann", p="p", name="data")["project"]
    digest = digest["artifactCollectionMembership"]["artifact"]["digest"]
    assert said(ann, BY_NAME, e="ann", p="p", name=f"data:{digest}")["project"]
    for wrong in ("QXJ0aWZhY3Q6eA==", "x", "UnVuOjE=", "QXJ0aWZhY3Q6OTk5OTk5OTk5OTk5OTk5OTk5OTk="):
        assert said(ann, BY_ID, id=wrong) == {"artifact": None}, wrong
    where = {"e": "ann", "p": "p", "c": "data"}
    for wrong in ({"order": "-secret"}, {"filters": '{"$where": 1}'}, {"filters": "{"},
                  {"after": "x"}, {"after": "WzFd"}, {"first": 0},
                  {"filters": '{"size": "x"}'}):  # fmt: skip
        answer = ask(ann, VERSIONS, **where, **wrong)
        assert answer.status_code == 422, (wrong, answer.text)


def test_versions_come_in_pages_in_any_order(world: World, town: tuple[Caller, Caller]) -> None:
    ann, _ = town
    for n in range(5):
        tags = [{"tagName": "odd" if n % 2 else "even"}]
        log(ann, "ann/p/data", {"a.txt": bytes([n]) * (10 - n)}, tags=tags)

    def versions(**more: Any) -> list[str]:
        seen, after = [], None
        while True:
            page = said(ann, VERSIONS, e="ann", p="p", c="data", first=2, after=after, **more)
            found = page["project"]["artifactType"]["artifactCollection"]["artifacts"]
            seen += [edge["version"] for edge in found["edges"]]
            if not found["pageInfo"]["hasNextPage"]:
                assert found["totalCount"] == len(seen)
                return seen
            after = found["pageInfo"]["endCursor"]

    assert versions() == ["v4", "v3", "v2", "v1", "v0"]
    assert versions(order="+version_index") == ["v0", "v1", "v2", "v3", "v4"]
    assert versions(order="size") == ["v4", "v3", "v2", "v1", "v0"]
    assert versions(order="-createdAt") == ["v4", "v3", "v2", "v1", "v0"]
    assert versions(filters='{"tags": "odd"}') == ["v3", "v1"]
    assert versions(filters='{"tags": {"$in": ["even", "none"]}}') == ["v4", "v2", "v0"]
    assert versions(filters='{"$or": [{"size": {"$gt": 9}}, {"version_index": 3}]}') == ["v3", "v0"]
    assert versions(filters='{"$not": {"tags": "odd"}}') == ["v4", "v2", "v0"]
    assert versions(filters='{"tags": "ODD"}') == []
    assert (
        versions(filters='{"state": "COMMITTED", "createdAt": {"$gt": "2001-01-01"}}') == versions()
    )


def test_files_come_in_pages(world: World, town: tuple[Caller, Caller]) -> None:
    ann, _ = town
    files = {f"d/{n:02} %.txt": str(n).encode() for n in range(7)}
    log(ann, "ann/p/data", files, refs={"elsewhere": "https://example.org/x"})
    seen: dict[str, str] = {}
    after = None
    while True:
        found = said(ann, URLS, e="ann", p="p", c="data", a="latest", after=after, n=3)["project"]
        page = found["artifactCollection"]["artifactMembership"]["files"]
        seen |= {edge["node"]["name"]: edge["node"]["directUrl"] for edge in page["edges"]}
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert sorted(seen) == [*sorted(files), "elsewhere"]
    assert {name: get(ann, seen[name], signed=True).content for name in files} == files


def test_a_page_costs_the_same_number_of_statements_whatever_is_on_it(
    world: World, town: tuple[Caller, Caller]
) -> None:
    ann, _ = town

    def cost() -> tuple[int, int, int]:
        costs = []
        for query, more in (
            (VERSIONS, {"c": "data"}),
            (EVERYTHING, {}),
            (URLS, {"c": "data", "a": "latest", "n": 5000}),
        ):
            tries = []
            for _ in range(3):  # in one of them the server may do work of its own
                said(ann, "{ __typename }")  # now her key is known for a while
                with counted(world) as sent:
                    said(ann, query, e="ann", p="p", **more)
                tries.append(len(sent))
            costs.append(min(tries))
        return costs[0], costs[1], costs[2]

    log(ann, "ann/p/data", {"a": b"0"})
    few = cost()
    for n in range(1, 5):
        log(ann, "ann/p/data", {f"{n}-{each}": b"x" for each in range(20)}, aliases=[
            {"artifactCollectionName": "data", "alias": f"is-{n}"}])  # fmt: skip
        log(ann, f"ann/p/more-{n}", {"a": str(n).encode()}, artifactTypeName=f"t{n}")
    assert cost() == few
    listed = said(ann, EVERYTHING, e="ann", p="p")["project"]["artifactCollections"]
    assert listed["totalCount"] == 5
    data = listed["edges"][0]["node"]
    assert (data["name"], data["artifacts"]["totalCount"]) == ("data", 5)
    assert "is-4" in {a["alias"] for a in data["artifacts"]["edges"][0]["node"]["aliases"]}
