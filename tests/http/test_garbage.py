"""Garbage in the store of files: what is removed, and all that is not."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from runyard.server import garbage
from runyard.store import garbage as rows
from runyard.store import tables as t
from runyard.store.objects.base import blob_key, run_file_key
from runyard.store.values import to_ms
from tests.http.conftest import World

DAY = timedelta(days=1)


class Dump:
    """A server with content, and the means to let time go by."""

    def __init__(self, world: World) -> None:
        self.world, self.store = world, world.server.storage.store
        self.lab = self.write(self._projects)

    def _projects(self, tx: Any) -> dict[str, str]:
        """Give two entities a sequence each: the admin's own, and another's."""
        entities = {}
        for name in ("admin", "eve"):
            entity = tx.scalar(select(t.entities.c.id).where(t.entities.c.name == name))
            entities[name] = entity
            at = {"created_at": 0}
            tx.run(insert(t.projects), {"id": f"p-{name}", "entity_id": entity, "name": "p", **at})
            tx.run(
                insert(t.artifact_types),
                {"id": f"t-{name}", "project_id": f"p-{name}", "name": "t", **at},
            )
            tx.run(
                insert(t.collections),
                {"id": f"c-{name}", "project_id": f"p-{name}", "type_id": f"t-{name}",
                 "kind": "sequence", "name": "c", "created_by": "", "updated_at": 0, **at},
            )  # fmt: skip
        return entities

    def write(self, work: Any) -> Any:
        return self.world.server.database.write(work)

    def content(self, word: str, *, birth: int | None = None) -> str:
        """Have the admin's entity know some content, used just now; return its MD5."""
        md5 = hashlib.md5(word.encode(), usedforsecurity=False).hexdigest()
        self.store.write(blob_key(self.lab["admin"], md5), iter([word.encode()]))
        now = to_ms(self.world.clock())
        values = {"entity_id": self.lab["admin"], "md5": md5, "size": len(word),
                  "birth_artifact_id": birth, "created_at": now, "used_at": now}  # fmt: skip
        self.write(lambda tx: tx.run(insert(t.objects), values))
        return md5

    def version(self, owner: str = "admin", state: str = "COMMITTED") -> int:
        values = {"sequence_id": f"c-{owner}", "state": state, "digest": "d", "version": 0,
                  "created_by": "u", "created_at": 0, "updated_at": 0}  # fmt: skip
        made = insert(t.artifacts).values(values).returning(t.artifacts.c.id)
        return int(self.write(lambda tx: tx.scalar(made)))

    def entry(self, version: int, md5: str) -> None:
        values = {"artifact_id": version, "path": md5, "digest": "d", "md5": md5, "size": 1}
        self.write(lambda tx: tx.run(insert(t.entries), values))

    def has(self, md5: str) -> tuple[bool, bool]:
        """Whether the database knows it, and whether its bytes are there."""
        found = select(t.objects.c.md5).where(t.objects.c.md5 == md5)
        known = self.write(lambda tx: tx.scalar(found)) is not None
        return known, self.store.stat(blob_key(self.lab["admin"], md5)) is not None

    def collect(self) -> dict[str, int]:
        found: dict[str, int] = self.world.http.portal.call(self.world.server.collector.run_once)
        return found


@pytest.fixture
def dump(world: World) -> Dump:
    world.user("eve")
    return Dump(world)


def test_content_that_no_version_has_goes_after_a_day(dump: Dump) -> None:
    md5 = dump.content("x")
    dump.world.clock.ahead = DAY - timedelta(minutes=1)
    assert dump.collect()["objects"] == 0
    assert dump.has(md5) == (True, True)
    dump.world.clock.ahead = DAY + timedelta(minutes=1)
    assert dump.collect()["objects"] == 1
    assert dump.has(md5) == (False, False)
    assert dump.collect()["objects"] == 0


def test_content_of_a_version_stays(dump: Dump) -> None:
    file, manifest, begun, foreign = map(dump.content, ("file", "manifest", "begun", "foreign"))
    dump.entry(dump.version(), file)
    dump.write(
        lambda tx: tx.run(
            insert(t.manifests),
            {"id": "m", "artifact_id": 1, "kind": "FULL", "name": "n", "md5": manifest,
             "created_at": 0},
        )
    )  # fmt: skip
    pending = dump.version(state="PENDING")
    values = {"birth_artifact_id": pending}
    dump.write(lambda tx: tx.run(update(t.objects).where(t.objects.c.md5 == begun).values(values)))
    dump.entry(dump.version("eve"), foreign)  # of another entity, which has its own copy
    dump.world.clock.ahead = 2 * DAY
    assert dump.collect()["objects"] == 1
    assert [dump.has(md5)[0] for md5 in (file, manifest, begun, foreign)] == [True] * 3 + [False]


