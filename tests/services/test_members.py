"""Teams, their members and their own roles: who may change whom, and what takes effect when."""

from __future__ import annotations

import pytest

from runyard.domain.access import BUILT_IN, Action
from runyard.domain.errors import Conflict, Forbidden, Invalid, NotFound, TooMuch
from runyard.services import accounts, invitations, members, queues, roles
from runyard.store import members as rows

LEAD = ["submit", "track", "manage_members"]


@pytest.fixture
def lab(yard):
    """A team with an admin (ann), a lead who manages members, and a member."""
    for name in ("lea", "mel", "vic"):
        yard.new_user(name)
    yard.team("lab", mel="member")
    roles.put(yard.call(), "lab", "lead", LEAD, "looks after people")
    members.set_member(yard.call(), "lab", "lea", "lead")
    return yard


def role_of(yard, user, team="lab"):
    return {m["user"]: m["role"] for m in members.list_members(yard.call(), team)}.get(user)


def test_a_role_of_a_team_is_what_its_permissions_say(lab):
    lea = lab.user("lea")
    team = next(iter(set(lea.grants) - {lea.user_id}))
    assert lea.granted(team) == {Action.SEE, Action.TRACK, Action.SUBMIT, Action.MANAGE_MEMBERS}
    assert lea.roles[team] == "lead"


def test_editing_a_role_changes_what_its_holders_may_do_at_once(lab):
    roles.put(lab.call(), "lab", "lead", ["submit", "edit_queues"], "")
    queues.create(
        lab.call(lab.user("lea")), entity="lab", name="new", resource="local-process",
        config={}, policy={},
    )  # fmt: skip
    assert "credentials" in lab.tx.topics


def test_putting_the_same_role_again_changes_nothing(lab):
    before = roles.get(lab.call(), "lab", "lead")
    assert roles.put(lab.call(), "lab", "lead", [*reversed(LEAD)], before.description)
    assert roles.get(lab.call(), "lab", "lead") == before


def test_built_in_roles_and_own_ones_are_listed(lab):
    found = {role.name: role for role in roles.list_roles(lab.call(lab.user("mel")), "lab")}
    assert list(found) == [*BUILT_IN, "lead"]
    assert found["lead"].permissions == ["manage_members", "see", "submit", "track"]
    assert found["admin"].created_at is None


@pytest.mark.parametrize("name", ["admin", "viewer", "Lead", "a/b", "", "me", "x" * 64])
def test_a_role_cannot_be_named_as_a_built_in_one_or_as_nothing_could(lab, name):
    with pytest.raises(Invalid):
        roles.put(lab.call(), "lab", name, ["submit"], "")


def test_unknown_permissions_are_all_named(lab):
    with pytest.raises(Invalid) as refused:
        roles.put(lab.call(), "lab", "odd", ["submit", "fly", "swim"], "")
    assert {v.path for v in refused.value.violations} == {"permissions.fly", "permissions.swim"}


def test_a_role_that_somebody_has_or_is_invited_to_stays(lab):
    with pytest.raises(Conflict, match="lea of lab have the role 'lead'"):
        roles.delete(lab.call(), "lab", "lead")
    members.set_member(lab.call(), "lab", "lea", "viewer")
    made = invitations.create(lab.call(), team="lab", role="lead", seconds=60)
    with pytest.raises(Conflict, match="1 open invitation"):
        roles.delete(lab.call(), "lab", "lead")
    invitations.revoke(lab.call(), made.row["id"])
    roles.delete(lab.call(), "lab", "lead")
    with pytest.raises(NotFound):
        roles.get(lab.call(), "lab", "lead")
    with pytest.raises(Conflict, match="built in"):
        roles.delete(lab.call(), "lab", "viewer")


def test_a_role_that_nobody_knows_may_do_nothing(lab):
    rows.set_role(lab.tx, lab.team_id("lab"), lab.user("vic").user_id, "gone")
    assert lab.user("vic").granted(lab.team_id("lab")) == frozenset()


def test_a_permission_of_a_newer_server_counts_for_nothing(lab):
    assert rows.actions_in('["see","not-yet-known"]') == {Action.SEE}


def test_the_roles_of_another_team_are_none_of_this_one(lab):
    lab.team("other")
    with pytest.raises(Invalid, match="is no role of other; there are viewer"):
        members.set_member(lab.call(), "other", "mel", "lead")


