"""
What an agent's observation means for the item and for its run: one decision, both together.

Pure, so that a test can go through every phase, state and wish in a table. The services
only load, ask here, and save.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from runyard.domain.errors import Invalid
from runyard.domain.items import MOVES, Failure, Item, ItemState, Stage
from runyard.domain.policy import QueuePolicy
from runyard.domain.retries import RetryRule
from runyard.domain.runs import Run, RunState
from runyard.domain.workloads import Observation, Phase

_NO_RULES: Final = QueuePolicy()


@dataclass(frozen=True, slots=True)
class Outcome:
    """An item and its run, moved together. `retry` is the rule that runs the item again."""

    item: Item
    run: Run
    retry: RetryRule | None = None


def claimed(item: Item, run: Run, now: datetime) -> Outcome:
    return Outcome(item.claimed(now), run.resumed())


def observed(
    item: Item, run: Run, seen: Observation, policy: QueuePolicy, now: datetime
) -> Outcome:
    """Follow one observation of the item's workload."""
    match seen.phase:
        case Phase.QUEUED:
            return Outcome(item, run)
        case Phase.RUNNING:
            return Outcome(item.started(now, policy.run_timeout), run.started(now))
        case Phase.EXITED:
            return _exited(item, run.started(now), seen, policy, now)
        case Phase.GONE if run.said_exit is not None:  # the program has told its end
            return _exited(item, run.started(now), seen, policy, now)
        case Phase.GONE:
            why = seen.reason or "the backend no longer knows the workload"
            failure = Failure(Stage.RUN, why)
            again = _again(item, run, failure, None, policy, now)
            return again or Outcome(item.failed(failure, now), run.crashed(why, now))
        case Phase.PREEMPTED if run.said_exit == 0:  # it came too late: all is done
            return _exited(item, run.started(now), seen, policy, now)
        case Phase.PREEMPTED:
            return _preempted(item, run, seen.reason or "preempted", policy, now)


def said_end(
    item: Item,
    run: Run,
    exit_code: int,
    now: datetime,
    *,
    is_ours: bool,
    preempting: bool = False,
    policy: QueuePolicy = _NO_RULES,
) -> Outcome:
    """Follow the program's word on its end. `is_ours`: an agent of ours would see the end, too.

    The tracking client's own agent tells no end, so the item ends by the program's, or is retried
    as its queue's policy says. What waits was run before, or was started by hand, and will be run.
    """
    if item.state is not ItemState.CLAIMED:
        return Outcome(item, run.said(exit_code) if run.state is RunState.RUNNING else run)
    if is_ours:
        return Outcome(item, run.started(now).said(exit_code))
    if exit_code != 0 and not preempting:
        seen = Observation(Phase.EXITED, exit_code)
        return _exited(item, run.started(now).said(exit_code), seen, policy, now)
    return Outcome(item.finished(now), ended_alone(run, exit_code, now, preempting=preempting))


def ended_alone(run: Run, exit_code: int, now: datetime, *, preempting: bool = False) -> Run:
    """End a run of which nobody but its program reports. Repeatable."""
    if run.state.is_final and run.state is not RunState.CRASHED:
        return run
    if run.state is RunState.PREEMPTED and exit_code != 0:
        return run
    running = run if run.state is RunState.RUNNING else run.began(now)
    if preempting and exit_code != 0 and run.stop_requested_at is None:
        return running.preempted(f"preempted; exit code {exit_code}")
    return running.said(exit_code).ended(exit_code, "", now)


def abandoned(item: Item, run: Run, why: str, now: datetime, *, is_ours: bool) -> Outcome:
    """Follow the deletion of a run. An agent of ours has been asked to stop it, and will tell."""
    if item.state is ItemState.CLAIMED and not is_ours:
        return Outcome(item.finished(now), run.killed(why, now))
    return Outcome(item, run)


def heard(run: Run, now: datetime) -> Run:
    """Take back a crash: its program speaks. Another end stays one, and what waits, waits."""
    return run.began(now) if run.state is RunState.CRASHED else run


def fell_silent(item: Item, run: Run, now: datetime, *, preempting: bool = False) -> Outcome:
    """Follow the silence of a program whose item no agent of ours holds."""
    became = silent_alone(run, now, preempting=preempting)
    if item.state is not ItemState.CLAIMED:  # it waits: what is silent was started by hand
        return Outcome(item, run if item.state in MOVES else became)
    if became.state is RunState.CRASHED:
        return Outcome(item.failed(Failure(Stage.RUN, became.reason), now), became)
    return Outcome(item.finished(now), became) if became != run else Outcome(item, run)


def silent_alone(run: Run, now: datetime, *, preempting: bool = False) -> Run:
    """Follow the silence of a program that nobody watches."""
    if run.state is not RunState.RUNNING:
        return run
    if preempting and run.stop_requested_at is None:
        return run.preempted("preempted; it fell silent")
    return run.crashed("its program fell silent", now)


