"""Policies as data: what is read, what a submission may narrow, which failure is tried again."""

from datetime import UTC, datetime, timedelta

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain import outcomes, sharing
from runyard.domain.errors import IllegalMove, Invalid
from runyard.domain.items import Failure, Item, ItemState, Lease, Parked
from runyard.domain.policy import QueuePolicy, json_schema
from runyard.domain.rules import NARROWABLE, RULES
from runyard.domain.runs import Run, RunState
from runyard.domain.workloads import Observation, Phase

T0 = datetime(2030, 1, 1, tzinfo=UTC)
LEASE = Lease("a", "t", T0)  # type: ignore[arg-type]
CLAIMED = Item("i", "q", ItemState.CLAIMED, 2, T0, "r", attempt=1, lease=LEASE)  # type: ignore[arg-type]
RUNNING = Run("r", RunState.RUNNING, T0, started_at=T0)  # type: ignore[arg-type]


def parse(**data):
    return QueuePolicy.parse(data)


def test_every_rule_is_a_field_and_every_field_a_rule():
    assert list(RULES) == list(QueuePolicy().to_json())
    assert set(QueuePolicy().narrow) == set(NARROWABLE)


def test_the_schema_takes_what_the_reader_takes():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    full = parse(
        priorities=True, max_running=4, retry=[{"exit_codes": [75], "at_most": 3}],
        images=["ghcr.io/*/*"], requeue_place="front",
    ).to_json()  # fmt: skip
    jsonschema.validate(full, schema)
    assert QueuePolicy.parse(full).to_json() == full


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        ({"max_runing": 1}, ["policy.max_runing"]),
        ({"max_running": -1, "aging": "x"}, ["policy.max_running", "policy.aging"]),
        ({"max_running": True}, ["policy.max_running"]),
        ({"priorities": 1}, ["policy.priorities"]),
        ({"requeue_place": "middle"}, ["policy.requeue_place"]),
        ({"images": "x"}, ["policy.images"]),
        ({"retry": {}}, ["policy.retry"]),
        ({"retry": [1]}, ["policy.retry.0"]),
        ({"retry": [{"exit_codes": [0], "at_most": 0}]},
         ["policy.retry.0.at_most", "policy.retry.0.exit_codes"]),
        ({"retry": [{"stages": ["nowhere"]}]}, ["policy.retry.0.stages"]),
        ({"retry": [{"after": 3}]}, ["policy.retry.0.after"]),
        ({"narrow": ["priorities"]}, ["policy.narrow"]),
    ],
)  # fmt: skip
def test_all_mistakes_are_told_at_once(data, paths):
    with pytest.raises(Invalid) as error:
        QueuePolicy.parse(data)
    assert [v.path for v in error.value.violations] == paths
    with pytest.raises(jsonschema.ValidationError):  # the schema is no laxer
        jsonschema.validate(data, json_schema())


@pytest.mark.parametrize(
    ("queue", "asked", "ok"),
    [
        ({}, {"run_timeout": 60}, True),
        ({"run_timeout": 60}, {"run_timeout": 30}, True),
        ({"run_timeout": 60}, {"run_timeout": 61}, False),
        ({"run_timeout": 60}, {"run_timeout": 0}, False),  # 0 is no limit: the widest
        ({}, {"max_requeues": 0}, True),
        ({"max_requeues": 2}, {"max_requeues": 3}, False),
        ({}, {"max_running": 1}, False),
        ({}, {"priorities": True}, False),
        ({"retry": [{"at_most": 2}]}, {"retry": []}, True),
        ({}, {"retry": [{"at_most": 2}]}, False),
        ({"narrow": []}, {"run_timeout": 60}, False),
        ({}, {"run_timeout": "60"}, False),
    ],
)
def test_a_submission_narrows_and_never_widens(queue, asked, ok):
    policy = QueuePolicy.parse(queue)
    if not ok:
        with pytest.raises(Invalid):
            policy.narrowed(asked)
        return
    narrowed = policy.narrowed(asked).to_json()
    assert narrowed == {**policy.to_json(), **asked}


