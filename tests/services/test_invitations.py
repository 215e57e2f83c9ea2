"""Invitations: good once, for some days, and never worth more than their maker."""

from __future__ import annotations

import pytest

from runyard.domain.errors import Conflict, Forbidden, Invalid, NotFound, TooMuch
from runyard.server.edge import SERVER
from runyard.services import accounts, audit, invitations, members, roles
from runyard.services.audit import Wanted
from runyard.store import tables as t


@pytest.fixture
def lab(yard):
    for name in ("lea", "mel", "sid"):
        yard.new_user(name)
    yard.team("lab", mel="member")
    roles.put(yard.call(), "lab", "lead", ["submit", "track", "manage_members"], "")
    members.set_member(yard.call(), "lab", "lea", "lead")
    return yard


def invite(lab, actor=None, role="submitter", team="lab", **more):
    return invitations.create(lab.call(actor), team=team, role=role, seconds=3600, **more)


def redeem(lab, token, name="new"):
    return invitations.redeem(lab.call(SERVER), token, name)


def test_an_invitation_makes_a_user_a_member_and_a_key(lab):
    made = invite(lab, email="new@example.org")
    joined = redeem(lab, made.token)
    assert (joined.user, joined.team, joined.role) == ("new", "lab", "submitter")
    new = accounts.authenticate(lab.tx, joined.key.secret, lab.now)
    assert new.roles[lab.team_id("lab")] == "submitter"
    assert not new.is_admin
    assert accounts.find_user(lab.tx, "new")["email"] == "new@example.org"
    assert not accounts.find_user(lab.tx, "new")["email_vouched"]  # a link proves no address


def test_a_token_is_stored_as_its_hash(lab):
    made = invite(lab)
    everything = repr(
        [
            tuple(row.values())
            for table in (t.invitations, t.audit)
            for row in lab.tx.all(table.select())
        ]
    )
    assert made.token not in everything
    assert made.token.removeprefix("ryi_") not in everything
    assert made.token not in repr(made)


def test_used_expired_revoked_and_unknown_tokens_are_refused_alike(lab):
    used, expired, revoked = invite(lab), invite(lab), invite(lab)
    redeem(lab, used.token)
    invitations.revoke(lab.call(), revoked.row["id"])
    said = set()
    for token in (used.token, revoked.token, "ryi_unknown", "", used.row["id"]):
        with pytest.raises(NotFound) as refused:
            redeem(lab, token, "other")
        said.add((refused.value.message, refused.value.hint))
    lab.later(seconds=3600)
    with pytest.raises(NotFound) as refused:
        redeem(lab, expired.token, "other")
    said.add((refused.value.message, refused.value.hint))
    assert len(said) == 1


@pytest.mark.parametrize(("name", "error"), [("mel", Conflict), ("A b", Invalid), ("me", Invalid)])
def test_a_name_that_cannot_be_had_leaves_the_invitation_good(lab, name, error):
    made = invite(lab)
    with pytest.raises(error):
        redeem(lab, made.token, name)
    assert redeem(lab, made.token).user == "new"


def test_who_is_somebody_already_joins_as_who_they_are(lab):
    made = invite(lab)
    joined = invitations.join(lab.call(lab.user("sid")), made.token)
    assert (joined.user, joined.key) == ("sid", None)
    assert lab.user("sid").roles[lab.team_id("lab")] == "submitter"
    with pytest.raises(NotFound):
        invitations.join(lab.call(lab.user("sid")), made.token)


def test_an_invitation_changes_no_members_role(lab):
    made = invite(lab, role="viewer")
    with pytest.raises(Conflict, match="member of lab already"):
        invitations.join(lab.call(lab.user("mel")), made.token)
    assert invitations.check(lab.call(), made.token)


