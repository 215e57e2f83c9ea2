import pytest

from runyard.domain.items import ItemState
from runyard.domain.runs import RunState
from runyard.domain.status import Shown, shown

I, R = ItemState, RunState  # noqa: E741


@pytest.mark.parametrize(
    ("item", "run", "more", "seen"),
    [
        (I.PENDING, R.PENDING, {"queue_served": False}, "Idle"),
        (I.PENDING, R.PENDING, {}, "Queued"),
        (I.LEASED, R.PENDING, {}, "Starting"),
        (I.CLAIMED, R.PENDING, {}, "Starting"),
        (I.CLAIMED, R.PENDING, {"building": True}, "Building"),
        (I.CLAIMED, R.PENDING, {"building": True, "stopping": True}, "Stopping"),
        (I.CLAIMED, R.PENDING, {"building": True, "agent_live": False}, "Agent lost"),
        (I.CLAIMED, R.RUNNING, {}, "Running"),
        (I.CLAIMED, R.RUNNING, {"stopping": True}, "Stopping"),
        (I.CLAIMED, R.RUNNING, {"agent_live": False}, "Agent lost"),
        (I.PENDING, R.PREEMPTED, {}, "Preempted"),
        (I.FINISHED, R.FINISHED, {}, "Finished"),
        (I.FINISHED, R.FAILED, {}, "Failed"),
        (I.FINISHED, R.KILLED, {}, "Killed"),
        (I.FAILED, R.CRASHED, {}, "Crashed"),
        (I.CANCELLED, R.KILLED, {}, "Killed"),
        (None, R.RUNNING, {}, "Running"),
        (None, R.PENDING, {}, "Starting"),
        (None, R.PREEMPTED, {}, "Preempted"),
        (I.FINISHED, R.RUNNING, {}, "Running"),  # resumed by its program
        (I.FAILED, R.RUNNING, {"stopping": True}, "Stopping"),
    ],
)
def test_what_people_see(item, run, more, seen):
    assert shown(item, run, **more) == seen


def test_every_pair_of_states_is_shown_as_something():
    for item in [None, *ItemState]:
        for run in RunState:
            assert shown(item, run) in set(Shown)
