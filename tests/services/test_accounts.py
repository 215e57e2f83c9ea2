import pytest

from runyard.domain.access import ADMIN, BUILT_IN, Action, Actor, Kind
from runyard.domain.errors import Conflict, Forbidden, Invalid, NotFound
from runyard.services import accounts, agents, queues, runs, service_accounts
from runyard.store import tables as t


def test_the_first_start_makes_an_admin_and_a_second_none(yard):
    assert accounts.bootstrap(yard.call(), "eve") is None
    assert yard.admin.is_admin


def test_a_key_is_stored_as_its_hash_and_shown_once(yard):
    made = accounts.create_key(yard.call(), name="laptop", user=None, days=None)

    stored = repr([tuple(r.values()) for r in yard.tx.all(t.credentials.select())])
    assert made.secret not in stored
    assert accounts.authenticate(yard.tx, made.secret, yard.now).name == "ann"
    assert "secret" not in dict(made.row)


def test_a_key_ends_when_it_expires_or_is_revoked(yard):
    brief = accounts.create_key(yard.call(), name="brief", user=None, days=1)
    revoked = accounts.create_key(yard.call(), name="gone", user=None, days=None)
    accounts.revoke_key(yard.call(), revoked.row["id"])
    yard.later(days=1)

    for secret in (brief.secret, revoked.secret, "ry_nonsense", ""):
        assert accounts.authenticate(yard.tx, secret, yard.now) is None


def test_keys_of_others_are_out_of_reach(yard):
    mel = yard.new_user("mel")
    made = accounts.create_key(yard.call(), name="anns", user=None, days=None)

    with pytest.raises(NotFound):
        accounts.revoke_key(yard.call(mel), made.row["id"])
    with pytest.raises(Forbidden):
        accounts.create_key(yard.call(mel), name="x", user="ann", days=None)
    with pytest.raises(Forbidden):
        accounts.list_keys(yard.call(mel), everybody=True, after="", limit=10)


@pytest.mark.parametrize(
    "name", ["health", "../x", "A", "", "a/b", "a b", "me", "healthz", "x" * 64, "ünï"]
)
def test_names_that_could_be_read_as_paths_are_refused_T2(yard, name):
    if name == "health":  # a word like any other: no path is decided by its ending
        accounts.create_user(yard.call(), name, is_admin=False)
        return
    with pytest.raises(Invalid):
        accounts.create_user(yard.call(), name, is_admin=False)


def test_users_and_teams_share_their_names(yard):
    yard.team("lab")
    with pytest.raises(Conflict):
        accounts.create_user(yard.call(), "lab", is_admin=False)


def test_a_team_keeps_an_admin(yard):
    yard.team("lab")
    with pytest.raises(Conflict):
        accounts.remove_member(yard.call(), "lab", "ann")
    with pytest.raises(Conflict):
        accounts.set_member(yard.call(), "lab", "ann", "viewer")


def test_only_admins_of_the_owner_edit_queues(yard):
    yard.new_user("mel")
    yard.team("lab", mel="member")
    mel = yard.user("mel")
    with pytest.raises(Forbidden, match="admin"):
        queues.create(
            yard.call(mel), entity="lab", name="x", resource="local-process", config={}, policy={}
        )


@pytest.mark.parametrize("role", BUILT_IN)
@pytest.mark.parametrize("action", Action)
def test_the_table_decides_and_nothing_else(action, role):
    actor = Actor(Kind.USER, "u", "u", roles={"e": role}, grants={"e": BUILT_IN[role]})
    assert actor.may(action, "e") == (action in BUILT_IN[role])
    assert not actor.may(action, "other")


@pytest.mark.parametrize("kind", [Kind.AGENT, Kind.RUN])
@pytest.mark.parametrize("action", Action)
def test_tokens_of_agents_and_runs_open_no_doors_of_people_T15(kind, action):
    actor = Actor(kind, "u", "u", is_admin=True, grants={"e": BUILT_IN[ADMIN]})
    assert not actor.may(action, "e")


def test_every_action_is_an_admins_and_every_role_may_look():
    assert BUILT_IN[ADMIN] == set(Action)
    assert all(Action.SEE in actions for actions in BUILT_IN.values())


def test_a_run_token_sees_its_own_run_and_no_other_T15(yard):
    yard.submit("a", "b")
    agent = yard.register()
    held = yard.claimed(agent)
    actor = accounts.authenticate(yard.tx, held.run_token, yard.now)

    assert runs.get_run(yard.call(actor), "ann", "default", "a")["run_name"] == "a"
    with pytest.raises(NotFound):
        runs.get_run(yard.call(actor), "ann", "default", "b")
    with pytest.raises(NotFound):
        runs.get_item(yard.call(actor), held.item_id)


