"""Items pushed by the tracking client, and its own agents, through the services."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from runyard.domain.access import Action, Kind
from runyard.domain.errors import Conflict, Forbidden, Invalid, NotFound
from runyard.services import accounts, agents, jobs, leasing, queues, runs, sweeping
from runyard.services.launching import agents as clients
from runyard.services.launching import looking, popping, pushing
from runyard.services.launching import queues as client_queues
from runyard.services.tracking import life
from runyard.store import attempts, views
from runyard.store import tables as t
from runyard.store.values import to_ms
from tests.services.conftest import Yard

IMAGE = {"docker": {"docker_image": "busybox"}, "entity": "ann", "project": "p"}
BESIDE: dict[str, Any] = {"values": None, "priority": None}


def push(yard: Yard, actor=None, queue="q", **spec: Any) -> str:
    return pushing.by_name(yard.call(actor), "ann", queue, {**IMAGE, **spec}, **BESIDE).id


def register(yard: Yard, *names: str, actor=None) -> str:
    ids = [queues.get(yard.call(actor), "ann", name).id for name in names or ("q",)]
    agent = clients.register(
        yard.call(actor), "ann", queue_ids=ids, hostname="h", config={"max_jobs": "-1"}, version="v"
    )
    return agent.id


def pop(yard: Yard, agent: str, queue="q", actor=None) -> popping.Popped | None:
    return popping.pop(yard.call(actor), "ann", queue, agent)


def popped(yard: Yard, agent: str) -> popping.Popped:
    found = pop(yard, agent)
    assert found is not None
    return found


def claimed(yard: Yard, agent: str) -> popping.Popped:
    found = popped(yard, agent)
    assert popping.ack(yard.call(), found.id, found.spec["run_id"])
    return found


# -- pushing -------------------------------------------------------------------------------


def test_a_push_is_a_submission_and_tells_the_merged_spec(yard):
    queues.edit(yard.call(), "ann", "q", config={"cpus": 2})
    made = pushing.by_name(
        yard.call(), "ann", "q", {**IMAGE, "overrides": {"run_config": {"lr": 1}}, "_x": 1},
        **BESIDE,
    )  # fmt: skip
    assert yard.states(made.id) == ("PENDING", "pending")
    assert made.spec["resource_args"] == {"local-container": {"cpus": 2}}
    assert made.spec["overrides"]["run_config"] == {"lr": 1}
    by_id = pushing.by_id(yard.call(), yard.queue.id, IMAGE, **BESIDE)
    assert yard.row(by_id.id)["queue"] == "q"


def test_both_ways_of_pushing_refuse_in_the_same_words(yard):
    told = []
    for way, where in ((pushing.by_name, ("ann", "q")), (pushing.by_id, (yard.queue.id,))):
        with pytest.raises(Invalid) as caught:
            way(yard.call(), *where, IMAGE, values={"gpus": 1}, priority=0)
        told.append((caught.value.message, caught.value.violations))
    assert told[0] == told[1]
    assert {v.path for v in told[0][1]} >= {"template_variables.gpus"}


def test_values_and_priority_reach_the_queue_s_rules(yard):
    queues.create(
        yard.call(), entity="ann", name="t", resource="local-container",
        config={"cpus": "{{cpus}}"}, variables={"cpus": {"type": "integer", "maximum": 4}},
        policy={"priorities": True},
    )  # fmt: skip
    made = pushing.by_name(yard.call(), "ann", "t", IMAGE, values={"cpus": 3}, priority=1)
    assert made.spec["resource_args"]["local-container"] == {"cpus": 3}
    assert yard.row(made.id)["priority"] == 1
    with pytest.raises(Invalid):
        pushing.by_name(yard.call(), "ann", "t", IMAGE, values={"cpus": 5}, priority=None)


def test_foreign_queues_are_not_there(yard):
    bob = yard.new_user("bob")
    for way, where in ((pushing.by_name, ("ann", "q")), (pushing.by_id, (yard.queue.id,))):
        with pytest.raises(NotFound):
            way(yard.call(bob), *where, IMAGE, **BESIDE)


def test_the_first_push_to_default_makes_it(yard):
    with pytest.raises(Invalid):  # it runs code, no images; the push is undone by its transaction
        push(yard, queue="default")
    made = client_queues.create(
        yard.call(), "ann", "x", draft_id=None, mode=None, private=False
    )  # fmt: skip
    assert made.resource == "local-container"


def waiting_run(yard: Yard, name: str, state: str = "pending") -> str:
    """Make a run without an item, as a sweep's heartbeat does."""
    project = accounts.project(yard.call(), yard.call().entity("ann", Action.SUBMIT), "p")
    pk = yard.call().new_id()
    yard.tx.run(
        t.runs.insert(),
        {"id": pk, "project_id": project, "name": name, "state": state, "config": '{"a": 1}',
         "author_id": yard.admin.user_id, "created_at": to_ms(yard.now)},
    )  # fmt: skip
    return pk


