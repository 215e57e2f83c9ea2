from datetime import timedelta

import pytest

from runyard.domain.errors import Conflict, Forbidden, StaleEpoch
from runyard.domain.items import CLAIM_TTL, LEASE_TTL, MAX_REQUEUES
from runyard.services import agents, runs, sweeping
from runyard.store import items, views
from runyard.wire import agent as wire


def claim(held):
    return wire.Claim(item_id=held.item_id, token=held.token)


def observe(held, phase, exit_code=None, reason=""):
    return wire.Observe(
        item_id=held.item_id, token=held.token, phase=phase, exit_code=exit_code, reason=reason
    )


def test_items_leave_in_the_order_in_which_they_came(yard):
    first = yard.submit("a")
    yard.later(seconds=1)
    rest = yard.submit("b", "c")
    agent = yard.register()

    assert [h.item_id for h in yard.lease(agent, 10)] == first + rest


def test_the_more_urgent_leaves_first_where_the_queue_has_priorities(yard):
    from runyard.services import queues

    queues.edit(yard.call(), "ann", "q", config=None, policy={"priorities": True})
    (low,) = yard.submit("a", priority="low")
    (usual,) = yard.submit("b")
    (critical,) = yard.submit("c", priority="critical")

    leased = yard.lease(yard.register(), 3)

    assert [h.item_id for h in leased] == [critical, usual, low]


def test_a_leased_item_is_invisible_to_other_agents(yard):
    yard.submit("a")
    one, two = yard.register("one"), yard.register("two")

    assert len(yard.lease(one)) == 1
    assert yard.lease(two) == []


def test_an_expired_lease_goes_to_the_next_agent_and_fences_the_first(yard):
    (item,) = yard.submit("a")
    one, two = yard.register("one"), yard.register("two")
    (held,) = yard.lease(one)
    yard.now += LEASE_TTL
    assert yard.move(one, claim(held))[0].code == "stale_lease"  # before the sweeper came by

    sweeping.expire(yard.call())
    (again,) = yard.lease(two)

    assert yard.move(one, claim(held))[0].code == "stale_lease"
    assert yard.move(two, claim(again))[0].code == ""
    assert yard.moves_of(item) == ["PENDING", "LEASED", "PENDING", "LEASED", "CLAIMED"]


def test_an_abandoned_claim_fails_instead_of_running_twice(yard):
    (item,) = yard.submit("a")
    yard.claimed(yard.register())
    yard.now += CLAIM_TTL

    sweeping.expire(yard.call())

    assert yard.states(item) == ("FAILED", "crashed")
    assert yard.row(item)["failure_stage"] == "agent"


def test_a_claim_may_be_repeated_and_binds_one_attempt(yard):
    (item,) = yard.submit("a")
    agent = yard.register()
    (held,) = yard.lease(agent)

    first, second = yard.move(agent, claim(held), claim(held))
    (third,) = yard.move(agent, claim(held))

    assert (first.code, second.code, third.code) == ("", "", "")
    assert yard.row(item)["attempt"] == 1
    assert held.key == f"ry-{item}-1"


def test_a_poll_renews_claims_and_tells_what_was_lost(yard):
    (item,) = yard.submit("a")
    agent = yard.register()
    yard.claimed(agent)
    yard.now += CLAIM_TTL - timedelta(seconds=1)
    assert yard.poll(agent, item).lost == []

    yard.now += CLAIM_TTL - timedelta(seconds=1)
    sweeping.expire(yard.call())
    assert yard.row(item)["state"] == "CLAIMED"

    yard.now += timedelta(seconds=2)
    sweeping.expire(yard.call())
    assert yard.poll(agent, item).lost == [item]


