"""Runs by the word of their programs: made, changed, ended, resumed, given up and deleted."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from runyard.domain.access import Action, Actor, Kind
from runyard.domain.errors import Forbidden, Invalid, NotFound
from runyard.server.graphql.areas.runs import run_source
from runyard.services import accounts, roles, service_accounts
from runyard.services import runs as launched
from runyard.services.tracking import ending, life, runs, streaming, upserting
from runyard.services.tracking.upserting import Told
from runyard.store import views
from runyard.store.db import Row
from runyard.store.tracking import runs as rows
from runyard.wire import agent as wire
from tests.services.conftest import Yard

SILENCE = timedelta(minutes=5)


def tell(yard: Yard, name: str = "r1", actor: Actor | None = None, **told: Any) -> Row:
    told = {"entity": "ann", "project": "p", "name": name, **told}
    return upserting.upsert(yard.call(actor), Told(**told))[0]


def edit(yard: Yard, name: str = "r1", **told: Any) -> Row:
    return upserting.upsert(yard.call(), Told(by_id=("ann", "p", name), **told))[0]


def seen(yard: Yard, pk: str) -> str:
    """The state as readers of the protocol are told it."""
    return str(run_source(runs.by_pk(yard.call(), pk))["state"])


def config(row: Row) -> dict[str, Any]:
    return json.loads(row["config"])  # type: ignore[no-any-return]


def token_of(yard: Yard, held: wire.Held) -> Actor:
    actor = accounts.authenticate(yard.tx, held.run_token or "", yard.now)
    assert actor is not None
    assert actor.kind is Kind.RUN
    return actor


# -- making and changing ---------------------------------------------------------------------


def test_a_programs_first_word_makes_its_run_and_its_project(yard: Yard) -> None:
    row, is_new = upserting.upsert(
        yard.call(), Told(entity="ann", project="new", name="abc", tags=["x", "y", "x"])
    )
    assert is_new
    assert (row["entity"], row["project"], row["name"]) == ("ann", "new", "abc")
    assert (row["state"], row["author"], row["tags"]) == ("running", "ann", '["x","y"]')
    assert row["display_name"].endswith("-1")
    again, is_new = upserting.upsert(yard.call(), Told(entity="ann", project="new", name="abc"))
    assert not is_new
    assert (again["pk"], again["display_name"]) == (row["pk"], row["display_name"])
    assert tell(yard, "other", project="new")["display_name"].endswith("-2")


def test_what_is_not_told_stays(yard: Yard) -> None:
    tell(yard, notes="n", group_name="g", job_type="t", host="h", config='{"a": {"value": 1}}')
    row = tell(yard, program="train.py", tags=["new"])
    assert (row["notes"], row["group_name"], row["job_type"]) == ("n", "g", "t")
    assert json.loads(row["about"]) == {"host": "h", "program": "train.py"}
    assert config(row) == {"a": 1}


def test_a_configuration_is_plain_here_and_keeps_nan(yard: Yard) -> None:
    told = {"lr": {"value": float("nan")}, "_wandb": {"value": {"t": {"1": [1]}}}, "bare": 3}
    row = tell(yard, config=json.dumps(told))
    assert row["config"] == '{"_wandb": {"t": {"1": [1]}}, "lr": NaN, "bare": 3}' or config(
        row
    ).keys() == {"lr", "_wandb", "bare"}
    row = edit(yard, config='{"lr": {"value": 2, "desc": null}}')  # people do not send `_wandb`
    assert config(row) == {"lr": 2, "_wandb": {"t": {"1": [1]}}}
    assert "NaN" not in run_source(row)["config"]()


@pytest.mark.parametrize(
    "told",
    [
        {"config": "[]"},
        {"config": "{" * 10},
        {"config": '{"a":' * 200 + "1" + "}" * 200},
        {"summary": "3"},
        {"state": "finished"},
        {"name": "a/b"},
        {"name": ".."},
        {"name": "a~b"},
        {"name": "x" * 129},
        {"tags": [""]},
        {"project": "no/such"},
    ],
)
def test_what_cannot_be_is_refused_for_good(yard: Yard, told: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        tell(yard, **told)


def test_an_unknown_entity_and_a_run_that_is_not_there_are_not_found(yard: Yard) -> None:
    with pytest.raises(NotFound):
        tell(yard, entity="nobody")
    with pytest.raises(NotFound):
        edit(yard, "none", notes="x")
    with pytest.raises(NotFound):
        tell(yard, sweep="none")


def test_editing_a_run_does_not_start_it(yard: Yard) -> None:
    pk = tell(yard)["pk"]
    life.said_end(yard.call(), pk, 0)
    assert edit(yard, notes="good")["state"] == "finished"
    assert tell(yard)["state"] == "running"


def test_a_run_may_be_made_to_wait_for_its_program(yard: Yard) -> None:
    row = tell(yard, state="pending")
    assert (row["state"], row["live"]) == ("pending", None)
    yard.later(hours=1)
    assert life.crash_silent(yard.call(), SILENCE) == 0
    assert tell(yard)["state"] == "running"
    assert tell(yard, state="pending")["state"] == "pending"


# -- ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "state"), [(0, "finished"), (1, "failed")])
def test_a_program_without_an_agent_ends_its_run(yard: Yard, code: int, state: str) -> None:
    pk = tell(yard)["pk"]
    life.said_end(yard.call(), pk, code)
    life.said_end(yard.call(), pk, code)  # the answer was lost
    row = runs.by_pk(yard.call(), pk)
    assert (row["state"], row["exit_code"], row["live"]) == (state, code, False)
    assert seen(yard, pk) == state


def test_silence_is_a_crash_until_it_speaks(yard: Yard) -> None:
    pk = tell(yard)["pk"]
    yard.later(minutes=4)
    assert life.crash_silent(yard.call(), SILENCE) == 0
    yard.later(minutes=2)
    assert life.crash_silent(yard.call(), SILENCE) == 1
    assert life.crash_silent(yard.call(), SILENCE) == 0
    assert seen(yard, pk) == "crashed"
    life.heard(yard.call(), pk)
    assert (seen(yard, pk), runs.by_pk(yard.call(), pk)["live"]) == ("running", True)
    life.said_end(yard.call(), pk, 0)
    life.heard(yard.call(), pk)  # a late line changes nothing
    assert (seen(yard, pk), runs.by_pk(yard.call(), pk)["live"]) == ("finished", False)


def test_one_that_is_preempted_waits_to_be_resumed(yard: Yard) -> None:
    for name, last_word in (("a", True), ("b", False)):
        pk = tell(yard, name)["pk"]
        yard.tx.run(rows.t.streams.update().values(preempting=True))
        assert seen(yard, pk) == "preempting"
        if last_word:
            life.said_end(yard.call(), pk, 1)
        yard.later(minutes=6)
        life.crash_silent(yard.call(), SILENCE)
        assert seen(yard, pk) == "preempted"
        assert seen(yard, tell(yard, name)["pk"]) == "running"
        life.said_end(yard.call(), pk, 0)


def test_a_stopped_program_is_told_and_its_end_is_its_own(yard: Yard) -> None:
    pk = tell(yard)["pk"]
    for _ in range(2):
        ending.stop(yard.call(), "ann", "p", "r1")
    assert run_source(runs.by_pk(yard.call(), pk))["stopped"]
    life.said_end(yard.call(), pk, 0)
    assert (runs.by_pk(yard.call(), pk)["state"], seen(yard, pk)) == ("killed", "finished")
    ending.stop(yard.call(), "ann", "p", "r1")
    assert not run_source(tell(yard))["stopped"]  # it was resumed: the wish was for before


@pytest.mark.parametrize(
    ("before", "to", "ok"),
    [
        ("running", "pending", True), ("running", "failed", True), ("failed", "pending", True),
        ("failed", "failed", True), ("finished", "pending", False), ("finished", "failed", False),
        ("running", "finished", False), ("crashed", "pending", True),
    ],
)  # fmt: skip
def test_people_may_set_few_states(yard: Yard, before: str, to: str, ok: bool) -> None:
    pk = tell(yard)["pk"]
    if before == "crashed":
        yard.later(minutes=6)
        life.crash_silent(yard.call(), SILENCE)
    elif before != "running":
        life.said_end(yard.call(), pk, 0 if before == "finished" else 1)
    if not ok:
        with pytest.raises(Invalid):
            ending.set_state(yard.call(), "ann", "p", "r1", to)
        return
    ending.set_state(yard.call(), "ann", "p", "r1", to)
    assert runs.by_pk(yard.call(), pk)["state"] == to
    yard.later(minutes=6)
    assert life.crash_silent(yard.call(), SILENCE) == 0
    assert tell(yard)["state"] == "running"


# -- launched runs ---------------------------------------------------------------------------


def test_a_launched_runs_token_logs_to_its_own_run_whatever_it_names(yard: Yard) -> None:
    yard.submit("r9", overrides={"run_config": {"lr": 0.1, "depth": 3}})
    held = yard.claimed(yard.register())
    actor = token_of(yard, held)
    told = '{"lr": {"value": 0.5}, "_wandb": {"value": {"t": {}}}}'
    row, is_new = upserting.upsert(
        yard.call(actor), Told(entity="zoe", project="elsewhere", name="r9", config=told)
    )
    assert not is_new
    assert (row["entity"], row["project"], row["name"]) == ("ann", "default", "r9")
    assert config(row) == {"lr": 0.5, "depth": 3, "_wandb": {"t": {}}}
    assert yard.states(held.item_id) == ("CLAIMED", "running")
    assert upserting.upsert(yard.call(actor), Told(project="x"))[0]["pk"] == row["pk"]
    with pytest.raises(Forbidden, match="its own run r9"):
        upserting.upsert(yard.call(actor), Told(name="another"))
    with pytest.raises(Forbidden):
        ending.stop(yard.call(actor), "ann", "default", "r9")


@pytest.mark.parametrize(("said", "exit_code", "state"), [(0, 1, "finished"), (3, 0, "failed")])
def test_the_programs_word_counts_when_the_agent_sees_the_end(
    yard: Yard, said: int, exit_code: int, state: str
) -> None:
    (item,) = yard.submit("r9")
    who = yard.register()
    held = yard.claimed(who)
    pk = token_of(yard, held).run_id
    assert pk is not None
    life.began(yard.call(), pk)
    life.said_end(yard.call(), pk, said)
    assert yard.states(item) == ("CLAIMED", "running")
    assert seen(yard, pk) == state  # readers of the protocol need not wait
    ended = wire.Observe(item_id=item, token=held.token, phase="exited", exit_code=exit_code)
    assert [m.code for m in yard.move(who, ended)] == [""]
    assert yard.states(item) == ("FINISHED", state)
    assert yard.row(item)["exit_code"] == said


def test_a_retry_follows_the_programs_word_and_forgets_it(yard: Yard) -> None:
    again = '{"retry": [{"exit_codes": [3], "at_most": 1}]}'
    yard.tx.run(rows.t.queues.update().values(policy=again))
    (item,) = yard.submit("r9")
    who = yard.register()
    held = yard.claimed(who)
    pk = token_of(yard, held).run_id
    assert pk is not None
    life.began(yard.call(), pk)
    life.said_end(yard.call(), pk, 3)
    yard.move(who, wire.Observe(item_id=item, token=held.token, phase="exited", exit_code=0))
    assert yard.states(item) == ("PENDING", "pending")
    assert runs.by_pk(yard.call(), pk)["said_exit"] is None
    life.said_end(yard.call(), pk, 0)  # a late word of the attempt that is over
    assert yard.states(item) == ("PENDING", "pending")
    assert runs.by_pk(yard.call(), pk)["said_exit"] is None


def test_a_run_that_an_agent_of_ours_holds_does_not_crash_by_silence(yard: Yard) -> None:
    (item,) = yard.submit("r9")
    held = yard.claimed(yard.register())
    pk = token_of(yard, held).run_id
    assert pk is not None
    life.began(yard.call(), pk)
    yard.later(minutes=10)
    assert life.crash_silent(yard.call(), SILENCE) == 0
    assert yard.states(item) == ("CLAIMED", "running")


@pytest.mark.parametrize(
    ("word", "item_state", "run_state"),
    [(0, "FINISHED", "finished"), (2, "FINISHED", "failed"), (None, "FAILED", "crashed")],
)
def test_the_clients_own_agent_tells_no_end_so_the_item_ends_with_its_run(
    yard: Yard, word: int | None, item_state: str, run_state: str
) -> None:
    (item,) = yard.submit("r9")
    who = yard.register()
    held = yard.claimed(who)
    pk = token_of(yard, held).run_id
    assert pk is not None
    yard.tx.run(rows.t.agents.update().values(kind="wandb"))
    life.began(yard.call(), pk)
    if word is None:
        yard.later(minutes=6)
        life.crash_silent(yard.call(), SILENCE)
    else:
        life.said_end(yard.call(), pk, word)
    assert yard.states(item) == (item_state, run_state)
    life.began(yard.call(), pk)  # resumed by hand: what its item was, stays
    assert yard.states(item) == (item_state, "running")
    life.said_end(yard.call(), pk, 0)
    assert yard.states(item) == (item_state, "finished")


def test_what_waits_in_a_queue_may_be_tried_by_hand_before(yard: Yard) -> None:
    (item,) = yard.submit("r9")
    pk = tell(yard, "r9", project="default")["pk"]
    life.said_end(yard.call(), pk, 0)
    assert yard.states(item) == ("PENDING", "running")
    assert seen(yard, pk) == "finished"
    who = yard.register()
    held = yard.claimed(who)
    assert yard.states(item) == ("CLAIMED", "pending")
    yard.move(who, wire.Observe(item_id=item, token=held.token, phase="exited", exit_code=4))
    assert yard.states(item) == ("FINISHED", "failed")


# -- deleting --------------------------------------------------------------------------------


def test_a_deleted_run_is_gone_twice_and_its_name_is_free(yard: Yard) -> None:
    pk = tell(yard, notes="old")["pk"]
    for _ in range(2):
        ending.delete(yard.call(), "ann", "p", "r1")
    with pytest.raises(NotFound):
        runs.by_pk(yard.call(), pk)
    with pytest.raises(NotFound):
        launched.get_run(yard.call(), "ann", "p", "r1")
    assert tell(yard)["notes"] == ""
    yard.later(minutes=6)
    assert life.crash_silent(yard.call(), SILENCE) == 1  # only the new one


def test_deleting_ends_what_is_launched_for_the_run(yard: Yard) -> None:
    waiting, running = yard.submit("w", "r")
    yard.tx.run(rows.t.items.update().where(rows.t.items.c.id == waiting).values(priority=3))
    who = yard.register()
    held = yard.claimed(who)
    assert held.item_id == running
    for name in ("w", "r"):
        ending.delete(yard.call(), "ann", "default", name)
    assert yard.states(waiting) == ("CANCELLED", "killed")
    assert [s.item_id for s in yard.poll(who, running).stop] == [running]
    yard.move(who, wire.Observe(item_id=running, token=held.token, phase="exited", exit_code=1))
    assert yard.states(running) == ("FINISHED", "killed")


def test_who_may_do_what(yard: Yard) -> None:
    bob, eve, viewer = yard.new_user("bob"), yard.new_user("eve"), yard.new_user("vic")
    yard.team("lab", bob="submitter", vic="viewer")
    bob, viewer = yard.user("bob"), yard.user("vic")
    told = {"entity": "lab", "project": "p"}
    tell(yard, "mine", bob, **told)
    tell(yard, "anns", **told)
    for actor in (viewer, eve):
        with pytest.raises((Forbidden, NotFound)):
            tell(yard, "mine", actor, **told)
    with pytest.raises(NotFound):
        runs.find(yard.call(eve), "lab", "p", "mine")
    assert runs.find(yard.call(viewer), "lab", "p", "mine")["author"] == "bob"
    with pytest.raises(Forbidden):
        ending.delete(yard.call(bob), "lab", "p", "anns")
    with pytest.raises(Forbidden):
        ending.stop(yard.call(bob), "lab", "p", "anns")
    ending.delete(yard.call(bob), "lab", "p", "mine")
    with pytest.raises(NotFound):
        runs.find(yard.call(), "lab", "p", "mine", Action.SEE)


def test_a_service_account_says_whose_run_it_is_only_where_it_may(yard: Yard) -> None:
    yard.new_user("bob")
    yard.new_user("eve")
    yard.team("lab", bob="member")
    roles.put(yard.call(), "lab", "ci", ["submit", "submit_for", "track"], "")
    for name, role in (("may", "ci"), ("may-not", "member")):
        service_accounts.create(yard.call(), "lab", name, role=role, queues=None)
    told = {"entity": "lab", "project": "p"}

    def author(name: str, actor: Actor, claimed: str) -> str:
        return str(tell(yard, name, actor, author=claimed, **told)["author"])

    assert author("a", yard.user("may"), "bob") == "bob"
    assert author("b", yard.user("may"), "eve") == "may"  # who may not log there
    assert author("c", yard.user("may-not"), "bob") == "may-not"
    assert author("d", yard.user("bob"), "ann") == "bob"


def test_who_submitted_is_told_once_that_the_history_is_full(yard: Yard) -> None:
    (item,) = yard.submit("r9")
    for n in range(3):
        said = streaming.said(
            history=(n, [json.dumps({"x": n})]), events=None, console=None, summary=None
        )
        streaming.take(
            yard.call(), "ann", "default", "r9", said, streaming.Limits(rows=12, console=9)
        )
    (warning,) = views.warnings(yard.tx, item)
    assert "max_history_bytes" in warning["message"]
