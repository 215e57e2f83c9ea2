"""Files of runs, through the real client: saved, uploaded, listed, downloaded, deleted."""

from __future__ import annotations

from tests.wandb.conftest import Client

BY_API = """
import os, pathlib, wandb

run = wandb.Api().run("admin/default/r1")
assert len(run.files()) == 0
names = ["a b.txt", "50% of it.txt", "media/HT%3ML ünï ☃.html", "q?x=1&y#z.json", "empty.bin"]
for name in names:
    path = pathlib.Path("work", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"" if name == "empty.bin" else name.encode() * 10)
    run.upload_file(str(path), root="work")

listed = run.files(per_page=2)
assert len(listed) == len(names), len(listed)
assert sorted(f.name for f in listed) == sorted(names), [f.name for f in listed]
for file in run.files():
    expected = pathlib.Path("work", file.name).read_bytes()
    assert file.size == len(expected), file
    file.download(root="got")
    assert pathlib.Path("got", file.name).read_bytes() == expected, file
    assert file.id and file.url and file.mimetype is not None and file.updated_at and file.md5
assert [f.name for f in run.files(pattern="%.json")] == ["q?x=1&y#z.json"]
assert run.file("./a b.txt").name == "a b.txt"
assert run.file("a b.txt").size == len("a b.txt") * 10
assert run.file("not there.txt").size == 0

run.file("a b.txt").delete()
assert "a b.txt" not in [f.name for f in wandb.Api().run("admin/default/r1").files()]
try:
    run.file("a b.txt").download(root="again")
except Exception as error:
    print("REFUSED", type(error).__name__)
else:
    raise SystemExit("a deleted file was downloaded")
"""


def test_files_that_the_public_interface_writes_are_read_back(client: Client) -> None:
    client.world.queue()
    body = {"items": [{"docker": {"docker_image": "busybox"}, "run_id": "r1"}]}
    client.world.admin.ok("POST", "/queues/admin/q/items", json=body)
    assert "REFUSED" in client.python(BY_API)


BY_RUN = """
import pathlib, wandb

pathlib.Path("data").mkdir()
name = "data/50% of ünï.txt"
pathlib.Path(name).write_text("one")
with wandb.init(project="p", id="r2", config={"x": 1}) as run:
    run.save(name, base_path=".", policy="now")
    run.log({"x": 1})
    pathlib.Path("page.html").write_text("<b>hi</b>")
    run.log({"page": wandb.Html("<b>hi</b>")})
run = wandb.Api().run("admin/p/r2")
found = {f.name: f for f in run.files()}
assert name in found, found
assert {"config.yaml", "wandb-metadata.json", "wandb-summary.json"} <= set(found), found
assert any(n.startswith("media/html/") for n in found), found
found[name].download(root="got")
assert pathlib.Path("got", name).read_text() == "one"
assert run.metadata["program"], run.metadata
"""


def test_files_that_a_run_saves_are_read_back(client: Client) -> None:
    client.python(BY_RUN)