def test_a_run_that_waits_for_an_item_gets_it(yard):
    pk = waiting_run(yard, "r1")
    item = push(yard, run_id="r1", overrides={"run_config": {"b": 2}})
    assert yard.row(item)["run_pk"] == pk
    run = views.run(yard.tx, "ann", "p", "r1")
    assert run is not None
    assert (run["id"], run["config"]) == (item, '{"a": 1}')
    with pytest.raises(Conflict), yard.tx.connection.begin_nested():
        push(yard, run_id="r1")


def test_another_s_waiting_run_and_one_that_runs_are_not_taken(yard):
    waiting_run(yard, "r1")
    yard.team("crew", ann="admin")
    carl = replace(yard.new_user("carl"), is_admin=True)
    with pytest.raises(Conflict), yard.tx.connection.begin_nested():
        push(yard, run_id="r1", actor=carl)


# -- the agent's life ----------------------------------------------------------------------


def test_an_item_goes_through_the_client_s_agent_once(yard):
    item, agent = push(yard, name="train"), register(yard)
    found = popped(yard, agent)
    assert found.id.startswith(f"{item}-")
    assert "/" not in found.id
    assert yard.states(item) == ("LEASED", "pending")
    assert pop(yard, agent) is None
    run_id = found.spec["run_id"]
    assert (found.spec["author"], found.spec["docker"]["docker_image"]) == ("ann", "busybox")
    assert not popping.ack(yard.call(), found.id, "other")
    assert popping.ack(yard.call(), found.id, run_id)
    assert not popping.ack(yard.call(), found.id, run_id)  # a second time
    assert yard.states(item) == ("CLAIMED", "pending")
    assert attempts.get(yard.tx, item, 1) is not None
    assert looking.item(yard.call(), found.id)["state"] == "CLAIMED"
    assert looking.item(yard.call(), item)["run_name"] == run_id


def test_T15_the_job_gets_a_key_that_is_good_for_its_own_run_and_dies_with_it(yard):
    item, agent = push(yard), register(yard)
    found = claimed(yard, agent)
    key = found.spec["_wandb_api_key"]
    actor = accounts.authenticate(yard.tx, key, yard.now)
    assert actor is not None
    assert (actor.kind, actor.run_name, actor.name) == (Kind.RUN, found.spec["run_id"], "ann")
    assert key not in found.id
    assert popping.fail(yard.call(), found.id, "broke", "run", [])
    assert yard.states(item) == ("FAILED", "failed")
    assert accounts.authenticate(yard.tx, key, yard.now) is None


def test_T23_a_lease_that_is_not_claimed_goes_back_with_its_key(yard):
    item, agent = push(yard), register(yard)
    first = popped(yard, agent)
    yard.later(seconds=61)
    assert not popping.ack(yard.call(), first.id, first.spec["run_id"])  # too late, whoever swept
    assert sweeping.expire(yard.call()) == 1
    assert yard.states(item)[0] == "PENDING"
    assert accounts.authenticate(yard.tx, first.spec["_wandb_api_key"], yard.now) is None
    second = popped(yard, agent)
    assert second.id != first.id
    for act in (
        lambda i: popping.ack(yard.call(), i, first.spec["run_id"]),
        lambda i: popping.fail(yard.call(), i, "m", "agent", []),
        lambda i: popping.warn(yard.call(), i, "m", "Kubernetes", []),
    ):
        assert not act(first.id)  # a stale fence
        assert not act(item)  # none
        assert not act("01jabc-0123456789abcdef")
    assert yard.states(item)[0] == "LEASED"


