"""Files of runs in an outside store: it is asked for their sizes once the program has uploaded."""

from __future__ import annotations

import base64
import hashlib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from runyard.server.app import create_app
from runyard.server.settings import ServerSettings
from runyard.store.db import Database
from tests.http.conftest import Clock, World
from tests.store import google as double_of_google

CREATE = """mutation($n: [String!]!) { createRunFiles(input: {entityName: "admin",
    projectName: "default", runName: "r1", files: $n}) { files { name uploadUrl } } }"""
MARK = """mutation($n: [String!]!) { markRunFilesUploaded(input: {entityName: "admin",
    projectName: "default", runName: "r1", files: $n}) { success } }"""
LIST = """{ project(name: "default", entityName: "admin") { run(name: "r1") { fileCount
    files { edges { node { id name sizeBytes md5 url } } } } } }"""
DELETE = "mutation($n: [ID!]!) { deleteFiles(input: {files: $n}) { success } }"


@pytest.fixture
def outside(
    database: Database, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[World, double_of_google.Google]]:
    from google.auth import credentials as auth

    boundary = getattr(auth, "CredentialsWithRegionalAccessBoundary", None)
    if boundary is not None:  # it would ask Google itself, in the background
        monkeypatch.setattr(
            boundary, "_maybe_start_regional_access_boundary_refresh", lambda *_: None
        )
    with double_of_google.serving() as double:
        double.write_account(tmp_path / "account.json")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
        settings = ServerSettings(
            home=tmp_path / "home", files_url="gs://bucket", files_endpoint=double.url
        )
        server = create_app(settings, database=database, clock=clock, say=lambda _: None)
        with TestClient(server, base_url="http://localhost") as http:
            yield World(server, http, clock), double


def test_a_runs_file_goes_to_the_store_itself_and_is_noted_when_it_is_there(
    outside: tuple[World, double_of_google.Google],
) -> None:
    world, google = outside
    world.queue()
    item = {"docker": {"docker_image": "busybox"}, "run_id": "r1"}
    world.admin.ok("POST", "/queues/admin/q/items", json={"items": [item]})

    def ask(query: str, *names: str) -> Any:
        body = {"query": query, "variables": {"n": list(names)}}
        answer = world.admin.ok("POST", "/graphql", json=body)
        assert "errors" not in answer, answer
        return answer["data"]

    made = ask(CREATE, "a b.txt", "../x", "never.txt")["createRunFiles"]["files"]
    assert [each["name"] for each in made] == ["a b.txt", "../x", "never.txt"]
    assert made[1]["uploadUrl"] is None
    request = urllib.request.Request(made[0]["uploadUrl"], b"hello", method="PUT")
    request.add_header("Content-Type", "")
    assert urllib.request.urlopen(request, timeout=10).status == 200
    assert ask(LIST)["project"]["run"]["fileCount"] == 0
    ask(MARK, "./a b.txt", "never.txt", "unknown.txt")
    run = ask(LIST)["project"]["run"]
    assert run["fileCount"] == 1
    (edge,) = run["files"]["edges"]
    md5 = base64.b64encode(hashlib.md5(b"hello", usedforsecurity=False).digest()).decode()
    assert (edge["node"]["name"], edge["node"]["sizeBytes"]) == ("a b.txt", 5)
    assert edge["node"]["md5"] == md5
    assert urllib.request.urlopen(edge["node"]["url"], timeout=10).read() == b"hello"
    assert world.http.get("/storage/x/y").status_code == 401  # we serve none ourselves
    ask(DELETE, edge["node"]["id"])
    assert ask(LIST)["project"]["run"]["fileCount"] == 0
    assert google.objects == {}
