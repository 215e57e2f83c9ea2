"""Plans, computed from values alone: what is made, changed, deleted, and in which order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain.errors import Conflict
from runyard.sdk.platform.document import read_text
from runyard.sdk.platform.planning import difference, plan
from runyard.sdk.platform.things import Change, Found, Key, Plan, Platform, State, Verb

TEAM = Key("team", "", "vision")
ME = Key("user", "", "ada")


def wanted(text: str) -> Platform:
    return read_text("apiVersion: runyard/v1\n" + text)


def having(of: Platform | None = None, *, is_admin: bool = True) -> State:
    """The state of a server on which a document was applied."""
    things = {} if of is None else {k: Found(t.fields) for k, t in of.things.items()}
    return State("ada", is_admin, {ME: Found({"admin": is_admin}), **things})


def verbs(made: Plan) -> list[str]:
    return [str(step) for step in made.steps]


QUEUE = "{resource: local-process, config: {env: [A=1]}, policy: {max_running: 2}}"
VISION = f"teams: {{vision: {{members: {{ada: admin, bob: member}}, queues: {{cpu: {QUEUE}}}}}}}\n"


def test_an_empty_server_gets_everything_in_an_order_that_works() -> None:
    made = plan(wanted("users: {bob: {}}\n" + VISION), having())
    assert verbs(made) == [
        "create user bob", "create team vision", "create member vision/ada",
        "create member vision/bob", "create queue vision/cpu",
    ]  # fmt: skip
    assert made.steps[-1].changes == (
        Change("+", "resource", becomes="local-process"),
        Change("+", "config", becomes={"env": ["A=1"]}),
        Change("+", "policy", becomes={"max_running": 2}),
    )


def test_what_is_there_is_left_alone() -> None:
    document = wanted(VISION)
    made = plan(document, having(document), prune=True)
    assert (made.steps, made.differs) == ((), False)
    assert set(made.unchanged) == set(document.things)


def test_a_change_says_which_field_was_what() -> None:
    after = VISION.replace("max_running: 2", "max_running: 3").replace("A=1", "A=2")
    (step,) = plan(wanted(after), having(wanted(VISION))).steps
    assert (step.verb, step.key) == (Verb.UPDATE, Key("queue", "vision", "cpu"))
    assert step.changes == (
        Change("~", "config.env.0", was="A=1", becomes="A=2"),
        Change("~", "policy.max_running", was=2, becomes=3),
    )


def test_a_rule_left_out_means_its_default() -> None:
    after = VISION.replace(", policy: {max_running: 2}", "")
    (step,) = plan(wanted(after), having(wanted(VISION))).steps
    assert step.changes == (Change("~", "policy.max_running", was=2, becomes=0),)


def test_nothing_is_deleted_without_prune_and_then_only_in_sections_that_are_listed() -> None:
    more = Found({"role": "viewer"})
    old = Found({}, waiting=7)
    has = State("ada", True, {
        **having(wanted(VISION)).things, Key("member", "vision", "eve"): more,
        Key("queue", "vision", "old"): old, Key("queue", "speech", "other"): old,
    })  # fmt: skip
    assert not plan(wanted(VISION), has).steps
    made = plan(wanted(VISION), has, prune=True)
    assert verbs(made) == ["delete queue vision/old", "delete member vision/eve"]
    assert [step.waiting for step in made.pruned] == [7, 0]
    only_queues = wanted(f"teams: {{vision: {{queues: {{cpu: {QUEUE}}}}}}}\n")
    assert verbs(plan(only_queues, has, prune=True)) == ["delete queue vision/old"]


def test_what_somebody_else_decides_is_not_pruned() -> None:
    by_login = Found({"role": "member"}, kept="a group of the login provider decides")
    things = {**having(wanted(VISION)).things, Key("member", "vision", "eve"): by_login}
    assert not plan(wanted(VISION), State("ada", True, things), prune=True).steps


def test_a_user_or_team_that_is_not_named_is_never_deleted() -> None:
    has = State(
        "ada", True, {**having().things, TEAM: Found({}), Key("user", "", "eve"): Found({})}
    )
    assert not plan(wanted("users: {ada: {}}\n"), has, prune=True).steps


def test_the_new_admin_comes_before_the_old_one_goes_and_oneself_last() -> None:
    before = wanted("teams: {vision: {members: {ada: admin, bob: member, eve: viewer}}}\n")
    after = wanted(f"teams: {{vision: {{members: {{ada: viewer, eve: member, bob: admin}}, "
                   f"queues: {{cpu: {QUEUE}}}}}}}\n")  # fmt: skip
    made = plan(after, having(before))
    assert verbs(made) == [
        "update member vision/bob", "update member vision/eve", "create queue vision/cpu",
        "update member vision/ada",
    ]  # fmt: skip


def test_who_makes_a_team_for_others_does_not_stay_in_it() -> None:
    for_others = wanted("teams: {vision: {members: {bob: admin}}}\n")
    assert verbs(plan(for_others, having()))[-1] == "delete member vision/ada"
    assert not plan(for_others, having()).pruned
    # Somebody who could not come back stays.
    assert verbs(plan(for_others, having(is_admin=False))) == [
        "create team vision", "create member vision/bob",
    ]  # fmt: skip


def test_what_cannot_be_done_is_said_before_anything_is_and_all_at_once() -> None:
    before = wanted(VISION)
    after = wanted(
        VISION.replace("local-process", "local-container").replace("bob: member", "bob: membr")
    )
    with pytest.raises(Conflict) as caught:
        plan(after, having(before))
    assert [str(one) for one in caught.value.violations] == [
        "-:2: member vision/bob: there is no role 'membr'; did you mean member?",
        "-:2: queue vision/cpu: resource is local-process and cannot be changed to local-container",
    ]


def test_a_section_that_may_not_be_read_is_not_taken_for_empty() -> None:
    has = State("ada", False, {TEAM: Found({})}, {("queue", "vision"): "no queue for you"})
    with pytest.raises(Conflict) as caught:
        plan(wanted(VISION), has)
    assert "cannot be read: no queue for you" in str(caught.value.violations[0])


VALUES = st.recursive(
    st.sampled_from([None, True, False, -1, 0, 1, 0.0, 1.0, 1.5, "", "a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner),
    max_leaves=10,
)


def strictly_same(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(strictly_same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(strictly_same, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and a == b


@given(VALUES, VALUES)
def test_two_values_differ_somewhere_unless_they_are_the_same(one: Any, other: Any) -> None:
    assert bool(list(difference(one, other))) == (not strictly_same(one, other))