def test_a_stranger_finds_no_agent_item_run_or_queue(yard):
    (item,) = yard.submit("a")
    agent = yard.register()
    sid = yard.new_user("sid")
    call = yard.call(sid)

    for ask in (
        lambda: runs.get_item(call, item),
        lambda: runs.cancel(call, item),
        lambda: runs.get_run(call, "ann", "default", "a"),
        lambda: agents.get(call, agent.agent_id),
        lambda: agents.ask_to_stop(call, agent.agent_id),
        lambda: queues.get(call, "ann", "q"),
        lambda: queues.delete(call, "ann", "q"),
    ):
        with pytest.raises(NotFound):
            ask()
    assert (
        runs.list_items(
            call, entity=None, queue=None, states=(), author=None, before=None, limit=10
        )
        == []
    )
    assert queues.page(call, None, after="", limit=10) == []
    assert agents.page(call, None, after="", limit=10) == []


def test_a_disabled_user_is_nobody_until_enabled(yard):
    mel = yard.new_user("mel")
    made = accounts.create_key(yard.call(mel), name="k", user=None, days=None)
    accounts.edit_user(yard.call(), "mel", {"disabled": True})
    assert accounts.authenticate(yard.tx, made.secret, yard.now) is None
    assert "credentials" in yard.tx.topics
    with pytest.raises(Conflict, match="is disabled"):
        accounts.create_key(yard.call(), name="k", user="mel", days=None)
    accounts.edit_user(yard.call(), "mel", {"disabled": False})
    assert accounts.authenticate(yard.tx, made.secret, yard.now).name == "mel"


def test_T19_people_change_their_address_and_nothing_else(yard):
    mel = yard.new_user("mel")
    yard.new_user("sid")
    assert accounts.edit_user(yard.call(mel), "mel", {"email": "mel@example.org"})["email"]
    for name, change in (
        ("mel", {"is_admin": True}),
        ("mel", {"disabled": False}),
        ("mel", {"email": "x@example.org", "is_admin": True}),
        ("sid", {"email": "mel@example.org"}),
    ):
        with pytest.raises(Forbidden, match="only an admin of this server"):
            accounts.edit_user(yard.call(mel), name, change)
    assert not accounts.get_user(yard.call(), "mel")["is_admin"]


def test_only_an_admin_vouches_for_an_address(yard):
    mel = yard.new_user("mel")
    accounts.edit_user(yard.call(), "mel", {"email": "mel@example.org"})
    assert accounts.get_user(yard.call(), "mel")["email_vouched"]
    accounts.edit_user(yard.call(mel), "mel", {"email": "ann@example.org"})
    assert not accounts.get_user(yard.call(), "mel")["email_vouched"]
    accounts.edit_user(yard.call(), "mel", {"email": None})
    assert not accounts.get_user(yard.call(), "mel")["email_vouched"]


@pytest.mark.parametrize("email", ["", "mel", "m el@x", "mel@x\nBcc: y@z", "a@b@c", "<m@x>"])
def test_what_is_no_address_is_refused(yard, email):
    with pytest.raises(Invalid, match="e-mail address"):
        accounts.edit_user(yard.call(), "ann", {"email": email})


def test_the_server_keeps_an_admin_who_can_log_in(yard):
    yard.new_user("mel")
    for change in ({"disabled": True}, {"is_admin": False}):
        with pytest.raises(Conflict, match="keeps one admin"):
            accounts.edit_user(yard.call(), "ann", change)
    accounts.edit_user(yard.call(), "mel", {"is_admin": True})
    accounts.edit_user(yard.call(), "mel", {"disabled": True})
    with pytest.raises(Conflict, match="keeps one admin"):
        accounts.edit_user(yard.call(), "ann", {"is_admin": False})
    accounts.edit_user(yard.call(), "mel", {"disabled": False})
    accounts.edit_user(yard.call(), "ann", {"is_admin": False})


def test_users_are_listed_by_kind(yard):
    yard.team("lab")
    service_accounts.create(yard.call(), "lab", "bot", role="agent", queues=None)

    def names(kind):
        return [u["name"] for u in accounts.list_users(yard.call(), kind=kind, after="", limit=9)]

    assert (names("person"), names("service"), names(None)) == (["ann"], ["bot"], ["ann", "bot"])
    assert accounts.get_user(yard.call(), "bot")["team"] == "lab"


def test_a_key_may_last_seconds_or_days_but_not_both(yard):
    made = accounts.create_key(yard.call(), name="k", user=None, seconds=90)
    yard.later(seconds=89)
    assert accounts.authenticate(yard.tx, made.secret, yard.now)
    yard.later(seconds=1)
    assert accounts.authenticate(yard.tx, made.secret, yard.now) is None
    assert made.row["id"] in [
        key["id"] for key in accounts.list_keys(yard.call(), after="", limit=9)
    ]
    with pytest.raises(Invalid):
        accounts.create_key(yard.call(), name="k", user=None, seconds=90, days=1)


def test_secrets_are_not_in_what_is_printed_of_a_new_key(yard):
    made = accounts.create_key(yard.call(), name="k", user=None)
    assert made.secret not in repr(made)
