"""Service accounts: what they may, what they never may, and who manages them."""

from __future__ import annotations

import pytest

from runyard.domain.access import Action
from runyard.domain.errors import Conflict, Forbidden, Invalid, NotFound, TooMuch
from runyard.services import (
    accounts,
    invitations,
    keys,
    members,
    queues,
    roles,
    service_accounts,
    submitting,
)
from runyard.store import tables as t


@pytest.fixture
def lab(yard):
    yard.new_user("lea")
    yard.new_user("sid")
    yard.team("lab")
    roles.put(yard.call(), "lab", "lead", ["serve", "track", "manage_members"], "")
    members.set_member(yard.call(), "lab", "lea", "lead")
    service_accounts.create(yard.call(), "lab", "bot", role="agent", queues=["gpu"])
    return yard


def bot_key(lab, actor=None):
    return keys.create_key(lab.call(actor), name="k", user="bot", days=90)


def test_a_service_account_may_what_its_role_says_in_its_team_alone(lab):
    bot = lab.user("bot")
    assert bot.is_service
    assert not bot.is_admin
    assert bot.queues == {"gpu"}
    assert dict(bot.grants) == {lab.team_id("lab"): {Action.SEE, Action.TRACK, Action.SERVE}}
    bot.need_queue("gpu")
    with pytest.raises(NotFound):
        bot.need_queue("cpu")


def test_a_service_account_owns_nothing(lab):
    for actor in (lab.admin, lab.user("bot")):
        for service in (
            lambda call: call.entity("bot", Action.SEE),
            lambda call: queues.create(
                call, entity="bot", name="x", resource="local-process", config={}, policy={}
            ),
        ):
            with pytest.raises(NotFound):
                service(lab.call(actor))


def test_what_a_service_account_does_without_naming_an_entity_is_its_teams(lab):
    assert lab.call(lab.user("bot")).entity(None, Action.SERVE)["name"] == "lab"
    assert lab.call().entity(None, Action.SERVE)["name"] == "ann"


def test_T19_a_service_account_makes_no_accounts_teams_keys_or_invitations(lab):
    service_accounts.edit(lab.call(), "lab", "bot", {"role": "admin", "queues": None})
    bot = lab.user("bot")
    made = bot_key(lab)
    for change in (
        lambda: accounts.create_user(lab.call(bot), "x", is_admin=False),
        lambda: accounts.create_team(lab.call(bot), "x"),
        lambda: keys.create_key(lab.call(bot), name="x", user=None),
        lambda: keys.create_key(lab.call(bot), name="x", user="bot"),
        lambda: keys.create_key(lab.call(bot), name="x", user="ann"),
        lambda: service_accounts.create(lab.call(bot), "lab", "x", role="agent", queues=None),
        lambda: service_accounts.edit(lab.call(bot), "lab", "bot", {"queues": None}),
        lambda: service_accounts.delete(lab.call(bot), "lab", "bot"),
        lambda: invitations.create(lab.call(bot), team="lab", role="viewer", seconds=60),
        lambda: accounts.edit_user(lab.call(bot), "bot", {"is_admin": True}),
        lambda: accounts.edit_user(lab.call(), "bot", {"is_admin": True}),
    ):
        with pytest.raises((Forbidden, Invalid)):
            change()
    keys.revoke_key(lab.call(bot), made.row["id"])  # its own it may end


def test_T19_who_is_kept_to_some_queues_manages_no_members(lab):
    service_accounts.edit(lab.call(), "lab", "bot", {"role": "admin"})
    with pytest.raises(Forbidden, match="some queues alone"):
        members.set_member(lab.call(lab.user("bot")), "lab", "sid", "viewer")
    service_accounts.edit(lab.call(), "lab", "bot", {"queues": None})
    members.set_member(lab.call(lab.user("bot")), "lab", "sid", "viewer")


