"""Where an item's time went, told from its events: each way that an item can go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from runyard.domain.timeline import (
    Ending,
    Event,
    Part,
    Stretch,
    Try,
    ended_as,
    failure_class,
    stretches,
)

T0 = datetime(2030, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def life(
    *moves: tuple[float, str] | tuple[float, str, str],
    tries: dict[int, Try] | None = None,
    state: str = "finished",
    expired: bool = False,
) -> list[Stretch]:
    """Tell a life from (second, state, detail)."""
    events, was = [], None
    for seq, (second, became, *detail) in enumerate(moves, 1):
        events.append(Event(seq, at(second), was, became, *detail))
        was = became
    return stretches(events, tries or {}, state, is_expired=expired)


def told(found: list[Stretch]) -> list[tuple[str, float, float, int, str]]:
    return [
        (s.part, (s.begin - T0).total_seconds(), (s.end - T0).total_seconds(), s.attempt, s.ending)
        for s in found
    ]


def one(n: int, claimed: float, started: float | None, **more: object) -> Try:
    return Try(n, "a", at(claimed), None if started is None else at(started), **more)  # type: ignore[arg-type]


def test_an_item_that_goes_through() -> None:
    found = life(
        (0, "PENDING"), (5, "LEASED"), (6, "CLAIMED"), (30, "FINISHED"),
        tries={1: one(1, 6, 10, phase="exited", exit_code=0)},
    )  # fmt: skip
    assert told(found) == [
        ("queued", 0, 5, 1, "went_on"),
        ("leased", 5, 6, 1, "went_on"),
        ("starting", 6, 10, 1, "went_on"),
        ("running", 10, 30, 1, "finished"),
    ]
    assert [s.seq for s in found] == [2, 3, 4, 4]
    assert {s.waiting_since for s in found} == {T0}


def test_what_has_not_ended_is_left_out() -> None:
    assert told(life((0, "PENDING"))) == []
    found = life((0, "PENDING"), (5, "LEASED"), (6, "CLAIMED"), state="running")
    assert [s.part for s in found] == ["queued", "leased"]


def test_a_preempted_item_has_each_part_twice() -> None:
    found = life(
        (0, "PENDING"), (1, "LEASED"), (2, "CLAIMED"), (9, "PENDING", "requeued 1"),
        (20, "LEASED"), (21, "CLAIMED"), (40, "FINISHED"),
        tries={1: one(1, 2, 3, phase="preempted"), 2: one(2, 21, 22, phase="exited", exit_code=1)},
        state="failed",
    )  # fmt: skip
    assert told(found)[3:] == [
        ("running", 3, 9, 1, "preempted"),
        ("queued", 9, 20, 2, "went_on"),
        ("leased", 20, 21, 2, "went_on"),
        ("starting", 21, 22, 2, "went_on"),
        ("running", 22, 40, 2, "failed"),
    ]
    assert [s.waiting_since for s in found if s.part is Part.LEASED] == [T0, at(9)]


def test_a_lease_that_was_given_back_goes_on_waiting_since_the_beginning() -> None:
    found = life(
        (0, "PENDING"), (1, "LEASED"), (2, "PENDING"), (3, "LEASED"), (4, "CLAIMED"),
        (9, "FINISHED"), tries={1: one(1, 4, 5, phase="exited", exit_code=0)},
    )  # fmt: skip
    assert told(found)[1:3] == [("leased", 1, 2, 1, "given_back"), ("queued", 2, 3, 1, "went_on")]
    assert {s.waiting_since for s in found} == {T0}


def test_holding_and_backing_off_is_waiting() -> None:
    found = life(
        (0, "PENDING"), (1, "PENDING", "by ann"), (5, "PENDING", "released"), (6, "CANCELLED"),
        state="killed",
    )  # fmt: skip
    assert told(found) == [("queued", 0, 6, 1, "killed")]


@pytest.mark.parametrize(
    ("detail", "ending"),
    [
        ("retry 1 of 3 in 5 s, after: exit code 1", Ending.RETRIED),
        ("retry 1", Ending.RETRIED),
        ("given back: the agent's host was at fault", Ending.GIVEN_BACK),
    ],
)
def test_why_an_item_returned(detail: str, ending: Ending) -> None:
    found = life(
        (0, "PENDING"), (1, "LEASED"), (2, "CLAIMED"), (3, "PENDING", detail),
        tries={1: one(1, 2, None)},
    )  # fmt: skip
    assert told(found)[-1] == ("starting", 2, 3, 1, ending)


def test_claimed_and_ended_in_one_breath_is_an_attempt() -> None:
    found = life(
        (0, "PENDING"), (1, "LEASED"), (2, "FINISHED"),
        tries={1: one(1, 2, 2, phase="exited", exit_code=0)},
    )  # fmt: skip
    assert [(s.part, s.attempt) for s in found] == [
        ("queued", 1), ("leased", 1), ("starting", 1), ("running", 1),
    ]  # fmt: skip


def test_an_item_that_waited_too_long_expired() -> None:
    assert told(life((0, "PENDING"), (60, "CANCELLED"), state="killed", expired=True)) == [
        ("queued", 0, 60, 1, "expired")
    ]


def test_clocks_that_disagree_make_no_time_negative() -> None:
    found = life(
        (0, "PENDING"), (-1, "LEASED"), (2, "CLAIMED"), (3, "FINISHED"),
        tries={1: one(1, 2, 99, phase="exited", exit_code=0)},
    )  # fmt: skip
    assert all(s.end >= s.begin for s in found)
    assert all(b.begin >= a.begin for a, b in pairwise(found[2:]))


@pytest.mark.parametrize(
    ("ending", "stage", "last", "expected"),
    [
        (Ending.FINISHED, None, one(1, 0, 1, phase="exited", exit_code=0), None),
        (Ending.KILLED, None, one(1, 0, 1, phase="exited", exit_code=143), None),
        (Ending.FAILED, None, one(1, 0, 1, phase="exited", exit_code=3), ("run", "exit_code")),
        (Ending.FAILED, None, one(1, 0, 1, phase="exited", exit_code=137), ("run", "signal")),
        (Ending.FAILED, None, one(1, 0, 1, phase="exited", exit_code=-9), ("run", "signal")),
        (Ending.FAILED, None, one(1, 0, 1, phase="exited"), ("run", "exit_unknown")),
        (Ending.FAILED, "run", one(1, 0, 1, phase="preempted"), ("run", "preempted")),
        (Ending.CRASHED, "run", one(1, 0, 1, phase="gone"), ("run", "gone")),
        (Ending.CRASHED, "agent", one(1, 0, 1, phase="running"), ("agent", "agent_lost")),
        (Ending.FAILED, "fetch", one(1, 0, None), ("fetch", "not_started")),
        (Ending.FAILED, "run", one(1, 0, 1, phase="running"), ("run", "agent_error")),
        (Ending.FAILED, "<script>", one(1, 0, None), ("run", "not_started")),
        (Ending.FAILED, "agent", None, ("agent", "never_claimed")),
    ],
)
def test_a_failure_has_a_stage_and_a_reason_from_a_list(
    ending: Ending, stage: str | None, last: Try | None, expected: object
) -> None:
    assert failure_class(ending, stage, last) == expected


@pytest.mark.parametrize(
    ("run", "item", "ending"),
    [
        ("finished", "FINISHED", Ending.FINISHED),
        ("failed", "FINISHED", Ending.FAILED),
        ("running", "FINISHED", Ending.FINISHED),  # its program goes on, resumed by hand
        ("running", "FAILED", Ending.FAILED),
        ("preempted", "CANCELLED", Ending.KILLED),
    ],
)
def test_how_it_ended_is_known_also_when_its_run_goes_on(
    run: str, item: str, ending: Ending
) -> None:
    assert ended_as(run, item) is ending