def test_T22_nobody_else_speaks_for_an_agent(yard):
    yard.team("crew", ann="admin")
    bob = replace(yard.new_user("bob"), is_admin=True)  # may do everything, and is not its owner
    item, agent = push(yard), register(yard)
    with pytest.raises(NotFound):
        pop(yard, agent, actor=bob)
    found = popped(yard, agent)
    assert not popping.ack(yard.call(bob), found.id, found.spec["run_id"])
    assert not popping.fail(yard.call(bob), found.id, "m", "agent", [])
    with pytest.raises(NotFound):
        clients.say(yard.call(bob), agent, "KILLED")
    assert yard.states(item)[0] == "LEASED"
    carl = yard.new_user("carl")
    with pytest.raises(NotFound):
        clients.look(yard.call(carl), agent)
    ours = yard.register("ours")
    with pytest.raises(NotFound):  # an agent of ours has a token, and no other way
        pop(yard, ours.agent_id)


def test_T22_an_agent_of_ours_does_not_take_its_name_over(yard):
    agent = clients.look(yard.call(), register(yard)).agent
    with pytest.raises(Conflict, match="wandb launch-agent"):
        yard.register(agent.name)


def test_who_may_no_longer_serve_gets_nothing_and_is_told_to_leave(yard):
    yard.team("crew", ann="admin", bob="member") if yard.new_user("bob") else None
    bob = yard.user("bob")
    queues.create(yard.call(), entity="crew", name="cq", resource="local-container")
    queue = queues.get(yard.call(bob), "crew", "cq")
    agent = clients.register(
        yard.call(bob), "crew", queue_ids=[queue.id], hostname="h", config={}, version=""
    ).id
    assert not clients.look(yard.call(bob), agent).stop
    accounts.set_member(yard.call(), "crew", "bob", "viewer")
    bob = yard.user("bob")
    assert clients.look(yard.call(bob), agent).stop
    with pytest.raises(Forbidden):
        popping.pop(yard.call(bob), "crew", "cq", agent)


def test_asking_for_itself_keeps_an_agent_alive_and_its_claims(yard):
    item, agent = push(yard), register(yard)
    claimed(yard, agent)
    for _ in range(3):
        yard.later(minutes=10)
        clients.look(yard.call(), agent)
    assert sweeping.expire(yard.call()) == 0
    assert queues.counts(yard.call(), yard.queue) == (0, 1, 1)
    yard.later(minutes=16)
    assert sweeping.expire(yard.call()) == 1
    assert yard.states(item) == ("FAILED", "crashed")
    assert queues.counts(yard.call(), yard.queue) == (0, 0, 0)


def test_an_agent_that_leaves_gives_back_what_it_has_not_begun(yard):
    first, agent = push(yard), register(yard)
    claimed(yard, agent)
    second = push(yard)
    popped(yard, agent)
    clients.say(yard.call(), agent, "RUNNING")
    assert yard.states(second)[0] == "LEASED"
    clients.say(yard.call(), agent, "KILLED")
    assert (yard.states(first)[0], yard.states(second)[0]) == ("CLAIMED", "PENDING")
    assert queues.counts(yard.call(), yard.queue)[2] == 0
    clients.say(yard.call(), agent, "POLLING")  # its last job has ended
    assert clients.look(yard.call(), agent).agent.status == "KILLED"
    assert pop(yard, agent) is None
    with pytest.raises(Invalid):
        clients.say(yard.call(), agent, "ASLEEP")


def test_an_agent_that_is_to_stop_is_told_so_and_gets_nothing(yard):
    push(yard)
    agent = register(yard)
    agents.ask_to_stop(yard.call(), agent)
    assert clients.look(yard.call(), agent).stop
    assert pop(yard, agent) is None


def test_a_paused_queue_and_one_that_it_does_not_serve_give_it_nothing(yard):
    push(yard)
    agent = register(yard)
    queues.set_mode(yard.call(), "ann", "q", queues.Mode.PAUSED)
    assert pop(yard, agent) is None
    queues.create(yard.call(), entity="ann", name="other", resource="local-container")
    with pytest.raises(NotFound):
        pop(yard, agent, queue="other")


def test_limits_and_pinning_hold_for_it_as_for_ours(yard):
    queues.edit(yard.call(), "ann", "q", policy={"max_running": 1})
    push(yard), push(yard)
    agent, ours = register(yard), yard.register()
    claimed(yard, agent)
    assert pop(yard, agent) is None
    assert yard.lease(ours, 5) == []


def test_T14_what_needs_secrets_is_passed_over_and_left_to_ours(yard, monkeypatch):
    first, second = push(yard), push(yard)
    monkeypatch.setattr(
        "runyard.store.items.Pair.spec",
        property(
            lambda p: {
                **json.loads(p.spec_text),
                "secrets": {"T": {}} if p.item.id == first else {},
            }
        ),
    )
    agent = register(yard)
    assert popped(yard, agent).id.startswith(second)
    assert pop(yard, agent) is None
    assert "queue:ann/q" in yard.tx.topics
    assert yard.states(first)[0] == "PENDING"


