"""
The life of a run by its program's own word: its start, its end, and its silence.

The agent that holds the run's item, if there is one, tells of the same run (`services.moving`);
`domain.outcomes` says what becomes of both. A run is read with its item where that may still move,
in the order in which agents' moves lock them; its stream is written after both.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from runyard.domain import outcomes
from runyard.domain.errors import Conflict
from runyard.domain.items import ItemState, RunId
from runyard.domain.outcomes import Outcome
from runyard.domain.runs import Run, RunState
from runyard.services import following
from runyard.services.call import Call
from runyard.store import items
from runyard.store.db import Row
from runyard.store.items import Pair
from runyard.store.tracking import runs as rows


def began(call: Call, run_pk: str) -> None:
    """Note that a run's program speaks: it runs, also if it had ended."""
    _move(
        call,
        run_pk,
        with_item=lambda pair, _: Outcome(pair.item, pair.run.began(call.now)),
        alone=lambda run: run.began(call.now),
    )
    rows.expect(call.tx, run_pk, call.now)


def heard(call: Call, run_pk: str) -> None:
    """Note that a program that was given up speaks on. For streams that are not `live`: what is
    left over of one whose end was told changes nothing."""
    run = _move(
        call,
        run_pk,
        with_item=lambda pair, _: Outcome(pair.item, outcomes.heard(pair.run, call.now)),
        alone=lambda run: outcomes.heard(run, call.now),
    )
    if run is not None and run.state is RunState.RUNNING and run.said_exit is None:
        rows.expect(call.tx, run_pk, call.now)


def said_end(call: Call, run_pk: str, exit_code: int, *, preempting: bool = False) -> None:
    """Note that a run's program has told its end. Repeatable.

    `preempting`: it says with its end, or has said before, that it is being preempted.
    """
    known = rows.life(call.tx, run_pk)
    if known is None:
        return
    preempting = preempting or bool(known["preempting"])
    _move(
        call,
        run_pk,
        known=known,
        with_item=lambda pair, ours: outcomes.said_end(
            pair.item,
            pair.run,
            exit_code,
            call.now,
            is_ours=ours,
            preempting=preempting,
            policy=pair.policy,
        ),
        alone=lambda run: outcomes.ended_alone(run, exit_code, call.now, preempting=preempting),
    )
    rows.expect_no_more(call.tx, run_pk)


def relabel(call: Call, run_pk: str, to: RunState) -> None:
    """Follow a person's word on a run: it is to be run again, or given up.

    Raises:
        IllegalMove: there is no such move. Conflict: its item still moves, and says what it is.
    """

    def refuse(pair: Pair, _: bool) -> Outcome:
        raise Conflict(
            f"the run's item is {pair.item.state}: it decides the run's state",
            hint="stop the run instead",
        )

    why = f"set to {to} by {call.actor.name}"
    _move(call, run_pk, with_item=refuse, alone=lambda run: run.relabelled(to, why, call.now))
    rows.expect_no_more(call.tx, run_pk)


def abandon(call: Call, run_pk: str) -> None:
    """End a run that is being deleted, unless an agent of ours will see its end."""
    why = f"deleted by {call.actor.name}"
    _move(
        call,
        run_pk,
        with_item=lambda pair, ours: outcomes.abandoned(
            pair.item, pair.run, why, call.now, is_ours=ours
        ),
        alone=lambda run: run if run.state.is_final else run.killed(why, call.now),
    )
    rows.expect_no_more(call.tx, run_pk)


def crash_silent(call: Call, silence: timedelta) -> int:
    """End runs whose programs were not heard of for so long, where no agent of ours watches.

    Return how many were looked at; call it until there are none.
    """
    until = call.now - silence
    found = rows.silent(call.tx, until)
    for run_pk in found:
        _crash_silent(call, run_pk, until)
    return len(found)


def _crash_silent(call: Call, run_pk: str, until: datetime) -> None:
    known = rows.life(call.tx, run_pk)
    preempting = known is not None and bool(known["preempting"])

    # It may have spoken since it was found: that is looked at when run and item are locked.
    def with_item(pair: Pair, ours: bool) -> Outcome:
        if not rows.still_silent(call.tx, run_pk, until) or ours:
            return Outcome(pair.item, pair.run)
        return outcomes.fell_silent(pair.item, pair.run, call.now, preempting=preempting)

    def alone(run: Run) -> Run:
        if not rows.still_silent(call.tx, run_pk, until):
            return run
        return outcomes.silent_alone(run, call.now, preempting=preempting)

    _move(call, run_pk, known=known, with_item=with_item, alone=alone)


def _move(
    call: Call,
    run_pk: str,
    *,
    with_item: Callable[[Pair, bool], Outcome],
    alone: Callable[[Run], Run],
    known: Row | None = None,
) -> Run | None:
    """Move a run, with its item where that may still move; return what became of it. `known` is
    the run's `life`, where it was read already."""
    known = known or rows.life(call.tx, run_pk)
    if known is None:
        return None
    if known["item_id"] is None or ItemState(known["item_state"]).is_final:
        run = items.locked_run(call.tx, RunId(run_pk))
        return None if run is None else _save_alone(call, run, alone(run))
    pair = items.locked(call.tx, [known["item_id"]])[known["item_id"]]
    if pair.item.state.is_final:  # it has ended while its lock was waited for
        return _save_alone(call, pair.run, alone(pair.run))
    agent = pair.item.lease.agent_id if pair.item.lease else None
    ours = agent is not None and not rows.is_clients_own(call.tx, agent)
    became = with_item(pair, ours)
    items.save(call.tx, [(pair, became)], now=call.now, actor=call.actor.name)
    following.after(call, [(pair, became)])
    return became.run


def _save_alone(call: Call, was: Run, became: Run) -> Run:
    items.save_runs(call.tx, [(was, became)])
    return became