@pytest.mark.parametrize(
    ("exit_code", "run", "reason"),
    [(0, "finished", ""), (3, "failed", "exit code 3"), (None, "failed", "exit code unknown")],
)
def test_a_job_ends_by_its_own_exit_code(yard, exit_code, run, reason):
    (item,) = yard.submit("a")
    agent = yard.register()
    held = yard.claimed(agent)

    yard.move(agent, observe(held, "running"))
    assert yard.states(item) == ("CLAIMED", "running")
    yard.move(agent, observe(held, "exited", exit_code))

    assert yard.states(item) == ("FINISHED", run)
    assert (yard.row(item)["exit_code"], yard.row(item)["reason"]) == (exit_code, reason)


def test_one_bad_token_in_a_batch_spoils_no_other_move(yard):
    one, two = yard.submit("a", "b")
    agent = yard.register()
    first, second = yard.lease(agent, 2)
    bad = wire.Claim(item_id=first.item_id, token="forged")

    answers = yard.move(agent, bad, claim(second), observe(second, "exited", 0))

    assert [a.code for a in answers] == ["stale_lease", "", ""]
    assert yard.row(one)["state"] == "LEASED"
    assert yard.states(two) == ("FINISHED", "finished")


def test_nothing_is_reported_for_an_item_that_was_not_claimed(yard):
    (item,) = yard.submit("a")
    agent = yard.register()
    (held,) = yard.lease(agent)

    assert yard.move(agent, observe(held, "running"))[0].code == "conflict"
    assert yard.row(item)["state"] == "LEASED"


def test_a_preempted_run_goes_to_the_end_of_its_queue_and_stays_the_same_run(yard):
    (item,) = yard.submit("a")
    agent = yard.register()
    held = yard.claimed(agent)
    run = yard.row(item)["run_name"]
    yard.later(minutes=1)
    (other,) = yard.submit("b")
    yard.later(minutes=1)

    yard.move(agent, observe(held, "preempted", reason="node drained"))
    assert yard.states(item) == ("PENDING", "preempted")
    leased = yard.lease(agent, 2)

    assert [h.item_id for h in leased] == [other, item]
    assert (leased[1].requeues, leased[1].spec["run_id"]) == (1, run)
    assert leased[1].key == f"ry-{item}-2"


def test_a_run_is_preempted_five_times_and_then_fails(yard):
    (item,) = yard.submit("a")
    agent = yard.register()
    seen = []
    for _ in range(MAX_REQUEUES + 1):
        held = yard.claimed(agent)
        yard.move(agent, observe(held, "preempted"))
        seen.append(yard.states(item))

    assert seen == [("PENDING", "preempted")] * MAX_REQUEUES + [("FAILED", "failed")]
    assert "preempted 6 times" in yard.row(item)["failure_message"]


def test_the_queue_may_switch_requeueing_off(yard):
    from runyard.services import queues

    queues.edit(yard.call(), "ann", "q", config=None, policy={"max_requeues": 0})
    (item,) = yard.submit("a")
    agent = yard.register()
    yard.move(agent, observe(yard.claimed(agent), "preempted"))

    assert yard.states(item) == ("FAILED", "failed")


def test_a_stop_reaches_the_agent_and_the_run_was_killed_however_it_left(yard):
    (item,) = yard.submit("a")
    agent = yard.register()
    held = yard.claimed(agent)
    yard.move(agent, observe(held, "running"))

    runs.cancel(yard.call(), item)
    runs.cancel(yard.call(), item)  # asked twice is asked once

    assert [(s.item_id, s.grace_s) for s in yard.poll(agent, item).stop] == [(item, 60)]
    yard.move(agent, observe(held, "exited", 0))
    assert yard.states(item) == ("FINISHED", "killed")
    assert yard.row(item)["reason"] == "stopped by ann"
    with pytest.raises(Conflict):
        runs.cancel(yard.call(), item)


def test_the_reason_of_a_stop_is_kept_with_who_asked(yard):
    (item,) = yard.submit("a")
    agent = yard.register()
    held = yard.claimed(agent)
    for _ in range(2):  # asking again tells nothing new
        runs.stop(yard.call(), "ann", "default", "a", "wrong data")
    yard.move(agent, observe(held, "exited", 143, "killed"))
    told = [e["actor"] for e in views.events_of(yard.tx, item) if "wrong data" in e["detail"]]
    assert told == ["ann"]

    assert yard.row(item)["reason"] == "stopped by ann: wrong data"