def test_a_failure_is_kept_with_its_stage_and_files_and_retried_as_the_policy_says(yard):
    queues.edit(yard.call(), "ann", "q", policy={"retry": [{"stages": ["build"], "at_most": 1}]})
    item, agent = push(yard), register(yard)
    found = claimed(yard, agent)
    assert popping.fail(yard.call(), found.id, "no such base image", "build", [])
    assert yard.states(item)[0] == "PENDING"
    again = claimed(yard, agent)
    assert again.spec["run_id"] == found.spec["run_id"]
    files = [f"{again.id}/error/error.log"]
    assert popping.fail(yard.call(), again.id, "no base\0image", "build", files)
    row = yard.row(item)
    assert (row["state"], row["failure_stage"]) == ("FAILED", "build")
    assert row["failure_message"] == "no base\ufffdimage"
    assert files[0] in row["failure_detail"]


def test_a_job_that_says_it_failed_is_retried_as_the_policy_says(yard):
    queues.edit(yard.call(), "ann", "q", policy={"retry": [{"exit_codes": [3], "at_most": 1}]})
    item, agent = push(yard), register(yard)
    found = claimed(yard, agent)
    pk = yard.row(item)["run_pk"]
    life.began(yard.call(), pk)
    assert yard.states(item) == ("CLAIMED", "running")
    life.said_end(yard.call(), pk, 3)
    life.said_end(yard.call(), pk, 3)  # the answer was lost
    assert yard.states(item) == ("PENDING", "pending")
    assert not popping.fail(yard.call(), found.id, "late", "run", [])
    claimed(yard, agent)
    life.began(yard.call(), pk)
    life.said_end(yard.call(), pk, 3)
    assert yard.states(item) == ("FINISHED", "failed")


def test_a_program_s_end_is_the_item_s(yard):
    item, agent = push(yard), register(yard)
    claimed(yard, agent)
    pk = yard.row(item)["run_pk"]
    life.began(yard.call(), pk)
    life.said_end(yard.call(), pk, 0)
    assert yard.states(item) == ("FINISHED", "finished")
    row = attempts.get(yard.tx, item, 1)
    assert row is not None
    assert row["ended_at"] == to_ms(yard.now)


def test_a_program_that_falls_silent_fails_its_item(yard):
    item, agent = push(yard), register(yard)
    claimed(yard, agent)
    life.began(yard.call(), yard.row(item)["run_pk"])
    yard.later(minutes=10)
    clients.look(yard.call(), agent)  # the agent lives on
    life.crash_silent(yard.call(), timedelta(minutes=5))
    assert yard.states(item) == ("FAILED", "crashed")


def test_warnings_are_kept_once(yard):
    item, agent = push(yard), register(yard)
    found = claimed(yard, agent)
    for _ in range(2):
        assert popping.warn(yard.call(), found.id, "pod unschedulable", "Kubernetes", [])
    (row,) = looking.warnings(yard.call(), yard.row(item))
    assert (row["stage"], row["message"]) == ("Kubernetes", "pod unschedulable")


def test_what_was_preempted_is_pushed_back_into_its_place_by_its_agent(yard):
    item, agent = push(yard), register(yard)
    found = claimed(yard, agent)
    back = {**found.spec, "_resume_count": 1}
    assert pushing.by_name(yard.call(), "ann", "q", back, **BESIDE).id == item
    assert yard.states(item) == ("PENDING", "preempted")
    assert pushing.by_name(yard.call(), "ann", "q", back, **BESIDE).id == item  # said twice
    assert yard.row(item)["requeues"] == 1
    assert not popping.fail(yard.call(), found.id, "late", "run", [])
    again = claimed(yard, agent)
    assert again.spec["_resume_count"] == 1
    assert again.spec["run_id"] == found.spec["run_id"]


def test_T22_to_anybody_else_what_was_preempted_is_a_run_that_is_there(yard):
    push(yard)
    found = claimed(yard, register(yard))
    bob = replace(yard.new_user("bob"), is_admin=True)
    with pytest.raises(Conflict), yard.tx.connection.begin_nested():
        pushing.by_name(yard.call(bob), "ann", "q", {**found.spec, "_resume_count": 1}, **BESIDE)


