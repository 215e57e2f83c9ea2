"""Versions of artifacts from their first word to their end, on a real database and a real store."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import func, insert, select, update

from runyard.domain import artifacts as rules
from runyard.domain.access import Actor, Kind
from runyard.domain.errors import Conflict, Forbidden, Invalid, NotFound, TooMuch
from runyard.domain.items import RunId
from runyard.server.edge import SERVER, Ids, new_secret
from runyard.services import accounts, members
from runyard.services.artifacts import (
    aliases,
    committing,
    creating,
    deleting,
    editing,
    linking,
    manifests,
    using,
)
from runyard.services.artifacts.aliases import Alias
from runyard.services.call import Call
from runyard.services.tracking import ending
from runyard.store import accounts as people
from runyard.store import tables as t
from runyard.store.artifacts import objects, writing
from runyard.store.db import Database, Row, Tx
from runyard.store.objects.base import ObjectStore, blob_key
from runyard.store.objects.links import Signer
from runyard.store.objects.local import LocalStore
from runyard.store.values import from_text, to_ms

T = TypeVar("T")
T0 = datetime(2030, 1, 1, tzinfo=UTC)
FILES = {"a.txt": b"aaa", "sub/b.txt": b"bb"}


def b64(data: bytes) -> str:
    return rules.in_base64(hashlib.md5(data).hexdigest())


def entry(data: bytes) -> dict[str, Any]:
    return {"digest": b64(data), "size": len(data)}


def digest(contents: Mapping[str, Mapping[str, Any]]) -> str:
    """As the client computes it, written down anew."""
    total = hashlib.md5(b"wandb-artifact-manifest-v1\n")
    for path in sorted(contents):
        total.update(f"{path}:{contents[path]['digest']}\n".encode())
    return total.hexdigest()


class Lab:
    """A team `lab` with ann and bob, and eve who is alone; each step is its own transaction."""

    def __init__(self, database: Database, root: Path) -> None:
        self.database, self.now = database, T0
        self.store: ObjectStore = LocalStore(root, Signer(lambda: self.now))
        self.ids = Ids(lambda: self.now)
        self.write("", lambda call: accounts.bootstrap(call, "ann"))
        for name in ("bob", "eve", "viv"):
            self.write("ann", lambda call, n=name: accounts.create_user(call, n, is_admin=False))
        self.write("ann", lambda call: accounts.create_team(call, "lab"))
        self.write("ann", lambda call: members.set_member(call, "lab", "bob", "member"))
        self.write("ann", lambda call: members.set_member(call, "lab", "viv", "viewer"))

    def write(self, who: str | Actor, service: Callable[[Call], T]) -> T:
        def run(tx: Tx) -> T:
            actor = who if isinstance(who, Actor) else people.actor_named(tx, who) or SERVER
            return service(Call(tx, actor, self.now, self.ids, new_secret))

        return self.database.write(run)

    def rows(self, statement: Any) -> list[Row]:
        return list(self.database.read(lambda tx: tx.all(statement)))

    def run(self, name: str, project: str = "p", author: str = "bob") -> Actor:
        """Begin a run and return the actor that its token stands for."""

        def add(call: Call) -> Actor:
            owner = people.entity(call.tx, "lab")
            assert owner is not None
            place = accounts.project(call, owner, project)
            run_id = call.new_id()
            call.tx.run(
                insert(t.runs).values(
                    id=run_id, project_id=place, name=name, state="running",
                    author_id=call.actor.user_id, created_at=to_ms(self.now),
                )
            )  # fmt: skip
            return replace(
                call.actor, kind=Kind.RUN, run_id=RunId(run_id), run_name=name, project_id=place
            )

        return self.write(author, add)

    def begin(self, contents: Mapping[str, Any], who: str | Actor = "bob", **more: Any) -> Row:
        project, entity = more.pop("project", "p"), more.pop("entity", "lab")
        wanted = creating.Wanted(
            **{"collection": "data", "type": "dataset", "digest": digest(contents)} | more
        )
        return self.write(who, lambda call: creating.create(call, entity, project, wanted))

    def bring(self, row: Row, data: bytes, *, put: bool = True) -> manifests.Offered:
        """Offer content for a version and put it into the store."""
        wanted = manifests.Wanted(row["id"], "f", hashlib.md5(data).hexdigest())
        (offered,) = self.write("ann", lambda call: manifests.offer(call, [wanted]))
        if put and not offered.is_there:
            self.put(offered.entity_id, data)
        return offered

    def put(self, entity_id: str, data: bytes) -> None:
        self.store.write(blob_key(entity_id, hashlib.md5(data).hexdigest()), iter([data]))

    def describe(
        self, row: Row, contents: Mapping[str, Any], kind: str = "FULL", base: int | None = None,
        who: str | Actor = "bob",
    ) -> manifests.Manifest:  # fmt: skip
        data = json.dumps({"version": 1, "contents": contents}).encode()
        made = self.write(
            who,
            lambda call: manifests.begin(
                call, row["id"], name="wandb_manifest.json", kind=kind, digest=b64(data), base=base
            ),
        )
        self.put(made.entity_id, data)
        return made

    def check(self, artifact_id: int, who: str | Actor = "bob") -> committing.Checked | None:
        draft = self.write(who, lambda call: committing.look(call, artifact_id))
        if draft is None:
            return None
        gathered = committing.gather(self.store, draft)
        known = self.write(who, lambda call: committing.lacking(call, gathered))
        return committing.check(self.store, known)

    def commit(self, row: Row, who: str | Actor = "bob") -> Row:
        checked = self.check(row["id"], who)
        return self.write(who, lambda call: committing.commit(call, row["id"], checked))

    def log(self, files: Mapping[str, bytes] = FILES, **more: Any) -> Row:
        """Log a version from beginning to end."""
        who = more.get("who", "bob")
        contents = {path: entry(data) for path, data in files.items()}
        row = self.begin(contents, **more)
        if row["state"] == "PENDING":
            for data in files.values():
                self.bring(row, data)
            self.describe(row, contents, who=who)
            row = self.commit(row, who)
        return row

    def names(self, artifact_id: int) -> set[str]:
        found = select(t.aliases.c.alias).where(t.aliases.c.artifact_id == artifact_id)
        return {row["alias"] for row in self.rows(found)}

    def entries(self, artifact_id: int) -> dict[str, Row]:
        found = select(t.entries).where(t.entries.c.artifact_id == artifact_id)
        return {row["path"]: row for row in self.rows(found)}

    def state(self, artifact_id: int) -> str | None:
        found = self.rows(select(t.artifacts.c.state).where(t.artifacts.c.id == artifact_id))
        return found[0]["state"] if found else None


@pytest.fixture
def lab(database: Database, tmp_path: Path) -> Lab:
    return Lab(database, tmp_path / "store")


# -- from the first word to the commit ----------------------------------------------------


def test_a_version_gets_its_number_aliases_size_and_entries(lab: Lab) -> None:
    first = lab.log(aliases=["best"], metadata='{"k": NaN}', tags=["t"], history_step=3)
    assert (first["state"], first["version"], first["size"], first["file_count"]) == (
        "COMMITTED", 0, 5, 2,
    )  # fmt: skip
    assert lab.names(first["id"]) == {"latest", "best"}
    assert (first["metadata"], first["tags"], first["history_step"]) == ('{"k": NaN}', '["t"]', 3)
    kept = lab.entries(first["id"])
    assert {p: (e["size"], e["md5"]) for p, e in kept.items()} == {
        path: (len(data), hashlib.md5(data).hexdigest()) for path, data in FILES.items()
    }
    second = lab.log({"a.txt": b"other"}, aliases=["best"])
    assert second["version"] == 1
    assert lab.names(second["id"]) == {"latest", "best"}
    assert lab.names(first["id"]) == set()


def test_the_same_client_id_is_the_same_version(lab: Lab) -> None:
    contents = {"a": entry(b"a")}
    one = lab.begin(contents, client_id="c" * 128)
    assert lab.begin(contents, client_id="c" * 128)["id"] == one["id"]
    assert lab.begin(contents, client_id="d" * 128)["id"] != one["id"]
    assert lab.write("bob", lambda call: creating.of_client(call, "c" * 128)) == one["id"]
    lab.bring(one, b"a")
    lab.describe(one, contents)
    lab.commit(one)
    again = lab.begin(contents, client_id="c" * 128)
    assert (again["id"], again["state"]) == (one["id"], "COMMITTED")
    with pytest.raises(NotFound):
        lab.write("eve", lambda call: creating.of_client(call, "c" * 128))


def test_known_content_makes_no_version_and_moves_the_aliases(lab: Lab) -> None:
    first, second = lab.log(), lab.log({"a.txt": b"new"})
    again = lab.begin(
        {p: entry(d) for p, d in FILES.items()}, aliases=["latest", "again"], client_id="x"
    )
    assert (again["id"], again["state"]) == (first["id"], "COMMITTED")
    assert lab.names(first["id"]) == {"latest", "again"}
    assert lab.names(second["id"]) == set()
    # What refers to it by the client's id finds it.
    assert lab.write("bob", lambda call: creating.of_client(call, "x")) == first["id"]
    other = lab.begin({p: entry(d) for p, d in FILES.items()}, deduplicate=False)
    assert other["state"] == "PENDING"


def test_a_sequence_has_one_type(lab: Lab) -> None:
    lab.log()
    with pytest.raises(Invalid, match="dataset"):
        lab.begin({}, type="model")
    lab.begin({}, type="model", project="other")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"collection": "a/b"}, "name"), ({"type": ""}, "type"), ({"digest": "x"}, "digest"),
        ({"algorithm": "MANIFEST_XXH128"}, "MANIFEST_MD5"), ({"region": "mars"}, "mars"),
        ({"aliases": ["v3"]}, "v3"), ({"tags": ["/"]}, "tag"), ({"metadata": "[]"}, "metadata"),
        ({"client_id": "x" * 300}, "id"), ({"ttl_s": 10**12}, "time to live"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told(lab: Lab, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(Invalid, match=told):
        lab.begin({}, **wrong)
    assert lab.rows(select(t.artifacts)) == []


def test_content_that_is_there_is_not_brought_again(lab: Lab) -> None:
    first = lab.log()
    second = lab.begin({"a": entry(b"aaa"), "b": entry(b"new")})
    known, new = lab.bring(second, b"aaa", put=False), lab.bring(second, b"new", put=False)
    assert (known.is_there, known.birth) == (True, first["id"])
    assert (new.is_there, new.birth) == (False, second["id"])
    # Offered, and never brought: whoever offers it next brings it.
    third = lab.begin({"b": entry(b"new")})
    assert lab.bring(third, b"new", put=False).birth == third["id"]


def test_offers_come_back_in_the_order_of_the_request(lab: Lab) -> None:
    lab.log()
    row = lab.begin({"x": entry(b"x")})
    datas = [b"x", b"aaa", b"y", b"x", b"bb"]
    wanted = [
        manifests.Wanted(row["id"], f"f{n}", hashlib.md5(data).hexdigest())
        for n, data in enumerate(datas)
    ]
    offered = lab.write("bob", lambda call: manifests.offer(call, wanted))
    assert [one.wanted for one in offered] == wanted
    assert [one.is_there for one in offered] == [False, True, False, False, True]
    looked = lab.write("bob", lambda call: manifests.look(call, wanted))
    assert looked == offered


def test_committing_again_changes_nothing(lab: Lab) -> None:
    row = lab.log(aliases=["a"])
    lab.write("bob", lambda call: aliases.remove(call, row["id"], [Alias("lab", "p", "data", "a")]))
    assert lab.check(row["id"]) is None
    assert lab.commit(row)["version"] == 0
    assert lab.names(row["id"]) == {"latest"}
    with pytest.raises(Conflict):
        lab.describe(row, {})
    with pytest.raises(Conflict):
        lab.bring(row, b"more")


# -- what does not match is refused -------------------------------------------------------


def refused(lab: Lab, row: Row, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        lab.commit(row)
    assert lab.state(row["id"]) == "PENDING"
    assert lab.entries(row["id"]) == {}
    assert lab.rows(select(t.members)) == []


def test_a_digest_that_lies_is_refused(lab: Lab) -> None:
    row = lab.begin({"a": entry(b"a")})
    lab.bring(row, b"b")
    lab.describe(row, {"a": entry(b"b")})
    refused(lab, row, "announced with the digest")


def test_content_that_never_came_is_refused(lab: Lab) -> None:
    contents = {"a": entry(b"a"), "b": entry(b"b")}
    row = lab.begin(contents)
    lab.bring(row, b"a")
    lab.describe(row, contents)
    refused(lab, row, "'b' did not come")  # never offered
    lab.bring(row, b"b", put=False)
    refused(lab, row, "'b' did not come")  # offered, not brought
    lab.bring(row, b"b")
    assert lab.commit(row)["version"] == 0


def test_bytes_that_the_entity_is_not_known_to_have_are_not_its_own(lab: Lab) -> None:
    """As those are that garbage collection has forgotten and will remove next."""
    contents = {"a": entry(b"a")}
    row = lab.begin(contents)
    made = lab.describe(row, contents)
    lab.put(made.entity_id, b"a")
    refused(lab, row, "'a' did not come")


def test_a_size_that_lies_is_refused(lab: Lab) -> None:
    contents = {"a": {**entry(b"abc"), "size": 4}}
    row = lab.begin(contents)
    lab.bring(row, b"abc")
    lab.describe(row, contents)
    refused(lab, row, "has 4 bytes; 3 came")


def test_other_bytes_under_the_right_name_are_refused(lab: Lab) -> None:
    """A store of somebody else's, into which links let anybody put anything."""
    contents = {"a": entry(b"good")}
    row = lab.begin(contents)
    offered = lab.bring(row, b"good")
    lab.describe(row, contents)

    class Lying:
        def __getattr__(self, name: str) -> Any:
            return getattr(lab_store, name)

        def verify(self, key: str, md5: str) -> int | None:
            raise Invalid(f"{key} is not {md5}")

    lab_store, lab.store = lab.store, Lying()  # type: ignore[assignment]
    refused(lab, row, "other content")
    assert offered.entity_id