def test_T19_nobody_invites_to_a_role_above_their_own(lab):
    lea = lab.user("lea")
    for role in ("member", "admin"):
        with pytest.raises(Forbidden, match="permissions that you lack"):
            invite(lab, lea, role)
    above = invite(lab, role="admin")
    with pytest.raises(Forbidden, match="permissions that you lack"):
        invitations.revoke(lab.call(lea), above.row["id"])
    with pytest.raises(Forbidden, match="manage_members"):
        invite(lab, lab.user("mel"), "viewer")
    with pytest.raises(NotFound):
        invitations.revoke(lab.call(lab.user("mel")), above.row["id"])
    with pytest.raises(NotFound):
        invite(lab, lab.user("sid"), "viewer")


@pytest.mark.parametrize("loss", ["removed", "demoted", "disabled", "role edited"])
def test_T19_an_invitation_is_worth_what_its_maker_is_when_it_is_used(lab, loss):
    made = invite(lab, lab.user("lea"), "submitter")
    match loss:
        case "removed":
            members.remove_member(lab.call(), "lab", "lea")
        case "demoted":
            members.set_member(lab.call(), "lab", "lea", "submitter")
        case "disabled":
            accounts.edit_user(lab.call(), "lea", {"disabled": True})
        case "role edited":
            roles.put(lab.call(), "lab", "lead", ["manage_members"], "")
    with pytest.raises(NotFound, match="not known"):
        redeem(lab, made.token)


def test_T19_a_role_that_grew_since_is_not_handed_on_by_who_lacks_it(lab):
    roles.put(lab.call(), "lab", "small", ["submit"], "")
    made = invite(lab, lab.user("lea"), "small")
    roles.put(lab.call(), "lab", "small", ["submit", "edit_queues"], "")
    with pytest.raises(NotFound):
        redeem(lab, made.token)


def test_to_no_team_only_admins_of_the_server_invite(lab):
    made = invite(lab, team=None, role=None)
    joined = redeem(lab, made.token)
    assert (joined.team, joined.role) == (None, None)
    with pytest.raises(Forbidden):
        invite(lab, lab.user("lea"), team=None, role=None)
    with pytest.raises(Invalid):
        invite(lab, team=None, role="admin")
    with pytest.raises(Conflict):
        invitations.join(lab.call(lab.user("sid")), invite(lab, team=None, role=None).token)


def test_invitations_are_listed_for_who_manages_members(lab):
    invite(lab)
    lea = lab.user("lea")
    (row,) = invitations.page(lab.call(lea), "lab", after="", limit=9)
    assert (row["team"], row["role"], row["created_by"]) == ("lab", "submitter", "ann")
    with pytest.raises(Forbidden):
        invitations.page(lab.call(lea), None, after="", limit=9)
    with pytest.raises(Forbidden):
        invitations.page(lab.call(lab.user("mel")), "lab", after="", limit=9)


@pytest.mark.parametrize("email", ["x", "a@b\n", "a b@c", "a@", "@b", "<a@b>", "a@b" * 200])
def test_what_is_no_address_is_refused(lab, email):
    with pytest.raises(Invalid, match="e-mail"):
        invite(lab, email=email)


def test_T20_open_invitations_are_bounded(lab, monkeypatch):
    monkeypatch.setattr(invitations, "MOST_OPEN", 2)
    first = invite(lab)
    invite(lab)
    with pytest.raises(TooMuch):
        invite(lab)
    invitations.revoke(lab.call(), first.row["id"])
    invite(lab)


def test_the_log_says_who_invited_whom(lab):
    made = invite(lab, lab.user("lea"), "viewer")
    redeem(lab, made.token)
    entries = audit.page(lab.call(), Wanted("lab"), before=None, limit=3)
    assert [(e["action"], e["actor"]) for e in entries] == [
        ("member.add", "new"), ("invitation.redeem", "new"), ("invitation.create", "lea"),
    ]  # fmt: skip
    assert '"invited_by":"lea"' in entries[0]["after"]
