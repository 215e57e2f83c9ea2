"""Operating items, one or many, and the sentence that says why each waits."""

from __future__ import annotations

import pytest

from runyard.domain.agents import AgentStatus
from runyard.domain.errors import Conflict, Forbidden, Invalid, NotFound
from runyard.services import agents, explaining, operating, queues, runs
from runyard.services.operating import Order, Selection
from runyard.store import items
from runyard.store.values import to_text
from tests.services.conftest import Yard
from tests.services.test_policies import Lab


def do(lab, who, item, verb, **order):
    return operating.one(lab.yard.call(who), item, Order(verb=verb, **order))


def test_what_is_held_waits_until_it_is_released(yard: Yard) -> None:
    lab = Lab(yard)
    (item,) = lab.submit(lab.ada)
    do(lab, lab.ada, item, "hold", reason="wait for the data")
    agent = lab.agent()
    assert yard.lease(agent) == []
    assert lab.why(item).startswith("held by ada: wait for the data; release it:")
    do(lab, lab.ada, item, "release")
    assert len(yard.lease(agent)) == 1
    with pytest.raises(Conflict, match="only what waits"):
        do(lab, lab.ada, item, "hold")


def test_an_item_may_be_held_from_the_start(yard: Yard) -> None:
    lab = Lab(yard)
    (item,) = lab.submit(lab.ada, hold=True)
    assert yard.lease(lab.agent()) == []
    assert "held by ada" in lab.why(item)
    do(lab, lab.ada, item, "release")
    assert len(yard.lease(lab.agent())) == 1


def test_an_author_cannot_release_what_an_operator_holds(yard: Yard) -> None:
    lab = Lab(yard)
    (item,) = lab.submit(lab.ada)
    do(lab, yard.admin, item, "hold", reason="too many")
    for verb in ("release", "hold"):
        with pytest.raises(Forbidden, match="held by ann: too many"):
            do(lab, lab.ada, item, verb)
    do(lab, yard.admin, item, "release")


@pytest.mark.parametrize("verb", ["hold", "release", "priority", "move"])
def test_members_do_that_to_their_own_items_only(yard: Yard, verb: str) -> None:
    lab = Lab(yard, priorities=True)
    (item,) = lab.submit(lab.ada)
    with pytest.raises(Forbidden, match="operator"):
        do(lab, lab.bob, item, verb, priority="high", queue="x")
    yard.new_user("eve")
    with pytest.raises(NotFound):
        do(lab, yard.user("eve"), item, verb, priority="high", queue="x")


def test_the_priority_can_be_changed_while_it_waits(yard: Yard) -> None:
    lab = Lab(yard, priorities=True)
    lab.submit(lab.ada, 3)
    (item,) = lab.submit(lab.bob)
    do(lab, lab.bob, item, "priority", priority="high")
    assert lab.start(lab.agent())[0].item_id == item
    assert "priority 2 to 1" in [e["detail"] for e in _events(yard, item)]
    with pytest.raises(Invalid, match="not one of"):
        do(lab, lab.bob, lab.submit(lab.bob)[0], "priority", priority="urgent")


def _events(yard, item):
    from runyard.store import views

    return views.events_of(yard.tx, item)


def test_an_item_moves_to_another_queue_with_its_run(yard: Yard) -> None:
    lab = Lab(yard)
    lab.queue("big")
    (item,) = lab.submit(lab.ada)
    run = yard.row(item)["run_pk"]
    do(lab, lab.ada, item, "move", queue="big")
    assert yard.lease(lab.agent("a")) == []
    (held,) = lab.start(lab.agent("b", "big"))
    assert (held.item_id, held.spec["queue"], yard.row(item)["run_pk"]) == (item, "big", run)
    assert "moved from gpu to big" in [e["detail"] for e in _events(yard, item)]


