"""Logging an artifact as the tracking client does it, request by request."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tests.http.conftest import Caller
from tests.http.test_graphql import ask

CREATE = """mutation($input: CreateArtifactInput!) { createArtifact(input: $input) {
    artifact { id state versionIndex artifactSequence { id latestArtifact { id } } } } }"""
FILES = """mutation($input: CreateArtifactFilesInput!) { createArtifactFiles(input: $input) {
    files { edges { node { uploadUrl uploadHeaders } } } } }"""
MANIFEST = """mutation($input: CreateArtifactManifestInput!) {
    createArtifactManifest(input: $input) { artifactManifest { id file { uploadUrl } } } }"""
COMMIT = """mutation($id: ID!) { commitArtifact(input: {artifactID: $id}) {
    artifact { id digest versionIndex } } }"""


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def b64(data: bytes) -> str:
    return base64.b64encode(bytes.fromhex(md5(data))).decode()


def said(who: Caller, query: str, **variables: Any) -> Any:
    answer = ask(who, query, **variables)
    assert answer.status_code == 200, answer.text
    assert "errors" not in answer.json(), answer.text
    return answer.json()["data"]


def log(
    who: Caller,
    path: str,
    files: Mapping[str, bytes],
    *,
    refs: Mapping[str, str] | None = None,
    **more: Any,
) -> str:
    """Log a version of `entity/project/name`, return its id; `more` is of CreateArtifactInput."""
    entity, project, name = path.split("/")
    contents: dict[str, Any] = {
        file: {"digest": b64(data), "size": len(data)} for file, data in files.items()
    }
    contents |= {file: {"digest": ref, "ref": ref} for file, ref in (refs or {}).items()}
    lines = "".join(f"{file}:{contents[file]['digest']}\n" for file in sorted(contents))
    begun = {
        "entityName": entity, "projectName": project, "artifactCollectionName": name,
        "artifactTypeName": "dataset", "enableDigestDeduplication": True,
        "digest": md5(b"wandb-artifact-manifest-v1\n" + lines.encode()), **more,
    }  # fmt: skip
    made = said(who, CREATE, input=begun)["createArtifact"]["artifact"]
    if made["state"] == "COMMITTED":
        return str(made["id"])
    specs = [
        {"artifactID": made["id"], "name": file, "md5": b64(data)} for file, data in files.items()
    ]
    told = said(who, FILES, input={"artifactFiles": specs, "storageLayout": "V2"})
    for edge, data in zip(
        told["createArtifactFiles"]["files"]["edges"], files.values(), strict=True
    ):
        if edge["node"]["uploadUrl"]:
            assert who.http.request("PUT", edge["node"]["uploadUrl"], content=data).is_success
    manifest = json.dumps(
        {"version": 1, "storagePolicyConfig": {"storageLayout": "V2"}, "contents": contents}
    ).encode()
    said_of = {
        "artifactID": made["id"], "name": "wandb_manifest.json", "digest": b64(manifest),
        "entityName": entity, "projectName": project, "runName": "", "type": "FULL",
    }  # fmt: skip
    file = said(who, MANIFEST, input=said_of)["createArtifactManifest"]["artifactManifest"]["file"]
    assert who.http.request("PUT", file["uploadUrl"], content=manifest).is_success
    said(who, COMMIT, id=made["id"])
    return str(made["id"])