def test_content_that_somebody_takes_meanwhile_stays(dump: Dump) -> None:
    md5 = dump.content("x")
    entity = dump.lab["admin"]
    seen = dump.write(lambda tx: tx.scalar(select(t.objects.c.used_at)))
    dump.write(lambda tx: tx.run(update(t.objects).values(used_at=seen + 1)))
    assert not dump.write(lambda tx: rows.forget_object(tx, entity, md5, seen))
    dump.entry(dump.version(), md5)
    assert not dump.write(lambda tx: rows.forget_object(tx, entity, md5, seen + 1))
    assert dump.has(md5) == (True, True)


def test_bytes_that_have_just_come_stay(dump: Dump) -> None:
    md5 = dump.content("x")
    dump.world.clock.ahead = 2 * DAY
    path = dump.store.path(blob_key(dump.lab["admin"], md5))  # type: ignore[attr-defined]
    os.utime(path, (dump.world.clock().timestamp(),) * 2)
    assert dump.collect()["objects"] == 0
    assert dump.has(md5) == (True, True)


def test_what_stays_does_not_hide_what_goes(dump: Dump, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "_OBJECTS", 2)
    version = dump.version()
    for n in range(5):
        dump.entry(version, dump.content(f"kept {n}"))
    gone = [dump.content(f"gone {n}") for n in range(3)]
    dump.world.clock.ahead = 2 * DAY
    for _ in range(5):
        dump.collect()
    assert [dump.has(md5) for md5 in gone] == [(False, False)] * 3
    more = dump.content("later")
    dump.world.clock.ahead = 4 * DAY
    for _ in range(4):
        dump.collect()
    assert dump.has(more) == (False, False)


def test_files_of_a_deleted_run_go_when_no_link_is_good_any_more(dump: Dump) -> None:
    world, now = dump.world, to_ms(dump.world.clock())
    author = dump.write(lambda tx: tx.scalar(select(t.users.c.id)))
    for run, deleted in (("r1", now), ("r2", None)):
        values = {"id": run, "project_id": "p-admin", "name": run, "state": "running",
                  "author_id": author, "created_at": 0, "deleted_at": deleted}  # fmt: skip
        dump.write(lambda tx, v=values: tx.run(insert(t.runs), v))
        row = {"run_id": run, "name": "a", "size": 1, "updated_at": 0}
        dump.write(lambda tx, v=row: tx.run(insert(t.run_files), v))
        dump.store.write(run_file_key(run, "a"), iter([b"x"]))
    assert dump.collect()["run_files"] == 0
    world.clock.ahead = timedelta(seconds=world.server.settings.link_seconds + 1)
    assert dump.collect()["run_files"] == 1
    there = [dump.store.stat(run_file_key(run, "a")) is not None for run in ("r1", "r2")]
    assert there == [False, True]
    left = dump.write(lambda tx: [r["run_id"] for r in tx.all(select(t.run_files.c.run_id))])
    assert left == ["r2"]


def test_uploads_that_nobody_went_on_with_go(dump: Dump) -> None:
    md5 = hashlib.md5(b"large", usedforsecurity=False).hexdigest()
    key = blob_key(dump.lab["admin"], md5)
    upload = dump.store.begin_parts(key)
    dump.write(
        lambda tx: tx.run(
            insert(t.multipart_uploads),
            {"id": "u", "entity_id": dump.lab["admin"], "md5": md5, "parts": 2, "upload": upload,
             "created_at": to_ms(dump.world.clock())},
        )
    )  # fmt: skip
    store: Any = dump.store
    link = store.part_link(key, upload, 1, md5=md5, seconds=9**6, base="http://localhost")
    assert dump.world.http.put(link.url, content=b"large").status_code == 200
    (store._root / "incoming" / "x").write_bytes(b"of a server that was killed")
    left = [path for path in store._root.rglob("*") if path.is_file()]
    assert len(left) == 2
    assert dump.collect()["uploads"] == 0
    dump.world.clock.ahead = 3 * DAY
    assert dump.collect()["uploads"] == 2
    assert [path for path in store._root.rglob("*") if path.is_file()] == []
    assert dump.world.http.put(link.url, content=b"large").status_code == 404
