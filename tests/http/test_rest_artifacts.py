"""Artifacts without the tracking client: listed, shown, downloaded and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runyard.client.api import Api
from runyard.domain.errors import Invalid, NotFound
from tests.http.conftest import World
from tests.http.logging_artifacts import log

FILES = {"a b.txt": b"one", "deep/50% ü.bin": bytes(range(256)) * 5000, "empty": b""}


def test_an_artifact_is_listed_and_shown(world: World) -> None:
    admin = world.admin
    for n in range(3):
        log(admin, "admin/p/data", {**FILES, "n": bytes([n])}, metadata='{"x": NaN}')
    log(admin, "admin/p/model", {"w": b"w"}, artifactTypeName="model")
    page = admin.ok("GET", "/api/v1/artifacts/admin/p?limit=1")
    assert [(c["name"], c["type"], c["versions"]) for c in page["data"]] == [("model", "model", 1)]
    page = admin.ok("GET", f"/api/v1/artifacts/admin/p?limit=1&cursor={page['next']}")
    assert [(c["name"], c["versions"]) for c in page["data"]] == [("data", 3)]
    assert page["next"] is None
    assert len(admin.ok("GET", "/api/v1/artifacts/admin/p?type=model")["data"]) == 1
    assert admin.ok("GET", "/api/v1/artifacts/admin/p?type=none")["data"] == []
    page = admin.ok("GET", "/api/v1/artifacts/admin/p/data/versions?limit=2")
    assert [(v["version"], v["aliases"]) for v in page["data"]] == [(2, ["latest"]), (1, [])]
    page = admin.ok("GET", f"/api/v1/artifacts/admin/p/data/versions?limit=2&cursor={page['next']}")
    assert [v["version"] for v in page["data"]] == [0]
    shown = admin.ok("GET", "/api/v1/artifacts/admin/p/data/versions/v1")
    assert (shown["version"], shown["files"], shown["metadata"]) == (1, 4, '{"x": NaN}')
    seen, cursor = [], ""
    while cursor is not None:
        asked = f"/api/v1/artifacts/admin/p/data/versions/latest/files?limit=3{cursor}"
        page = admin.ok("GET", asked)
        seen += [file["path"] for file in page["data"]]
        cursor = None if page["next"] is None else f"&cursor={page['next']}"
    assert seen == sorted([*FILES, "n"])


def test_T15_a_foreign_artifact_is_not_found(world: World) -> None:
    log(world.admin, "admin/p/data", FILES)
    eve = world.user("eve")
    base = "/api/v1/artifacts/admin/p"
    for path in (base, *(f"{base}/data/versions{end}" for end in ("", "/v0", "/latest/files"))):
        assert world.admin("GET", path).status_code == 200, path
        assert eve("GET", path).status_code == 404, path


def test_files_are_downloaded_whole(live: World, tmp_path: Path) -> None:
    log(live.admin, "admin/p/data", FILES, refs={"r": "s3://b/k"})
    api = Api(str(live.http.base_url), live.admin.key or "")
    got: list[int] = []
    for file in api.artifact_files("admin", "p", "data", "latest"):
        if file.is_reference:
            assert (file.path, file.url) == ("r", "s3://b/k")
            continue
        path = api.download_file(file, tmp_path / "out", got.append)
        assert path.read_bytes() == FILES[file.path]
        # What is not as it was logged is not kept, and nothing is written elsewhere.
        with pytest.raises(Invalid):
            api.download_file(
                file.model_copy(update={"digest": "x", "path": "other"}), tmp_path, got.append
            )
        outside = file.model_copy(update={"path": "../other"})
        with pytest.raises(Invalid):
            api.download_file(outside, tmp_path / "out", got.append)
    (tmp_path / "out" / "away").symlink_to(tmp_path)
    with pytest.raises(Invalid, match="through a link"):
        api.download_file(file.model_copy(update={"path": "away/x"}), tmp_path / "out", got.append)
    assert not [path for path in tmp_path.iterdir() if path.name in ("other", "x")]
    assert not list(tmp_path.rglob(".download-*"))
    with pytest.raises(NotFound):
        api.artifact("admin", "p", "data", "v7")


def test_commands_show_and_download(
    live: World, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    from runyard.cli.main import run

    log(live.admin, "admin/p/data", FILES, refs={"r": "s3://b/k"})
    monkeypatch.setenv("RUNYARD_BASE_URL", str(live.http.base_url))
    monkeypatch.setenv("RUNYARD_API_KEY", live.admin.key or "")
    monkeypatch.chdir(tmp_path)

    def typed(*words: str) -> str:
        code = run(["artifact", *words])
        told = capsys.readouterr()
        assert code == 0, told.err
        return str(told.out + told.err)

    assert "admin/p/data" in typed("list", "-p", "p")
    assert "latest" in typed("show", "p/data")
    told = typed("show", "admin/p/data:v0", "--json")  # the server's log is among it
    shown, _ = json.JSONDecoder().raw_decode(told[told.index("{\n") :])
    assert shown["files"] == 4
    told = typed("download", "p/data:latest")
    assert "3 files in data-v0" in told
    assert "not fetched: r refers to s3://b/k" in told
    for name, data in FILES.items():
        assert (tmp_path / "data-v0" / name).read_bytes() == data