def test_T11_a_path_that_leads_out_is_refused(lab: Lab) -> None:
    for path in ("../a", "/etc/x", "a/../../b"):
        contents = {path: entry(b"x")}
        row = lab.begin(contents)
        lab.bring(row, b"x")
        lab.describe(row, contents)
        refused(lab, row, "not a relative path")
    wanted = manifests.Wanted(row["id"], "../x", "0" * 32)
    with pytest.raises(Invalid):
        lab.write("bob", lambda call: manifests.offer(call, [wanted]))


def test_a_manifest_that_never_came_is_refused(lab: Lab) -> None:
    row = lab.begin({})
    refused(lab, row, "no manifest was uploaded")
    lab.write(
        "bob",
        lambda call: manifests.begin(
            call, row["id"], name="m", kind="FULL", digest=b64(b"{}"), base=None
        ),
    )
    refused(lab, row, "was not uploaded")


def test_T15_nobody_names_the_content_of_another_entity(lab: Lab) -> None:
    """Eve knows the MD5 of a file of the lab's; that brings her nothing."""
    secret = b"the lab's own"
    lab.log({"secret": secret})
    contents = {"mine": entry(secret)}
    row = lab.begin(contents, who="eve", entity="eve")
    wanted = manifests.Wanted(row["id"], "mine", hashlib.md5(secret).hexdigest())
    (offered,) = lab.write("eve", lambda call: manifests.offer(call, [wanted]))
    assert not offered.is_there  # she has to bring it, as if nobody had it
    lab.describe(row, contents, who="eve")
    with pytest.raises(Invalid, match="did not come"):
        lab.commit(row, "eve")


