"""Users, teams, keys and the server, as the tracking client asks for them."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.server.graphql.features import FEATURES
from tests.http.conftest import Caller, World
from tests.http.test_graphql import ask, told
from tests.http.test_graphql_projects import team

USER = """fragment U on User { id name username email admin flags entity deletedAt
    apiKeys { edges { node { id name description } } } teams { edges { node { name } } } }"""
VIEWER = "{ viewer { ...U } } " + USER
USERS = "query($q: String) { users(query: $q) { edges { node { ...U } } } } " + USER
ENTITY = """query($name: String!) { entity(name: $name) {
    id name available photoUrl readOnly readOnlyAdmin isTeam entityType privateOnly storageBytes
    codeSavingEnabled defaultAccess isPaid user { name email organizations { name } }
    organization { name }
    members { id admin pending email username name photoUrl accountType apiKey role } } }"""
INVITE = """mutation($e: String!, $email: String, $username: String, $admin: Boolean) {
    createInvite(input: {entityName: $e, email: $email, username: $username, admin: $admin}) {
        invite { id name email createdAt toUser { name } } } }"""
REMOVE = """mutation($id: String, $e: String) {
    deleteInvite(input: {id: $id, entityName: $e}) { success } }"""
SERVICE = """mutation($e: String!, $d: String!) {
    createServiceAccount(input: {entityName: $e, description: $d}) { user { id } } }"""
NEW_KEY = """mutation($d: String) {
    generateApiKey(input: {description: $d}) { apiKey { id name description } } }"""
DROP_KEY = "mutation($id: String!) { deleteApiKey(input: {id: $id}) { success } }"
NEW_USER = """mutation($e: String!, $a: Boolean) {
    createUser(input: {email: $e, admin: $a}) { user { id name username email admin } } }"""
NEW_TEAM = """mutation($n: String!, $a: String) {
    createTeam(input: {teamName: $n, teamAdminUserName: $a}) { entity { id name isTeam } } }"""


def viewer(who: Caller) -> Any:
    return ask(who, VIEWER).json()["data"]["viewer"]


def found(who: Caller, text: str | None) -> list[Any]:
    edges = ask(who, USERS, q=text).json()["data"]["users"]["edges"]
    return [edge["node"] for edge in edges]


def members(who: Caller, name: str) -> dict[str, Any]:
    listed = ask(who, ENTITY, name=name).json()["data"]["entity"]["members"]
    return {member["name"]: member for member in listed}


def names(connection: Any) -> list[str]:
    return [edge["node"]["name"] for edge in connection["edges"]]


def test_the_viewer_is_whose_key_it_is(world: World) -> None:
    people = team(world, ada="admin")
    people["ada"].ok("PATCH", "/users/ada", json={"email": "ada@example.org"})
    me = viewer(people["ada"])
    assert (me["name"], me["username"], me["entity"]) == ("ada", "ada", "ada")
    assert (me["email"], me["admin"], me["flags"]) == ("ada@example.org", False, "{}")
    assert names(me["teams"]) == ["ada", "vision"]
    (key,) = me["apiKeys"]["edges"]
    assert people["ada"].key.startswith(key["node"]["name"])
    assert len(key["node"]["name"]) < 12
    assert viewer(world.admin)["admin"] is True


def test_the_viewer_of_a_service_account_has_its_team_as_home(world: World) -> None:
    team(world)
    body = {"name": "ci", "role": "member"}
    world.admin.ok("POST", "/teams/vision/service-accounts", json=body)
    service = world.caller(world.admin.ok("POST", "/keys", json={"user": "ci"})["key"])
    me = viewer(service)
    assert (me["username"], me["entity"]) == ("ci", "vision")
    assert names(me["teams"]) == ["vision"]
    assert told(ask(service, NEW_KEY), 403)
    assert told(ask(service, NEW_TEAM, n="other"), 403)


def test_the_viewer_of_a_run_is_its_author_and_shows_nothing_of_them(world: World) -> None:
    people = team(world, mia="member")
    people["mia"].ok("PATCH", "/users/mia", json={"email": "mia@example.org"})
    world.queue("q", "vision")
    body = {"items": [{"docker": {"docker_image": "busybox"}}]}
    people["mia"].ok("POST", "/queues/vision/q/items", json=body)
    run = world.caller(world.agent(entity="vision").claim()["run_token"])
    me = viewer(run)
    assert (me["id"], me["username"]) == (viewer(people["mia"])["id"], "mia")
    assert me["entity"] == "vision"
    assert (me["email"], me["admin"], me["apiKeys"], me["teams"]) == (
        None, None, {"edges": []}, {"edges": []},
    )  # fmt: skip
    assert found(run, "mia") == []
    assert ask(run, ENTITY, name="vision").json()["data"]["entity"]["members"] == []
    assert ask(run, ENTITY, name="admin").json() == {"data": {"entity": None}}
    for query, more in ((NEW_KEY, {}), (DROP_KEY, {"id": "x"}), (NEW_TEAM, {"n": "x"}),
                        (NEW_USER, {"e": "a@b.c"})):  # fmt: skip
        assert told(ask(run, query, **more), 403)
    for query in (INVITE, REMOVE):
        assert told(ask(run, query, e="vision", id="x", username="x"), 404)


def test_users_are_found_by_admins_of_the_server_alone(world: World) -> None:
    people = team(world, ada="admin", mia="member", mio="viewer")
    for name in people:
        people[name].ok("PATCH", f"/users/{name}", json={"email": f"{name}@Example.org"})
    assert [user["name"] for user in found(world.admin, "mi")] == ["mia", "mio"]
    assert [user["name"] for user in found(world.admin, "mia@example.org")] == ["mia"]
    assert [user["name"] for user in found(world.admin, "@example.org")] == ["ada", "mia", "mio"]
    (mia,) = found(world.admin, "mia")
    assert (mia["email"], names(mia["teams"])) == ("mia@Example.org", ["mia", "vision"])
    assert found(world.admin, "%") == []
    assert len(found(world.admin, None)) == 4
    for other in ("mi", "mio", "ada@example.org", "@example.org"):
        assert {user["name"] for user in found(people["ada"], other)} <= {"ada"}
    assert [user["name"] for user in found(people["ada"], "ada")] == ["ada"]
    assert found(people["mia"], "nobody") == []


def test_a_team_shows_its_members_and_service_accounts_without_addresses(world: World) -> None:
    people = team(world, ada="admin", mia="member")
    people["mia"].ok("PATCH", "/users/mia", json={"email": "mia@example.org"})
    assert ask(people["ada"], SERVICE, e="vision", d="CI of the lab").status_code == 200
    listed = members(people["mia"], "vision")
    assert list(listed) == ["ada", "admin", "mia", "ci-of-the-lab"]
    assert [m["accountType"] for m in listed.values()] == ["USER", "USER", "USER", "SERVICE"]
    assert [m["admin"] for m in listed.values()] == [True, True, False, False]
    assert {(m["email"], m["apiKey"]) for m in listed.values()} == {(None, None)}
    entity = ask(people["mia"], ENTITY, name="vision").json()["data"]["entity"]
    assert (entity["isTeam"], entity["entityType"], entity["user"]) == (True, "team", None)
    assert entity["organization"] is None
    assert ask(world.user("bob"), ENTITY, name="vision").json() == {"data": {"entity": None}}


def test_a_personal_entity_has_one_member(world: World) -> None:
    bob = world.user("bob")
    entity = ask(bob, ENTITY, name="bob").json()["data"]["entity"]
    assert (entity["isTeam"], entity["entityType"]) == (False, "user")
    assert entity["user"]["organizations"] == []
    (member,) = entity["members"]
    assert (member["username"], member["accountType"]) == ("bob", "USER")
    assert ask(world.user("eve"), ENTITY, name="bob").json() == {"data": {"entity": None}}


def test_somebody_is_invited_by_name_and_taken_out_by_id(world: World) -> None:
    people = team(world, ada="admin", mia="member")
    world.user("bob")
    assert told(ask(people["mia"], INVITE, e="vision", username="bob"), 403)
    assert told(ask(people["ada"], INVITE, e="vision", username="nobody"), 404)
    assert told(ask(people["ada"], INVITE, e="vision"), 422)
    invite = ask(people["ada"], INVITE, e="vision", username="bob").json()["data"]["createInvite"]
    assert invite["invite"]["toUser"]["name"] == "bob"
    assert members(people["ada"], "vision")["bob"]["role"] == "member"
    again = ask(people["ada"], INVITE, e="vision", username="bob", admin=True)
    assert "already" in told(again, 409)
    bob = members(people["ada"], "vision")["bob"]
    assert told(ask(people["mia"], REMOVE, e="vision", id=bob["id"]), 403)
    assert ask(people["ada"], REMOVE, e="vision", id=bob["id"]).status_code == 200
    assert "bob" not in members(people["ada"], "vision")
    assert told(ask(people["ada"], REMOVE, e="vision", id=bob["id"]), 404)
    assert told(ask(people["ada"], REMOVE, e="ada", id="x"), 404)


def test_an_address_is_looked_up_for_admins_of_the_server_alone(world: World) -> None:
    people = team(world, ada="admin")
    world.user("bob").ok("PATCH", "/users/bob", json={"email": "bob@example.org"})
    refused = told(ask(people["ada"], INVITE, e="vision", email="bob@example.org"), 403)
    assert "runyard invite create vision" in refused
    unknown = told(ask(people["ada"], INVITE, e="vision", email="no@example.org"), 403)
    assert unknown == refused
    assert told(ask(world.admin, INVITE, e="vision", email="no@example.org"), 404)
    invited = ask(world.admin, INVITE, e="vision", email="BOB@example.org", admin=True)
    assert invited.status_code == 200
    assert members(people["ada"], "vision")["bob"]["admin"] is True


def test_a_service_account_is_made_and_removed(world: World) -> None:
    people = team(world, ada="admin", mia="member")
    assert told(ask(people["mia"], SERVICE, e="vision", d="CI"), 403)
    assert told(ask(people["ada"], SERVICE, e="vision", d="!!"), 422)
    made = ask(people["ada"], SERVICE, e="vision", d="CI").json()["data"]["createServiceAccount"]
    assert told(ask(people["ada"], SERVICE, e="vision", d="ci"), 409)
    key = people["ada"].ok("POST", "/keys", json={"user": "ci"})["key"]
    assert viewer(world.caller(key))["username"] == "ci"
    removed = ask(people["ada"], REMOVE, e="vision", id=made["user"]["id"])
    assert removed.json()["data"]["deleteInvite"]["success"] is True
    assert ask(world.caller(key), VIEWER).status_code == 401


def test_keys_are_made_and_revoked(world: World) -> None:
    bob, eve = world.user("bob"), world.user("eve")
    made = ask(bob, NEW_KEY, d="my laptop").json()["data"]["generateApiKey"]["apiKey"]
    assert made["description"] == "my laptop"
    assert len(made["name"]) >= 40
    assert viewer(world.caller(made["name"]))["name"] == "bob"
    kept = {edge["node"]["id"]: edge["node"] for edge in viewer(bob)["apiKeys"]["edges"]}
    assert made["name"].startswith(kept[made["id"]]["name"])
    assert kept[made["id"]]["description"] == "my laptop"
    assert told(ask(eve, DROP_KEY, id=made["id"]), 404)
    assert ask(bob, DROP_KEY, id=made["id"]).json()["data"]["deleteApiKey"]["success"] is True
    assert ask(world.caller(made["name"]), VIEWER).status_code == 401
    assert told(ask(bob, DROP_KEY, id=made["id"]), 404)


def test_an_admin_of_the_server_makes_users(world: World) -> None:
    made = ask(world.admin, NEW_USER, e="Ada.Lovelace@example.org", a=True)
    user = made.json()["data"]["createUser"]["user"]
    assert (user["username"], user["email"]) == ("ada-lovelace", "Ada.Lovelace@example.org")
    assert user["admin"] is True
    assert told(ask(world.admin, NEW_USER, e="ada-lovelace@example.com"), 409)
    assert told(ask(world.admin, NEW_USER, e="no address"), 422)
    assert told(ask(world.user("bob"), NEW_USER, e="x@example.org"), 403)
    entries = world.admin.ok("GET", "/audit")["data"]
    assert "user.create" in {entry["action"] for entry in entries}


def test_a_team_is_made_with_another_admin(world: World) -> None:
    bob = world.user("bob")
    world.user("eve")
    made = ask(bob, NEW_TEAM, n="lab", a="eve").json()["data"]["createTeam"]["entity"]
    assert (made["name"], made["isTeam"]) == ("lab", True)
    assert {name: m["admin"] for name, m in members(bob, "lab").items()} == {
        "bob": True, "eve": True,
    }  # fmt: skip
    assert told(ask(bob, NEW_TEAM, n="lab"), 409)
    assert told(ask(bob, NEW_TEAM, n="New Team"), 422)
    assert told(ask(bob, NEW_TEAM, n="lost", a="nobody"), 404)
    assert ask(bob, ENTITY, name="lost").json() == {"data": {"entity": None}}


def test_the_server_tells_what_it_has(world: World) -> None:
    query = """{ serverInfo { features { name isEnabled } cliVersionInfo
        latestLocalVersionInfo { outOfDate latestVersionString versionOnThisInstanceString } } }"""
    info = ask(world.admin, query).json()["data"]["serverInfo"]
    assert {each["name"]: each["isEnabled"] for each in info["features"]} == FEATURES
    assert info["cliVersionInfo"]["min_cli_version"] < info["cliVersionInfo"]["max_cli_version"]
    assert info["latestLocalVersionInfo"]["outOfDate"] is False


@pytest.mark.parametrize(
    "query",
    ['{ organization(name: "o") { featureFlags(rampIDType: OrgName) { rampKey isEnabled } } }',
     '{ entity(name: "admin") { organization { coreWeaveOrganizationId } } }'],
)  # fmt: skip
def test_there_are_no_organizations(world: World, query: str) -> None:
    answer = ask(world.admin, query)
    assert answer.status_code == 200
    assert "errors" not in answer.json()
