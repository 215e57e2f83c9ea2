"""Jobs and the artifacts that they are: who makes one of the other, numbers, aliases, code."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import anyio
from sqlalchemy import delete, update

from runyard.store import tables as t
from tests.http.conftest import Caller, World
from tests.http.logging_artifacts import log, said

ALIASES = """mutation($input: AddAliasesInput!) { addAliases(input: $input) { success } }"""
DROP = """mutation($input: DeleteAliasesInput!) { deleteAliases(input: $input) { success } }"""
FOUND = """query($p: String, $e: String, $name: String!) { project(name: $p, entityName: $e) {
    artifactCollectionMembership(name: $name) { artifact { id versionIndex metadata
    files(first: 100) { edges { node { name directUrl } } } } } } }"""


def job_file(kind: str, source: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"source_type": kind, "source": source, "runtime": "3.11", **more}).encode()


def image(name: str) -> dict[str, bytes]:
    return {"wandb-job.json": job_file("image", {"image": name})}


def log_job(who: Caller, path: str, files: dict[str, bytes], **more: Any) -> str:
    return log(who, path, files, artifactTypeName="job", **more)


def version(who: Caller, path: str, alias: str = "latest") -> Any:
    return who("GET", f"/jobs/{path}/versions/{alias}")


def artifact(who: Caller, path: str, alias: str) -> Any:
    entity, project, name = path.split("/")
    found = said(who, FOUND, e=entity, p=project, name=f"{name}:{alias}")["project"]
    member = found["artifactCollectionMembership"]
    return None if member is None else member["artifact"]


def content(who: Caller, found: Any) -> dict[str, bytes]:
    return {
        edge["node"]["name"]: who.http.request("GET", edge["node"]["directUrl"]).content
        for edge in found["files"]["edges"]
    }


def unpacked(world: World, digest: str) -> dict[str, bytes]:
    with tarfile.open(world.server.files.path(digest)) as tar:
        return {
            each.name: file.read()
            for each in tar
            if (file := tar.extractfile(each)) is not None
        }  # fmt: skip


def test_code_of_the_client_is_packed_for_our_agents(world: World) -> None:
    admin = world.admin
    files = {"train.py": b"print()", "lib/a.py": b"", ".git/config": b"secret"}
    code = log(admin, "admin/p/code-train", files, artifactTypeName="code")
    source = {"artifact": f"wandb-artifact://_id/{code}", "entrypoint": ["python", "train.py"]}
    both = {"wandb-job.json": job_file("artifact", source), "requirements.frozen.txt": b"wandb\n"}
    log_job(admin, "admin/p/train", both)
    made = version(admin, "admin/p/train").json()
    assert made["source"]["entry_point"] == ["python", "train.py"]
    assert unpacked(world, made["source"]["archive"]) == {
        "train.py": b"print()", "lib/a.py": b"", "requirements.txt": b"wandb\n",
    }  # fmt: skip
    # And agents are given it.
    world.queue()
    body = {"items": [{"job": "admin/p/train:v0"}]}
    (item,) = admin.ok("POST", "/queues/admin/q/items", json=body)["items"]
    agent = world.agent()
    held = agent.claim()
    url = f"/agents/{agent.id}/blobs/{held['item_id']}/{made['source']['archive']}"
    assert item["id"] == held["item_id"]
    assert agent.caller("GET", url).status_code == 200


def test_what_cannot_be_a_job_stays_an_artifact(world: World) -> None:
    admin = world.admin
    elsewhere = log(admin, "admin/other/code", {"a.py": b""}, artifactTypeName="code")
    pointing = log(admin, "admin/p/refs", {}, refs={"r": "s3://b/k"}, artifactTypeName="code")
    git = {"remote": "http://example.org/x", "commit": "a" * 40}
    for n, files in enumerate(
        (
            {"wandb-job.json": b"{"},
            {"other.json": b"{}"},
            {"wandb-job.json": job_file("repo", {"git": git, "entrypoint": ["a"]})},
            {"wandb-job.json": job_file("artifact", {
                "artifact": f"wandb-artifact://_id/{elsewhere}"})},
            {"wandb-job.json": job_file("artifact", {
                "artifact": f"wandb-artifact://_id/{pointing}"})},
            {"wandb-job.json": job_file("artifact", {"artifact": "wandb-artifact://_id/x"})},
        )
    ):  # fmt: skip
        log_job(admin, "admin/p/odd", files)
        assert artifact(admin, "admin/p/odd", "latest")["versionIndex"] == n
        assert version(admin, "admin/p/odd").status_code == 404
    # The next that can be one has the number of its artifact.
    log_job(admin, "admin/p/odd", image("busybox"))
    assert version(admin, "admin/p/odd").json()["version"] == 6


def test_T15_who_may_not_save_jobs_makes_none_by_an_artifact(world: World) -> None:
    world.admin.ok("POST", "/teams", json={"name": "lab"})
    ann, bob = world.user("ann"), world.user("bob")
    world.admin.ok("PUT", "/teams/lab/members/ann", json={"role": "member"})
    world.admin.ok("PUT", "/teams/lab/members/bob", json={"role": "submitter"})
    log_job(ann, "lab/p/train", image("good"))
    log_job(bob, "lab/p/train", image("bad"))
    log_job(bob, "lab/p/new", image("bad"))
    assert version(ann, "lab/p/train").json()["source"]["image"] == "good"
    assert version(ann, "lab/p/new").status_code == 404


def test_T15_a_run_makes_a_new_job_and_no_version_of_anothers(world: World) -> None:
    world.queue()
    agent = world.agent()
    world.submit()
    token = world.caller(agent.claim()["run_token"])
    log_job(world.admin, "admin/default/train", image("good"))
    log_job(token, "admin/default/train", image("bad"))
    assert version(world.admin, "admin/default/train").json()["source"]["image"] == "good"
    log_job(token, "admin/default/mine", image("made"))
    assert version(world.admin, "admin/default/mine").json()["source"]["image"] == "made"


def test_aliases_of_both_are_the_same(world: World) -> None:
    admin = world.admin
    for n in range(2):
        log_job(admin, "admin/p/box", image(f"busybox:{n}"))
    first = artifact(admin, "admin/p/box", "v0")["id"]
    named = {"entityName": "admin", "projectName": "p", "artifactCollectionName": "box"}
    said(admin, ALIASES, input={"artifactID": first, "aliases": [{**named, "alias": "prod"}]})
    assert version(admin, "admin/p/box", "prod").json()["version"] == 0
    body = {"source": {"kind": "image", "image": "busybox:1"}, "aliases": ["prod"]}
    assert admin.ok("POST", "/jobs/admin/p/box/versions", json=body)["version"] == 1
    assert artifact(admin, "admin/p/box", "prod")["versionIndex"] == 1
    second = artifact(admin, "admin/p/box", "v1")["id"]
    said(admin, DROP, input={"artifactID": second, "aliases": [{**named, "alias": "prod"}]})
    assert version(admin, "admin/p/box", "prod").status_code == 404
    assert version(admin, "admin/p/box").json()["version"] == 1


def archive_of(files: dict[str, bytes], links: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
        for name, target in links.items():
            header = tarfile.TarInfo(name)
            header.type, header.linkname = tarfile.SYMTYPE, target
            tar.addfile(header)
    return out.getvalue()


def upload(who: Caller, data: bytes) -> str:
    import hashlib

    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    who.ok("PUT", f"/blobs/admin/{digest}", content=data)
    return digest


def test_our_code_is_the_clients(world: World) -> None:
    admin = world.admin
    data = archive_of(
        {"a.py": b"1", "lib/b.py": b"2", "requirements.txt": b"x\n"},
        {"link.py": "lib/b.py", "lib/up.py": "../a.py", "out": "../../etc/passwd"},
    )
    source = {"kind": "code", "archive": upload(admin, data), "entry_point": ["python", "a.py"]}
    patch = upload(admin, b"diff")
    git = {"kind": "git", "remote": "https://example.org/x", "commit": "a" * 40, "patch": patch,
           "entry_point": ["python", "a.py"]}  # fmt: skip
    for each in (source, git):
        admin.ok("POST", "/jobs/admin/p/train/versions", json={"source": each})
    files = content(admin, artifact(admin, "admin/p/train", "v0"))
    assert files["requirements.frozen.txt"] == b"x\n"
    told = json.loads(files["wandb-job.json"])
    code_id = told["source"]["artifact"].removeprefix("wandb-artifact://_id/")
    code = artifact(admin, "admin/p/code-train", "latest")
    assert code["id"] == code_id
    assert content(admin, code) == {
        "a.py": b"1", "lib/b.py": b"2", "requirements.txt": b"x\n", "link.py": b"2",
        "lib/up.py": b"1",
    }  # fmt: skip
    files = content(admin, artifact(admin, "admin/p/train", "v1"))
    assert files["diff.patch"] == b"diff"
    assert json.loads(files["wandb-job.json"])["source"]["git"]["commit"] == "a" * 40


def test_an_archive_that_is_none_stays_a_job_of_ours(world: World) -> None:
    admin = world.admin
    for data in (b"not an archive", archive_of({"../x": b"1"}, {})):
        source = {"kind": "code", "archive": upload(admin, data)}
        made = admin.ok("POST", "/jobs/admin/p/odd/versions", json={"source": source})
        assert artifact(admin, "admin/p/odd", f"v{made['version']}") is None
    source = {"kind": "image", "image": "busybox"}
    assert admin.ok("POST", "/jobs/admin/p/odd/versions", json={"source": source})["version"] == 2
    assert artifact(admin, "admin/p/odd", "v2")["versionIndex"] == 2
    # A name that another artifact has.
    log(admin, "admin/p/data", {"a": b"1"})
    made = admin.ok("POST", "/jobs/admin/p/data/versions", json={"source": source})
    assert made["version"] == 0
    assert json.loads(artifact(admin, "admin/p/data", "v0")["metadata"]) == {}


def test_jobs_from_before_there_were_artifacts_follow(world: World) -> None:
    admin = world.admin
    for n in range(2):
        body = {"source": {"kind": "image", "image": f"busybox:{n}"}}
        admin.ok("POST", "/jobs/admin/p/old/versions", json=body)
    with world.server.database.begin() as tx:  # as if they were saved by an older version
        tx.run(update(t.job_versions).values(artifact_id=None))
        for table in (t.aliases, t.members, t.entries, t.manifests, t.artifacts, t.collections):
            tx.run(delete(table))
    # The client is first: its version is the next, and not the first.
    log_job(admin, "admin/p/old", image("busybox:2"))
    assert version(admin, "admin/p/old").json()["version"] == 2
    assert anyio.run(world.server.job_mirror.run_once) == 2
    assert anyio.run(world.server.job_mirror.run_once) == 0
    for n in range(3):
        files = content(admin, artifact(admin, "admin/p/old", f"v{n}"))
        assert json.loads(files["wandb-job.json"])["source"]["image"] == f"busybox:{n}"
    assert artifact(admin, "admin/p/old", "latest")["versionIndex"] == 2
    assert version(admin, "admin/p/old").json()["version"] == 2