def test_the_queue_s_policy_says_how_often(yard):
    queues.edit(yard.call(), "ann", "q", policy={"max_requeues": 0})
    item, agent = push(yard), register(yard)
    found = claimed(yard, agent)
    pushing.by_name(yard.call(), "ann", "q", {**found.spec, "_resume_count": 1}, **BESIDE)
    assert yard.states(item) == ("FAILED", "failed")


def test_an_item_can_be_stopped_while_the_client_s_agent_has_it(yard):
    item, agent = push(yard), register(yard)
    found = claimed(yard, agent)
    runs.stop(yard.call(), "ann", "p", found.spec["run_id"])
    assert yard.row(item)["stop_requested_at"] is not None
    assert popping.fail(yard.call(), found.id, "stopped before it started", "run", [])
    assert yard.states(item) == ("FAILED", "killed")


def test_ours_and_theirs_serve_one_queue_each_item_once(yard):
    made = {push(yard) for _ in range(6)}
    agent, ours = register(yard), yard.register()
    seen: list[str] = []
    for _ in range(3):
        seen.append(popping.item_id(claimed(yard, agent).id))
        seen.append(yard.claimed(ours).item_id)
    assert sorted(seen) == sorted(made)
    assert leasing.renew(yard.call(yard.agent(ours)), ours.agent_id, []).lost == []


# -- launched sweeps -----------------------------------------------------------------------


def scheduler(yard: Yard) -> Any:
    """Return the token's actor of a run that drives the sweep `s1` of project p."""
    push(yard, run_id="s1")
    agent = register(yard)
    key = claimed(yard, agent).spec["_wandb_api_key"]
    actor = accounts.authenticate(yard.tx, key, yard.now)
    assert actor is not None
    yard.tx.run(
        t.sweeps.insert(),
        {"id": "sweep", "project_id": actor.project_id, "name": "s1", "config": "", "cursor": 0,
         "method": "random", "state": "RUNNING", "scheduler_run_id": actor.run_id,
         "author_id": yard.admin.user_id, "created_at": 0, "updated_at": 0},
    )  # fmt: skip
    return actor


def test_T15_a_run_that_drives_a_sweep_queues_its_runs_in_its_author_s_name(yard):
    actor = scheduler(yard)
    waiting_run(yard, "w1")
    item = push(yard, actor=actor, run_id="w1", sweep_id="s1", author="somebody")
    row = yard.row(item)
    assert (row["author"], row["run_name"]) == ("ann", "w1")
    assert looking.item(yard.call(actor), item)["id"] == item
    assert [q.name for q in client_queues.listed(yard.call(actor), yard.queue.entity_id)] == ["q"]


def test_T15_its_token_queues_nothing_else(yard):
    actor = scheduler(yard)
    queues.create(yard.call(), entity="ann", name="other", resource="local-container")
    with pytest.raises(Forbidden):
        push(yard, actor=actor)  # of no sweep
    with pytest.raises(Forbidden):
        push(yard, actor=actor, sweep_id="s2")
    with pytest.raises(NotFound):
        push(yard, actor=actor, sweep_id="s1", project="elsewhere")
    with pytest.raises(NotFound):
        push(yard, actor=actor, queue="other", sweep_id="s1")
    with pytest.raises(NotFound):
        pushing.by_id(
            yard.call(actor), queues.get(yard.call(), "ann", "other").id,
            {**IMAGE, "sweep_id": "s1"}, **BESIDE,
        )  # fmt: skip
    other = replace(actor, run_id="another")
    with pytest.raises((Forbidden, NotFound)):
        push(yard, actor=other, sweep_id="s1")


def test_a_scheduler_without_a_job_is_an_item_like_any_other(yard):
    spec = {
        "entity": "ann", "project": "p", "uri": "placeholder-uri-scheduler", "run_id": "s9",
        "resource": "local-process", "overrides": {"entry_point": ["wandb", "scheduler", "s9"]},
    }  # fmt: skip
    pushing.by_name(yard.call(), "ann", "q", spec, **BESIDE)
    found = popped(yard, register(yard))
    assert (found.spec["uri"], found.spec["resource"]) == (spec["uri"], "local-process")
    assert found.spec["overrides"]["entry_point"] == ["wandb", "scheduler", "s9"]
    assert found.spec["run_id"] == "s9"
    with pytest.raises(Invalid):
        jobs.save(yard.call(), entity="ann", project="p", name="j", source={"kind": "command"})


# -- queues --------------------------------------------------------------------------------


