"""`runyard images`, on a real server."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from runyard.cli.images import size
from runyard.store import tables as t
from tests.cli.conftest import Cli
from tests.http.conftest import World, clock, live, settings

__all__ = ["clock", "live", "settings"]

REPOSITORY = "registry.example.com/ml/jobs"


@pytest.fixture(autouse=True)
def logged_in(live: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNYARD_BASE_URL", str(live.http.base_url))
    monkeypatch.setenv("RUNYARD_API_KEY", live.admin.key or "")
    monkeypatch.setenv("COLUMNS", "300")


class Images:
    """Rows as builds leave them."""

    def __init__(self, live: World) -> None:
        self._live, self._number = live, 0

    def add(self, tag: str, *, days: int = 0, state: str = "READY", **more: Any) -> None:
        when = int((datetime.now(UTC) - timedelta(days=days)).timestamp() * 1000)
        self._number += 1
        row = {
            "id": f"image-{self._number:03}", "place": "", "repository": REPOSITORY, "tag": tag,
            "digest": f"sha256:{self._number:064}", "state": state, "job": "admin/p/train:v0",
            "size": 1_500_000_000, "item_id": "", "attempt": 0, "created_at": when,
            "began_at": when, "used_at": when,
            "ready_at": when if state in ("READY", "DOOMED") else None, **more,
        }  # fmt: skip
        owner = select(t.entities.c.id).where(t.entities.c.name == "admin").scalar_subquery()
        self._live.server.database.write(
            lambda tx: tx.run(insert(t.images).values(entity_id=owner, **row))
        )

    def states(self) -> dict[str, str]:
        rows = self._live.server.database.read(lambda tx: tx.all(select(t.images)))
        return {row["tag"]: row["state"] for row in rows}


@pytest.fixture
def images(live: World) -> Images:
    return Images(live)


def test_images_are_listed_with_what_became_of_them(cli: Cli, images: Images) -> None:
    assert "No images" in cli("images", "list").err
    images.add("aaa", days=40)
    images.add("bbb", state="FAILED", error="no package named nope\nmore", size=0)
    images.add("ccc", place=f"docker:{'abc' * 20}", repository="localhost/runyard/jobs")
    done = cli("images", "list")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].split()[:4] == ["IMAGE", "STATE", "JOB", "SIZE"]
    assert "localhost/runyard/jobs:ccc" in lines[1]
    assert lines[1].split()[-1] == "docker:abcabcabcabcab"
    assert lines[2].endswith("no package named nope")
    assert f"{REPOSITORY}:aaa" in lines[3]
    assert "admin/p/train:v0  1.5 GB" in lines[3]
    assert "40d" in lines[3]
    told = json.loads(cli("images", "list", "--json").out)
    assert [image["tag"] for image in told] == ["ccc", "bbb", "aaa"]


@pytest.mark.parametrize(
    ("words", "tags"),
    [
        (("--state", "failed"), ["bbb"]),
        (("--state", "READY"), ["ccc", "aaa"]),
        (("--unused-for", "30d"), ["aaa"]),
        (("--repository", "other"), ["ccc"]),
        (("--job", "admin/p/eval"), ["ccc"]),
        (("--limit", "1"), ["ccc"]),
        (("-e", "admin", "--all"), ["ccc", "bbb", "aaa"]),
    ],
)
def test_a_list_can_be_narrowed(
    cli: Cli, images: Images, words: tuple[str, ...], tags: list[str]
) -> None:
    images.add("aaa", days=40)
    images.add("bbb", state="FAILED")
    images.add("ccc", repository="other", job="admin/p/eval:v1")
    told = json.loads(cli("images", "list", *words, "--json").out)
    assert [image["tag"] for image in told] == tags


def test_pruning_shows_what_would_go_and_how_much_it_is(cli: Cli, images: Images) -> None:
    for n, days in enumerate((50, 40, 1)):
        images.add(f"tag-{n}", days=days)
    images.add("failed", days=50, state="FAILED")
    done = cli("images", "prune", "--unused-for", "30d", "--dry-run")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()[1:]] == [
        f"{REPOSITORY}:tag-0", f"{REPOSITORY}:tag-1",
    ]  # fmt: skip
    assert "Would go: 2 images (3.0 GB); builds that failed, to be forgotten: 1." in done.err
    assert set(images.states().values()) == {"READY", "FAILED"}
    told = json.loads(cli("images", "prune", "--unused-for", "30d", "--dry-run", "--json").out)
    assert (told["dry_run"], len(told["images"]), told["bytes"]) == (True, 2, 3_000_000_000)


def test_pruning_leaves_images_to_the_agents(cli: Cli, images: Images) -> None:
    for n, days in enumerate((50, 40, 1)):
        images.add(f"tag-{n}", days=days)
    images.add("failed", days=50, state="FAILED")
    done = cli("images", "prune", "--older-than", "30d", "--keep-last", "2", "--yes")
    assert done.code == 0, done.err
    assert "Left to the agents to delete: 1 image (1.5 GB)" in done.err
    assert images.states() == {"tag-0": "DOOMED", "tag-1": "READY", "tag-2": "READY"}
    again = cli("images", "prune", "--older-than", "30d", "--keep-last", "2", "--yes", "--json")
    assert json.loads(again.out)["images"] == []


def test_nothing_is_pruned_without_a_condition_or_an_answer(
    cli: Cli, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.add("aaa", days=50)
    done = cli("images", "prune", "--yes")
    assert (done.code, "nothing says which" in done.err) == (2, True)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    done = cli("images", "prune", "--unused-for", "30d")
    assert done.code == 2
    assert "Delete 1 image (1.5 GB)?" in done.err
    assert "--yes" in done.err
    assert images.states() == {"aaa": "READY"}
    assert cli("images", "prune", "--unused-for", "soon").code == 2


def test_who_may_not_operate_prunes_nothing(
    cli: Cli, live: World, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.add("aaa", days=50)
    monkeypatch.setenv("RUNYARD_API_KEY", live.user("eve").key or "")
    assert json.loads(cli("images", "list", "--json").out) == []
    done = cli("images", "prune", "-e", "admin", "--unused-for", "30d", "--yes")
    assert done.code == 1
    assert "aaa" not in done.out + done.err
    assert images.states() == {"aaa": "READY"}


def test_sizes_are_told_as_people_read_them() -> None:
    assert [size(n) for n in (0, 999, 1000, 1_550_000, 10**16)] == [
        "", "999 bytes", "1.0 kB", "1.6 MB", "10000.0 TB",
    ]  # fmt: skip
