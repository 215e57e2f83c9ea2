"""Writing artifacts over HTTP: uploads in parts, the answers' statuses, what a lie gets."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.http.conftest import World
from tests.http.logging_artifacts import COMMIT, CREATE, FILES, MANIFEST, b64, log, md5, said
from tests.http.test_graphql import ask, told

PARTS = """mutation($input: CreateArtifactFilesInput!) { createArtifactFiles(input: $input) {
    files { edges { node { storagePath uploadUrl artifact { id }
      uploadMultipartUrls { uploadID uploadUrlParts { partNumber uploadUrl } } } } } } }"""
COMPLETE = """mutation($input: CompleteMultipartUploadArtifactInput!) {
    completeMultipartUploadArtifact(input: $input) { digest } }"""
WHOLE = [b"one" * 1000, b"two" * 1000, b"end"]
DATA = b"".join(WHOLE)


def digest(contents: dict[str, Any]) -> str:
    lines = "".join(f"{path}:{contents[path]['digest']}\n" for path in sorted(contents))
    return md5(b"wandb-artifact-manifest-v1\n" + lines.encode())


def begun(world: World, contents: dict[str, Any], **more: Any) -> str:
    wanted = {
        "entityName": "admin", "projectName": "p", "artifactCollectionName": "data",
        "artifactTypeName": "dataset", "digest": digest(contents), **more,
    }  # fmt: skip
    return str(said(world.admin, CREATE, input=wanted)["createArtifact"]["artifact"]["id"])


def describe(world: World, artifact: str, contents: dict[str, Any]) -> None:
    data = json.dumps({"version": 1, "contents": contents}).encode()
    asked = {
        "artifactID": artifact, "name": "wandb_manifest.json", "digest": b64(data),
        "entityName": "admin", "projectName": "p", "runName": "",
    }  # fmt: skip
    made = said(world.admin, MANIFEST, input=asked)["createArtifactManifest"]["artifactManifest"]
    assert world.http.request("PUT", made["file"]["uploadUrl"], content=data).is_success


def in_parts(world: World, artifact: str) -> tuple[dict[str, Any], list[str]]:
    """Upload the content in parts; return the file's node and the ETags."""
    parts = [{"partNumber": n, "hexMD5": md5(part)} for n, part in enumerate(WHOLE, 1)]
    spec = {"artifactID": artifact, "name": "big", "md5": b64(DATA), "uploadPartsInput": parts}
    asked = {"artifactFiles": [spec], "storageLayout": "V2"}
    (edge,) = said(world.admin, PARTS, input=asked)["createArtifactFiles"]["files"]["edges"]
    etags = []
    for link, part in zip(
        edge["node"]["uploadMultipartUrls"]["uploadUrlParts"], WHOLE, strict=True
    ):
        sums = {"Content-Md5": base64.b64encode(bytes.fromhex(md5(part))).decode()}
        put = world.http.request("PUT", link["uploadUrl"], content=part, headers=sums)
        assert put.is_success, put.text
        etags.append(put.headers["ETag"])
    return edge["node"], etags


def completion(artifact: str, node: dict[str, Any], etags: list[str], **more: Any) -> Any:
    return {
        "artifactID": artifact, "storagePath": node["storagePath"],
        "uploadID": node["uploadMultipartUrls"]["uploadID"],
        "completeMultipartAction": "Complete",
        "completedParts": [{"partNumber": n, "hexMD5": tag} for n, tag in enumerate(etags, 1)],
        **more,
    }  # fmt: skip


def test_a_large_file_comes_in_parts(world: World) -> None:
    contents = {"big": {"digest": b64(DATA), "size": len(DATA)}}
    artifact = begun(world, contents)
    node, etags = in_parts(world, artifact)
    assert node["artifact"]["id"] == artifact
    asked = completion(artifact, node, etags)
    for _ in range(2):  # again by who did not hear the answer
        answer = said(world.admin, COMPLETE, input=asked)
        assert answer["completeMultipartUploadArtifact"]["digest"] == b64(DATA)
    describe(world, artifact, contents)
    assert said(world.admin, COMMIT, id=artifact)["commitArtifact"]["artifact"]["versionIndex"] == 0


def test_an_upload_in_parts_is_ended_by_those_who_may_write_the_version(world: World) -> None:
    contents = {"big": {"digest": b64(DATA), "size": len(DATA)}}
    artifact = begun(world, contents)
    node, etags = in_parts(world, artifact)
    asked = completion(artifact, node, etags)
    eve = world.user("eve")
    told(ask(eve, COMPLETE, input=asked), 404)
    elsewhere = {**asked, "storagePath": node["storagePath"].replace(md5(DATA), md5(b"other"))}
    told(ask(world.admin, COMPLETE, input=elsewhere), 404)
    told(ask(world.admin, COMPLETE, input={**asked, "uploadID": "0" * 26}), 404)
    lacking = {**asked, "completedParts": [{"partNumber": 1, "hexMD5": md5(b"none")}]}
    told(ask(world.admin, COMPLETE, input=lacking), 422)
    said(world.admin, COMPLETE, input={**asked, "completeMultipartAction": "Abort"})
    told(ask(world.admin, COMPLETE, input=asked), 404)


