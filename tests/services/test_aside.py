from datetime import timedelta

import pytest

from runyard.domain.agents import STRIKES
from runyard.domain.errors import Forbidden, Invalid, NotFound, StaleEpoch
from runyard.services import agents, aside, audit
from runyard.store import agents as rows
from runyard.wire import agent as wire
from runyard.wire.health import Check

FULL = "no space left on device: /var/lib/runyard"
WELL = [Check(name="disk", ok=True, detail="20 GiB free")]
ILL = [Check(name="disk", ok=False, detail="0 MiB free"), *WELL]


@pytest.fixture
def agent(yard):
    return yard.register()


def known(yard, registered):
    found = rows.get(yard.tx, registered.agent_id)
    assert found is not None
    return found


def strike(yard, registered, times=1, **more):
    call = yard.call(yard.agent(registered))
    for _ in range(times):
        aside.strike(call, known(yard, registered), FULL, **more)
    return known(yard, registered)


def check(yard, registered, checks):
    return aside.check(yard.call(yard.agent(registered)), registered.agent_id, checks)


def noted(yard, action):
    return audit.page(yard.call(), audit.Wanted(action=action), before=None, limit=50)


def test_strikes_in_a_row_set_an_agent_aside_and_it_is_told_why(yard, agent):
    yard.submit("a")
    assert not strike(yard, agent, STRIKES - 1).is_set_aside
    found = strike(yard, agent)

    assert (found.set_aside_at, found.strikes) == (yard.now, STRIKES)
    assert yard.lease(agent, 5) == []
    assert yard.poll(agent).set_aside == found.set_aside_why
    assert FULL in found.set_aside_why
    assert f"agent:{agent.agent_id}" in yard.tx.topics
    (entry,) = noted(yard, "agent.set_aside")
    assert (entry["actor"], entry["thing"]) == ("server", "a")


def test_what_a_set_aside_agent_leaves_goes_to_another(yard, agent):
    (item,) = yard.submit("a")
    strike(yard, agent, STRIKES)
    assert [h.item_id for h in yard.lease(yard.register("b"))] == [item]


def test_what_it_holds_stays_its_own(yard, agent):
    (item,) = yard.submit("a")
    held = yard.claimed(agent)
    strike(yard, agent, STRIKES)

    assert yard.poll(agent, item).lost == []
    (answer,) = yard.move(
        agent, wire.Observe(item_id=item, token=held.token, phase="exited", exit_code=0)
    )
    assert answer.code == ""
    assert known(yard, agent).is_set_aside  # how an older start ends says nothing of the host


def test_a_start_that_succeeds_wipes_strikes_out(yard, agent):
    strike(yard, agent, STRIKES - 1)
    call = yard.call(yard.agent(agent))
    assert aside.started_well(call, known(yard, agent)).strikes == 0
    assert not strike(yard, agent, STRIKES - 1).is_set_aside


def test_a_good_start_costs_no_write_where_there_was_no_strike(yard, agent, monkeypatch):
    monkeypatch.setattr(rows, "judge", lambda *_: pytest.fail("written"))
    aside.started_well(yard.call(yard.agent(agent)), known(yard, agent))


def test_an_item_that_failed_on_another_host_too_is_no_strike(yard, agent):
    (item,) = yard.submit("a")
    held = yard.claimed(yard.register("b"))
    assert held.item_id == item
    assert strike(yard, agent, item_id=item).strikes == 0
    (other,) = yard.submit("c")
    assert strike(yard, agent, item_id=other).strikes == 1


def test_a_new_process_of_the_name_is_no_new_host(yard, agent):
    strike(yard, agent, STRIKES)
    again = yard.register()
    yard.submit("a")
    assert yard.lease(again) == []
    assert yard.poll(again).set_aside


def test_a_passed_check_brings_it_back_on_probation(yard, agent):
    strike(yard, agent, STRIKES)
    assert not check(yard, agent, WELL).is_set_aside
    yard.submit("a")
    assert len(yard.lease(agent)) == 1
    (entry,) = noted(yard, "agent.readmit")
    assert (entry["actor"], entry["actor_kind"]) == ("ann", "agent")

    assert strike(yard, agent).is_set_aside
    assert len(noted(yard, "agent.set_aside")) == 2


def test_after_a_good_start_the_probation_is_over(yard, agent):
    strike(yard, agent, STRIKES)
    check(yard, agent, WELL)
    aside.started_well(yard.call(yard.agent(agent)), known(yard, agent))
    assert not strike(yard, agent, STRIKES - 1).is_set_aside


def test_a_failed_check_says_what_it_found_and_only_the_last_one(yard, agent):
    strike(yard, agent, STRIKES)
    for size in (1, 2):
        found = check(yard, agent, [Check(name="disk", ok=False, detail=f"{size} MiB free"), *WELL])
    assert found.is_set_aside
    assert found.set_aside_why.endswith("check of the host: disk: 2 MiB free")
    assert FULL in found.set_aside_why
    assert noted(yard, "agent.readmit") == []


@pytest.mark.parametrize("checks", [[], WELL * 51])
def test_nothing_checked_or_too_much_is_no_check(yard, agent, checks):
    strike(yard, agent, STRIKES)
    with pytest.raises(Invalid):
        check(yard, agent, checks)
    assert known(yard, agent).is_set_aside


def test_T22_an_agent_checks_for_itself_alone(yard, agent):
    strike(yard, agent, STRIKES)
    other = yard.agent(yard.register("b"))
    with pytest.raises(Forbidden):
        aside.check(yard.call(other), agent.agent_id, WELL)
    with pytest.raises(Forbidden):
        aside.check(yard.call(), agent.agent_id, WELL)


