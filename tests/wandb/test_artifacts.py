"""Artifacts as the real client writes them: whole, in parts, in groups, named, linked, deleted."""

from __future__ import annotations

from pathlib import Path

from tests.wandb.conftest import Client, on_sqlite

LOGGING = """
import os, pathlib, wandb

def fill(root, **files):
    for name, text in files.items():
        path = pathlib.Path(root, name.replace("__", "/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

os.environ["WANDB_SILENT"] = "true"
fill(".", there="elsewhere")
REF = pathlib.Path("there").absolute().as_uri()
fill("mine", a="a" * 10, sub__b="b" * 20, sub__copy="b" * 20)
run = wandb.init(project="p", id="maker", settings=wandb.Settings(console="off"))

art = wandb.Artifact("data", type="dataset", metadata={"k": 1.5}, description="d")
art.add_dir("mine")
art.add_reference(REF, name="ref")
art.add(wandb.Table(columns=["x", "i"], data=[[1, "one"], [2, "two"]]), "table")
first = run.log_artifact(art, aliases=["best"]).wait()
assert (first.version, sorted(first.aliases), first.description) == ("v0", ["best", "latest"], "d")
assert first.digest == art.manifest.digest(), "the digest is the client's own"
assert first.file_count == 5 and first.size >= 50, (first.file_count, first.size)
got = pathlib.Path(first.download(root="got"))
assert (got / "sub/copy").read_text() == "b" * 20
assert (got / "ref").read_text() == "elsewhere"
assert first.get_entry("ref").ref == REF
assert run.use_artifact("data:v0").get("table").data == [[1, "one"], [2, "two"]]

# The same again is the same version; what differs in one file brings one file.
same = wandb.Artifact("data", type="dataset")
same.add_dir("mine")
same.add_reference(REF, name="ref")
same.add(wandb.Table(columns=["x", "i"], data=[[1, "one"], [2, "two"]]), "table")
assert run.log_artifact(same).wait().version == "v0"
run.finish()
"""

CHANGED = """
import os, pathlib, wandb

os.environ["WANDB_SILENT"] = "true"
run = wandb.init(project="p", id="changer", settings=wandb.Settings(console="off"))
pathlib.Path("mine/a").write_text("changed")
art = wandb.Artifact("data", type="dataset")
art.add_dir("mine")
second = run.log_artifact(art, aliases=["best"]).wait()
assert (second.version, sorted(second.aliases)) == ("v1", ["best", "latest"])
pathlib.Path(second.download(root="got2"))
assert pathlib.Path("got2/a").read_text() == "changed"
run.finish()
"""

EDITING = """
import datetime, os, pathlib, wandb

os.environ["WANDB_SILENT"] = "true"
api = wandb.Api()
first, second = api.artifact("p/data:v0"), api.artifact("p/data:v1")
assert first.aliases == [], first.aliases

second.description, second.metadata["lr"] = "better", 0.1
second.aliases.append("shown")
second.aliases.remove("best")
second.tags = ["good", "one two"]
second.ttl = datetime.timedelta(days=3)
second.save()
again = api.artifact("p/data:shown")
assert (again.version, again.description, again.metadata["lr"]) == ("v1", "better", 0.1)
assert sorted(again.tags) == ["good", "one two"] and again.ttl == datetime.timedelta(days=3)
assert not api.artifact_exists("p/data:best")
again.ttl = None
again.save()
assert api.artifact("p/data:v1").ttl is None

linked = first.link("p2/choice", aliases=["prod"])
assert (linked.version, sorted(linked.aliases)) == ("v0", ["latest", "prod"]), linked.aliases
assert linked.is_link and linked.collection.name == "choice"
assert api.artifact("p2/choice:prod").digest == first.digest
assert second.link("p2/choice").version == "v1"
api.artifact("p2/choice:v0").unlink()
assert not api.artifact_exists("p2/choice:v0") and api.artifact_exists("p/data:v0")

try:
    second.delete()
    raise SystemExit("an artifact with aliases was deleted")
except (wandb.errors.CommError, ValueError) as error:
    assert "shown" in str(error), error
second.delete(delete_aliases=True)
assert not api.artifact_exists("p/data:v1")
assert api.artifact("p/data:latest").version == "v0"

collection = api.artifact_collection("dataset", "p/data")
collection.name, collection.description = "renamed", "all of it"
collection.tags = ["t1"]
collection.save()
assert api.artifact("p/renamed:v0").digest == first.digest
api = wandb.Api()
found = api.artifact_collection("dataset", "p/renamed")
assert (found.description, found.tags) == ("all of it", ["t1"]), (found.description, found.tags)
found.change_type("other")
assert api.artifact_type("other", "p").collection("renamed").name == "renamed"
found.delete()
assert not wandb.Api().artifact_exists("p/renamed:v0")
api.artifact_collection("dataset", "p2/choice").delete()
assert not wandb.Api().artifact_collection_exists("p2/choice", type="dataset")
"""