def test_cancelling_what_waits_takes_it_out_of_the_queue(yard):
    (item,) = yard.submit("a")
    runs.cancel(yard.call(), item)

    assert yard.states(item) == ("CANCELLED", "killed")
    assert yard.row(item)["reason"] == "cancelled by ann"
    assert yard.lease(yard.register()) == []


def test_what_was_stopped_while_leased_is_not_handed_out_again(yard):
    (item,) = yard.submit("a")
    agent = yard.register()
    yard.lease(agent)
    runs.cancel(yard.call(), item)
    yard.now += LEASE_TTL

    sweeping.expire(yard.call())

    assert yard.states(item) == ("CANCELLED", "killed")


def test_a_failure_says_stage_message_and_detail(yard):
    (item,) = yard.submit("a")
    agent = yard.register()
    held = yard.claimed(agent)
    fail = wire.Fail(
        item_id=item, token=held.token, stage="fetch", message="no such commit", detail="git: …"
    )

    yard.move(agent, fail)

    row = yard.row(item)
    assert yard.states(item) == ("FAILED", "failed")
    assert (row["failure_stage"], row["failure_message"], row["failure_detail"]) == (
        "fetch",
        "no such commit",
        "git: …",
    )


def test_the_same_warning_is_kept_once(yard):
    from runyard.store import views

    (item,) = yard.submit("a")
    agent = yard.register()
    held = yard.claimed(agent)
    warn = wire.Warn(item_id=item, token=held.token, stage="run", message="disk is nearly full")
    yard.move(agent, warn, warn)
    yard.move(agent, warn)

    assert [w["message"] for w in views.warnings(yard.tx, item)] == ["disk is nearly full"]


def test_a_new_process_adopts_claims_and_fences_the_old_one_T23(yard):
    claimed_item, leased_item = yard.submit("a", "b")
    old = yard.register()
    held = yard.claimed(old)
    handle = wire.HandleData("local-container", 1, {"container": "c1"})
    yard.move(old, wire.Keep(item_id=held.item_id, token=held.token, handle=handle))
    yard.lease(old)

    new = yard.register()

    (adopted,) = new.held
    assert (adopted.item_id, adopted.handle, adopted.claimed) == (claimed_item, handle, True)
    assert new.epoch == old.epoch + 1
    assert yard.row(leased_item)["state"] == "PENDING"  # nothing was started for it
    late = yard.move(new, observe(held, "exited", 0))  # with the old token
    assert late[0].code == "stale_lease"
    assert yard.move(new, observe(adopted, "exited", 4))[0].code == ""
    assert yard.states(claimed_item) == ("FINISHED", "failed")


def test_an_adopted_claim_without_a_handle_gets_a_token_to_start_with(yard):
    yard.submit("a")
    held = yard.claimed(yard.register())

    (adopted,) = yard.register().held

    assert adopted.handle is None
    assert adopted.key == held.key
    assert adopted.run_token not in (None, held.run_token)


def test_a_retired_agent_gives_back_what_it_leased(yard):
    (item,) = yard.submit("a")
    agent = yard.register()
    yard.lease(agent)

    agents.retire(yard.call(yard.agent(agent)), agent.agent_id)

    assert yard.row(item)["state"] == "PENDING"


def test_an_item_for_one_agent_is_handed_to_no_other(yard):
    from runyard.services import submitting

    spec = {"docker": {"docker_image": "busybox"}}
    submitting.submit(yard.call(), "ann", "q", [spec], pinned_agent="mine")

    assert yard.lease(yard.register("other")) == []
    assert len(yard.lease(yard.register("mine"))) == 1