def test_an_older_process_cannot_bring_it_back(yard, agent):
    strike(yard, agent, STRIKES)
    old = yard.agent(agent)
    yard.register()
    with pytest.raises(StaleEpoch):
        aside.check(yard.call(old), agent.agent_id, WELL)


def test_an_operator_sets_aside_and_only_a_person_brings_back(yard, agent):
    yard.submit("a")
    aside.set_aside(yard.call(), agent.agent_id, "new disk at noon")
    assert yard.poll(agent).set_aside == "set aside by ann: new disk at noon"
    assert yard.lease(agent) == []

    assert check(yard, agent, WELL).is_set_aside
    yard.later(seconds=10)
    (found, queues, running, _) = aside.readmit(yard.call(), agent.agent_id)
    assert (found.is_set_aside, found.strikes, queues, running) == (False, 0, ["q"], 0)
    assert yard.poll(agent).set_aside == ""
    assert len(yard.lease(agent)) == 1
    assert [e["actor"] for e in noted(yard, "agent.set_aside") + noted(yard, "agent.readmit")] == [
        "ann",
        "ann",
    ]


def test_a_person_may_pin_what_the_server_set_aside(yard, agent):
    since = strike(yard, agent, STRIKES).set_aside_at
    yard.later(seconds=30)
    found, *_ = aside.set_aside(yard.call(), agent.agent_id, "")
    assert (found.set_aside_at, found.set_aside_why) == (since, "set aside by ann")
    assert check(yard, agent, WELL).is_set_aside


def test_strikes_do_not_undo_what_a_person_decided(yard, agent):
    aside.set_aside(yard.call(), agent.agent_id, "mine")
    assert strike(yard, agent, STRIKES).set_aside_why == "set aside by ann: mine"


def test_a_word_of_those_who_may_not_changes_nothing(yard):
    for name in ("bob", "eve", "oli"):
        yard.new_user(name)
    yard.team("vision", bob="member", oli="operator")
    asked = wire.Register(entity="vision", name="t", hostname="h", version="1", queues=["q"])
    registered = agents.register(yard.call(), asked)
    for act in (aside.readmit, lambda call, agent_id: aside.set_aside(call, agent_id, "")):
        with pytest.raises(Forbidden):
            act(yard.call(yard.user("bob")), registered.agent_id)
        with pytest.raises(NotFound):
            act(yard.call(yard.user("eve")), registered.agent_id)
        act(yard.call(yard.user("oli")), registered.agent_id)
    with pytest.raises(NotFound):
        aside.readmit(yard.call(), "nobody")


def test_reasons_are_cut_to_a_sentence(yard, agent):
    call = yard.call(yard.agent(agent))
    for _ in range(STRIKES):
        aside.strike(call, known(yard, agent), "x" * 9000 + "\nsecond line")
    assert len(known(yard, agent).set_aside_why) <= 1000
    found = check(yard, agent, [Check(name="y" * 900, ok=False, detail="z" * 9000)] * 50)
    assert len(found.set_aside_why) <= 2000
    assert timedelta(0) <= yard.now - found.set_aside_at


def fail(held, **more):
    return wire.Fail(
        item_id=held.item_id, token=held.token, stage="fetch", message=FULL, host=True, **more
    )


def test_what_the_host_is_to_blame_for_goes_back_and_counts(yard, agent):
    items = yard.submit("a", "b", "c")
    for n in range(STRIKES):
        held = yard.claimed(agent)
        yard.move(agent, fail(held))
        assert yard.states(held.item_id) == ("PENDING", "pending")
        assert known(yard, agent).strikes == n + 1
    assert yard.lease(agent) == []
    assert {h.item_id for h in yard.lease(yard.register("b"), 5)} == set(items)


def test_a_failure_by_the_job_is_no_strike(yard, agent):
    yard.submit("a")
    held = yard.claimed(agent)
    move = wire.Fail(item_id=held.item_id, token=held.token, stage="fetch", message="no such image")
    yard.move(agent, move)
    assert yard.states(held.item_id) == ("FAILED", "failed")
    assert known(yard, agent).strikes == 0


@pytest.mark.parametrize("phase", ["running", "exited"])
def test_an_item_that_starts_wipes_strikes_out(yard, agent, phase):
    yard.submit("a", "b")
    yard.move(agent, fail(yard.claimed(agent)))
    held = yard.claimed(agent)
    assert known(yard, agent).strikes == 1
    yard.move(agent, wire.Observe(item_id=held.item_id, token=held.token, phase=phase, exit_code=1))
    assert known(yard, agent).strikes == 0


def test_the_end_of_what_started_long_ago_says_nothing_of_the_host_today(yard, agent):
    yard.submit("a", "b")
    old = yard.claimed(agent)
    yard.move(agent, wire.Observe(item_id=old.item_id, token=old.token, phase="running"))
    yard.move(agent, fail(yard.claimed(agent)))
    yard.move(
        agent, wire.Observe(item_id=old.item_id, token=old.token, phase="exited", exit_code=0)
    )
    assert known(yard, agent).strikes == 1


def test_many_faults_in_one_batch_count_each(yard, agent):
    yard.submit(*"abcd")
    held = [yard.claimed(agent) for _ in range(4)]
    yard.move(agent, *map(fail, held))
    found = known(yard, agent)
    assert (found.is_set_aside, found.strikes) == (True, STRIKES)
    assert len(noted(yard, "agent.set_aside")) == 1