def test_T9_moving_is_no_way_around_a_template(yard: Yard) -> None:
    lab = Lab(yard)
    queues.create(
        yard.call(), entity="lab", name="safe", resource="local-container",
        config={"cpus": "{{n}}"}, variables={"n": {"type": "integer", "default": 1, "maximum": 2}},
    )  # fmt: skip
    (item,) = lab.submit(lab.ada, resource_args={"local-container": {"cpus": 64}})
    with pytest.raises(Forbidden, match="has a template"):
        do(lab, lab.ada, item, "move", queue="safe")
    (other,) = lab.submit(lab.ada, queue="safe")
    with pytest.raises(Forbidden, match="has a template"):
        do(lab, lab.ada, other, "move", queue="gpu")


@pytest.mark.parametrize("key", ["secrets", "build_secrets"])
def test_T14_a_queues_secrets_do_not_move_to_another_queues_agents(yard: Yard, key: str) -> None:
    lab = Lab(yard)
    lab.queue("other")
    (item,) = lab.submit(lab.ada)
    pair = items.locked(yard.tx, [item])[item]
    refs = {"HF_TOKEN": {"entity": "lab", "name": "hf"}}
    spec = to_text({**pair.spec, key: refs})
    items.relocate(yard.tx, pair.item, pair.item.queue_id, spec)
    with pytest.raises(Forbidden, match="secrets of its queue"):
        do(lab, lab.ada, item, "move", queue="other")
    do(lab, yard.admin, item, "move", queue="other")


def test_T9_a_retry_with_changes_is_checked_as_any_submission(yard: Yard) -> None:
    lab = Lab(yard)
    queues.create(
        yard.call(), entity="lab", name="safe", resource="local-container",
        config={"cpus": "{{n}}"}, variables={"n": {"type": "integer", "default": 1, "maximum": 2}},
    )  # fmt: skip
    (item,) = lab.submit(lab.ada, queue="safe", template_variables={"n": 2})
    agent = lab.agent("a", "safe")
    (held,) = lab.start(agent)
    lab.end(agent, held, code=1)
    call = yard.call(lab.ada)
    with pytest.raises(Invalid):
        operating.retry(call, item, {"template_variables": {"n": 3}})
    with pytest.raises(Invalid):
        operating.retry(call, item, {"resource_args": {"local-container": {"cpus": 9}}})
    again = operating.retry(call, item, {"overrides": {"args": ["--small"]}})
    assert again.spec["overrides"]["args"] == ["--small"]
    assert again.spec["template"]["values"] == {"n": 2}
    assert again.spec["run_id"] != held.spec["run_id"]


def test_only_what_has_ended_is_retried(yard: Yard) -> None:
    lab = Lab(yard)
    (item,) = lab.submit(lab.ada)
    with pytest.raises(Conflict, match="PENDING"):
        operating.retry(yard.call(lab.ada), item, {})


def test_many_items_are_chosen_by_what_is_known_of_them(yard: Yard) -> None:
    lab = Lab(yard, priorities=True)
    mine = lab.submit(lab.ada, 3)
    low = lab.submit(lab.ada, 2, priority="low")
    theirs = lab.submit(lab.bob, 2)

    def many(which: Selection, verb: str, *, dry_run: bool = False, **order: str):
        call = yard.call()
        return operating.many(call, "lab", "gpu", which, Order(verb=verb, **order), dry_run=dry_run)

    assert many(Selection(author="ada"), "hold", dry_run=True).changed == mine + low
    assert yard.row(mine[0])["parked"] is None
    assert many(Selection(author="ada", priority="low"), "hold").changed == low
    assert many(Selection(held=True), "release").changed == low
    assert many(Selection(ids=[theirs[0], "nothing"]), "cancel").changed == [theirs[0]]
    assert yard.states(theirs[0])[0] == "CANCELLED"
    assert many(Selection(waited_s=60), "hold").changed == []
    yard.later(seconds=60)
    assert len(many(Selection(waited_s=60), "hold").changed) == 6
    with pytest.raises(NotFound):
        many(Selection(author="nobody"), "hold")
    with pytest.raises(Invalid, match="action"):
        many(Selection(), "explode")