def test_a_team_has_so_many_roles_and_no_more(lab, monkeypatch):
    monkeypatch.setattr(roles, "MOST", 2)
    roles.put(lab.call(), "lab", "second", ["submit"], "")
    with pytest.raises(TooMuch):
        roles.put(lab.call(), "lab", "third", ["submit"], "")


@pytest.mark.parametrize("role", ["member", "operator", "admin"])
def test_T19_nobody_grants_a_role_above_their_own(lab, role):
    lea = lab.user("lea")
    with pytest.raises(Forbidden, match="has permissions that you lack") as refused:
        members.set_member(lab.call(lea), "lab", "vic", role)
    assert "ask an admin" in refused.value.hint
    with pytest.raises(Forbidden):
        members.set_member(lab.call(lea), "lab", "lea", role)
    for allowed in ("viewer", "submitter", "lead"):
        members.set_member(lab.call(lea), "lab", "vic", allowed)
        assert role_of(lab, "vic") == allowed


def test_T19_nobody_changes_or_removes_who_may_more(lab):
    lea = lab.user("lea")
    for change in (
        lambda: members.set_member(lab.call(lea), "lab", "mel", "viewer"),
        lambda: members.set_member(lab.call(lea), "lab", "ann", "viewer"),
        lambda: members.remove_member(lab.call(lea), "lab", "mel"),
        lambda: members.remove_member(lab.call(lea), "lab", "ann"),
    ):
        with pytest.raises(Forbidden, match="permissions that you lack"):
            change()
    assert (role_of(lab, "mel"), role_of(lab, "ann")) == ("member", "admin")


def test_T19_nobody_makes_or_edits_a_role_to_have_more_than_they_have(lab):
    lea = lab.user("lea")
    roles.put(lab.call(), "lab", "boss", ["edit_queues"], "")
    for name, permissions in (
        ("mine", ["edit_queues"]),
        ("lead", [*LEAD, "edit_queues"]),  # what she has herself
        ("boss", ["submit"]),  # taking away what she lacks
    ):
        with pytest.raises(Forbidden, match="permissions that you lack: edit_queues"):
            roles.put(lab.call(lea), "lab", name, permissions, "")
    with pytest.raises(Forbidden):
        roles.delete(lab.call(lea), "lab", "boss")
    roles.put(lab.call(lea), "lab", "mine", ["submit"], "")


@pytest.mark.parametrize("who", ["mel", "vic"])
def test_who_does_not_manage_members_changes_nothing(lab, who):
    actor = lab.user(who)
    refused = Forbidden if who == "mel" else NotFound
    for change in (
        lambda: members.set_member(lab.call(actor), "lab", "vic", "viewer"),
        lambda: members.remove_member(lab.call(actor), "lab", "mel"),
        lambda: roles.put(lab.call(actor), "lab", "new", ["see"], ""),
        lambda: roles.delete(lab.call(actor), "lab", "lead"),
    ):
        with pytest.raises(refused):
            change()


def test_a_refusal_says_which_permission_it_takes_and_whom_to_ask(lab):
    with pytest.raises(Forbidden) as refused:
        members.set_member(lab.call(lab.user("mel")), "lab", "vic", "viewer")
    assert "your role in lab is member" in refused.value.message
    assert "manage_members" in refused.value.message
    assert refused.value.hint == "ask an admin of lab"


def test_a_team_keeps_an_admin_who_is_a_person_and_not_disabled(lab):
    lab.new_user("ada")
    members.set_member(lab.call(), "lab", "ada", "admin")
    accounts.edit_user(lab.call(), "ada", {"disabled": True})
    for change in (
        lambda: members.remove_member(lab.call(), "lab", "ann"),
        lambda: members.set_member(lab.call(), "lab", "ann", "lead"),
    ):
        with pytest.raises(Conflict, match="keeps one admin"):
            change()
    accounts.edit_user(lab.call(), "ada", {"disabled": False})
    members.remove_member(lab.call(), "lab", "ann")


def test_what_a_person_sets_is_no_longer_the_login_providers(lab):
    team, vic = lab.team_id("lab"), lab.user("vic").user_id
    rows.set_role(lab.tx, team, vic, "viewer", granted_by="oidc")
    members.set_member(lab.call(), "lab", "vic", "viewer")
    assert rows.member(lab.tx, team, vic)["granted_by"] == ""


def test_a_user_is_no_team(lab):
    with pytest.raises(NotFound, match="it is a user"):
        members.set_member(lab.call(), "ann", "mel", "viewer")
