"""What attempts used, cut exactly at the edges of windows, days and months."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runyard.domain.access import Actor
from runyard.domain.errors import Invalid, NotFound
from runyard.domain.usage import Figures, Group, Interval, Window
from runyard.services import agents, queues, submitting, sweeping, usage
from runyard.services.usage import Report
from runyard.store import usage as rows
from runyard.store.db import Database
from runyard.wire import agent as wire
from tests.services.conftest import T0, Yard
from tests.store.test_plans import plan

HOUR = 3_600_000
HANDLE = wire.HandleData("local-container", 1, {"id": "c"})


def at(**after: float) -> datetime:
    return T0 + timedelta(**after)


def report(
    yard: Yard,
    since: datetime = T0,
    until: datetime | None = None,
    *groups: Group,
    interval: Interval | None = None,
    actor: Actor | None = None,
    **more: Any,
) -> Report:
    window = Window(since, until or T0 + timedelta(days=30), interval)
    return usage.report(yard.call(actor), window, groups, **more)


def run(yard: Yard, who: wire.Registered, *, starts: float, lasts: float, gpus: int = 0) -> str:
    """Claim the next item, start it after `starts` hours and end it after `lasts` more."""
    held = yard.claimed(who)
    to: dict[str, str] = {"item_id": held.item_id, "token": held.token}
    yard.later(hours=starts)
    keep = wire.Keep(**to, handle=HANDLE, gpus=gpus)  # type: ignore[arg-type]
    _ok(yard, who, held, keep, wire.Observe(**to, phase="running"))  # type: ignore[arg-type]
    yard.later(hours=lasts)
    _ok(yard, who, held, wire.Observe(**to, phase="exited", exit_code=0))  # type: ignore[arg-type]
    return held.item_id


def _ok(yard: Yard, who: wire.Registered, held: wire.Held, *moves: wire.AnyMove) -> None:
    """Make moves; an agent would have renewed its claim all the time."""
    yard.tx.connection.exec_driver_sql(
        f"UPDATE items SET lease_expires_at = 9999999999999 WHERE id = '{held.item_id}'"
    )
    assert [m.code for m in yard.move(who, *moves)] == [""] * len(moves)


def test_an_attempt_is_held_from_the_claim_and_runs_from_its_start(yard: Yard) -> None:
    who = yard.register()
    yard.submit("r")
    run(yard, who, starts=1, lasts=2, gpus=4)
    made = report(yard)
    assert made.total == Figures(1, 1, 3 * HOUR, 2 * HOUR, 12 * HOUR)
    assert made.lines == {(None, ()): made.total}


def test_nothing_was_used_where_nothing_ran(yard: Yard) -> None:
    yard.submit("r")
    assert report(yard, T0, None, Group.USER).lines == {}


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (-10, 0, Figures()),
        (-10, 1, Figures(1, 1, HOUR, 0, 2 * HOUR)),
        (-10, 2, Figures(1, 1, 2 * HOUR, HOUR, 4 * HOUR)),
        (0, 3, Figures(1, 1, 3 * HOUR, 2 * HOUR, 6 * HOUR)),
        (1, 2, Figures(0, 0, HOUR, HOUR, 2 * HOUR)),
        (2, 9, Figures(0, 0, HOUR, HOUR, 2 * HOUR)),
        (3, 9, Figures()),
    ],
)
@pytest.mark.parametrize("interval", [None, Interval.DAY, Interval.MONTH])
def test_an_attempt_counts_with_its_part_of_the_window(
    yard: Yard, since: int, until: int, expected: Figures, interval: Interval | None
) -> None:
    who = yard.register()
    yard.submit("r")
    run(yard, who, starts=1, lasts=2, gpus=2)
    made = report(yard, at(hours=since), at(hours=until), interval=interval)
    assert made.total == expected


def test_windows_side_by_side_add_up_to_the_whole(yard: Yard) -> None:
    who = yard.register()
    for n in range(6):
        yard.submit(f"r{n}")
        run(yard, who, starts=0.3, lasts=7.7, gpus=n % 3)
    whole = report(yard).total
    assert (whole.runs, whole.held_ms) == (6, 48 * HOUR)
    for step in (1, 7, 24):
        parts = Figures()
        for hour in range(0, 24 * 30, step):
            parts.add(report(yard, at(hours=hour), at(hours=hour + step)).total)
        assert parts == whole, step
    for interval in Interval:
        made = report(yard, interval=interval)
        assert made.total == whole
        summed = Figures()
        for figures in made.lines.values():
            summed.add(figures)
        assert summed == whole


def test_days_and_months_begin_at_midnight_utc(yard: Yard) -> None:
    who = yard.register()
    yard.now = datetime(2030, 1, 31, 22, tzinfo=UTC)
    yard.submit("r", "s")
    run(yard, who, starts=0, lasts=5)  # two hours in January, three in February
    yard.now = datetime(2030, 2, 1, 20, tzinfo=UTC)
    run(yard, who, starts=0, lasts=4)  # ends with its day
    days = report(yard, T0, at(days=60), interval=Interval.DAY).lines
    assert {p.day: f.held_ms // HOUR for (p, _), f in days.items() if p} == {31: 2, 1: 7}
    months = report(yard, T0, at(days=60), interval=Interval.MONTH).lines
    assert {p.month: (f.runs, f.held_ms // HOUR) for (p, _), f in months.items() if p} == {
        1: (1, 2), 2: (1, 7),
    }  # fmt: skip


def test_what_still_runs_counts_up_to_now(yard: Yard) -> None:
    who = yard.register()
    yard.submit("r")
    yard.claimed(who)
    yard.later(hours=3)
    assert report(yard).total == Figures(1, 1, 3 * HOUR, 0, 0)
    assert report(yard, at(hours=1), at(hours=2)).total.held_ms == HOUR


def test_a_preempted_attempt_counts_and_its_run_counts_once(yard: Yard) -> None:
    who = yard.register()
    yard.submit("r")
    held = yard.claimed(who)
    to: dict[str, Any] = {"item_id": held.item_id, "token": held.token}
    _ok(yard, who, held, wire.Keep(**to, handle=HANDLE, gpus=1))
    _ok(yard, who, held, wire.Observe(**to, phase="running"))
    yard.later(hours=2)
    _ok(yard, who, held, wire.Observe(**to, phase="preempted"))
    yard.later(hours=5)  # waiting is no use
    run(yard, who, starts=0, lasts=1, gpus=1)
    assert report(yard).total == Figures(1, 2, 3 * HOUR, 3 * HOUR, 3 * HOUR)


def test_what_failed_to_start_or_was_lost_has_an_end(yard: Yard) -> None:
    who = yard.register()
    yard.submit("r", "s")
    held = yard.claimed(who)
    yard.later(minutes=6)
    fail = wire.Fail(item_id=held.item_id, token=held.token, stage="fetch", message="no source")
    _ok(yard, who, held, fail)
    assert report(yard).total == Figures(1, 1, HOUR // 10, 0, 0)
    yard.claimed(who)
    yard.later(hours=1)
    assert sweeping.expire(yard.call()) == 1
    yard.later(hours=9)
    assert report(yard).total == Figures(2, 2, HOUR + HOUR // 10, 0, 0)


def test_what_was_never_closed_does_not_count_for_ever(yard: Yard) -> None:
    who = yard.register()
    yard.submit("r")
    run(yard, who, starts=0, lasts=1)
    yard.tx.connection.exec_driver_sql("UPDATE attempts SET ended_at = NULL")
    yard.later(days=9)
    assert report(yard).total == Figures()


def test_the_start_is_the_first_sight_of_a_running_workload(yard: Yard) -> None:
    who = yard.register()
    yard.submit("r")
    held = yard.claimed(who)
    to: dict[str, Any] = {"item_id": held.item_id, "token": held.token}
    for phase in ("queued", "running", "queued", "running"):
        _ok(yard, who, held, wire.Observe(**to, phase=phase))
        yard.later(hours=1)
    _ok(yard, who, held, wire.Observe(**to, phase="exited", exit_code=1))
    assert report(yard).total == Figures(1, 1, 4 * HOUR, 3 * HOUR, 0)


def test_groups_name_user_teams_queue_project_and_job(yard: Yard) -> None:
    yard.new_user("bob")
    yard.team("vision", bob="member")
    bob = yard.user("bob")
    queues.create(
        yard.call(), entity="vision", name="gpu", resource="local-container", config={}, policy={}
    )
    spec = {"docker": {"docker_image": "busybox"}, "run_id": "b", "project": "seg"}
    submitting.submit(yard.call(bob), "vision", "gpu", [spec])
    yard.submit("a")
    who = yard.register()
    run(yard, who, starts=0, lasts=1)
    asked = wire.Register(
        name="v", hostname="h", version="1", queues=["gpu"], max_jobs=-1, entity="vision"
    )
    run(yard, agents.register(yard.call(), asked), starts=0, lasts=2)
    made = report(yard, T0, None, *Group)
    names = [dict(zip(map(str, Group), key[1], strict=True)) for key in made.lines]
    for name in names:
        name.pop("job")
    assert names == [
        {"user": "bob", "team": "vision", "entity": "vision", "queue": "vision/gpu",
         "project": "vision/seg"},
        {"user": "ann", "team": "ann", "entity": "ann", "queue": "ann/q",
         "project": "ann/default"},
    ]  # fmt: skip
    by_user = report(yard, T0, None, Group.USER, entity="vision")
    assert {k[1]: f.held_ms // HOUR for k, f in by_user.lines.items()} == {("bob",): 2}
    assert report(yard, user="bob").total.held_ms == 2 * HOUR
    assert report(yard, user="nobody").total == Figures()


def test_T14_a_member_is_told_of_their_own_use_and_an_operator_of_all(yard: Yard) -> None:
    bob, eve, op = (yard.new_user(name) for name in ("bob", "eve", "op"))
    yard.team("ops", bob="member", eve="member", op="operator")
    bob, eve, op = (yard.user(name) for name in ("bob", "eve", "op"))
    queues.create(
        yard.call(), entity="ops", name="z", resource="local-container", config={}, policy={}
    )
    asked = wire.Register(
        name="v", hostname="h", version="1", queues=["z"], max_jobs=-1, entity="ops"
    )
    who = agents.register(yard.call(), asked)
    for actor, hours in ((bob, 1), (eve, 2)):
        spec = {"docker": {"docker_image": "busybox"}, "run_id": actor.name}
        submitting.submit(yard.call(actor), "ops", "z", [spec])
        run(yard, who, starts=0, lasts=hours)
    for entity in (None, "ops"):
        seen = {
            actor.name: report(yard, actor=actor, entity=entity).total.held_ms // HOUR
            for actor in (bob, eve, op, yard.admin)
        }
        assert seen == {"bob": 1, "eve": 2, "op": 3, "ann": 3}, entity
    assert report(yard, actor=bob, user="eve").total == Figures()
    outside = yard.new_user("zoe")
    assert report(yard, actor=outside).total == Figures()
    with pytest.raises(NotFound):
        report(yard, actor=outside, entity="ops")


def test_bad_questions_are_refused(yard: Yard) -> None:
    with pytest.raises(Invalid, match="since"):
        report(yard, T0, T0)
    with pytest.raises(Invalid, match="1000"):
        report(yard, T0, at(days=1001), interval=Interval.DAY)
    with pytest.raises(Invalid, match="'colour'"):
        Group.parse("user,colour")
    assert Group.parse("user, queue,user,") == (Group.USER, Group.QUEUE)


def test_a_report_finds_attempts_by_the_index_of_their_end(database: Database) -> None:
    groups = (Group.USER, Group.JOB)
    window = Window(T0, at(days=30), Interval.DAY)
    scope = rows.Scope(entities=["e"], or_author="u", queues=["q"])
    for query in (
        rows.sums_query(scope, window, groups),
        *rows.pieces_queries(scope, window, groups),
    ):
        found = plan(database, query.limit(5), {})
        assert "ix_attempts_ended" in found, found
        for table in ("items", "runs"):
            assert f"SCAN {table}" not in found, found
            assert f"Seq Scan on {table}" not in found, found
