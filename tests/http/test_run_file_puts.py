"""Two who bring one file of a run at once: what is noted of it is of the bytes that are there."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from runyard.store.objects.local import Incoming
from tests.http.conftest import World

MADE = """mutation { upsertBucket(input: {entityName: "admin", modelName: "p", name: "r1"})
    { bucket { id } }
    createRunFiles(input: {entityName: "admin", projectName: "p", runName: "r1", files: ["a"]})
    { files { uploadUrl } } }"""
LIST = """{ project(name: "p", entityName: "admin") { run(name: "r1") {
    files { edges { node { sizeBytes md5 } } } } } }"""


def test_who_is_overtaken_notes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(query: str) -> Any:
        return world.admin.ok("POST", "/graphql", json={"query": query})["data"]

    url = ask(MADE)["createRunFiles"]["files"][0]["uploadUrl"].removeprefix("http://localhost")
    finish = Incoming.finish

    def overtaken(incoming: Incoming) -> None:
        """Another brings other bytes, and notes them, before this one can note its own."""
        finish(incoming)
        monkeypatch.setattr(Incoming, "finish", finish)
        assert world.http.put(url, content=b"the newer").status_code == 200

    monkeypatch.setattr(Incoming, "finish", overtaken)
    assert world.http.put(url, content=b"older").status_code == 200
    (edge,) = ask(LIST)["project"]["run"]["files"]["edges"]
    md5 = hashlib.md5(b"the newer", usedforsecurity=False).digest()
    assert edge["node"] == {"sizeBytes": 9, "md5": base64.b64encode(md5).decode()}