def test_a_member_changes_their_own_of_a_selection_and_is_told_of_the_others(yard: Yard) -> None:
    lab = Lab(yard)
    mine, theirs = lab.submit(lab.ada, 2), lab.submit(lab.bob, 1)
    done = operating.many(yard.call(lab.ada), "lab", "gpu", Selection(), Order(verb="hold"))
    assert (done.changed, list(done.refused)) == (mine, theirs)


def test_a_long_selection_goes_on_after_its_last(yard: Yard, monkeypatch) -> None:
    monkeypatch.setattr(operating, "MOST", 2)
    lab = Lab(yard)
    items = lab.submit(lab.ada, 5)
    found, after = [], ""
    while after is not None:
        which = Selection(after=after)
        done = operating.many(yard.call(), "lab", "gpu", which, Order(verb="hold"))
        found += done.changed
        after = done.next
    assert found == items


# -- why it waits ------------------------------------------------------------------------------


def test_why_and_place_and_when(yard: Yard) -> None:
    lab = Lab(yard)
    first, second, third = (lab.submit(lab.ada)[0] for _ in range(3) if not yard.later(seconds=1))
    assert "no live agent serves queue lab/gpu; start one: runyard agent -q gpu -e lab" in lab.why(
        first
    )
    agent = lab.agent()
    assert lab.why(first) == "it is next, and about to be taken"
    assert lab.why(second) == "it is behind 1 other item"
    assert lab.why(third) == "it is behind 2 other items"
    lab.start(agent)
    assert lab.why(first) == ""


def test_the_start_is_estimated_from_measured_runs(yard: Yard) -> None:
    lab = Lab(yard, max_running=2)
    agent = lab.agent()
    for _ in range(3):
        lab.submit(lab.ada)
        (held,) = lab.start(agent)
        yard.later(seconds=100)
        yard.poll(agent, held.item_id)
        lab.end(agent, held)
    items = lab.submit(lab.ada, 6)
    lab.start(agent, 2)
    call = yard.call()
    agents.note_seen(call, {agent.agent_id: (AgentStatus.RUNNING, yard.now)})
    starts = []
    for item in items[2:]:
        found = explaining.of_item(call, runs.get_item(call, item))
        assert found is not None
        assert found.starts_at is not None
        starts.append((found.starts_at - yard.now).total_seconds())
    assert starts == [50, 100, 150, 200]


def test_a_share_decides_the_place(yard: Yard) -> None:
    lab = Lab(yard, fair_share=True)
    mine = lab.submit(lab.ada, 10)
    theirs = lab.submit(lab.bob, 2)
    lab.agent()
    call = yard.call()
    last = explaining.of_item(call, runs.get_item(call, theirs[-1]))
    assert last is not None
    assert last.ahead == 3
    far = explaining.of_item(call, runs.get_item(call, mine[-1]))
    assert far is not None
    assert far.ahead == 11


def test_a_queue_explains_its_rules_users_and_who_is_next(yard: Yard) -> None:
    lab = Lab(yard, fair_share=True, max_running=4, max_running_per_user=3)
    lab.submit(lab.ada, 5)
    lab.submit(lab.bob, 5, hold=True)
    lab.submit(lab.bob, 1)
    lab.start(lab.agent(), 1)
    found = lab.explain()
    assert [rule.partition(" = ")[0] for rule in found.rules] == [
        "max_running", "max_running_per_user", "fair_share",
    ]  # fmt: skip
    assert (found.running, found.waiting, found.held) == (1, 5, 5)
    assert {(u.user, u.waiting, u.running, u.room) for u in found.users} == {
        ("ada", 4, 1, 2), ("bob", 1, 0, 3),
    }  # fmt: skip
    assert found.next == ("bob", "ada", "ada")