GROUPS = """
import os, pathlib, wandb

os.environ["WANDB_SILENT"] = "true"
settings = wandb.Settings(console="off")

def made(name, **more):
    art = wandb.Artifact("shared", type="dataset", **more)
    with art.new_file(name) as file:
        file.write(name)
    return art

# Two runs of a group make one version.
for n in range(2):
    with wandb.init(project="p", group="g", id=f"writer{n}", settings=settings) as run:
        run.upsert_artifact(made(f"part{n}"), distributed_id="g")
with wandb.init(project="p", group="g", id="closer", settings=settings) as run:
    done = run.finish_artifact(made("last"), distributed_id="g").wait()
assert done.version == "v0" and set(done.manifest.entries) == {"part0", "part1", "last"}

# An incremental version adds to the newest.
with wandb.init(project="p", id="adder", settings=settings) as run:
    more = run.log_artifact(made("more", incremental=True)).wait()
    assert set(more.manifest.entries) == {"part0", "part1", "last", "more"}, more.manifest.entries
    root = pathlib.Path(more.download(root="whole"))
    assert {p.name for p in root.iterdir()} == {"part0", "part1", "last", "more"}

    # A draft of a version is a new version with what changed.
    draft = more.new_draft()
    draft.remove("last")
    with draft.new_file("new") as file:
        file.write("new")
    assert run.log_artifact(draft).wait().version == "v2"

    # One artifact refers to another that has no id yet.
    images = wandb.Artifact("images", type="dataset")
    images.add(wandb.Table(columns=["x"], data=[[1]]), "t")
    view = wandb.Artifact("view", type="dataset")
    view.add_reference(f"wandb-client-artifact://{images._client_id}/t.table.json", name="t")
    run.log_artifact(images)
    run.log_artifact(view).wait()
    assert view.file_count == 1

    far = wandb.Artifact("far", type="dataset", storage_region="mars-north-1")
    with far.new_file("x") as file:
        file.write("x")
    try:
        run.log_artifact(far).wait()
        raise SystemExit("a region that is not there was taken")
    except Exception as error:
        assert "mars-north-1" in str(error), error
    try:
        run.log_artifact(wandb.Artifact("shared", type="another")).wait()
        raise SystemExit("a sequence took a second type")
    except ValueError as error:
        assert "another" in str(error), error
"""


def blobs(world: object) -> dict[str, tuple[int, int]]:
    """Return what lies in the server's store: an upload makes a new file of the same name."""
    root = Path(world.server.settings.files_dir) / "objects" / "blobs"  # type: ignore[attr-defined]
    return {
        str(path.relative_to(root)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def test_one_changed_file_is_one_upload(client: Client) -> None:
    client.python(LOGGING)
    before = blobs(client.world)
    client.python(CHANGED)
    after = blobs(client.world)
    assert {name: after[name] for name in before} == before
    assert len(after) - len(before) == 2  # the file and the manifest
    client.python(EDITING)


def test_writers_in_groups_and_versions_that_add(client: Client) -> None:
    client.python(GROUPS)


@on_sqlite
def test_a_job_of_an_image_is_created_once(client: Client) -> None:
    words = ("job", "create", "-p", "p", "-e", "admin", "-n", "boxed", "image", "busybox:1.36")
    assert "Created job" in client.wandb(*words)
    assert "boxed" in client.wandb("job", "list", "-p", "p", "-e", "admin")
    told = client.wandb(*words)
    assert "No changes" in told, told
