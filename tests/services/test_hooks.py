"""Notifications on a real database: who may, what is told to whom, once, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import delete, select, update

from runyard.domain import hooks as domain
from runyard.domain.agents import AgentStatus
from runyard.domain.errors import Conflict, Forbidden, Invalid, NotFound, TooMuch
from runyard.domain.hooks import Event
from runyard.domain.runs import RunState
from runyard.domain.targets import parse
from runyard.server.sealing import KeyFile
from runyard.services import delivering, hooks, looking, notifying, queues, runs
from runyard.store import agents, views
from runyard.store import hooks as rows
from runyard.store import tables as t
from runyard.store.values import from_text
from runyard.wire import agent as wire

URL = "https://hooks.example/T0/very-secret"
HERE = "http://runyard.example"
EVERY = timedelta(seconds=30)
FAR = ["item.failed", "item.finished", "item.cancelled", "item.requeued"]


@pytest.fixture
def seal(tmp_path):
    return KeyFile(tmp_path / "secrets.key")


@pytest.fixture
def people(yard, seal):
    return People(yard, seal)


class People:
    """Short words for what these tests do."""

    def __init__(self, yard, seal):
        self.yard, self.seal = yard, seal

    def call(self, actor=None):
        return replace(self.yard.call(actor), seal=self.seal)

    def make(self, name="h", *events, actor=None, entity="ann", url=URL, emails=None, **more):
        target = None if emails is not None or more.get("mine") else parse(url)
        return hooks.create(
            self.call(actor), entity, name, target=target, emails=emails,
            events=list(events or FAR), **more,
        )  # fmt: skip

    def follow(self):
        self.yard.later(seconds=5)  # so that no event is young
        made = 0
        while notifying.has_news(self.call()):
            new, _ = notifying.follow(self.call(), HERE)
            made += new
        return made

    def look(self, *, is_steady=True):
        if not looking.take_turn(self.call(), EVERY):
            return None
        found = looking.look(self.call(), HERE, is_steady=is_steady)
        before = len(self.rows())
        looking.tell(self.call(), found)
        return len(self.rows()) - before

    def told(self):
        found = self.yard.tx.all(select(t.deliveries).order_by(t.deliveries.c.id))
        return [from_text(row["payload"]) for row in found]

    def events(self):
        return [payload["event"] for payload in self.told()]

    def rows(self):
        return self.yard.tx.all(select(t.deliveries).order_by(t.deliveries.c.id))

    def noted(self):
        found = select(t.audit).where(t.audit.c.action.like("hook.%")).order_by(t.audit.c.seq)
        return self.yard.tx.all(found)

    def heard(self, agent, **ago):
        seen = self.yard.now - timedelta(**ago)
        self.yard.tx.run(
            update(t.agents)
            .where(t.agents.c.id == agent.agent_id)
            .values(last_seen_at=int(seen.timestamp() * 1000))
        )


def end(yard, agent, phase="exited", exit_code=0, reason=""):
    held = yard.claimed(agent)
    move = wire.Observe(
        item_id=held.item_id, token=held.token, phase=phase, exit_code=exit_code, reason=reason
    )
    (answer,) = yard.move(agent, move)
    assert answer.code == "", answer
    return held.item_id


def fail(yard, agent, message, stage="build"):
    held = yard.claimed(agent)
    yard.move(
        agent, wire.Fail(item_id=held.item_id, token=held.token, stage=stage, message=message)
    )
    return held.item_id


# -- administering -----------------------------------------------------------------------


def test_a_hook_keeps_its_url_and_secret_sealed_and_its_changes_are_noted(yard, people):
    made, secret = people.make(queue="q")

    dump = str(yard.tx.all(select(t.hooks))) + str(yard.tx.all(select(t.audit)))
    assert "very-secret" not in dump
    assert secret not in dump
    assert made.target == "https://hooks.example/…"
    place = hooks.place(people.call(), made)
    assert (place.url, place.secret) == (URL, secret)
    assert "very-secret" not in repr(place)

    hooks.edit(people.call(), "ann", "h", {"events": ["item.failed"], "queue": None}, target=None)
    hooks.edit(people.call(), "ann", "h", {}, target=parse("https://other.example/x"))
    hooks.delete(people.call(), "ann", "h")
    noted = [(e["action"], e["before"], e["after"]) for e in people.noted()]
    assert [action for action, *_ in noted] == [
        "hook.create", "hook.edit", "hook.edit", "hook.delete",
    ]  # fmt: skip
    assert from_text(noted[1][1]) == {"events": sorted(FAR), "queue": "q"}
    assert from_text(noted[2][2]) == {"target": "https://other.example/…"}


def test_a_moved_hook_keeps_its_secret(people):
    made, secret = people.make()
    moved = hooks.edit(people.call(), "ann", "h", {}, target=parse("https://other.example/x"))
    assert hooks.place(people.call(), moved) == hooks.Place("https://other.example/x", secret)
    assert moved.id == made.id


def test_T14_a_sealed_url_put_into_another_hooks_row_opens_nothing(yard, people):
    one, _ = people.make("one")
    other, _ = people.make("other")
    yard.tx.run(
        update(t.hooks)
        .where(t.hooks.c.id == other.id)
        .values(secret=select(t.hooks.c.secret).where(t.hooks.c.id == one.id).scalar_subquery())
    )
    due = delivering.trial(people.call(), "ann", "other")
    assert due.place is None
    assert "unsealed" in due.fault


def test_only_those_with_the_permission_administer_hooks(yard, people):
    op, member, stranger = (yard.new_user(n) for n in ("op", "mia", "sam"))
    yard.team("vision", op="admin", mia="member")
    op, member = yard.user("op"), yard.user("mia")
    people.make(actor=op, entity="vision")
    for who, error in ((member, Forbidden), (stranger, NotFound)):
        with pytest.raises(error):
            people.make("x", actor=who, entity="vision")
        with pytest.raises(error):
            hooks.get(people.call(who), "vision", "h")
        with pytest.raises(error):
            hooks.edit(people.call(who), "vision", "h", {"enabled": False}, target=None)
        with pytest.raises(error):
            hooks.delete(people.call(who), "vision", "h")
        with pytest.raises(error):
            delivering.trial(people.call(who), "vision", "h")
    assert hooks.page(people.call(member), "vision", after="", limit=10) == []
    with pytest.raises(NotFound):
        hooks.page(people.call(stranger), "vision", after="", limit=10)
    assert [h.name for h in hooks.page(people.call(op), "vision", after="", limit=10)] == ["h"]


def test_everybody_may_have_mail_of_their_own_items_at_their_own_address(yard, people):
    yard.new_user("mia")
    yard.team("vision", mia="member")
    mia = yard.user("mia")
    with pytest.raises(Invalid, match="does not know your e-mail"):
        people.make("mine", "item.failed", actor=mia, entity="vision", mine=True)
    address = update(t.users).where(t.users.c.id == mia.user_id).values(email="mia@example.org")
    yard.tx.run(address)
    with pytest.raises(Invalid, match="does not know your e-mail"):  # nobody vouches for it
        people.make("mine", "item.failed", actor=mia, entity="vision", mine=True)
    yard.tx.run(address.values(email_vouched=True))

    made, secret = people.make("mine", "item.failed", actor=mia, entity="vision", mine=True)

    assert (made.addresses, made.author_id, secret) == (["mia@example.org"], mia.user_id, None)
    assert [h.name for h in hooks.page(people.call(mia), "vision", after="", limit=9)] == ["mine"]
    with pytest.raises(Forbidden, match="your own e-mail address"):
        people.make(
            "x", "item.failed", actor=mia, entity="vision", mine=True, emails=["bob@example.org"]
        )
    with pytest.raises(Invalid, match="owner's own address"):
        hooks.edit(people.call(mia), "vision", "mine", {"emails": ["bob@example.org"]}, target=None)
    with pytest.raises(Invalid, match="not valid"):
        people.make("y", "agent.lost", actor=mia, entity="vision", mine=True)
    hooks.delete(people.call(mia), "vision", "mine")


def test_a_service_account_of_some_queues_hooks_those_only(yard, people):
    queues.create(
        yard.call(), entity="ann", name="r", resource="local-container", config={}, policy={}
    )
    narrow = replace(yard.admin, queues=frozenset({"q"}))
    people.make("a", actor=narrow, queue="q")
    with pytest.raises(NotFound):
        people.make("b", actor=narrow, queue="r")
    with pytest.raises(Forbidden, match="some queues only"):
        people.make("c", actor=narrow)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"events": ["item.lost"]}, "not valid"),
        ({"events": []}, "needs an event"),
        ({"name": "a b"}, "name"),
        ({"name": "../x"}, "name"),
        ({"queue": "nope"}, "no queue"),
        ({"target": None}, "either a URL or e-mail"),
        ({"emails": ["a@example.org"]}, "either a URL or e-mail"),
        ({"target": None, "emails": []}, "one address at least"),
        ({"target": None, "emails": ["a@example.org"] * 21}, "20 at most"),
    ],
)
def test_a_wrong_hook_is_refused_with_what_is_wrong(people, given, said):
    asked = {"name": "h", "target": parse(URL), "emails": None, "events": FAR, "queue": None}
    asked |= given
    with pytest.raises((Invalid, NotFound), match=said):
        hooks.create(people.call(), "ann", asked.pop("name"), **asked)


@pytest.mark.parametrize(
    "address",
    [
        "a@example.org\nBcc: b@example.org", "a@example.org\r\n", "a@exam\rple.org", "Al <a@b.org>",
        "a@b.org, c@d.org", "a b@c.org", '"a"@b.org', "a@[127.0.0.1]", "a@b@c.org", "a", "@b.org",
        "-a@b.org", "a@-b.org", "a@b..org", "ä@b.org", "a@" + "b" * 300, "a\0@b.org", "",
    ],
)  # fmt: skip
def test_T16_an_address_that_could_be_a_header_is_refused(people, address):
    with pytest.raises(Invalid, match="not valid"):
        people.make(emails=[address])


def test_a_name_is_taken_once_in_an_entity(people):
    people.make()
    with pytest.raises(Conflict, match="already"):
        people.make()


def test_there_is_a_limit_to_the_hooks_of_an_entity(people, monkeypatch):
    monkeypatch.setattr(hooks, "MOST_HOOKS", 2)
    people.make("a")
    people.make("b")
    with pytest.raises(TooMuch, match="the most"):
        people.make("c")


# -- following ---------------------------------------------------------------------------


def test_ends_of_items_are_told_to_those_who_want_them_once(yard, people):
    agent = yard.register()
    yard.submit("before")
    end(yard, agent)
    people.make("all")
    people.make("failures", "item.failed")
    people.make("elsewhere", "item.failed", queue="q")
    yard.submit("good", "bad", "broken")
    end(yard, agent)
    end(yard, agent, exit_code=3)
    fail(yard, agent, "no such image; token=abcdefgh12345")
    (gone,) = yard.submit("gone")
    runs.cancel(yard.call(), gone)

    assert people.follow() == 4 + 2 + 2
    assert people.follow() == 0
    told = [p for p in people.told() if p["hook"] == "all"]
    assert [(p["event"], p["item"]["run"]["run_id"]) for p in told] == [
        ("item.finished", "good"),
        ("item.failed", "bad"),
        ("item.failed", "broken"),
        ("item.cancelled", "gone"),
    ]
    bad, broken = told[1:3]
    assert (bad["item"]["stage"], bad["item"]["exit_code"], bad["message"]) == (
        "run", 3, "exit code 3",
    )  # fmt: skip
    assert bad["text"] == "Run bad of ann failed in queue ann/q (run): exit code 3"
    assert bad["item"]["run"]["url"] == f"{HERE}/ann/default/runs/bad"
    assert (broken["item"]["stage"], broken["message"]) == ("build", "no such image; token=***")
    assert "abcdefgh12345" not in broken["text"]


def test_a_preempted_item_that_waits_again_is_told(yard, people):
    people.make("h", "item.requeued")
    agent = yard.register()
    yard.submit("a")
    held = yard.lease(agent)[0]
    yard.move(agent, wire.Release(item_id=held.item_id, token=held.token))  # is no requeue
    end(yard, agent, phase="preempted")

    people.follow()
    (told,) = people.told()
    assert (told["event"], told["text"]) == (
        "item.requeued", "Run a of ann waits again in queue ann/q: requeued 1",
    )  # fmt: skip


def test_of_other_entities_and_queues_and_authors_nothing_is_told(yard, people):
    bob = yard.new_user("bob")
    for entity, name in (("ann", "r"), ("bob", "q")):
        queues.create(
            yard.call(), entity=entity, name=name, resource="local-container", config={}, policy={}
        )
    yard.tx.run(update(t.users).values(email="x@example.org", email_vouched=True))
    people.make("of-r", queue="r")
    people.make("of-bob", entity="bob", actor=bob)
    people.make("of-ann", entity="ann", mine=True)
    people.make("mine-of-bob", entity="bob", mine=True)  # by ann
    agent = yard.register()
    yard.submit("a")
    end(yard, agent)

    people.follow()
    assert [p["hook"] for p in people.told()] == ["of-ann"]


def test_two_followers_at_the_same_cursor_write_once(yard, people):
    """As after a crash between: the cursor was put back, the deliveries are there."""
    people.make()
    agent = yard.register()
    yard.submit("a")
    end(yard, agent)
    before = rows.cursor(yard.tx, hooks.CURSOR)
    people.follow()
    after = rows.cursor(yard.tx, hooks.CURSOR)
    assert not rows.swap_cursor(yard.tx, hooks.CURSOR, before, 10**6)
    assert rows.swap_cursor(yard.tx, hooks.CURSOR, after, before)
    people.follow()
    assert people.events() == ["item.finished"]


def test_a_hook_is_not_told_of_what_was_before_it(yard, people):
    people.make("older")
    agent = yard.register()
    yard.submit("a")
    end(yard, agent)
    yard.later(seconds=1)
    people.make("younger")  # the event was not read yet
    people.follow()
    assert [p["hook"] for p in people.told()] == ["older"]


def test_nothing_is_followed_while_nobody_wants_it_and_nothing_old_is_told_later(yard, people):
    people.make()
    agent = yard.register()
    hooks.edit(people.call(), "ann", "h", {"enabled": False}, target=None)
    yard.submit("a")
    end(yard, agent)
    assert not notifying.has_news(people.call())
    hooks.edit(people.call(), "ann", "h", {"enabled": True}, target=None)
    assert rows.cursor(yard.tx, hooks.CURSOR) == views.last_event(yard.tx)
    assert people.follow() == 0


@pytest.mark.parametrize(
    ("was", "became", "run", "event"),
    [
        ("PENDING", "LEASED", "pending", None),
        ("LEASED", "PENDING", "pending", None),
        ("CLAIMED", "PENDING", "preempted", Event.ITEM_REQUEUED),
        ("CLAIMED", "FINISHED", "finished", Event.ITEM_FINISHED),
        ("CLAIMED", "FINISHED", "failed", Event.ITEM_FAILED),
        ("CLAIMED", "FINISHED", "killed", Event.ITEM_CANCELLED),
        ("CLAIMED", "FAILED", "crashed", Event.ITEM_FAILED),
        ("CLAIMED", "FAILED", "killed", Event.ITEM_CANCELLED),
        ("PENDING", "CANCELLED", "killed", Event.ITEM_CANCELLED),
    ],
)
def test_a_move_is_named_as_people_see_it(was, became, run, event):
    assert domain.event_of(was, became, RunState(run)) is event


# -- looking -----------------------------------------------------------------------------


def test_an_item_that_waits_too_long_is_told_and_again_after_an_hour(yard, people):
    people.make("h", "item.waiting", wait_s=600)
    yard.submit("a")
    yard.later(seconds=60)
    yard.submit("b")
    yard.later(seconds=500)
    assert people.look() == 0
    yard.later(seconds=60)
    assert people.look() == 1
    yard.later(seconds=60)
    assert people.look() == 0
    yard.later(hours=1)
    assert people.look() == 1
    first, second = people.told()
    assert (first["item"]["run"]["run_id"], first["waiting"]) == ("a", 1)
    assert first["text"] == "Run a of ann has waited 10 minutes in queue ann/q."
    assert first["item"]["waited_s"] == 620
    assert second["waiting"] == 2
    assert second["text"].endswith(", and 1 more wait longer than 10 minutes.")


def test_what_is_held_or_stands_in_a_paused_queue_waits_on_purpose(yard, people):
    people.make("h", "item.waiting", "queue.no_agent", wait_s=600)
    (item,) = yard.submit("a")
    yard.tx.run(update(t.items).where(t.items.c.id == item).values(parked="held"))
    yard.later(hours=1)
    assert people.look() == 0
    yard.tx.run(update(t.items).where(t.items.c.id == item).values(parked=None))
    yard.tx.run(update(t.queues).values(mode="paused"))
    yard.later(minutes=1)
    assert people.look() == 0
    yard.tx.run(update(t.queues).values(mode="open"))
    yard.later(minutes=1)
    assert people.look() == 2


def test_only_ones_own_waiting_items_are_told_to_an_author(yard, people):
    bob = yard.new_user("bob")
    yard.tx.run(update(t.users).values(email="x@example.org", email_vouched=True))
    people.make("mine", "item.waiting", mine=True, wait_s=60)
    yard.submit("a")
    yard.tx.run(update(t.items).values(author_id=bob.user_id))
    yard.later(minutes=5)
    assert people.look() == 0
    yard.submit("b")
    yard.later(minutes=5)
    assert people.look() == 1
    assert people.told()[0]["item"]["run"]["run_id"] == "b"


def test_who_has_left_a_team_is_no_longer_told_of_what_was_theirs(yard, people):
    yard.new_user("mia")
    yard.team("vision", mia="member")
    mia = yard.user("mia")
    yard.tx.run(update(t.users).values(email="mia@example.org", email_vouched=True))
    people.make("mine", "item.failed", actor=mia, entity="vision", mine=True)
    people.make("own", "item.failed", actor=mia, entity="mia", mine=True)
    told = [hook.name for hook in rows.enabled(yard.tx)]
    yard.tx.run(delete(t.memberships))
    left = [hook.name for hook in rows.enabled(yard.tx)]
    yard.tx.run(update(t.users).values(disabled_at=1))
    assert (told, left, rows.enabled(yard.tx)) == (["mine", "own"], ["own"], [])
    yard.submit("a")
    people.follow()
    assert not notifying.has_news(people.call())  # nor is it read again and again


def test_a_queue_without_an_agent_is_told_once_for_each_absence(yard, people):
    people.make("h", "queue.no_agent", wait_s=300)
    agent = yard.register()
    yard.submit("a")
    yard.later(minutes=6)
    people.heard(agent, seconds=10)
    assert people.look() == 0
    people.heard(agent, minutes=6)
    yard.later(minutes=1)
    assert people.look(is_steady=False) == 0  # the server itself was away
    yard.later(minutes=1)
    assert people.look() == 1
    yard.later(minutes=1)
    people.look()
    assert len(people.told()) == 1
    people.heard(agent, seconds=1)
    yard.later(minutes=7)
    people.look()
    assert len(people.told()) == 2
    yard.later(days=1)
    people.look()
    assert len(people.told()) == 3  # a reminder
    assert "and 1 item waits in it" in people.told()[0]["text"]


def test_an_agent_that_left_or_is_set_aside_serves_nothing(yard, people):
    people.make("h", "queue.no_agent", "agent.set_aside", "agent.lost", wait_s=300)
    agent = yard.register()
    yard.submit("a")
    yard.later(minutes=6)
    people.heard(agent, seconds=1)
    found = agents.get(yard.tx, agent.agent_id)
    at = int(found.last_seen_at.timestamp() * 1000) - 400_000
    yard.tx.run(
        update(t.agents).values(set_aside_at=at, set_aside_why="disk full, password=hunter22")
    )
    people.look()
    assert people.events() == ["queue.no_agent"]  # the hook is younger than the setting aside
    yard.tx.run(update(t.agents).values(set_aside_at=at + 390_000))
    yard.later(minutes=1)
    people.look()
    told = people.told()[-1]
    assert (told["event"], told["message"]) == ("agent.set_aside", "disk full, password=***")
    assert told["agent"]["name"] == "a"


def test_a_silent_agent_is_told_once_and_one_that_left_is_not(yard, people):
    people.make("h", "agent.lost")
    people.make("elsewhere", "agent.lost", queue=None)
    silent, gone = yard.register("silent"), yard.register("gone")
    yard.tx.run(
        update(t.agents)
        .where(t.agents.c.id == gone.agent_id)
        .values(status=AgentStatus.KILLED.value)
    )
    yard.later(seconds=50)
    assert people.look() == 0
    yard.later(seconds=40)
    people.look(is_steady=False)
    assert people.told() == []
    yard.later(seconds=40)
    people.look()
    yard.later(seconds=40)
    people.look()
    assert [(p["hook"], p["agent"]["name"]) for p in people.told()] == [
        ("h", "silent"), ("elsewhere", "silent"),
    ]  # fmt: skip
    people.heard(silent, seconds=0)
    yard.later(seconds=90)
    people.look()
    assert len(people.told()) == 4


def test_one_server_looks_at_a_time(yard, people):
    people.make("h", "item.waiting")
    assert people.look() == 0
    yard.later(seconds=29)
    assert people.look() is None
    yard.later(seconds=1)
    assert people.look() == 0


# -- delivering --------------------------------------------------------------------------


def one_due(yard, people, **hook):
    people.make(**hook)
    agent = yard.register()
    yard.submit("a")
    end(yard, agent)
    people.follow()


def test_a_delivery_is_taken_by_one_and_due_again_if_nobody_reports(yard, people):
    one_due(yard, people)
    (due,) = delivering.claim(people.call())
    assert (due.tries, due.place.url, due.payload["id"]) == (1, URL, due.id)
    assert delivering.claim(people.call()) == []
    yard.later(minutes=5)
    (again,) = delivering.claim(people.call())
    assert (again.id, again.tries) == (due.id, 2)
    delivering.sent(people.call(), [due])  # the first comes back after all: too late to count
    assert people.rows()[0]["state"] == "waiting"
    delivering.sent(people.call(), [again])
    assert people.rows()[0]["state"] == "sent"
    yard.later(hours=1)
    assert delivering.claim(people.call()) == []


def test_what_does_not_arrive_is_tried_six_times_in_an_hour_and_then_given_up(yard, people):
    one_due(yard, people)
    begun, tries = yard.now, 0
    while people.rows()[0]["state"] == "waiting":
        if due := delivering.claim(people.call()):
            tries += 1
            delivering.failed(people.call(), due, "HTTP 500")
        yard.later(seconds=5)
    assert tries == domain.TRIES == 6
    assert timedelta(minutes=55) < yard.now - begun < timedelta(minutes=70)
    row = people.rows()[0]
    assert (row["state"], row["error"], row["next_at"]) == ("failed", "HTTP 500", None)
    (hook, shown) = hooks.detail(people.call(), "ann", "h")
    assert hook.failing_since is not None
    assert shown[0]["error"] == "HTTP 500"


def test_what_is_refused_for_good_is_not_tried_again(yard, people):
    one_due(yard, people)
    delivering.failed(people.call(), delivering.claim(people.call()), "refused", for_good=True)
    assert people.rows()[0]["state"] == "failed"


def test_a_hook_that_fails_for_days_is_disabled_with_the_reason_and_begins_anew(yard, people):
    people.make()
    agent = yard.register()
    for n in range(9):
        yard.submit(f"r{n}")
        end(yard, agent)
        people.follow()
        if due := delivering.claim(people.call()):
            delivering.failed(people.call(), due, "HTTP 502: bad gateway")
        yard.later(hours=12)
    hook = hooks.get(people.call(), "ann", "h")
    assert hook.disabled_at is not None
    assert hook.disabled_why == "nothing arrived for 3 days; the last time: HTTP 502: bad gateway"
    assert not [row for row in people.rows() if row["state"] == "waiting"]
    noted = people.noted()[-1]
    assert (noted["action"], noted["actor"]) == ("hook.disable", "ann")
    assert "HTTP 502" in noted["after"]

    again = hooks.edit(people.call(), "ann", "h", {"enabled": True}, target=None)
    assert (again.disabled_at, again.disabled_why, again.failing_since) == (None, "", None)


def test_one_success_ends_the_failing(yard, people):
    one_due(yard, people)
    delivering.failed(people.call(), delivering.claim(people.call()), "HTTP 500")
    yard.later(minutes=1)
    delivering.sent(people.call(), delivering.claim(people.call()))
    assert hooks.get(people.call(), "ann", "h").failing_since is None


def test_no_hook_is_held_up_by_the_backlog_of_another(yard, people):
    people.make("busy")
    agent = yard.register()
    for n in range(12):
        yard.submit(f"r{n}")
        end(yard, agent)
    people.make("quiet", "item.failed")
    yard.submit("bad")
    end(yard, agent, exit_code=1)
    people.follow()
    names = [due.hook.name for due in delivering.claim(people.call())]
    assert names == ["busy"] * 5 + ["quiet"]


def test_mail_is_collected_for_half_a_minute(yard, people):
    people.make(emails=["a@example.org"])
    agent = yard.register()
    for n in range(8):
        yard.submit(f"r{n}")
        end(yard, agent)
        people.follow()
        if n < 5:
            assert delivering.claim(people.call()) == []
    assert len(delivering.claim(people.call())) == 8


def test_deliveries_are_forgotten_after_a_week(yard, people):
    one_due(yard, people)
    yard.later(days=6, hours=23)
    assert delivering.forget(people.call()) == 0
    yard.later(hours=2)
    assert delivering.forget(people.call()) == 1
    assert people.rows() == []


def test_deleting_a_hook_forgets_what_it_was_to_send(yard, people):
    one_due(yard, people)
    hooks.delete(people.call(), "ann", "h")
    assert people.rows() == []
    assert delivering.claim(people.call()) == []


# -- words -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("clone https://ada:hunter22@git.example/x failed", "https://ada:***@git.example/x"),
        ("WANDB_API_KEY=0123456789abcdef", "WANDB_API_KEY=***"),
        ('{"password": "a b c", "x": 1}', '"password": ***, "x": 1'),
        ("Authorization: Bearer abcdefghijklmnop", "Bearer ***"),
        ("key ry_abcdefghijklmnopqrstuvwxyz in argv", "key *** in argv"),
        ("AKIAABCDEFGHIJKLMNOP", "***"),
        ("exit code 3", "exit code 3"),
    ],
)
def test_T14_what_looks_like_a_secret_is_masked(text, shown):
    assert shown in domain.masked(text)


def test_masking_a_long_message_takes_no_time_and_cuts_it():
    for piece in ("a-", "://", "://:", "token", "password ", "bearer "):
        assert len(domain.masked(piece * 100_000)) <= domain.LONGEST_MESSAGE


def test_a_signature_counts_the_time_and_every_byte():
    # As `printf '1700000000.{}' | openssl dgst -sha256 -hmac secret` says.
    signed = domain.signature("secret", "1700000000", b"{}")
    assert signed == "sha256=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163"
    assert signed != domain.signature("secret", "1700000001", b"{}")
    assert signed != domain.signature("secret", "1700000000", b"{} ")
    assert signed != domain.signature("Secret", "1700000000", b"{}")
