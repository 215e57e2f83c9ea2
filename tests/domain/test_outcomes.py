"""Every phase in every state, with and without the owner's wish to stop."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain import items, outcomes, runs
from runyard.domain.errors import IllegalMove
from runyard.domain.items import Failure, Item, ItemState, Lease
from runyard.domain.policy import QueuePolicy
from runyard.domain.runs import Run, RunState
from runyard.domain.workloads import Observation, Phase

T0 = datetime(2030, 1, 1, tzinfo=UTC)
POLICY = QueuePolicy()
CLAIMED = Item("i", "q", ItemState.CLAIMED, 2, T0, "r", attempt=1, lease=Lease("a", "t", T0))  # type: ignore[arg-type]
RUNNING = Run("r", RunState.RUNNING, T0, started_at=T0)  # type: ignore[arg-type]


def after(seen, run=RUNNING, item=CLAIMED, policy=POLICY):
    outcome = outcomes.observed(item, run, seen, policy, T0)
    return outcome.item.state, outcome.run.state


@pytest.mark.parametrize(
    ("seen", "as_it_is", "stop_wanted"),
    [
        (Observation(Phase.QUEUED), ("CLAIMED", "running"), ("CLAIMED", "running")),
        (Observation(Phase.RUNNING), ("CLAIMED", "running"), ("CLAIMED", "running")),
        (Observation(Phase.EXITED, 0), ("FINISHED", "finished"), ("FINISHED", "killed")),
        (Observation(Phase.EXITED, 3), ("FINISHED", "failed"), ("FINISHED", "killed")),
        (Observation(Phase.EXITED, None), ("FINISHED", "failed"), ("FINISHED", "killed")),
        (Observation(Phase.GONE), ("FAILED", "crashed"), ("FAILED", "killed")),
        (Observation(Phase.PREEMPTED), ("PENDING", "preempted"), ("FINISHED", "killed")),
    ],
)
def test_what_is_seen_decides_both_together(seen, as_it_is, stop_wanted):
    assert after(seen) == as_it_is
    assert after(seen, replace(RUNNING, stop_requested_at=T0)) == stop_wanted


def test_an_end_seen_before_any_running_counts_as_a_start():
    pending = Run("r", RunState.PENDING, T0)
    outcome = outcomes.observed(CLAIMED, pending, Observation(Phase.EXITED, 0), POLICY, T0)
    assert (outcome.run.state, outcome.run.started_at) == (RunState.FINISHED, T0)


def test_the_sixth_preemption_fails():
    often = replace(CLAIMED, requeues=5)
    assert after(Observation(Phase.PREEMPTED), item=often) == ("FAILED", "failed")


def test_a_failure_of_a_run_that_was_to_stop_is_no_failure_of_the_run():
    wanted = replace(RUNNING, stop_requested_at=T0)
    failure = Failure("run", "stopped before it started")
    outcome = outcomes.failed(CLAIMED, wanted, failure, POLICY, T0)
    assert (outcome.item.state, outcome.run.state) == (ItemState.FAILED, RunState.KILLED)


@given(st.sampled_from(list(ItemState)), st.sampled_from(list(ItemState)))
def test_items_move_along_the_table_only(was, to):
    item = replace(CLAIMED, state=was)
    if to in items.MOVES.get(was, ()):
        assert item._move(to).state is to
    else:
        with pytest.raises(IllegalMove):
            item._move(to)


@given(st.sampled_from(list(RunState)), st.sampled_from(list(RunState)))
def test_runs_move_along_the_table_only(was, to):
    run = replace(RUNNING, state=was)
    if to in runs.MOVES.get(was, ()):
        assert run._move(to).state is to
    else:
        with pytest.raises(IllegalMove):
            run._move(to)


def test_only_a_guess_may_be_taken_back():
    ends = [s for s in RunState if s.is_final and s in runs.MOVES]
    assert ends == [RunState.CRASHED]


def test_every_state_can_be_reached_and_left_unless_final():
    reached = set().union(*items.MOVES.values())
    assert reached == set(ItemState)
    assert {s for s in ItemState if s.is_final} == {"FINISHED", "FAILED", "CANCELLED"}