def test_an_agent_can_touch_only_what_it_leased_T22(yard):
    (item,) = yard.submit("a")
    one, two = yard.register("one"), yard.register("two")
    (held,) = yard.lease(one)

    assert yard.move(two, claim(held))[0].code == "stale_lease"  # even with the right token
    with pytest.raises(Forbidden):
        agents.poll(yard.call(yard.agent(two)), one.agent_id, wire.Poll(slots=1), turn=0)
    with pytest.raises(Forbidden):
        agents.poll(yard.call(), one.agent_id, wire.Poll(slots=1), turn=0)
    assert yard.row(item)["state"] == "LEASED"


def test_a_batch_takes_from_all_queues_in_turn(yard):
    from runyard.services import queues, submitting

    queues.create(
        yard.call(), entity="ann", name="r", resource="local-container", config={}, policy={}
    )
    spec = {"docker": {"docker_image": "busybox"}}
    for name in ("q", "r"):
        submitting.submit(yard.call(), "ann", name, [spec] * 6)
    agent = yard.register(queues=("q", "r"))

    leased = yard.lease(agent, 4)

    assert sorted(h.spec["queue"] for h in leased) == ["q", "q", "r", "r"]


def test_a_queue_that_appears_later_is_served_then(yard):
    from runyard.services import queues, submitting

    agent = yard.register(queues=("later",))
    assert [(q.name, q.resource) for q in agent.queues] == [("later", None)]

    queues.create(
        yard.call(), entity="ann", name="later", resource="local-container", config={}, policy={}
    )
    submitting.submit(yard.call(), "ann", "later", [{"docker": {"docker_image": "busybox"}}])

    assert len(yard.lease(agent)) == 1


def test_a_run_token_dies_with_its_attempt_T15(yard):
    from runyard.services import accounts

    yard.submit("a")
    agent = yard.register()
    held = yard.claimed(agent)
    assert accounts.authenticate(yard.tx, held.run_token, yard.now).run_id

    yard.move(agent, observe(held, "exited", 0))

    assert accounts.authenticate(yard.tx, held.run_token, yard.now) is None


def test_a_writer_with_an_old_view_changes_nothing(yard):
    from runyard.domain import outcomes

    (item,) = yard.submit("a")
    seen = items.locked(yard.tx, [item])[item]
    yard.lease(yard.register())

    with pytest.raises(Conflict):
        items.save(
            yard.tx,
            [(seen, outcomes.cancelled(seen.item, seen.run, yard.now))],
            now=yard.now,
        )


def test_an_agent_that_was_removed_by_a_newer_process_is_told_so(yard):
    old = yard.register()
    actor = yard.agent(old)
    yard.register()

    with pytest.raises(StaleEpoch):
        agents.poll(yard.call(actor), old.agent_id, wire.Poll(slots=1), turn=0)


def test_a_writer_from_before_an_adoption_changes_nothing_T23(yard):
    from runyard.domain import outcomes
    from runyard.domain.workloads import Observation, Phase

    (item,) = yard.submit("a")
    yard.claimed(yard.register())
    seen = items.locked(yard.tx, [item])[item]
    yard.register()  # CLAIMED before and after; only the token is another

    ended = Observation(Phase.EXITED, 0)
    late = outcomes.observed(seen.item, seen.run, ended, seen.policy, yard.now)
    with pytest.raises(Conflict):
        items.save(yard.tx, [(seen, late)], now=yard.now)


def test_a_member_cannot_take_over_somebody_elses_agent_T22(yard):
    for name in ("mel", "max"):
        yard.new_user(name)
    yard.team("lab", mel="member", max="member")

    def register(user):
        asked = wire.Register(
            entity="lab", name="box", hostname="h", version="1", queues=["gpu"], max_jobs=1
        )
        return agents.register(yard.call(yard.user(user)), asked).epoch

    assert register("mel") == 1
    with pytest.raises(Forbidden, match="somebody else"):
        register("max")
    assert register("mel") == 2
    assert register("ann") == 3  # an admin may