def test_T19_who_manages_members_manages_service_accounts_up_to_their_own_role(lab):
    lea = lab.user("lea")
    service_accounts.create(lab.call(lea), "lab", "own", role="agent", queues=None)
    service_accounts.edit(lab.call(lea), "lab", "own", {"queues": ["cpu"]})
    bot_key(lab, lea)
    service_accounts.edit(lab.call(), "lab", "bot", {"role": "admin"})
    for change in (
        lambda: service_accounts.create(lab.call(lea), "lab", "x", role="member", queues=None),
        lambda: service_accounts.edit(lab.call(lea), "lab", "own", {"role": "operator"}),
        lambda: service_accounts.edit(lab.call(lea), "lab", "bot", {"queues": []}),
        lambda: service_accounts.edit(lab.call(lea), "lab", "bot", {"disabled": True}),
        lambda: service_accounts.delete(lab.call(lea), "lab", "bot"),
        lambda: bot_key(lab, lea),
        lambda: keys.list_keys(lab.call(lea), user="bot", after="", limit=9),
    ):
        with pytest.raises(Forbidden, match="permissions that you lack"):
            change()


def test_strangers_and_members_reach_no_service_account(lab):
    made = bot_key(lab)
    with pytest.raises(NotFound):
        service_accounts.page(lab.call(lab.user("sid")), "lab", after="", limit=9)
    members.set_member(lab.call(), "lab", "sid", "member")
    sid = lab.user("sid")
    assert [r["name"] for r in service_accounts.page(lab.call(sid), "lab", after="", limit=9)]
    for change in (
        lambda: service_accounts.delete(lab.call(sid), "lab", "bot"),
        lambda: bot_key(lab, sid),
        lambda: keys.list_keys(lab.call(sid), user="bot", after="", limit=9),
    ):
        with pytest.raises(Forbidden, match="manage_members"):
            change()
    with pytest.raises(NotFound):
        keys.revoke_key(lab.call(sid), made.row["id"])


def test_keys_of_a_service_account_are_listed_and_revoked_by_who_manages_it(lab):
    lea = lab.user("lea")
    made = bot_key(lab, lea)
    found = keys.list_keys(lab.call(lea), user="bot", after="", limit=9)
    assert made.row["id"] in [key["id"] for key in found]
    keys.revoke_key(lab.call(lea), made.row["id"])
    assert accounts.authenticate(lab.tx, made.secret, lab.now) is None


def test_keys_of_a_disabled_service_account_open_nothing_until_it_is_enabled(lab):
    made = bot_key(lab)
    service_accounts.edit(lab.call(), "lab", "bot", {"disabled": True})
    assert accounts.authenticate(lab.tx, made.secret, lab.now) is None
    assert "credentials" in lab.tx.topics
    with pytest.raises(Conflict, match="is disabled"):
        bot_key(lab)
    service_accounts.edit(lab.call(), "lab", "bot", {"disabled": False})
    assert accounts.authenticate(lab.tx, made.secret, lab.now).name == "bot"


def test_a_deleted_service_account_loses_all_keys_and_its_name_stays_its_own(lab):
    made = bot_key(lab)
    service_accounts.delete(lab.call(), "lab", "bot")
    assert accounts.authenticate(lab.tx, made.secret, lab.now) is None
    bot = accounts.find_user(lab.tx, "bot")["id"]
    assert lab.tx.all(t.credentials.select().where(t.credentials.c.user_id == bot)) == []
    assert service_accounts.page(lab.call(), "lab", after="", limit=9) == []
    with pytest.raises(Conflict):
        accounts.create_user(lab.call(), "bot", is_admin=False)
    lab.team("other")
    with pytest.raises(Conflict):
        service_accounts.create(lab.call(), "other", "bot", role="agent", queues=None)
    service_accounts.create(lab.call(), "lab", "bot", role="submitter", queues=None)
    assert accounts.authenticate(lab.tx, made.secret, lab.now) is None
    assert lab.user("bot").queues is None


def test_the_tokens_of_its_agents_end_with_a_service_account(lab):
    from runyard.services import agents
    from runyard.wire import agent as wire

    service_accounts.edit(lab.call(), "lab", "bot", {"queues": None})
    asked = wire.Register(name="a", hostname="h", version="1", queues=["gpu"], max_jobs=1)
    registered = agents.register(lab.call(lab.user("bot")), asked)
    assert registered.entity == "lab"
    assert accounts.authenticate(lab.tx, registered.token, lab.now)
    service_accounts.edit(lab.call(), "lab", "bot", {"disabled": True})
    assert accounts.authenticate(lab.tx, registered.token, lab.now) is None


