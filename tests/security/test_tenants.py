"""What one agent, run or tenant can do to another: nothing."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pytest

from tests.http.conftest import Agent, World

RUN = "/runs/admin/default/{}"


def _code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_T15_a_runs_token_reads_its_own_run_and_no_other(world: World) -> None:
    world.queue()
    agent = world.agent()
    mine, other = world.submit(2)
    held = agent.claim()
    if held["item_id"] == other["id"]:
        mine, other = other, mine
    token = world.caller(held["run_token"])
    ours, theirs = RUN.format(mine["run"]["run_id"]), RUN.format(other["run"]["run_id"])
    assert token("GET", ours).status_code == 200
    assert token("GET", f"{ours}/logs").status_code == 200
    for path in (theirs, f"{theirs}/logs", f"{theirs}/events"):
        assert _code(token("GET", path)) == (404, "not_found")
    assert token("POST", f"{ours}/stop", json={}).status_code == 403


def test_T15_a_runs_token_dies_with_its_attempt_at_once(world: World) -> None:
    world.queue()
    agent = world.agent()
    (made,) = world.submit()
    held = agent.claim()
    token, path = world.caller(held["run_token"]), RUN.format(made["run"]["run_id"])
    assert token("GET", path).status_code == 200
    agent.finish(held)
    assert token("GET", path).status_code == 401


def test_T15_a_revoked_key_is_refused_at_once(world: World) -> None:
    made = world.admin.ok("POST", "/keys", json={"name": "x"})
    caller = world.caller(made["key"])
    assert caller("GET", "/me").status_code == 200
    world.admin.ok("DELETE", f"/keys/{made['id']}")
    assert caller("GET", "/me").status_code == 401


def test_T15_a_lost_role_is_lost_at_once(world: World) -> None:
    ann = world.user("ann")
    world.admin.ok("POST", "/teams", json={"name": "t"})
    world.queue("q", "t")
    assert ann("GET", "/queues/t/q").status_code == 404
    world.admin.ok("PUT", "/teams/t/members/ann", json={"role": "viewer"})
    assert ann("GET", "/queues/t/q").status_code == 200
    assert ann("DELETE", "/queues/t/q").status_code == 403
    world.admin.ok("DELETE", "/teams/t/members/ann")
    assert ann("GET", "/queues/t/q").status_code == 404


def test_T15_an_agents_token_opens_nothing_of_another_agent(world: World) -> None:
    world.queue()
    mine, other = world.agent("mine"), world.agent("other")
    for method, path in (
        ("POST", "poll"), ("POST", "moves"), ("POST", "logs"), ("GET", "blobs/x/y"),
    ):  # fmt: skip
        answer = mine.caller(method, f"/agents/{other.id}/{path}")
        assert _code(answer) == (403, "forbidden"), path
    assert _code(mine.caller("DELETE", f"/agents/{other.id}")) == (403, "forbidden")
    for twisted in (f"{mine.id}%2f..%2f{other.id}", mine.id.upper(), mine.id + "%00"):
        assert mine.caller("POST", f"/agents/{twisted}/poll").status_code in (403, 404)


def test_T22_an_agent_moves_only_what_it_leased(world: World) -> None:
    world.queue()
    mine, other = world.agent("mine"), world.agent("other")
    world.submit()
    held = mine.claim()
    for kind, more in (
        ("claim", {}),
        ("release", {}),
        ("observe", {"phase": "exited", "exit_code": 0}),
        ("fail", {"stage": "run", "message": "x"}),
        ("warn", {"stage": "run", "message": "x"}),
        ("keep", {"handle": {"driver": "d", "version": 1, "data": {}}}),
    ):
        (answer,) = other.move(other.to(kind, held, **more))  # even with the right token
        assert answer["code"] == "stale_lease", kind
    assert other.log(held, 0, b"forged").code == "stale_lease"
    item = world.admin.ok("GET", f"/items/{held['item_id']}")
    assert (item["state"], item["warnings"]) == ("CLAIMED", [])


def test_T22_an_agent_is_given_items_of_its_own_entity_only(world: World) -> None:
    eve = world.user("eve")
    world.queue("shared")
    world.queue("shared", "eve", eve)
    world.submit(1, "admin/shared")
    theirs = world.agent("e", ("shared",), who=eve)
    assert theirs.poll()["leased"] == []
    assert eve("POST", "/agents", json={
        "name": "x", "hostname": "h", "version": "1", "queues": ["shared"], "entity": "admin",
    }).status_code == 404  # fmt: skip


def test_T22_uploads_reach_only_the_agent_that_holds_their_item(world: World) -> None:
    data = b"archive"
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    other_digest = _upload(world, b"not of this job")
    assert _upload(world, data) == digest
    source = {"kind": "code", "archive": digest, "entry_point": ["python", "a.py"]}
    world.admin.ok("POST", "/jobs/admin/p/j/versions", json={"source": source})
    holder, other = world.agent("holder", ("default",)), world.agent("other", ("default",))
    body = {"items": [{"job": "admin/p/j"}]}
    world.admin.ok("POST", "/queues/admin/default/items", json=body)
    (held,) = holder.poll()["leased"]

    def get(agent: Agent, wanted: str) -> Any:
        return agent.caller("GET", f"/agents/{agent.id}/blobs/{held['item_id']}/{wanted}")

    assert get(holder, digest).content == data
    assert get(holder, other_digest).status_code == 404
    assert get(other, digest).status_code == 404
    holder.move(holder.to("release", held))
    assert get(holder, digest).status_code == 404


NO_DIGESTS = [
        "..", "../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "%252e%252e%252fetc",
        "sha256:..", "sha256:" + "a" * 63 + "/", "sha256:" + "A" * 64, "sha256:" + "a" * 65,
        "/etc/passwd", "C:\\x", "sha256:" + "a" * 63 + "%00", "sha256:" + "a" * 64 + "%0a",
        "md5:" + "a" * 32, "\\\\host\\share", "sha256:" + "a" * 60 + "%2e%2e%2f%2e",
    ]  # fmt: skip


def test_T11_nothing_but_a_digest_names_a_file(world: World) -> None:
    before = set(world.server.settings.home.rglob("*"))
    agent = world.agent()
    for digest in NO_DIGESTS:
        for method in ("HEAD", "PUT"):
            answer = world.admin(method, f"/blobs/admin/{digest}", content=b"x")
            assert answer.status_code in (404, 405, 422), (method, answer.status_code)
        assert agent.caller("GET", f"/agents/{agent.id}/blobs/x/{digest}").status_code in (404, 422)
    assert {p for p in world.server.settings.home.rglob("*") if "files" in p.parts} <= before


def test_T11_bytes_that_do_not_hash_to_their_name_leave_nothing(world: World) -> None:
    digest = f"sha256:{hashlib.sha256(b'right').hexdigest()}"
    answer = world.admin("PUT", f"/blobs/admin/{digest}", content=b"wrong")
    assert _code(answer) == (422, "invalid")
    files = world.server.settings.files_dir
    assert files is not None
    assert [p for p in files.rglob("*") if p.is_file()] == []
    assert world.admin("HEAD", f"/blobs/admin/{digest}").status_code == 404


def test_T11_an_upload_of_another_entity_is_as_good_as_not_there(world: World) -> None:
    digest = _upload(world, b"secret code")
    eve = world.user("eve")
    assert eve("HEAD", f"/blobs/admin/{digest}").status_code == 404
    assert eve("HEAD", f"/blobs/eve/{digest}").status_code == 404
    source = {"kind": "code", "archive": digest, "entry_point": ["python", "a.py"]}
    answer = eve("POST", "/jobs/eve/p/j/versions", json={"source": source})
    assert _code(answer) == (409, "conflict")


def test_T14_answers_and_log_hold_no_secrets(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.queue()
    agent = world.agent()
    world.submit()
    held = agent.claim()
    pages = [
        world.admin("GET", path).text
        for path in ("/keys?everybody=true", "/agents", "/items", f"/items/{held['item_id']}",
                     "/runs", "/metrics", "/api/v1/openapi.json", "/me", "/queues")
    ]  # fmt: skip
    world.admin("GET", f"/nothing?key={world.admin.key}")
    written = capsys.readouterr()
    for secret in (world.admin.key, agent.caller.key, held["run_token"], held["token"]):
        assert secret is not None
        assert not [page for page in pages if secret in page]
        assert secret not in written.out + written.err


def test_T25_a_path_cannot_forge_a_line_of_the_log(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.admin("GET", "/items/x%0a2030-01-01 [error] forged%1b[2J")
    written = capsys.readouterr()
    assert "forged" not in written.out + written.err


def test_T20_a_body_over_the_limit_is_refused_before_it_is_read(world: World) -> None:
    most = world.server.settings.max_body_bytes
    answer = world.admin("POST", "/teams", content=io.BytesIO(b"x" * (most + 1)))
    assert _code(answer) == (413, "too_much")

    def endless() -> Any:
        for _ in range(most // 65536 + 2):
            yield b"x" * 65536

    for path in ("/teams", "/queues/admin/q/items"):
        answer = world.admin(
            "POST", path, content=endless(), headers={"Content-Type": "application/json"}
        )
        assert _code(answer) == (413, "too_much")


def _upload(world: World, data: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    world.admin.ok("PUT", f"/blobs/admin/{digest}", content=data)
    return digest
