"""Artifacts that are fetched before a job starts: once, whole, and never at the job's cost."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import stat
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from runyard.agent import prefetch
from runyard.agent.cache_settings import CacheSettings
from runyard.agent.caches import OURS, TeamCaches
from runyard.agent.prefetch import Prefetch
from runyard.client.artifact_links import ArtifactLinks

pytestmark = pytest.mark.anyio
ODD = {"digestAlgorithm": "MANIFEST_MD5", "files": 3}
FILES = {"a.bin": b"a" * 5000, "b.bin": b"b", "same.bin": b"b"}


class Server:
    """Artifacts of one project, as the server tells and gives them."""

    def __init__(self) -> None:
        self.files = dict(FILES)
        self.fetched: Counter[str] = Counter()
        self.keys: set[str | None] = set()
        self.answer: dict[str, httpx2.Response] = {}
        self.digests: dict[str, str] = {}
        self.algorithm = "MANIFEST_MD5"

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        if path in self.answer:
            return self.answer[path]
        if path == "/graphql":
            self.keys.add(request.headers.get("authorization"))
            return self._told(msgspec.json.decode(request.content)["variables"])
        name = path.rpartition("/")[2]
        self.fetched[name] += 1
        assert "authorization" not in request.headers
        await asyncio.sleep(0.01)  # others come meanwhile
        return httpx2.Response(200, content=self.files[name])

    def _told(self, asked: dict[str, Any]) -> httpx2.Response:
        if asked.get("id") == "gone":
            return httpx2.Response(200, json={"data": {"artifact": None}})
        names = list(self.files)
        at = int(asked["after"] or 0)  # one a page
        node = self._node(names[at])
        reference = {"digest": "etag", "sizeBytes": 9, "storagePath": None, "directUrl": "s3://x"}
        found = {
            "digestAlgorithm": self.algorithm,
            "files": {
                "pageInfo": {"hasNextPage": at + 1 < len(names), "endCursor": str(at + 1)},
                "edges": [{"node": node}, {"node": reference}],
            },
        }
        data = {"artifact": found} if "id" in asked else {"project": {"artifact": found}}
        return httpx2.Response(200, json={"data": data})

    def _node(self, name: str) -> dict[str, Any]:
        content = self.files[name]
        digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        return {
            "digest": self.digests.get(name, digest),
            "sizeBytes": len(content),
            "storagePath": "x",
            "directUrl": f"http://server/storage/{name}",
        }


@pytest.fixture
def server() -> Server:
    return Server()


class Agent:
    def __init__(self, root: Path, server: Server, limit_mb: int = 10) -> None:
        settings = CacheSettings(path=str(root), shared=["wandb-artifacts"])
        self.caches = TeamCaches(settings, root)
        self.mounts = self.caches.shared.mounts("red", (), container=True)
        connect = partial(ArtifactLinks, "http://server", transport=httpx2.MockTransport(server))
        self.ahead = Prefetch(limit_mb, connect)
        self.cache = Path(self.mounts[0].source)

    async def prepare(self, data: str = "wandb-artifact://red/vision/data:v1") -> list[str]:
        await self.caches.hold("k", [mount.name for mount in self.mounts])
        overrides = {"artifacts": {}, "files": {}, "run_config": {"data": data}}
        return await self.ahead.prepare({"overrides": overrides}, self.mounts, "ryr_token")

    def found(self) -> dict[str, bytes]:
        """Return what the client would find, by the digest that names it."""
        objects = self.cache / "artifacts" / "obj" / "md5"
        return {p.parent.name + p.name: p.read_bytes() for p in objects.glob("??/*")}

    def left(self) -> list[str]:
        return os.listdir(self.cache.parent / OURS / "incoming")


async def test_ten_at_once_on_two_agents_fetch_each_content_once(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "_ASK_AGAIN", 0.001)
    agents = [Agent(tmp_path, server), Agent(tmp_path, server)]
    told = await asyncio.gather(*(agents[n % 2].prepare() for n in range(10)))
    assert told == [[]] * 10
    assert sorted(server.fetched.values()) == [1, 1]  # same.bin is b.bin
    assert sorted(agents[0].found().values()) == [b"a" * 5000, b"b"]
    for name, content in agents[0].found().items():
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == name
    assert server.keys == {"Bearer ryr_token"}
    assert agents[0].left() == []


async def test_what_it_makes_is_open_to_whoever_a_container_runs_as(
    tmp_path: Path, server: Server
) -> None:
    agent = Agent(tmp_path, server)
    before = os.umask(0o077)
    try:
        await agent.prepare("wandb-artifact://_id/QXJ0")
    finally:
        os.umask(before)
    for path in (agent.cache / "artifacts").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o777 if path.is_dir() else 0o644), path


async def test_what_did_not_come_as_it_was_logged_is_not_kept(
    tmp_path: Path, server: Server
) -> None:
    server.digests["a.bin"] = base64.b64encode(b"0" * 16).decode()
    agent = Agent(tmp_path, server)
    (told,) = await agent.prepare()
    assert told == (
        "artifact red/vision/data:v1 is not fetched ahead: what came is not what was logged"
    )
    assert b"a" * 5000 not in agent.found().values()
    assert agent.left() == []


@pytest.mark.parametrize(
    ("path", "answer", "told"),
    [
        ("/graphql", httpx2.Response(500), "the server answered 500"),
        ("/graphql", httpx2.Response(200, content=b"no"), "does not answer as a Runyard server"),
        (
            "/graphql",
            httpx2.Response(200, json={"data": {"artifact": ODD}}),
            "is not fetched ahead: TypeError",
        ),
        ("/storage/a.bin", httpx2.Response(403), "its link answered 403"),
        ("/storage/a.bin", httpx2.Response(200, content=b"a" * 6000), "not what was logged"),
        ("/storage/a.bin", httpx2.Response(200, content=b"a"), "not what was logged"),
    ],
)
async def test_no_job_fails_for_it(
    tmp_path: Path, server: Server, path: str, answer: httpx2.Response, told: str
) -> None:
    server.answer[path] = answer
    agent = Agent(tmp_path, server)
    (warning,) = await agent.prepare("wandb-artifact://_id/QXJ0")
    assert told in warning
    assert agent.left() == []


async def test_what_is_not_there_or_too_large_is_left_to_the_program(
    tmp_path: Path, server: Server
) -> None:
    assert (
        "no such artifact"
        in (await Agent(tmp_path, server).prepare("wandb-artifact://_id/gone"))[0]
    )
    assert "larger than the 0 MB" in (await Agent(tmp_path, server, limit_mb=0).prepare())[0]
    server.algorithm = "MANIFEST_XXH128"
    assert await Agent(tmp_path, server).prepare() == []
    assert not server.fetched


async def test_T21_no_link_that_a_job_left_leads_out_of_the_cache(
    tmp_path: Path, server: Server
) -> None:
    agent = Agent(tmp_path / "cache", server)
    outside = tmp_path / "outside"
    outside.mkdir()
    await agent.caches.hold("k", [mount.name for mount in agent.mounts])
    (agent.cache / "artifacts").symlink_to(outside)
    (told,) = await agent.prepare()
    assert "not fetched ahead" in told
    assert os.listdir(outside) == []


async def test_a_link_in_the_place_of_a_file_is_replaced(tmp_path: Path, server: Server) -> None:
    agent = Agent(tmp_path / "cache", server)
    await agent.prepare()
    (tmp_path / "secret").write_bytes(b"a" * 5000)
    (large,) = (p for p in agent.cache.glob("artifacts/obj/md5/??/*") if p.stat().st_size == 5000)
    large.unlink()
    large.symlink_to(tmp_path / "secret")
    assert await agent.prepare() == []
    assert not large.is_symlink()
    assert server.fetched["a.bin"] == 2


async def test_without_a_shared_cache_nothing_is_asked(tmp_path: Path, server: Server) -> None:
    agent = Agent(tmp_path, server)
    agent.mounts = ()
    assert await agent.prepare() == []
    assert server.keys == set()