def registered(lab, who, *names):
    from runyard.services import agents
    from runyard.wire import agent as wire

    asked = wire.Register(
        name="a", hostname="h", version="1", queues=list(names), max_jobs=-1, entity="lab"
    )
    return agents.register(lab.call(lab.user(who)), asked)


@pytest.fixture
def waiting(lab):
    """Two queues of the team, with an item in each."""
    for name in ("gpu", "cpu"):
        queues.create(
            lab.call(), entity="lab", name=name, resource="local-container", config={}, policy={}
        )
        spec = {"docker": {"docker_image": "busybox"}}
        submitting.submit(lab.call(), "lab", name, [spec])
    return lab


def test_T22_an_agent_is_given_only_what_its_service_account_may_touch_now(waiting):
    service_accounts.edit(waiting.call(), "lab", "bot", {"queues": None})
    agent = registered(waiting, "bot", "gpu", "cpu")
    service_accounts.edit(waiting.call(), "lab", "bot", {"queues": ["cpu"]})
    (held,) = waiting.lease(agent, 5)
    assert waiting.row(held.item_id)["queue"] == "cpu"
    service_accounts.edit(waiting.call(), "lab", "bot", {"role": "viewer"})
    assert waiting.lease(agent, 5) == []
    assert waiting.poll(agent).drain


@pytest.mark.parametrize("loss", ["removed", "demoted", "role edited"])
def test_T22_an_agent_of_who_may_no_longer_serve_is_given_nothing_more(waiting, loss):
    agent = registered(waiting, "lea", "gpu", "cpu")
    (held,) = waiting.lease(agent, 1)
    match loss:
        case "removed":
            members.remove_member(waiting.call(), "lab", "lea")
        case "demoted":
            members.set_member(waiting.call(), "lab", "lea", "viewer")
        case "role edited":
            roles.put(waiting.call(), "lab", "lead", ["submit"], "")
    assert waiting.lease(agent, 5) == []
    assert waiting.poll(agent, held.item_id).drain


def test_a_name_is_taken_once_among_users_teams_and_service_accounts(lab):
    for name in ("sid", "lab", "bot"):
        with pytest.raises(Conflict):
            service_accounts.create(lab.call(), "lab", name, role="agent", queues=None)
    with pytest.raises(Conflict):
        accounts.create_team(lab.call(), "bot")
    with pytest.raises(Invalid):
        service_accounts.create(lab.call(), "lab", "A b", role="agent", queues=None)


@pytest.mark.parametrize("queue", ["", "a/b", "../x", "x" * 65, "-x", "a b"])
def test_what_is_no_name_of_a_queue_is_refused(lab, queue):
    with pytest.raises(Invalid, match="is not the name of a queue"):
        service_accounts.edit(lab.call(), "lab", "bot", {"queues": [queue]})


def test_service_accounts_are_no_members_and_stay_in_their_team(lab):
    assert "bot" not in [m["user"] for m in members.list_members(lab.call(), "lab")]
    lab.team("other")
    for team in ("lab", "other"):
        with pytest.raises(Invalid, match="is a service account"):
            members.set_member(lab.call(), team, "bot", "viewer")
    with pytest.raises(Invalid):
        members.remove_member(lab.call(), "lab", "bot")


def test_a_service_account_does_not_count_as_the_last_admin(lab):
    service_accounts.edit(lab.call(), "lab", "bot", {"role": "admin", "queues": None})
    with pytest.raises(Conflict, match="keeps one admin"):
        members.set_member(lab.call(), "lab", "ann", "viewer")


def test_a_team_has_so_many_service_accounts_and_no_more(lab, monkeypatch):
    monkeypatch.setattr(service_accounts, "MOST", 1)
    with pytest.raises(TooMuch):
        service_accounts.create(lab.call(), "lab", "two", role="agent", queues=None)