@given(now=st.integers(0, 100), was=st.integers(1, 100), asked=st.integers(1, 100))
def test_what_was_narrowed_stays_within_a_policy_that_is_tightened_later(now, was, asked):
    if asked > was:
        return
    asked_for = {"run_timeout": asked}
    parse(run_timeout=was).narrowed(asked_for)
    later = parse(run_timeout=now).within(asked_for).run_timeout
    assert later == (asked if now == 0 else min(now, asked))


def test_images_are_matched_by_part():
    policy = parse(images=["ghcr.io/lab/*", "python:3.1?"])
    assert policy.allows_image("ghcr.io/lab/train:v1")
    assert policy.allows_image("python:3.11")
    for image in ("ghcr.io/lab/evil/train", "evil.io/ghcr.io/lab/x", "python:3.11-slim", "lab/x"):
        assert not policy.allows_image(image)
    assert QueuePolicy().allows_image("anything")


# -- retries ---------------------------------------------------------------------------------


def exited(code, policy, item=CLAIMED, run=RUNNING, reason=""):
    return outcomes.observed(item, run, Observation(Phase.EXITED, code, reason), policy, T0)


def test_an_exit_code_on_the_list_is_tried_again_with_backoff():
    policy = parse(retry=[{"exit_codes": [75], "at_most": 2, "backoff": 10, "backoff_factor": 3}])
    first = exited(75, policy)
    assert (first.item.state, first.item.parked) == (ItemState.PENDING, Parked.BACKOFF)
    assert first.item.ready_at == T0 + timedelta(seconds=10)
    assert first.run.state is RunState.PENDING
    assert first.run.reason == "retry 1 of 2 in 10 s, after: exit code 75"
    assert first.item.lease is None
    item = first.item.freed().leased(LEASE).claimed(T0)
    second = exited(75, policy, item, first.run.resumed())
    assert second.item.ready_at == T0 + timedelta(seconds=30)
    third = exited(75, policy, second.item.freed().leased(LEASE).claimed(T0), second.run.resumed())
    assert (third.item.state, third.run.state) == (ItemState.FINISHED, RunState.FAILED)
    assert exited(1, policy).item.state is ItemState.FINISHED
    assert exited(0, policy).run.state is RunState.FINISHED


def test_the_first_rule_that_matches_decides():
    policy = parse(retry=[
        {"reasons": ["out of memory"], "at_most": 1, "config": {"memory": "64g"}},
        {"at_most": 5},
    ])  # fmt: skip
    assert exited(137, policy, reason="Out of memory").retry.config == {"memory": "64g"}
    assert exited(1, policy).retry.at_most == 5


@pytest.mark.parametrize(("stages", "again"), [(["fetch"], True), (["build"], False), ([], True)])
def test_a_rule_may_ask_for_the_stage(stages, again):
    policy = parse(retry=[{"stages": stages, "at_most": 1}])
    became = outcomes.failed(CLAIMED, RUNNING, Failure("fetch", "no network"), policy, T0)
    assert (became.item.state is ItemState.PENDING) == again


def test_nothing_is_tried_again_against_its_owners_wish():
    policy = parse(retry=[{"at_most": 5}])
    stopped = RUNNING.asked_to_stop(T0)
    assert exited(1, policy, run=stopped).run.state is RunState.KILLED
    assert exited(1, policy, run=stopped).item.state is ItemState.FINISHED


def test_a_claim_of_a_silent_agent_is_never_tried_again_unseen():
    assert outcomes.expired(CLAIMED, RUNNING, T0).item.state is ItemState.FAILED


@given(retries=st.integers(0, 1000))
def test_backoff_never_passes_its_bound(retries):
    (rule,) = parse(retry=[{"backoff": 5, "backoff_factor": 10, "backoff_max": 600}]).retry
    assert timedelta(seconds=5) <= rule.delay(retries) <= timedelta(seconds=600)


# -- hosts, preemption -----------------------------------------------------------------------


