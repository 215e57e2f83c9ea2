"""Artifacts as the public interface shows them: by name, in lists, through links, with lineage."""

from __future__ import annotations

from tests.wandb.conftest import Client

READING = """
import os, pathlib, wandb

pathlib.Path("elsewhere.txt").write_text("outside")
run = wandb.init(project="vision", id="maker", settings=wandb.Settings(console="off"))
for n in range(3):
    data = wandb.Artifact("data", type="dataset", metadata={"n": n, "bad": float("nan")})
    for name in ("a b.txt", "deep/50% of it.txt"):
        with data.new_file(name) as file:
            file.write(f"{name} {n}")
    data.add_reference(f"file://{os.getcwd()}/elsewhere.txt", name="elsewhere")
    run.log_artifact(data, aliases=["first"] if n == 0 else ["newer"]).wait()
other = wandb.Artifact("weights", type="model")
with other.new_file("w.bin", mode="wb") as file:
    file.write(b"w" * 100)
logged = run.log_artifact(other).wait()
run.finish()

with wandb.init(project="vision", id="taker", settings=wandb.Settings(console="off")) as user:
    used = user.use_artifact("data:latest")
    got = pathlib.Path(used.download())
    assert (got / "a b.txt").read_text() == "a b.txt 2"
    assert (got / "deep/50% of it.txt").read_text() == "deep/50% of it.txt 2"
    assert (got / "elsewhere").read_text() == "outside"

api = wandb.Api()
data = api.artifact("vision/data:v1")
assert (data.version, data.aliases, data.type) == ("v1", [], "dataset"), data.aliases
assert data.metadata["n"] == 1 and data.file_count == 3 and data.state == "COMMITTED"
assert data.logged_by().id == "maker" and data.used_by() == []
newest = api.artifact("vision/data:latest")
assert sorted(newest.aliases) == ["latest", "newer"], newest.aliases
assert [each.id for each in newest.used_by()] == ["taker"]
assert api.artifact("vision/data:first").version == "v0"
assert api.artifact_exists("vision/data:v2") and not api.artifact_exists("vision/data:v9")
assert api.artifact_collection_exists("data", type="dataset") is False
assert api.artifact_collection_exists("vision/data", type="dataset")
assert not api.artifact_collection_exists("vision/nothing", type="dataset")
versions = api.artifacts("dataset", "vision/data", per_page=2)
assert len(versions) == 3 and [each.version for each in versions] == ["v2", "v1", "v0"]
assert [t.name for t in api.artifact_types("vision")].count("dataset") == 1
kind = api.artifact_type("dataset", "vision")
assert [c.name for c in kind.collections()] == ["data"]
collections = api.artifact_collections("vision", "dataset")
assert len(collections) == 1 and collections[0].type == "dataset"
assert sorted(collections[0].aliases) == ["first", "latest", "newer"]
files = newest.files(per_page=1)
assert sorted(f.name for f in files) == ["a b.txt", "deep/50% of it.txt", "elsewhere"]
(one,) = newest.files(names=["a b.txt"])
assert one.size == 9 and one.storage_path.startswith("wandb_artifacts/"), one
assert pathlib.Path(one.download(root="files", replace=True).name).read_text() == "a b.txt 2"
entry = newest.get_entry("deep/50% of it.txt")
assert pathlib.Path(entry.download()).read_text() == "deep/50% of it.txt 2"
assert entry.ref_url().startswith("wandb-artifact://")
made = api.run("vision/maker")
logged = [each.name for each in made.logged_artifacts(per_page=2)]
assert sorted(logged) == ["data:v0", "data:v1", "data:v2", "weights:v0"], logged
assert [a.name for a in api.run("vision/taker").used_artifacts()] == ["data:v2"]

linked = newest.link("admin/shelf/best", aliases=["prod"])
print("LINKED", linked)
shelf = api.artifact("shelf/best:prod")
assert shelf.is_link and shelf.version == "v0" and shelf.source_name == "data:v2", shelf.source_name
assert pathlib.Path(shelf.download(root="shelf"), "a b.txt").read_text() == "a b.txt 2"
assert [each.qualified_name for each in newest.linked_artifacts] == ["admin/shelf/best:v0"]
assert wandb.Api().artifact("vision/data:v2").aliases != [], "aliases of the source"
"""


def test_what_was_logged_is_found_again_in_every_way(client: Client) -> None:
    assert "LINKED" in client.python(READING)