def failed(item: Item, run: Run, failure: Failure, policy: QueuePolicy, now: datetime) -> Outcome:
    """Fail an item, or run it again if the policy says so."""
    return _again(item, run, failure, None, policy, now) or _failed(item, run, failure, now)


def host_failed(
    item: Item, run: Run, failure: Failure, policy: QueuePolicy, now: datetime
) -> Outcome:
    """Give an item back because its agent's host was at fault, not the job."""
    if run.stop_requested_at is not None or item.host_faults >= policy.host_retries:
        return failed(item, run, failure, policy, now)
    why = f"an agent could not start it: {failure.message}"
    return Outcome(_renewed(item.spared(), policy, now), run.retried(why))


def cancelled(item: Item, run: Run, now: datetime, *, why: str = "") -> Outcome:
    return Outcome(item.cancelled(now), run.killed(why or run.reason or "cancelled", now))


def released(item: Item, run: Run, now: datetime) -> Outcome:
    """Nothing was begun: back to the queue, unless its owner no longer wants it."""
    if run.stop_requested_at is not None:
        return cancelled(item, run, now)
    return Outcome(item.released(), run)


def expired(item: Item, run: Run, now: datetime) -> Outcome:
    """An agent fell silent: a lease goes back to the queue, a claim fails.

    No retry here: nobody has seen that the workload is gone, and two must never run.
    """
    if item.state is ItemState.LEASED:
        return released(item, run, now)
    if run.said_exit is not None:
        return Outcome(item.finished(now), run.ended(run.said_exit, "", now))
    why = "the agent stopped reporting"
    return Outcome(item.failed(Failure(Stage.AGENT, why), now), run.crashed(why, now))


def overwaited(item: Item, run: Run, now: datetime) -> Outcome:
    """Its time to live in the queue is over."""
    # What it was allowed, not what it waited: whoever looks comes by a little later.
    allowed = round(((item.expires_at or now) - item.enqueued_at).total_seconds())
    return cancelled(item, run, now, why=f"not started within {allowed} s (wait_timeout)")


def expiry(policy: QueuePolicy, now: datetime) -> datetime | None:
    """Return when an item that is queued at `now` has waited too long."""
    return now + timedelta(seconds=policy.wait_timeout) if policy.wait_timeout else None


def _exited(item: Item, run: Run, seen: Observation, policy: QueuePolicy, now: datetime) -> Outcome:
    # The program's own word counts: a job that is done may still be torn down badly.
    exit_code = seen.exit_code if run.said_exit is None else run.said_exit
    if exit_code != 0:
        code = "exit code unknown" if exit_code is None else f"exit code {exit_code}"
        failure = Failure(Stage.RUN, f"{seen.reason}; {code}" if seen.reason else code)
        if again := _again(item, run, failure, exit_code, policy, now):
            return again
    return Outcome(item.finished(now), run.ended(exit_code, seen.reason, now))


def _again(
    item: Item,
    run: Run,
    failure: Failure,
    exit_code: int | None,
    policy: QueuePolicy,
    now: datetime,
) -> Outcome | None:
    """Return the outcome of a retry; None if there is none, as for what was asked to stop."""
    if run.stop_requested_at is not None or item.state is not ItemState.CLAIMED:
        return None
    rule = policy.retry_of(failure, exit_code, item.retries)
    if rule is None:
        return None
    wait = rule.delay(item.retries)
    when = f" in {wait.total_seconds():g} s" if wait else ""
    why = f"retry {item.retries + 1} of {rule.at_most}{when}, after: {failure.message}"
    back = _renewed(item.retried(now, wait, why), policy, now + wait)
    return Outcome(back, run.retried(why), rule)


def _failed(item: Item, run: Run, failure: Failure, now: datetime) -> Outcome:
    return Outcome(item.failed(failure, now), run.failed(failure.message, now))


def _preempted(item: Item, run: Run, why: str, policy: QueuePolicy, now: datetime) -> Outcome:
    if run.stop_requested_at is not None:  # the owner wanted it gone: it is
        return Outcome(item.finished(now), run.killed(run.reason or why, now))
    if not policy.requeues_after(why):
        told = f"{why}: the queue's requeue_reasons do not name this"
        return _failed(item, run, Failure(Stage.RUN, told), now)
    to_end = policy.requeue_place == "end"
    try:
        back = item.requeued(now, at_most=policy.max_requeues, to_end=to_end)
    except Invalid as error:
        return _failed(item, run, Failure(Stage.RUN, f"{why}: {error.message}"), now)
    return Outcome(_renewed(back, policy, now), run.preempted(why))


def _renewed(item: Item, policy: QueuePolicy, now: datetime) -> Item:
    """Let the time to live in the queue begin anew: it waits for another reason now."""
    return replace(item, expires_at=expiry(policy, now))