def test_a_hosts_fault_gives_the_item_back_to_its_old_place_until_its_patience_ends():
    policy = parse(host_retries=2)
    item, run = CLAIMED, RUNNING
    for n in (1, 2):
        became = outcomes.host_failed(item, run, Failure("agent", "disk full"), policy, T0)
        assert (became.item.state, became.item.host_faults) == (ItemState.PENDING, n)
        assert became.item.enqueued_at == CLAIMED.enqueued_at
        assert became.item.retries == 0
        item, run = became.item.leased(LEASE).claimed(T0), became.run.resumed()
    last = outcomes.host_failed(item, run, Failure("agent", "disk full"), policy, T0)
    assert last.item.state is ItemState.FAILED


def preempted(policy, why="spot"):
    seen = Observation(Phase.PREEMPTED, None, why)
    return outcomes.observed(CLAIMED, RUNNING, seen, policy, T0 + timedelta(hours=1)).item


def test_requeueing_goes_to_the_end_or_the_front_and_can_be_limited_to_reasons():
    assert preempted(QueuePolicy()).enqueued_at == T0 + timedelta(hours=1)
    assert preempted(parse(requeue_place="front")).enqueued_at == T0
    only = parse(requeue_reasons=["spot"])
    assert preempted(only, "Spot interruption").state is ItemState.PENDING
    assert preempted(only, "evicted").state is ItemState.FAILED
    assert preempted(parse(max_requeues=0)).state is ItemState.FAILED


def test_a_held_item_is_not_leased():
    waiting = Item("i", "q", ItemState.PENDING, 2, T0, "r")  # type: ignore[arg-type]
    with pytest.raises(IllegalMove, match="held"):
        waiting.held("held by ann").leased(LEASE)
    assert waiting.held("x").freed().leased(LEASE).state is ItemState.LEASED
    with pytest.raises(IllegalMove):
        CLAIMED.held("x")


# -- shares ----------------------------------------------------------------------------------

AT = 1.9e9
uses = st.floats(1, 1e7)


@given(a=uses, b=uses, half_life=st.integers(60, 30 * 86_400), later=st.floats(0, 1e8))
def test_the_order_of_levels_is_the_order_of_use_and_never_ages(a, b, half_life, later):
    level_a = sharing.added(sharing.NEVER, a, half_life, AT)
    level_b = sharing.added(sharing.NEVER, b, half_life, AT)
    if abs(a - b) > 1e-3 * max(a, b):
        assert (a < b) == (level_a < level_b)
    now = sharing.use_at(level_a, half_life, AT)
    assert now == pytest.approx(a, rel=1e-3)
    assert sharing.use_at(level_a, half_life, AT + half_life) == pytest.approx(a / 2, rel=1e-3)
    after = sharing.use_at(level_a, half_life, AT + later)
    assert after == pytest.approx(a * 2 ** (-later / half_life), rel=1e-3, abs=1e-9)


def test_use_is_added_and_taken_back():
    level = sharing.added(sharing.NEVER, 100, 3600, AT)
    level = sharing.added(level, -40, 3600, AT)
    assert sharing.use_at(level, 3600, AT) == pytest.approx(60, rel=1e-4)
    assert sharing.added(level, -1000, 3600, AT) == sharing.NEVER


def order(n=8, **users):
    """Return who goes next, of users with what they used and how long their runs last."""
    found = []
    for user, (used, typical) in users.items():
        level = sharing.added(sharing.NEVER, used, 3600, AT) if used else sharing.NEVER
        standing = sharing.Standing(level, level, typical)
        places, _ = sharing.places(standing, n, half_life=3600, now=AT)
        found += [(place.turn, user) for place in places]
    return "".join(user for _, user in sorted(found))[:n]


def test_equal_users_alternate():
    assert order(a=(0, 60), b=(0, 60)) == "abababab"


def test_who_used_less_goes_first_until_they_are_even():
    assert order(a=(240, 60), b=(0, 60)) == "bbbbabab"


def test_who_runs_longer_jobs_starts_fewer():
    assert order(12, a=(0, 300), b=(0, 60)).count("a") == 2


def test_places_go_on_where_they_ended():
    first, standing = sharing.places(sharing.Standing(), 3, half_life=3600, now=AT)
    rest, _ = sharing.places(standing, 2, half_life=3600, now=AT)
    together, _ = sharing.places(sharing.Standing(), 5, half_life=3600, now=AT)
    assert first + rest == together
