"""What a launched program can do with its run's token by the tracking protocol, and when (T15)."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from runyard.server.graphql.ids import artifact_id, artifact_of
from tests.http.conftest import Agent, Caller, World
from tests.http.logging_artifacts import b64, log, md5, said
from tests.http.test_graphql import ask

RUN = """mutation($p: String, $n: String) { upsertBucket(input: {entityName: "admin",
    modelName: $p, name: $n, config: "{}"}) { bucket { name project { name } } } }"""
VIEWER = "{ viewer { name } }"
ARTIFACT = "query($id: ID!) { artifact(id: $id) { digest files { edges { node { directUrl } } } } }"
BEGIN = """mutation($input: CreateArtifactInput!) { createArtifact(input: $input) {
    artifact { id } } }"""
FILES = """mutation($input: CreateArtifactFilesInput!) { createArtifactFiles(input: $input) {
    files { edges { node { uploadUrl storagePath uploadMultipartUrls { uploadID } } } } } }"""
END = """mutation($input: CompleteMultipartUploadArtifactInput!) {
    completeMultipartUploadArtifact(input: $input) { digest } }"""
PUSH = """mutation($input: PushToRunQueueByNameInput!) { pushToRunQueueByName(input: $input) {
    runQueueItemId } }"""
KEY = "mutation { generateApiKey(input: {}) { apiKey { name } } }"
STREAM = "/files/admin/{project}/{run}/file_stream"


@pytest.fixture
def program(world: World) -> tuple[Caller, Agent, dict[str, Any]]:
    """A launched program in admin/default, with the token of its run."""
    world.queue()
    world.submit(1)
    agent = world.agent()
    held = agent.claim()
    return world.caller(held["run_token"]), agent, held


def stream(who: Caller, project: str, run: str) -> int:
    headers = {"Authorization": f"Bearer {who.key}"}
    path = STREAM.format(project=project, run=run)
    return int(who.http.request("POST", path, json={}, headers=headers).status_code)


def test_T15_a_run_s_token_is_good_for_nothing_after_the_run(
    world: World, program: tuple[Caller, Agent, dict[str, Any]]
) -> None:
    run, agent, held = program
    name = said(run, RUN, p="default", n=None)["upsertBucket"]["bucket"]["name"]
    assert stream(run, "default", name) == 200
    agent.finish(held)
    assert ask(run, VIEWER).status_code == 401
    assert stream(run, "default", name) == 401
    for path in ("/artifacts/admin/" + md5(b""), "/artifactsV2/r/admin/default/c//x/f"):
        headers = {"Authorization": f"Bearer {run.key}"}
        assert world.http.request("GET", path, headers=headers).status_code == 401


def test_T15_a_run_s_token_opens_no_other_project_by_any_name(
    world: World, program: tuple[Caller, Agent, dict[str, Any]]
) -> None:
    run, _, _ = program
    said(world.admin, RUN, p="secret", n="r")
    theirs = log(world.admin, "admin/secret/data", {"f": b"not for the program"})
    ours = log(run, "admin/default/mine", {"f": b"its own"})
    for number in range(artifact_of(ours) + 2):
        shown = said(run, ARTIFACT, id=artifact_id(number))["artifact"]
        assert (shown is not None) == (artifact_id(number) == ours)
    assert artifact_of(theirs) < artifact_of(ours)
    assert stream(run, "secret", "r") == 404
    hidden = said(run, '{ project(name: "secret", entityName: "admin") { runCount } }')
    assert hidden == {"project": None}
    headers = {"Authorization": f"Bearer {run.key}"}
    for path in (
        f"/artifacts/admin/{md5(b'not for the program')}",
        f"/artifactsV2/r/admin/secret/data//{md5(b'not for the program')}/f",
    ):
        assert world.http.request("GET", path, headers=headers).status_code == 404
    said(world.admin, RUN, p="default", n="mate")
    assert stream(run, "default", "mate") == 403
    image = '{"docker": {"docker_image": "busybox"}, "resource": "local-container"}'
    push = {"entityName": "admin", "projectName": "default", "queueName": "q", "runSpec": image}
    assert ask(run, PUSH, input=push).status_code == 403
    assert ask(run, KEY).status_code == 403


def test_T15_another_team_s_upload_and_content_are_out_of_reach(world: World) -> None:
    ann, eve = world.user("ann"), world.user("eve")
    secret, large = b"ann's own words", b"ann's large file"
    log(ann, "ann/p/data", {"f": secret})

    def begun(who: Caller, entity: str) -> tuple[str, dict[str, Any]]:
        place = {"entityName": entity, "projectName": "p", "artifactTypeName": "dataset",
                 "artifactCollectionName": "large", "digest": md5(b"draft")}  # fmt: skip
        draft = said(who, BEGIN, input=place)["createArtifact"]["artifact"]["id"]
        files = [
            {"artifactID": draft, "name": "large", "md5": b64(large),
             "uploadPartsInput": [{"partNumber": 1, "hexMD5": md5(large)}]},
            {"artifactID": draft, "name": "f", "md5": b64(secret)},
        ]  # fmt: skip
        told = said(who, FILES, input={"artifactFiles": files, "storageLayout": "V2"})
        edges = told["createArtifactFiles"]["files"]["edges"]
        return draft, {"large": edges[0]["node"], "f": edges[1]["node"]}

    _, of_ann = begun(ann, "ann")
    draft, of_eve = begun(eve, "eve")
    assert of_ann["f"]["uploadUrl"] is None  # it is there: not sent again
    assert of_eve["f"]["uploadUrl"]  # whether another team has it is not told
    upload = of_ann["large"]["uploadMultipartUrls"]["uploadID"]
    for action in ("Abort", "Complete"):
        end = {"completeMultipartAction": action, "completedParts": [], "artifactID": draft,
               "storagePath": of_ann["large"]["storagePath"], "uploadID": upload}  # fmt: skip
        assert ask(eve, END, input=end).status_code == 404
    with pytest.raises(AssertionError, match="did not come"):
        log_without_bytes(eve, secret)


def log_without_bytes(who: Caller, content: bytes) -> None:
    """Commit a version that names content by its MD5 and brings none."""
    log(Caller(Forgetful(who.http, content), who.key), "eve/p/stolen", {"f": content})


@dataclass
class Forgetful:
    """Sends everything but one content, and says that it did."""

    http: Any
    content: bytes

    def request(self, method: str, path: str, **more: Any) -> Any:
        if method == "PUT" and more["content"] == self.content:
            return SimpleNamespace(is_success=True)
        return self.http.request(method, path, **more)