def config(**settings: Any) -> dict[str, Any]:
    return {"resource_args": {"local-container": settings}}


def test_a_queue_is_made_of_its_draft_and_has_its_id(yard):
    variables = {"n": {"schema": {"type": "integer", "minimum": 1}}}
    draft = client_queues.draft(
        yard.call(), "ann", resource="local-container", config=config(cpus="{{n}}"),
        variables=variables,
    )  # fmt: skip
    entity = yard.queue.entity_id
    assert client_queues.configuration(yard.call(), entity, draft).config == {"cpus": "{{n}}"}
    made = client_queues.create(yard.call(), "ann", "n1", draft_id=draft, mode="V0", private=False)
    assert (made.id, made.policy.priorities) == (draft, True)
    assert list(client_queues.configuration(yard.call(), entity, draft).variables) == ["n"]
    with pytest.raises(Conflict):
        client_queues.create(yard.call(), "ann", "n1", draft_id=draft, mode=None, private=False)
    with pytest.raises(NotFound):
        client_queues.create(yard.call(), "ann", "n2", draft_id=draft, mode=None, private=False)


def test_a_draft_is_its_entity_s_and_not_for_long(yard):
    yard.team("crew", ann="admin")
    draft = client_queues.draft(
        yard.call(), "crew", resource="local-container", config={}, variables=None
    )
    with pytest.raises(NotFound):
        client_queues.create(yard.call(), "ann", "n1", draft_id=draft, mode=None, private=False)
    yard.later(hours=2)
    client_queues.draft(yard.call(), "ann", resource="slurm", config={}, variables=None)
    with pytest.raises(NotFound):
        client_queues.create(yard.call(), "crew", "n1", draft_id=draft, mode=None, private=False)


def test_a_private_queue_of_a_team_is_refused_with_the_way_out(yard):
    yard.team("crew", ann="admin")
    with pytest.raises(Invalid):
        client_queues.create(yard.call(), "crew", "n1", draft_id=None, mode=None, private=True)
    client_queues.create(yard.call(), "ann", "n1", draft_id=None, mode=None, private=True)


def upsert(yard: Yard, name: str, actor=None, **more: Any) -> list[str]:
    said = {"resource": "local-container", "config": config(), "variables": None, "mode": None,
            "links": None, **more}  # fmt: skip
    return client_queues.upsert(yard.call(actor), "ann", name, **said)


def test_writing_a_queue_anew_replaces_what_the_client_knows_of_and_nothing_else(yard):
    links = {"links": [{"label": "wiki", "url": "https://wiki"}]}
    assert upsert(yard, "u", config=config(cpus=1), mode="V0", links=links) == []
    queues.edit(yard.call(), "ann", "u", policy={"priorities": True, "max_running": 3})
    assert upsert(yard, "u", config=config(cpus=2), mode="DISABLED") == []
    queue = queues.get(yard.call(), "ann", "u")
    assert (queue.config, queue.links) == ({"cpus": 2}, ())
    assert (queue.policy.priorities, queue.policy.max_running) == (False, 3)
    with pytest.raises(Invalid, match="goes on to"):
        upsert(yard, "u", resource="local-process", config={})


def test_a_config_that_its_resource_would_refuse_is_kept_and_warned_of(yard):
    (fault,) = upsert(yard, "u", config=config(prvileged=True))
    assert "prvileged" in fault
    with pytest.raises(Invalid, match="prvileged"):
        push(yard, queue="u")
    with pytest.raises(Invalid):  # a placeholder that nobody fills is no matter of taste
        upsert(yard, "u", config=config(cpus="{{n}}"))


def test_who_may_not_edit_queues_may_not_by_this_door(yard):
    bob = yard.new_user("bob")
    yard.team("crew", ann="admin", bob="member")
    bob = yard.user("bob")
    with pytest.raises(Forbidden):
        client_queues.draft(yard.call(bob), "crew", resource="slurm", config={}, variables=None)
    with pytest.raises(Forbidden):
        client_queues.upsert(
            yard.call(bob), "crew", "u", resource="slurm", config={}, variables=None, mode=None,
            links=None,
        )  # fmt: skip
    made = queues.create(yard.call(), entity="crew", name="cq", resource="slurm")
    with pytest.raises(Forbidden):
        client_queues.delete(yard.call(bob), [made.id])
    with pytest.raises(NotFound):
        client_queues.delete(yard.call(bob), [yard.queue.id])
    client_queues.delete(yard.call(), [made.id])
