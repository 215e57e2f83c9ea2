"""What is linked elsewhere opens itself, and never the project that it was born in (T15)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runyard.server.graphql.ids import artifact_id, artifact_of
from tests.http.conftest import Caller, World
from tests.http.logging_artifacts import log, said
from tests.http.test_graphql import ask

LINK = """mutation($input: LinkArtifactInput!) { linkArtifact(input: $input) {
    artifactMembership { id artifactCollection { id } } } }"""
RUN = """mutation($n: String) { upsertBucket(input: {entityName: "rival", modelName: "p",
    name: $n, config: "{}"}) { bucket { id } } }"""
USE = """mutation($id: ID!) { useArtifact(input: {artifactID: $id, entityName: "rival",
    projectName: "p", runName: "rival-run"}) { artifact { id } } }"""
SWEEP = """mutation { upsertSweep(input: {entityName: "rival", projectName: "p",
    config: "method: grid"}) { sweep { name } } }"""
DESCRIBE = """mutation { upsertModel(input: {entityName: "rival", name: "p",
    description: "rival-words"}) { inserted } }"""
# Each asks for what lies in the project of a version's birth, by another way.
BEHIND = {
    "runs": "artifactSequence { project { runs { edges { node { name } } } } }",
    "count": "artifactSequence { project { runCount } }",
    "buckets": "artifactSequence { project { buckets { edges { node { name config } } } } }",
    "run": 'artifactSequence { project { run(name: "rival-run") { name config } } }',
    "sweeps": "artifactSequence { project { sweeps { edges { node { name } } } } }",
    "total of sweeps": "artifactSequence { project { totalSweeps } }",
    "queues": "artifactSequence { project { runQueues { name } } }",
    "queue": 'artifactSequence { project { runQueue(name: "rival-q") { id } } }',
    "members": "artifactSequence { project { entity { members { name email } } } }",
    "kind": "artifactSequence { project { entity { isTeam } } }",
    "description": "artifactSequence { project { description user { name } } }",
    "types": "artifactSequence { project { artifactTypes { edges { node { name } } } } }",
    "type": 'artifactSequence { project { artifactType(name: "dataset") { name description } } }',
    "collections of project": """artifactSequence { project { artifactCollections { edges { node {
        __typename name } } } } }""",
    "collection": """artifactSequence { project { artifactCollection(name: "rival-other") {
        name } } }""",
    "artifact": 'artifactSequence { project { artifact(name: "rival-other:v0") { digest } } }',
    "member": """artifactSequence { project { artifactCollectionMembership(name: "rival-other:v0") {
        artifact { digest } } } }""",
    "versions": "artifactSequence { artifacts { edges { version node { digest } } } }",
    "newest": "artifactSequence { latestArtifact { digest } }",
    "alias": 'artifactSequence { artifactMembership(aliasName: "v1") { artifact { digest } } }',
    "aliases": "artifactSequence { aliases { edges { node { alias } } } }",
    "collections of type": """artifactType { artifactCollections { edges { node { name
        artifacts { edges { node { digest files { edges { node { directUrl } } } } } } } } } }""",
    "collection of type": 'artifactType { artifactCollection(name: "rival-other") { name } }',
    "age of type": "artifactType { createdAt }",
    "collection of alias": """aliases { alias artifactCollection { name
        artifacts { edges { node { digest } } } } }""",
    "maker": "createdBy { ... on Run { name config } }",
    "users": "usedBy { edges { node { name config } } }",
}  # fmt: skip


@pytest.fixture
def rivals(world: World) -> tuple[Caller, Caller, str]:
    """Team rival's Ann, Bob of lab and not of rival, and a version that Ann linked into lab."""
    ann, bob = world.user("ann"), world.user("bob")
    ann.ok("POST", "/teams", json={"name": "rival"})
    ann.ok("POST", "/teams", json={"name": "lab"})
    ann.ok("PUT", "/teams/lab/members/bob", json={"role": "member"})
    world.queue("rival-q", "rival", ann)
    for name in ("rival-run", "rival-second"):
        said(ann, RUN, n=name)
    said(ann, SWEEP)
    said(ann, DESCRIBE)
    shared = log(ann, "rival/p/shared", {"f": b"shared"}, runName="rival-run")
    for path in ("rival/p/shared", "rival/p/rival-other"):
        log(ann, path, {"f": b"rival-newer"})
    said(ann, USE, id=shared)
    into = {"artifactID": shared, "artifactPortfolioName": "box", "entityName": "lab",
            "projectName": "shelf"}  # fmt: skip
    said(ann, LINK, input=into)
    return ann, bob, shared