# -- several manifests ---------------------------------------------------------------------


def test_an_incremental_version_adds_to_its_base(lab: Lab) -> None:
    base = lab.log()
    added = {"a.txt": entry(b"changed"), "c": {"ref": "s3://b/c", "digest": "etag", "size": 7}}
    row = lab.begin(added)
    lab.bring(row, b"changed")
    lab.describe(row, added, "INCREMENTAL", base["id"])
    done = lab.commit(row)
    whole = {**added, "sub/b.txt": entry(b"bb")}
    assert (done["version"], done["digest"], done["file_count"], done["size"]) == (
        1, digest(whole), 3, 7 + 2 + 7,
    )  # fmt: skip
    assert {p: e["digest"] for p, e in lab.entries(row["id"]).items()} == {
        path: told["digest"] for path, told in whole.items()
    }
    newest = lab.rows(
        select(t.manifests).where(t.manifests.c.artifact_id == row["id"]).order_by(t.manifests.c.id)
    )[-1]
    assert newest["kind"] == "FULL"
    home = lab.rows(select(t.entities.c.id).where(t.entities.c.name == "lab"))[0]["id"]
    merged = json.loads(lab.store.read(blob_key(home, newest["md5"]), at_most=10**6))
    assert merged["contents"] == whole
    # Its content is kept: garbage collection knows of it.
    assert lab.rows(select(t.objects).where(t.objects.c.md5 == newest["md5"]))[0]["size"]


