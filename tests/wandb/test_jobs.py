"""Jobs made with the tracking client's commands, and ours as its commands show them."""

from __future__ import annotations

import json
from pathlib import Path

from runyard.client import packing
from tests.wandb.conftest import Client, on_sqlite


def _script(client: Client) -> Path:
    code = client.directory / "code"
    (code / "lib").mkdir(parents=True)
    (code / "train.py").write_text("import wandb\nprint('trained')\n")
    (code / "lib" / "part.py").write_text("X = 1\n")
    (code / "requirements.txt").write_text("wandb\n")
    return code


def _version(client: Client, name: str, alias: str = "latest") -> dict[str, object]:
    found = client.world.admin.ok("GET", f"/jobs/admin/proj/{name}/versions/{alias}")
    return found  # type: ignore[no-any-return]


def test_jobs_of_the_client_are_ours(client: Client) -> None:
    client.wandb("job", "create", "image", "busybox:1.36", "-p", "proj", "-e", "admin",
                 "-n", "box", "-a", "prod")  # fmt: skip
    made = _version(client, "box")
    assert made["version"] == 0
    assert made["source"] == {"kind": "image", "image": "busybox:1.36"}
    assert made["aliases"] == ["1.36", "latest", "prod"]
    client.wandb("job", "create", "image", "busybox:1.37", "-p", "proj", "-e", "admin",
                 "-n", "box")  # fmt: skip
    assert _version(client, "box")["version"] == 1
    assert _version(client, "box", "prod")["version"] == 0

    code = _script(client)
    client.wandb("job", "create", "code", str(code), "-p", "proj", "-e", "admin", "-n", "train",
                 "-E", "python train.py", "-r", "3.11")  # fmt: skip
    source = _version(client, "train", "v0")["source"]
    assert isinstance(source, dict)
    assert source["entry_point"] == ["python", "train.py"]
    assert source["runtime"] == "3.11"
    # Packed by us out of the client's artifact: the bytes that our own command makes.
    packed = packing.pack(packing.scan(code), client.directory / "code.tar.gz")
    assert source["archive"] == packed.digest

    client.world.queue()
    spec = {"items": [{"job": "admin/proj/train:v0"}, {"job": "admin/proj/box:prod"}]}
    items = client.world.admin.ok("POST", "/queues/admin/q/items", json=spec)["items"]
    assert items[0]["spec"]["source"]["archive"] == packed.digest
    assert items[1]["spec"]["source"]["image"] == "busybox:1.36"

    told = client.wandb("job", "list", "-p", "proj", "-e", "admin")
    assert "box -- versions (6): v0,prod,1.36,v1,latest,1.37" in told, told
    assert "source_type: image" in client.wandb("job", "describe", "admin/proj/box:prod")


RUN = """
import wandb

settings = wandb.Settings(job_name="made", job_source="artifact", disable_job_creation=False)
with wandb.init(project="proj", config={"lr": 0.1}, settings=settings) as run:
    run.log_code(".", include_fn=lambda path: path.endswith("program.py"))
    run.log({"a": 1})
"""


@on_sqlite
def test_what_a_run_makes_is_a_job(client: Client) -> None:
    client.python(RUN)
    made = _version(client, "made")
    source = made["source"]
    assert isinstance(source, dict)
    assert (source["kind"], source["entry_point"]) == ("code", ["python", "program.py"])
    assert made["input_schemas"] == {
        "@wandb.config": {"type": "object", "properties": {"lr": {"type": "number"}}}
    }
    # The same run again is the same job.
    client.python(RUN)
    assert _version(client, "made")["version"] == 0


READ = """
import json, pathlib, wandb

api = wandb.Api()
box = api.job("admin/proj/box:latest")
assert box._job_info["source"]["image"] == "busybox:2", box._job_info
assert api.artifact("admin/proj/box:v1").version == "v1"
train = api.job("admin/proj/train:stable", path="job")
assert pathlib.Path("job/requirements.frozen.txt").read_text() == "wandb\\n"
code = train._get_code_artifact(train._job_info["source"]["artifact"])
tree = pathlib.Path(code.download("tree"))
assert (tree / "lib/part.py").read_text() == "X = 1\\n"
print(json.dumps(train._job_info))
"""


@on_sqlite
def test_our_jobs_are_the_clients(client: Client) -> None:
    admin, code = client.world.admin, _script(client)
    for image in ("busybox:1", "busybox:2"):
        body = {"source": {"kind": "image", "image": image}}
        admin.ok("POST", "/jobs/admin/proj/box/versions", json=body)
    archive = client.directory / "code.tar.gz"
    packed = packing.pack(packing.scan(code), archive)
    admin.ok("PUT", f"/blobs/admin/{packed.digest}", content=archive.read_bytes())
    source = {"kind": "code", "archive": packed.digest, "entry_point": ["python", "train.py"],
              "runtime": "3.11"}  # fmt: skip
    body = {"source": source, "aliases": ["stable"]}
    admin.ok("POST", "/jobs/admin/proj/train/versions", json=body)

    told = json.loads(client.python(READ).splitlines()[-1])
    assert told["source"]["entrypoint"] == ["python", "train.py"]
    assert told["runtime"] == "3.11"
    listed = client.wandb("job", "list", "-p", "proj", "-e", "admin")
    assert "box -- versions (3): v0,v1,latest" in listed, listed
    # The client's next version has the next number, and is the latest of both.
    client.wandb("job", "create", "image", "busybox:3", "-p", "proj", "-e", "admin", "-n", "box")
    made = _version(client, "box")
    assert (made["version"], made["source"]) == (2, {"kind": "image", "image": "busybox:3"})
    body = {"source": {"kind": "image", "image": "busybox:4"}}
    assert admin.ok("POST", "/jobs/admin/proj/box/versions", json=body)["version"] == 3
