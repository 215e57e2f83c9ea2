"""Teams, roles, service accounts, invitations and keys over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from runyard.domain.errors import TooMuch
from runyard.server import rest_invitations
from runyard.server.rest_invitations import Tries

from .conftest import Caller, World


@pytest.fixture
def lab(world: World) -> World:
    world.admin.ok("POST", "/teams", json={"name": "lab"})
    return world


def service_account(world: World, **more: Any) -> Caller:
    body = {"name": "bot", "role": "agent", **more}
    world.admin.ok("POST", "/teams/lab/service-accounts", json=body)
    made = world.admin.ok("POST", "/keys", json={"user": "bot", "expires_in_s": 3600})
    return world.caller(made["key"])


def invite(world: World, who: Caller | None = None, **more: Any) -> dict[str, Any]:
    body = {"team": "lab", "role": "submitter", **more}
    made: dict[str, Any] = (who or world.admin).ok("POST", "/invitations", json=body)
    return made


def redeem(world: World, token: str, name: str = "new") -> Any:
    return world.caller(None)(
        "POST", "/invitations/redeem", json={"token": token, "name": name}
    )  # fmt: skip


def test_a_role_is_put_listed_edited_and_deleted(lab: World) -> None:
    body = {"permissions": ["submit"], "description": "sends jobs"}
    made = lab.admin.ok("PUT", "/teams/lab/roles/sender", json=body)
    assert made["permissions"] == ["see", "submit"]
    assert lab.admin.ok("PUT", "/teams/lab/roles/sender", json=body) == made
    listed = lab.admin.ok("GET", "/teams/lab/roles")["data"]
    assert [r["name"] for r in listed if not r["built_in"]] == ["sender"]
    assert listed[0]["name"] == "viewer"
    ann = lab.user("ann")
    lab.admin.ok("PUT", "/teams/lab/members/ann", json={"role": "sender"})
    assert ann.ok("GET", "/me")["teams"] == [
        {"team": "lab", "role": "sender", "permissions": ["see", "submit"]}
    ]
    lab.admin.ok("PUT", "/teams/lab/roles/sender", json={"permissions": ["edit_queues"]})
    lab.queue("q", "lab", ann)  # at once, and though her key is remembered
    refused = lab.admin("DELETE", "/teams/lab/roles/sender")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    lab.admin.ok("DELETE", "/teams/lab/members/ann")
    lab.admin.ok("DELETE", "/teams/lab/roles/sender")
    assert lab.admin("GET", "/teams/lab/roles/sender").status_code == 404


def test_a_role_with_unknown_permissions_is_answered_with_all_of_them(lab: World) -> None:
    body = {"permissions": ["fly", "swim"]}
    answer = lab.admin("PUT", "/teams/lab/roles/x", json=body)
    assert answer.status_code == 422
    assert [v["path"] for v in answer.json()["violations"]] == [
        "permissions.fly", "permissions.swim",
    ]  # fmt: skip


def test_me_of_a_service_account_shows_its_team_and_queues(lab: World) -> None:
    me = service_account(lab, queues=["gpu"]).ok("GET", "/me")
    assert (me["kind"], me["name"], me["entity"]) == ("service", "bot", "lab")
    assert me["queues"] == ["gpu"]
    permissions = ["see", "serve", "track"]
    assert me["teams"] == [{"team": "lab", "role": "agent", "permissions": permissions}]


def test_a_service_account_serves_its_team_and_ends_at_once(lab: World) -> None:
    lab.queue("gpu", "lab")
    bot = service_account(lab)
    agent = lab.agent("a", ("gpu",), who=bot)
    assert agent.registered["entity"] == "lab"
    lab.submit(queue="lab/gpu")
    assert len(agent.poll()["leased"]) == 1
    path = "/teams/lab/service-accounts/bot"
    lab.admin.ok("PATCH", path, json={"disabled": True})
    assert bot("GET", "/me").status_code == 401
    assert agent.caller("POST", f"/agents/{agent.id}/poll", json={"slots": 0}).status_code == 401
    lab.admin.ok("PATCH", path, json={"disabled": False, "role": "viewer"})
    assert bot.ok("GET", "/me")["teams"][0]["role"] == "viewer"
    lab.admin.ok("DELETE", path)
    assert bot("GET", "/me").status_code == 401
    assert lab.admin.ok("GET", "/teams/lab/service-accounts")["data"] == []


def test_a_patch_changes_only_what_it_names(lab: World) -> None:
    service_account(lab, queues=["gpu"])
    path = "/teams/lab/service-accounts/bot"
    edited = lab.admin.ok("PATCH", path, json={"role": "submitter"})
    assert (edited["role"], edited["queues"], edited["disabled_at"]) == ("submitter", ["gpu"], None)
    assert lab.admin.ok("PATCH", path, json={"queues": None})["queues"] is None
    assert lab.admin.ok("GET", path)["role"] == "submitter"


def test_an_invitation_is_redeemed_without_a_key_once(lab: World) -> None:
    made = invite(lab)
    answer = redeem(lab, made["token"])
    assert answer.status_code == 201
    joined = answer.json()
    assert (joined["user"], joined["team"], joined["role"]) == ("new", "lab", "submitter")
    me = lab.caller(joined["key"]["key"]).ok("GET", "/me")
    assert (me["name"], me["teams"][0]["role"], me["is_admin"]) == ("new", "submitter", False)
    again = redeem(lab, made["token"], "other")
    assert (again.status_code, again.json()["code"]) == (404, "not_found")
    (listed,) = lab.admin.ok("GET", "/invitations?team=lab")["data"]
    assert listed["state"] == "used"
    assert "token" not in listed


def test_T17_of_tokens_that_are_not_good_nobody_learns_why(lab: World) -> None:
    used, revoked, expired = invite(lab), invite(lab), invite(lab, expires_in_s=60)
    redeem(lab, used["token"])
    lab.admin.ok("DELETE", f"/invitations/{revoked['id']}")
    lab.clock.ahead += timedelta(minutes=2)
    answers = set()
    for token in (
        used["token"],
        revoked["token"],
        expired["token"],
        "ryi_no",
        "\x00",
        "é" * 99,
        "x" * 9999,
        "",
    ):
        answer = redeem(lab, token, "other")
        body = answer.json()
        body.pop("request_id")
        answers.add((answer.status_code, str(body)))
    assert len(answers) == 1
    states = {i["id"]: i["state"] for i in lab.admin.ok("GET", "/invitations")["data"]}
    assert states == {used["id"]: "used", expired["id"]: "expired"}


def test_T20_strangers_may_try_so_often_and_write_nothing(lab: World) -> None:
    with lab.server.database.begin() as tx:
        before = tx.connection.exec_driver_sql("SELECT count(*) FROM audit").scalar()
    answers = [redeem(lab, f"ryi_{n}") for n in range(rest_invitations.TRIES + 3)]
    assert [a.status_code for a in answers[-3:]] == [429] * 3
    assert answers[-1].headers["retry-after"]
    assert redeem(lab, invite(lab)["token"]).status_code == 429
    with lab.server.database.begin() as tx:
        after = tx.connection.exec_driver_sql("SELECT count(*) FROM audit").scalar()
    assert after == before + 1  # the invitation


def test_T20_addresses_are_counted_apart_and_forgotten() -> None:
    now = 0.0
    tries = Tries(seconds=lambda: now)
    for _ in range(rest_invitations.TRIES):
        tries.count("2001:db8::1")
    for address in ("2001:db8::1", "2001:db8::ffff"):  # one network is one stranger
        with pytest.raises(TooMuch):
            tries.count(address)
    for address in ("2001:db8:1::1", "192.0.2.1", "testclient", ""):
        tries.count(address)
    now = 60.0
    tries.count("2001:db8::1")


def test_T20_the_addresses_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_invitations, "_REMEMBERED", 3)
    tries = Tries()
    for n in range(10):
        tries.count(f"192.0.2.{n}")
    assert len(tries._seen) == 3


def test_who_is_logged_in_joins(lab: World) -> None:
    ann = lab.user("ann")
    made = invite(lab)
    assert ann.ok("POST", "/invitations/join", json={"token": made["token"]}) == {
        "user": "ann", "team": "lab", "role": "submitter",
    }  # fmt: skip
    assert lab.caller(None)("POST", "/invitations/join", json={"token": "x"}).status_code == 401


def test_a_body_that_is_no_redemption_is_refused(lab: World) -> None:
    for body in ({}, {"token": "x"}, {"token": 5, "name": "a"}, {"token": "x", "name": "a" * 200},
                 {"token": "x", "name": "a", "role": "admin"}):  # fmt: skip
        answer = lab.caller(None)("POST", "/invitations/redeem", json=body)
        assert answer.status_code == 422


def test_a_user_is_shown_edited_disabled_and_enabled(lab: World) -> None:
    ann = lab.user("ann")
    assert ann.ok("PATCH", "/users/ann", json={"email": "ann@example.org"})["email"]
    assert ann.ok("GET", "/me")["email"] == "ann@example.org"
    assert ann("PATCH", "/users/ann", json={"is_admin": True}).status_code == 403
    lab.admin.ok("PATCH", "/users/ann", json={"disabled": True})
    assert ann("GET", "/me").status_code == 401
    shown = lab.admin.ok("PATCH", "/users/ann", json={"disabled": False, "is_admin": None})
    assert (shown["disabled_at"], shown["kind"], shown["email"]) == (
        None, "person", "ann@example.org",
    )  # fmt: skip
    assert ann.ok("PATCH", "/users/ann", json={"email": None})["email"] is None


def test_users_are_listed_by_kind(lab: World) -> None:
    service_account(lab)
    for kind, names in (("service", ["bot"]), ("person", ["admin"])):
        found = lab.admin.ok("GET", "/users", params={"kind": kind})["data"]
        assert [user["name"] for user in found] == names
    assert len(lab.admin.ok("GET", "/users")["data"]) == 2


def test_expired_keys_are_listed_as_such(lab: World) -> None:
    made = lab.admin.ok("POST", "/keys", json={"name": "brief", "expires_in_s": 60})
    lab.clock.ahead += timedelta(minutes=2)
    lab.server.keys.forget()
    listed = {k["id"]: k["expired"] for k in lab.admin.ok("GET", "/keys")["data"]}
    assert listed.pop(made["id"])
    assert not any(listed.values())


def test_T19_roles_are_enforced_over_http(lab: World) -> None:
    lab.admin.ok(
        "PUT", "/teams/lab/roles/lead", json={"permissions": ["manage_members"]}
    )  # fmt: skip
    lea = lab.user("lea")
    lab.user("sid")
    lab.admin.ok("PUT", "/teams/lab/members/lea", json={"role": "lead"})
    for method, path, body in (
        ("PUT", "/teams/lab/members/sid", {"role": "admin"}),
        ("PUT", "/teams/lab/members/lea", {"role": "admin"}),
        ("DELETE", "/teams/lab/members/admin", None),
        ("PUT", "/teams/lab/roles/lead", {"permissions": ["manage_members", "edit_queues"]}),
        ("PUT", "/teams/lab/roles/new", {"permissions": ["edit_queues"]}),
        ("POST", "/teams/lab/service-accounts", {"name": "b", "role": "member"}),
        ("POST", "/invitations", {"team": "lab", "role": "admin"}),
        ("POST", "/keys", {"user": "admin"}),
        ("PATCH", "/users/lea", {"is_admin": True}),
    ):
        answer = lea(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
        assert answer.json()["hint"], path
    lea.ok("PUT", "/teams/lab/members/sid", json={"role": "lead"})