def test_an_incremental_version_without_a_base_is_what_it_says(lab: Lab) -> None:
    row = lab.begin({"a": entry(b"a")})
    lab.bring(row, b"a")
    lab.describe(row, {"a": entry(b"a")}, "INCREMENTAL")
    assert lab.commit(row)["file_count"] == 1


def test_nobody_adds_to_a_version_of_another_entity(lab: Lab) -> None:
    own = lab.log(who="eve", entity="eve", project="mine")
    row = lab.begin({"a": entry(b"a")})
    with pytest.raises(NotFound):
        lab.describe(row, {}, "INCREMENTAL", own["id"])
    lab.describe(row, {"a": entry(b"a")}, "INCREMENTAL", own["id"], "ann")  # who sees all
    with pytest.raises(Invalid, match="another entity"):
        lab.commit(row, "ann")


def test_several_writers_make_one_version(lab: Lab) -> None:
    one, two = lab.run("one"), lab.run("two")
    files = {"one": {"a": b"a", "x": b"1"}, "two": {"b": b"b", "x": b"2"}}
    parts = {who: {p: entry(data) for p, data in told.items()} for who, told in files.items()}
    rows = {}
    for name, token in (("one", one), ("two", two)):
        rows[name] = lab.begin(parts[name], who=token, run=name, distributed_id="group")
    assert rows["one"]["id"] == rows["two"]["id"]
    for name, token in (("one", one), ("two", two)):
        for data in files[name].values():
            lab.bring(rows[name], data)
        lab.describe(rows[name], parts[name], "PATCH", who=token)
    done = lab.commit(rows["two"], two)
    whole = {"a": entry(b"a"), "b": entry(b"b"), "x": entry(b"2")}  # the later patch counts
    assert (done["digest"], done["file_count"]) == (digest(whole), 3)
    assert lab.begin(parts["one"], who=one, distributed_id="group")["id"] != done["id"]


# -- at the same moment ---------------------------------------------------------------------