def test_a_digest_that_lies_gets_422_and_nothing_is_committed(world: World) -> None:
    contents = {"a": {"digest": b64(b"a"), "size": 1}}
    artifact = begun(world, {"a": {"digest": b64(b"b")}})
    describe(world, artifact, contents)
    message = told(ask(world.admin, COMMIT, id=artifact), 422)
    assert "announced with the digest" in message
    shown = said(world.admin, "query($id: ID!) { artifact(id: $id) { state } }", id=artifact)
    assert shown["artifact"]["state"] == "PENDING"


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"storageRegion": "mars-1"}, 422), ({"entityName": "nobody"}, 404),
        ({"runName": "none"}, 404), ({"artifactCollectionName": "a/b"}, 422),
        ({"digestAlgorithm": "MANIFEST_XXH128"}, 422),
        ({"artifactCollectionName": None, "artifactCollectionNames": ["a", "b"]}, 422),
        ({"aliases": [{"artifactCollectionName": "other", "alias": "x"}]}, 422),
    ],
)  # fmt: skip
def test_what_cannot_be_begun_is_final(world: World, wrong: dict[str, Any], status: int) -> None:
    wanted = {
        "entityName": "admin", "projectName": "p", "artifactCollectionName": "data",
        "artifactTypeName": "dataset", "digest": digest({}), **wrong,
    }  # fmt: skip
    message = told(ask(world.admin, CREATE, input=wanted), status)
    if "storageRegion" in wrong:
        assert "mars-1" in message


def test_T15_a_stranger_finds_no_artifact_to_write(world: World) -> None:
    artifact = log(world.admin, "admin/p/data", {"a": b"a"})
    eve = world.user("eve")
    path = {"entityName": "admin", "projectName": "p", "artifactCollectionName": "data"}
    spec = {"artifactID": artifact, "name": "x", "md5": b64(b"x")}
    shown = said(
        world.admin, "query($id: ID!) { artifact(id: $id) { artifactSequence { id } } }",
        id=artifact,
    )  # fmt: skip
    sequence = shown["artifact"]["artifactSequence"]["id"]
    refused: list[tuple[str, dict[str, Any]]] = [
        (COMMIT, {"id": artifact}),
        (FILES, {"input": {"artifactFiles": [spec], "storageLayout": "V2"}}),
        ("""mutation($input: UpdateArtifactInput!) {
            updateArtifact(input: $input) { artifact { id } } }""",
         {"input": {"artifactID": artifact, "description": "mine"}}),
        ("""mutation($input: DeleteArtifactInput!) {
            deleteArtifact(input: $input) { artifact { id } } }""",
         {"input": {"artifactID": artifact, "deleteAliases": True}}),
        ("mutation($input: AddAliasesInput!) { addAliases(input: $input) { success } }",
         {"input": {"artifactID": artifact, "aliases": [{**path, "alias": "x"}]}}),
        ("""mutation($input: DeleteArtifactSequenceInput!) {
            deleteArtifactSequence(input: $input) { artifactCollection { name } } }""",
         {"input": {"artifactSequenceID": sequence}}),
    ]  # fmt: skip
    for query, variables in refused:
        told(ask(eve, query, **variables), 404)
    mapped = ask(eve, '{ clientIDMapping(clientID: "nothing") { serverID } }')
    assert mapped.json() == {"data": {"clientIDMapping": None}}
    assert said(world.admin, COMMIT, id=artifact)["commitArtifact"]["artifact"]["versionIndex"] == 0


def test_collections_answer_with_what_became_of_them(world: World) -> None:
    artifact = log(world.admin, "admin/p/data", {"a": b"a"})
    linked = said(
        world.admin,
        """mutation($input: LinkArtifactInput!) { linkArtifact(input: $input) {
            versionIndex artifactMembership { versionIndex aliases { alias }
              artifactCollection { __typename id name } artifact { id } } } }""",
        input={"artifactID": artifact, "artifactPortfolioName": "best", "entityName": "admin",
               "projectName": "p", "aliases": [{"artifactCollectionName": "best", "alias": "x"}]},
    )["linkArtifact"]  # fmt: skip
    member = linked["artifactMembership"]
    assert (linked["versionIndex"], member["versionIndex"]) == (0, 0)
    assert {alias["alias"] for alias in member["aliases"]} >= {"latest", "x"}
    assert member["artifactCollection"]["__typename"] == "ArtifactPortfolio"
    assert member["artifact"]["id"] == artifact
    tagged = said(
        world.admin,
        """mutation($input: CreateArtifactCollectionTagAssignmentsInput!) {
            createArtifactCollectionTagAssignments(input: $input) { tags { id name } } }""",
        input={"entityName": "admin", "projectName": "p", "artifactCollectionName": "best",
               "tags": [{"tagName": "t"}]},
    )  # fmt: skip
    tags = tagged["createArtifactCollectionTagAssignments"]["tags"]
    assert [tag["name"] for tag in tags] == ["t"]
    gone = said(
        world.admin,
        """mutation($id: ID!) { deleteArtifactPortfolio(input: {artifactPortfolioID: $id}) {
            artifactCollection { __typename state } } }""",
        id=member["artifactCollection"]["id"],
    )["deleteArtifactPortfolio"]["artifactCollection"]
    assert gone == {"__typename": "ArtifactPortfolio", "state": "DELETED"}
    made = said(
        world.admin,
        """mutation($input: CreateArtifactTypeInput!) { createArtifactType(input: $input) {
            artifactType { id name } } }""",
        input={"entityName": "admin", "projectName": "p", "name": "dataset"},
    )
    assert made["createArtifactType"]["artifactType"]["name"] == "dataset"
