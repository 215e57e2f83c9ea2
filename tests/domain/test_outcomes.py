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


@pytest.mark.parametrize("state", RunState)
def test_only_the_program_goes_on_after_an_end(state):
    over = T0 if state.is_final else None
    run = replace(RUNNING, state=state, ended_at=over, stop_requested_at=over)
    run = replace(run, exit_code=1, reason="why", said_exit=1)
    began = run.began(T0)
    assert (began.state, began.ended_at, began.said_exit) == (RunState.RUNNING, None, None)
    if state.is_final:
        assert (began.exit_code, began.reason, began.stop_requested_at) == (None, "", None)


@pytest.mark.parametrize(
    ("said", "seen", "end", "exit_code"),
    [
        (0, Observation(Phase.EXITED, 1), ("FINISHED", "finished"), 0),
        (5, Observation(Phase.EXITED, 0), ("FINISHED", "failed"), 5),
        (0, Observation(Phase.GONE), ("FINISHED", "finished"), 0),
        (5, Observation(Phase.GONE), ("FINISHED", "failed"), 5),
        (0, Observation(Phase.PREEMPTED), ("FINISHED", "finished"), 0),
        (5, Observation(Phase.PREEMPTED), ("PENDING", "preempted"), None),
    ],
)
def test_the_programs_word_counts_over_what_is_seen(said, seen, end, exit_code):
    told = outcomes.said_end(CLAIMED, RUNNING, said, T0, is_ours=True)
    assert (told.item, told.run.state) == (CLAIMED, RunState.RUNNING)
    outcome = outcomes.observed(told.item, told.run, seen, POLICY, T0)
    assert (outcome.item.state, outcome.run.state) == end
    assert outcome.run.exit_code == exit_code


def test_what_was_said_outlives_an_agent_that_falls_silent():
    told = outcomes.said_end(CLAIMED, RUNNING, 0, T0, is_ours=True)
    outcome = outcomes.expired(told.item, told.run, T0)
    assert (outcome.item.state, outcome.run.state) == (ItemState.FINISHED, RunState.FINISHED)


WORDS = st.sampled_from(["began", "heard", "end 0", "end 1", "silence", "stop", "preempting"])
SEEN = st.sampled_from([*Phase, "claim", "expire", "lease"])


@given(st.booleans(), st.lists(WORDS | SEEN, max_size=12))
def test_two_reporters_in_any_order_never_raise_and_agree_at_the_end(is_ours, told):
    waits = replace(CLAIMED, state=ItemState.PENDING, lease=None, attempt=0)
    at = outcomes.Outcome(waits, Run("r", RunState.PENDING, T0))  # type: ignore[arg-type]
    preempting = False
    for word in told:
        preempting = preempting or word == "preempting"
        at = follow(at, word, is_ours=is_ours, preempting=preempting)
        consistent(at)
    for word in ("lease", "claim", "began", "end 0"):
        at = follow(at, word, is_ours=is_ours, preempting=preempting)
    if at.item.state is ItemState.CLAIMED:  # an agent of ours, who has yet to see the end
        at = follow(at, Phase.EXITED, is_ours=is_ours, preempting=preempting)
    consistent(at)
    assert at.item.state.is_final
    assert at.run.state in (RunState.FINISHED, RunState.KILLED)


def consistent(at):
    assert at.run.state.is_final == (at.run.ended_at is not None)
    assert at.item.state.is_final == (at.item.ended_at is not None)
    assert not at.run.state.is_final or at.item.state.is_final


def follow(at, word, *, is_ours, preempting):
    """What the services do with a word, or with what an agent sees."""
    item, run = at.item, at.run
    alone = item.state.is_final
    match word:
        case "lease" if item.state is ItemState.PENDING:
            return replace(at, item=replace(item.freed(), parked=None).leased(Lease("a", "t", T0)))  # type: ignore[arg-type]
        case "claim" if item.state is ItemState.LEASED:
            return outcomes.claimed(item, run, T0)
        case "expire" if item.lease is not None:
            return outcomes.expired(item, run, T0)
        case "began":
            return replace(at, run=run.began(T0))
        case "heard":
            return replace(at, run=outcomes.heard(run, T0))
        case "stop" if not run.state.is_final and item.state is not ItemState.PENDING:
            return replace(at, run=run.asked_to_stop(T0))
        case "end 0" | "end 1":
            code = int(word[-1])
            if alone:
                return replace(at, run=outcomes.ended_alone(run, code, T0, preempting=preempting))
            return outcomes.said_end(item, run, code, T0, is_ours=is_ours, preempting=preempting)
        case "silence" if alone:
            return replace(at, run=outcomes.silent_alone(run, T0, preempting=preempting))
        case "silence" if not (is_ours and item.state is ItemState.CLAIMED):
            return outcomes.fell_silent(item, run, T0, preempting=preempting)
        case Phase() if item.state is ItemState.CLAIMED and is_ours:
            return outcomes.observed(item, run, Observation(word, 1), POLICY, T0)
    return at


def test_every_state_can_be_reached_and_left_unless_final():
    reached = set().union(*items.MOVES.values())
    assert reached == set(ItemState)
    assert {s for s in ItemState if s.is_final} == {"FINISHED", "FAILED", "CANCELLED"}