def together(*work: Callable[[], Any]) -> list[Any]:
    results: list[Any] = [None] * len(work)
    ready = threading.Barrier(len(work))

    def one(n: int) -> None:
        ready.wait(10)
        try:
            results[n] = work[n]()
        except Exception as error:
            results[n] = error

    threads = [threading.Thread(target=one, args=(n,)) for n in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_versions_committed_at_once_get_numbers_of_their_own(lab: Lab) -> None:
    rows, checked = [], []
    for n in range(6):
        data = f"{n}".encode()
        row = lab.begin({"a": entry(data)})
        lab.bring(row, data)
        lab.describe(row, {"a": entry(data)})
        rows.append(row)
        checked.append(lab.check(row["id"]))

    def commit(n: int) -> Callable[[], Row]:
        return lambda: lab.write(
            "bob", lambda call: committing.commit(call, rows[n]["id"], checked[n])
        )

    done = together(*(commit(n) for n in range(6)), commit(0))
    assert sorted(row["version"] for row in done[:6]) == [0, 1, 2, 3, 4, 5]
    assert done[6]["version"] == done[0]["version"]
    newest = next(row for row in done if row["version"] == 5)
    assert lab.names(newest["id"]) == {"latest"}


def test_one_version_begun_at_once_is_one(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    add = writing.add

    def slowly(*args: Any) -> int:
        time.sleep(0.1)  # so that nobody is done before the others have looked
        return add(*args)

    lab.log()
    monkeypatch.setattr(writing, "add", slowly)
    begin = [lambda: lab.begin({"a": entry(b"a")}, client_id="same") for _ in range(4)]
    assert len({row["id"] for row in together(*begin)}) == 1


def test_one_sequence_begun_at_once_is_one(lab: Lab) -> None:
    lab.begin({}, project="p", collection="other")  # the project is there
    begin = [lambda n=n: lab.begin({"a": entry(f"{n}".encode())}) for n in range(4)]
    done = together(*begin)
    assert len({row["id"] for row in done}) == 4
    assert len({row["sequence_id"] for row in done}) == 1


def test_a_version_that_changes_while_it_is_checked_is_not_committed(lab: Lab) -> None:
    contents = {"a": entry(b"a")}
    row = lab.begin(contents)
    lab.bring(row, b"a")
    lab.describe(row, contents)
    checked = lab.check(row["id"])
    lab.describe(row, {"a": entry(b"other")})
    with pytest.raises(Conflict):
        lab.write("bob", lambda call: committing.commit(call, row["id"], checked))
    assert lab.state(row["id"]) == "PENDING"


def test_content_that_is_collected_while_it_is_checked_is_missed(lab: Lab) -> None:
    contents = {"a": entry(b"a")}
    row = lab.begin(contents)
    lab.bring(row, b"a")
    lab.describe(row, contents)
    checked = lab.check(row["id"])
    md5 = hashlib.md5(b"a").hexdigest()
    lab.write("", lambda call: call.tx.run(t.objects.delete().where(t.objects.c.md5 == md5)))
    with pytest.raises(Invalid, match="have gone"):
        lab.write("bob", lambda call: committing.commit(call, row["id"], checked))
    assert lab.state(row["id"]) == "PENDING"


def test_what_is_offered_and_taken_is_fresh(lab: Lab) -> None:
    def used() -> set[int]:
        return {row["used_at"] for row in lab.rows(select(t.objects.c.used_at))}

    lab.log()
    lab.now += timedelta(days=5)
    row = lab.begin({p: entry(d) for p, d in FILES.items()}, deduplicate=False)
    for data in FILES.values():
        assert lab.bring(row, data).is_there
    lab.describe(row, {p: entry(d) for p, d in FILES.items()})
    assert used() == {to_ms(lab.now)}
    lab.now += timedelta(days=5)
    lab.commit(row)
    assert used() == {to_ms(lab.now)}


# -- who may ---------------------------------------------------------------------------------


def test_T15_strangers_and_viewers_write_nothing(lab: Lab) -> None:
    contents = {"a": entry(b"a")}
    row, done = lab.begin(contents), lab.log()
    lab.bring(row, b"a")
    made = lab.describe(row, contents)
    sequence = done["sequence_id"]
    wanted = [manifests.Wanted(row["id"], "a", "0" * 32)]
    alias = [Alias("lab", "p", "data", "x")]
    everything: list[Callable[[Call], Any]] = [
        lambda c: creating.create(c, "lab", "p", creating.Wanted("data", "dataset", digest({}))),
        lambda c: creating.create_type(c, "lab", "p", "new", ""),
        lambda c: manifests.begin(c, row["id"], name="m", kind="FULL", digest="", base=None),
        lambda c: manifests.change(c, made.id, digest=b64(b""), base=None),
        lambda c: manifests.offer(c, wanted),
        lambda c: manifests.upload_of(c, row["id"], rules.storage_path("0" * 32), "u"),
        lambda c: manifests.end_upload(c, row["id"], "u"),
        lambda c: committing.look(c, row["id"]),
        lambda c: committing.commit(c, row["id"], None),
        lambda c: editing.edit(c, done["id"], editing.Change(description="mine")),
        lambda c: editing.edit_collection(c, sequence, "sequence", name="mine", description=None),
        lambda c: editing.move(c, sequence, "mine"),
        lambda c: editing.tag(c, "lab", "p", "data", add=["mine"]),
        lambda c: aliases.add(c, done["id"], alias),
        lambda c: aliases.remove(c, done["id"], alias),
        lambda c: linking.link(c, done["id"], entity="lab", project="p", name="links"),
        lambda c: deleting.delete(c, done["id"], with_aliases=True),
        lambda c: deleting.delete_sequence(c, sequence),
    ]
    for service in everything:
        with pytest.raises(NotFound):
            lab.write("eve", service)
        with pytest.raises(Forbidden):
            lab.write("viv", service)
    assert lab.state(row["id"]) == "PENDING"
    assert lab.state(done["id"]) == "COMMITTED"


def test_T15_a_runs_token_writes_what_that_run_logged(lab: Lab) -> None:
    one, two = lab.run("one"), lab.run("two")
    own = lab.log({"o": b"o"}, who=one, collection="own")
    assert own["run_id"] == one.run_id
    lab.write(one, lambda call: editing.edit(call, own["id"], editing.Change(description="d")))
    lab.write(
        one, lambda call: linking.link(call, own["id"], entity="lab", project="p", name="links")
    )
    pending = lab.begin({}, who=one)
    for service in (
        lambda c: manifests.begin(c, pending["id"], name="m", kind="FULL", digest="", base=None),
        lambda c: editing.edit(c, own["id"], editing.Change(description="mine")),
        lambda c: deleting.delete(c, own["id"], with_aliases=True),
        lambda c: deleting.delete_sequence(c, own["sequence_id"]),
        lambda c: aliases.add(c, own["id"], [Alias("lab", "p", "own", "x")]),
        lambda c: using.use(c, own["id"], entity="lab", project="p", run="one", used_as=None),
        lambda c: linking.link(c, own["id"], entity="lab", project="p", name="links"),
        lambda c: creating.create(
            c, "lab", "p", creating.Wanted("z", "dataset", digest({}), run="one")
        ),
    ):
        with pytest.raises(Forbidden):
            lab.write(two, service)
    elsewhere = lab.log({"e": b"e"}, project="elsewhere")
    with pytest.raises(NotFound):
        lab.write(
            two,
            lambda c: using.use(
                c, elsewhere["id"], entity="lab", project="p", run="two", used_as=None
            ),
        )
    with pytest.raises(NotFound):
        lab.begin({}, who=two, project="elsewhere")
    again = lab.begin({"o": entry(b"o")}, who=two, collection="own", aliases=["x"])
    assert again["id"] == own["id"]  # logging what is there is not writing it


def test_a_run_that_is_not_there_logs_nothing(lab: Lab) -> None:
    lab.run("gone")
    assert lab.begin({}, run="gone")["run_id"]
    lab.write("", lambda call: call.tx.run(update(t.runs).values(deleted_at=1)))
    for name in ("gone", "never"):
        with pytest.raises(NotFound, match=name):
            lab.begin({}, run=name)


# -- what is said of versions ----------------------------------------------------------------


def test_an_alias_is_of_one_version_of_its_collection(lab: Lab) -> None:
    first, second = lab.log({"a": b"1"}), lab.log({"a": b"2"})
    for row in (first, second, second):
        lab.write(
            "bob", lambda c, r=row: aliases.add(c, r["id"], [Alias("lab", "p", "data", "best")])
        )
    assert (lab.names(first["id"]), lab.names(second["id"])) == (set(), {"latest", "best"})
    lab.write("bob", lambda c: aliases.remove(c, first["id"], [Alias("lab", "p", "data", "best")]))
    assert "best" in lab.names(second["id"])  # it was not the first one's
    for wrong, error in (("v1", Invalid), ("a/b", Invalid)):
        with pytest.raises(error):
            lab.write(
                "bob",
                lambda c, w=wrong: aliases.add(c, first["id"], [Alias("lab", "p", "data", w)]),
            )
    lab.log(collection="other")
    with pytest.raises(NotFound):
        lab.write("bob", lambda c: aliases.add(c, first["id"], [Alias("lab", "p", "other", "x")]))


def test_an_edit_changes_what_it_says_and_no_more(lab: Lab) -> None:
    row = lab.log(description="d", metadata='{"a": 1}', tags=["one", "two"], aliases=["x", "y"])

    def edit(**change: Any) -> Row:
        return lab.write("bob", lambda c: editing.edit(c, row["id"], editing.Change(**change)))

    same = edit()
    assert (same["description"], same["metadata"], lab.names(row["id"])) == (
        "d", '{"a": 1}', {"latest", "x", "y"},
    )  # fmt: skip
    changed = edit(
        description="", metadata='{"b": NaN}', tags_to_add=["three"], tags_to_delete=["one"],
        aliases=["latest", "z"], ttl_s=60,
    )  # fmt: skip
    assert (changed["description"], changed["metadata"]) == ("", '{"b": NaN}')
    assert from_text(changed["tags"]) == ["two", "three"]
    assert lab.names(row["id"]) == {"latest", "z"}
    assert changed["expires_at"] == to_ms(lab.now) + 60_000
    assert edit(ttl_s=-2)["expires_at"] is None


def test_a_job_keeps_its_name_and_nothing_else_becomes_one(lab: Lab) -> None:
    """A job is found by the name of its sequence: another name would part the two."""
    data = lab.log()

    def move(to: str) -> Row:
        return lab.write("bob", lambda c: editing.move(c, data["sequence_id"], to))

    with pytest.raises(Invalid, match="jobs are made"):
        move("job")
    lab.write(
        "bob",
        lambda c: c.tx.run(t.artifact_types.update().values(name="job")),  # as if it were one
    )
    with pytest.raises(Invalid, match="jobs are made"):
        move("dataset")
    with pytest.raises(Invalid, match="job p/data keeps its name"):
        lab.write(
            "bob",
            lambda c: editing.edit_collection(
                c, data["sequence_id"], "sequence", name="new", description=None
            ),
        )


def test_a_collection_is_renamed_with_its_versions(lab: Lab) -> None:
    row = lab.log()
    lab.log({"x": b"x"}, collection="taken")

    def rename(name: str) -> Row:
        return lab.write(
            "bob",
            lambda c: editing.edit_collection(
                c, row["sequence_id"], "sequence", name=name, description="d"
            ),
        )

    with pytest.raises(Conflict, match="there is a collection p/taken"):
        rename("taken")
    assert rename("new")["name"] == "new"
    assert lab.log({"a": b"next"}, collection="new")["version"] == 1
    assert lab.log(collection="data")["version"] == 0  # the old name is free
    moved = lab.write("bob", lambda c: editing.move(c, row["sequence_id"], "model"))
    assert moved["type"] == "model"
    tagged = lab.write("bob", lambda c: editing.tag(c, "lab", "p", "new", add=["a", "b"]))
    assert from_text(tagged["tags"]) == ["a", "b"]
    less = lab.write("bob", lambda c: editing.tag(c, "lab", "p", "new", delete=["a", "z"]))
    assert from_text(less["tags"]) == ["b"]


# -- links -----------------------------------------------------------------------------------


def test_a_portfolio_numbers_its_versions_itself(lab: Lab) -> None:
    first, second = lab.log({"a": b"1"}), lab.log({"a": b"2"})

    def link(row: Row, *names: str, project: str = "links") -> Any:
        return lab.write(
            "bob",
            lambda c: linking.link(
                c, row["id"], entity="lab", project=project, name="best", names=names
            ),
        ).row

    assert link(second, "x")["member_version"] == 0
    assert link(first)["member_version"] == 1
    assert link(second, "y")["member_version"] == 0  # it is there already
    portfolio = lab.rows(select(t.collections).where(t.collections.c.name == "best"))[0]
    there = select(t.aliases).where(t.aliases.c.collection_id == portfolio["id"])
    assert {row["alias"]: row["artifact_id"] for row in lab.rows(there)} == {
        "x": second["id"], "y": second["id"], "latest": first["id"],
    }  # fmt: skip
    with pytest.raises(Invalid):
        lab.write(
            "bob",
            lambda c: linking.link(c, first["id"], entity="lab", project="p", name="data"),
        )
    lab.begin({}, project="links", collection="logged")
    with pytest.raises(Invalid, match="collection of links"):
        lab.begin({}, project="links", collection="best")
    lab.write("bob", lambda c: linking.unlink(c, first["id"], portfolio["id"]))
    assert {row["alias"]: row["artifact_id"] for row in lab.rows(there)}["latest"] == second["id"]
    with pytest.raises(NotFound):
        lab.write("bob", lambda c: linking.unlink(c, first["id"], portfolio["id"]))
    with pytest.raises(Invalid, match="born"):
        lab.write("bob", lambda c: linking.unlink(c, first["id"], first["sequence_id"]))
    lab.write("bob", lambda c: deleting.delete_portfolio(c, portfolio["id"]))
    assert lab.state(second["id"]) == "COMMITTED"
    assert lab.names(second["id"]) == {"latest"}


def test_only_what_is_committed_is_linked_and_used(lab: Lab) -> None:
    lab.run("r")
    row = lab.begin({})
    with pytest.raises(Conflict):
        lab.write(
            "bob", lambda c: linking.link(c, row["id"], entity="lab", project="p", name="links")
        )
    with pytest.raises(Conflict):
        lab.write(
            "bob",
            lambda c: using.use(c, row["id"], entity="lab", project="p", run="r", used_as=None),
        )


def test_a_run_uses_a_version_once(lab: Lab) -> None:
    token = lab.run("r")
    row = lab.log()
    for used_as in ("input", "again"):
        lab.write(
            token,
            lambda c, u=used_as: using.use(
                c, row["id"], entity="lab", project="p", run="r", used_as=u
            ),
        )
    (use,) = lab.rows(select(t.uses))
    assert (use["run_id"], use["artifact_id"], use["used_as"]) == (
        token.run_id, row["id"], "input",
    )  # fmt: skip
    with pytest.raises(NotFound):
        lab.write(
            "bob", lambda c: using.use(c, row["id"], entity="lab", project="p", run="x", used_as="")
        )


# -- the end ---------------------------------------------------------------------------------


def counts(lab: Lab) -> dict[str, int]:
    tables = (t.artifacts, t.members, t.aliases, t.entries, t.manifests, t.artifact_clients, t.uses)
    return {
        table.name: lab.rows(select(func.count().label("n")).select_from(table))[0]["n"]
        for table in tables
    }


def test_a_version_with_aliases_is_deleted_on_a_second_word(lab: Lab) -> None:
    first = lab.log({"a": b"1"})
    second = lab.log({"a": b"2"}, aliases=["best"], client_id="c")
    with pytest.raises(Conflict, match="best"):
        lab.write("bob", lambda c: deleting.delete(c, second["id"], with_aliases=False))
    lab.write("bob", lambda c: deleting.delete(c, second["id"], with_aliases=True))
    assert lab.state(second["id"]) == "DELETED"
    assert lab.entries(second["id"]) == {}
    assert lab.names(first["id"]) == {"latest"}
    with pytest.raises(NotFound):
        lab.write("bob", lambda c: deleting.delete(c, second["id"], with_aliases=True))
    lab.write("bob", lambda c: deleting.delete(c, first["id"], with_aliases=False))  # latest only
    assert lab.log({"a": b"2"}, client_id="c")["version"] == 2  # numbers are not given twice
    audits = lab.rows(select(t.audit.c.thing).where(t.audit.c.action == "artifact.delete"))
    assert {row["thing"] for row in audits} == {"lab/p/data:v0", "lab/p/data:v1"}


def test_a_sequence_is_deleted_with_everything(lab: Lab) -> None:
    token = lab.run("r")
    row = lab.log(client_id="c", who=token)
    lab.begin({}, client_id="pending")
    kept = lab.log({"k": b"k"}, collection="kept")
    for each in (kept, row):
        lab.write(
            "bob",
            lambda c, r=each: linking.link(c, r["id"], entity="lab", project="p", name="links"),
        )
    lab.write(
        token, lambda c: using.use(c, row["id"], entity="lab", project="p", run="r", used_as=None)
    )
    lab.write("bob", lambda c: deleting.delete_sequence(c, row["sequence_id"]))
    assert counts(lab) == {
        "artifacts": 1, "members": 2, "aliases": 2, "entries": 1, "manifests": 1,
        "artifact_clients": 0, "uses": 0,
    }  # fmt: skip
    assert lab.names(kept["id"]) == {"latest"}
    assert lab.log()["version"] == 0


def test_a_run_goes_with_its_artifacts_or_without(lab: Lab) -> None:
    tokens = {name: lab.run(name) for name in ("one", "two", "three")}
    logged = {
        name: lab.log({"a": name.encode()}, who=token, aliases=[name])
        for name, token in tokens.items()
    }
    begun = lab.begin({}, who=tokens["two"])
    lab.write("bob", lambda c: ending.delete(c, "lab", "p", "one"))
    lab.write("bob", lambda c: ending.delete(c, "lab", "p", "two", with_artifacts=True))
    assert {name: lab.state(row["id"]) for name, row in logged.items()} == {
        "one": "COMMITTED", "two": "DELETED", "three": "COMMITTED",
    }  # fmt: skip
    assert lab.state(begun["id"]) == "DELETED"
    with pytest.raises(Forbidden):
        lab.write("viv", lambda c: ending.delete(c, "lab", "p", "three", with_artifacts=True))
    assert lab.names(logged["three"]["id"]) == {"latest", "three"}


def test_what_nobody_goes_on_with_goes_and_what_is_worked_on_stays(lab: Lab) -> None:
    left, busy, done = lab.begin({}, client_id="1"), lab.begin({}, client_id="2"), lab.log()
    lab.now += timedelta(days=1, hours=23)
    lab.bring(busy, b"more")
    assert lab.write("", deleting.expire_artifacts) == 0
    lab.now += timedelta(hours=2)
    assert lab.write("", deleting.expire_artifacts) == 1
    assert (lab.state(left["id"]), lab.state(busy["id"]), lab.state(done["id"])) == (
        None, "PENDING", "COMMITTED",
    )  # fmt: skip


def test_a_version_ends_when_its_time_is_over_unless_it_is_linked(lab: Lab) -> None:
    short = lab.log({"a": b"1"}, ttl_s=3600)
    linked = lab.log({"a": b"2"}, ttl_s=3600)
    lab.log({"a": b"3"})
    lab.write(
        "bob", lambda c: linking.link(c, linked["id"], entity="lab", project="p", name="links")
    )
    lab.now += timedelta(minutes=59)
    assert lab.write("", deleting.expire_artifacts) == 0
    lab.now += timedelta(minutes=1)
    assert lab.write("", deleting.expire_artifacts) == 1
    assert lab.write("", deleting.expire_artifacts) == 0
    assert (lab.state(short["id"]), lab.state(linked["id"])) == ("DELETED", "COMMITTED")


def test_requests_are_bounded(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    row = lab.begin({})

    def offer(n: int, parts: dict[int, str] | None = None) -> Any:
        wanted = [manifests.Wanted(row["id"], f"f{i}", "0" * 32, parts=parts) for i in range(n)]
        return lab.write("bob", lambda call: manifests.offer(call, wanted))

    monkeypatch.setattr(manifests, "MOST_FILES", 3)
    monkeypatch.setattr(manifests, "MOST_PARTS", 3)
    offer(3)
    with pytest.raises(TooMuch):
        offer(4)
    with pytest.raises(TooMuch):
        offer(2, {1: "0" * 32, 2: "0" * 32})
    for parts in ({2: "0" * 32}, {1: "0" * 32, 3: "0" * 32}, {1: "x"}):
        with pytest.raises(Invalid):
            offer(1, parts)


def test_content_of_many_files_is_known_in_one_look(lab: Lab, monkeypatch: Any) -> None:
    monkeypatch.setattr(objects, "_BATCH", 7)
    row = lab.begin({})
    home = lab.rows(select(t.entities.c.id).where(t.entities.c.name == "lab"))[0]["id"]
    md5s = {f"{n:032x}": n for n in range(20)}
    lab.write("", lambda c: objects.offer(c.tx, home, dict.fromkeys(md5s, row["id"]), c.now))
    assert lab.write("", lambda c: objects.take(c.tx, home, md5s, c.now))
    known = lab.write("", lambda c: objects.known(c.tx, home, [*md5s, "f" * 32]))
    assert {md5: found["size"] for md5, found in known.items()} == md5s
    assert not lab.write("", lambda c: objects.take(c.tx, home, {"f" * 32: 1}, c.now))