def shown(who: Caller, artifact: str, fields: str) -> tuple[Any, str]:
    answer = ask(who, f"query($id: ID!) {{ artifact(id: $id) {{ {fields} }} }}", id=artifact)
    assert answer.status_code in (200, 400, 404), (fields, answer.text)
    return answer.json()["data"], answer.text


def told(data: Any) -> Any:
    """Return what an answer tells: no empty lists, no nulls, no names of links of its own."""
    if isinstance(data, dict):
        kept = {key: told(value) for key, value in data.items() if key != "totalCount"}
        return {key: value for key, value in kept.items() if value not in (None, {}, [], False)}
    return [told(each) for each in data] if isinstance(data, list) else data


def test_T15_a_link_opens_a_version_and_not_the_project_of_its_birth(
    world: World, rivals: tuple[Caller, Caller, str]
) -> None:
    ann, bob, shared = rivals
    names = "digest files { edges { node { name } } } artifactSequence { name project { name } }"
    data, _ = shown(bob, shared, names)
    assert data["artifact"]["files"]["edges"] == [{"node": {"name": "f"}}]
    assert data["artifact"]["artifactSequence"]["project"]["name"] == "p"
    for what, fields in BEHIND.items():
        assert told(shown(ann, shared, fields)[0]) not in ({}, {"artifact": {}}), what
        data, text = shown(bob, shared, fields)
        found = json.dumps(told(data))
        if what == "collection of alias":  # the links of lab itself are among them
            assert "rival" not in found, what
            continue
        assert found in ("{}", '{"artifact": {}}', "null"), (what, text)
        assert "rival-" not in text.replace("rival-other", "").replace("rival-q'", ""), what


def test_T15_ids_of_another_team_open_nothing(
    world: World, rivals: tuple[Caller, Caller, str]
) -> None:
    ann, bob, shared = rivals
    data, _ = shown(ann, shared, "artifactSequence { id } artifactType { id }")
    sequence = data["artifact"]["artifactSequence"]["id"]
    query = "query($id: ID!) { artifactCollection(id: $id) { __typename name } }"
    assert said(ann, query, id=sequence)["artifactCollection"]
    assert said(bob, query, id=sequence) == {"artifactCollection": None}
    number = artifact_of(shared)
    for guess in (number + 1, number + 2):  # what Ann logged to her project, and did not link
        text = artifact_id(guess)
        assert said(ann, "query($id: ID!) { artifact(id: $id) { digest } }", id=text)["artifact"]
        answer = said(bob, "query($id: ID!) { artifact(id: $id) { digest } }", id=text)
        assert answer == {"artifact": None}


def test_T15_a_sweep_shows_no_runs_of_queues_that_a_service_account_was_not_given(
    world: World,
) -> None:
    world.admin.ok("POST", "/teams", json={"name": "rival"})
    world.queue("q", "rival")
    said(world.admin, RUN, n="before")
    made = """mutation { upsertSweep(input: {entityName: "rival", projectName: "p", config:
        "method: grid", priorRunsFilters: "{\\"name\\": \\"before\\"}"}) { sweep { name } } }"""
    sweep = said(world.admin, made)["upsertSweep"]["sweep"]["name"]
    joined = """mutation($s: String) { upsertBucket(input: {entityName: "rival", modelName: "p",
        name: "within", sweep: $s}) { inserted } }"""
    said(world.admin, joined, s=sweep)
    body = {"name": "kept", "role": "member", "queues": ["q"]}
    world.admin.ok("POST", "/teams/rival/service-accounts", json=body)
    kept = world.caller(world.admin.ok("POST", "/keys", json={"user": "kept"})["key"])
    asked = """query($s: String!) { project(entityName: "rival", name: "p") { sweep(sweepName: $s) {
        runs { edges { node { name } } } priorRuns { edges { node { name } } } } } }"""
    seen = said(world.admin, asked, s=sweep)["project"]["sweep"]
    names = [edge["node"]["name"] for part in ("runs", "priorRuns") for edge in seen[part]["edges"]]
    assert names == ["within", "before"]
    hidden = said(kept, asked, s=sweep)["project"]["sweep"]
    assert hidden == {"runs": {"edges": []}, "priorRuns": {"edges": []}}
