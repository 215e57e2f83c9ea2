"""Chunks of a run's lines in any order, again and at once: each line is there exactly once."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runyard.domain.access import Action
from runyard.server.edge import SERVER, Ids, new_secret
from runyard.services import accounts
from runyard.services.call import Call
from runyard.services.tracking import console, history, life, places, streaming
from runyard.services.tracking.streaming import Limits, Taken
from runyard.store import accounts as account_rows
from runyard.store import tables as t
from runyard.store.db import Database, Tx
from runyard.store.tracking import streams

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LIMITS = Limits(rows=1 << 30, console=1 << 30)


class Desk:
    """A database with runs of one person."""

    def __init__(self, database: Database) -> None:
        self._database, self._ids = database, Ids(lambda: NOW)
        self.do(lambda call: accounts.bootstrap(call, "ann"), by=None)

    def do(self, service: Any, *, by: str | None = "ann") -> Any:
        def work(tx: Tx) -> Any:
            actor = account_rows.actor_named(tx, by) if by else SERVER
            assert actor is not None
            return service(Call(tx, actor, NOW, self._ids, new_secret))

        return self._database.write(work)

    def run(self) -> Run:
        """Make a run as the tracking client's first word does."""
        name = self._ids()

        def make(call: Call) -> str:
            place = places.need(call, "ann", "p", Action.TRACK)
            call.tx.run(
                t.runs.insert().values(
                    id=name, project_id=place.id, name=name, state="running",
                    author_id=call.actor.user_id, created_at=0, started_at=0,
                )
            )  # fmt: skip
            return name

        return Run(self, self.do(make))


class Run:
    def __init__(self, desk: Desk, pk: str) -> None:
        self.desk, self.pk = desk, pk

    def say(
        self,
        rows: tuple[int, Sequence[str]] | None = None,
        lines: tuple[int, Sequence[str]] | None = None,
        limits: Limits = LIMITS,
        **more: Any,
    ) -> Taken:
        said = streaming.said(
            history=rows, events=None, console=lines, summary=more.pop("summary", None), **more
        )
        taken: Taken = self.desk.do(
            lambda call: streaming.take(call, "ann", "p", self.pk, said, limits)
        )
        return taken

    def history(self) -> list[str]:
        found: list[str] = self.desk.do(
            lambda call: history.rows(call, self.pk, "history", samples=10_000)
        )
        return found

    def stream(self) -> Any:
        return self.desk.do(lambda call: dict(streams.get(call.tx, self.pk) or {}))

    def state(self) -> str:
        find = t.runs.select().where(t.runs.c.id == self.pk)
        return str(self.desk.do(lambda call: call.tx.one(find))["state"])

    def console(self) -> list[str]:
        page = self.desk.do(lambda call: console.page(call, self.pk))
        return [line.content for line in page.lines]


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


def row(n: int) -> str:
    return json.dumps({"_step": n, "loss": n * 0.5})


LONGEST = 30
CHUNKS = st.lists(
    st.tuples(st.integers(0, LONGEST - 1), st.integers(1, 12)), min_size=1, max_size=12
)


@settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(chunks=CHUNKS)
def test_any_sequence_of_chunks_reads_back_as_each_line_once_in_order(
    desk: Desk, chunks: list[tuple[int, int]]
) -> None:
    run = desk.run()
    there: set[int] = set()
    for start, n in chunks:
        numbers = range(start, min(start + n, LONGEST))
        run.say(rows=(start, [row(i) for i in numbers]))
        there |= set(numbers)
    assert run.history() == [row(i) for i in sorted(there)]
    stream = run.stream()
    assert stream["history_lines"] == max(there) + 1
    assert stream["last_step"] == max(there)
    keys = desk.do(lambda _: history.keys(stream["keys"], stream["last_step"]))["keys"]
    assert keys["loss"]["typeCounts"] == [{"type": "number", "count": len(there)}]


@settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    chunks=st.lists(
        st.tuples(st.integers(0, 20), st.lists(st.text("ab", max_size=2), min_size=1, max_size=8)),
        max_size=10,
    )
)
def test_of_a_console_line_that_comes_again_the_last_one_counts(
    desk: Desk, chunks: list[tuple[int, list[str]]]
) -> None:
    run = desk.run()
    expected: dict[int, str] = {}
    for start, texts in chunks:
        run.say(lines=(start, texts))
        expected |= dict(enumerate(texts, start))
    assert run.console() == [expected[n] for n in sorted(expected)]


def test_two_requests_of_one_run_at_once_lose_nothing(desk: Desk) -> None:
    run, each, threads = desk.run(), 5, 8

    def say(of: int) -> None:
        for n in range(of * 20, of * 20 + 20, each):
            numbers = range(n, n + each)
            run.say((n, [row(i) for i in numbers]), (n, [f"line {i}" for i in numbers]))

    started = [threading.Thread(target=say, args=(of,)) for of in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert run.history() == [row(n) for n in range(20 * threads)]
    assert run.console() == [f"line {n}" for n in range(20 * threads)]
    keys = json.loads(run.stream()["keys"])
    assert keys["loss"][0] == {"number": 20 * threads}


def test_the_same_request_at_once_is_kept_once(desk: Desk) -> None:
    run = desk.run()
    lines = [row(n) for n in range(50)]
    started = [threading.Thread(target=run.say, args=((0, lines), (0, lines))) for _ in range(6)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert run.history() == lines
    size = sum(len(line) + 1 for line in lines)
    stream = run.stream()
    assert (stream["history_bytes"], stream["console_bytes"]) == (size - 1, size)
    assert run.desk.do(lambda call: streams.log_of(call.tx, run.pk)["log_size"]) == size


def test_what_is_over_the_limits_is_counted_and_not_kept(desk: Desk) -> None:
    run = desk.run()
    small = Limits(rows=100, console=100)
    for n in range(10):
        run.say((n, [row(n)]), (n, [f"line {n} " + "x" * 20]), small, summary='{"a": 1}')
    kept = run.history()
    assert 0 < len(kept) < 10
    assert kept == [row(n) for n in range(len(kept))]
    stream = run.stream()
    assert (stream["history_lines"], stream["console_lines"]) == (10, 10)
    assert stream["summary"] == '{"a": 1}'
    assert len(run.console()) < 10
    log = run.desk.do(lambda call: streams.log_of(call.tx, run.pk))
    assert log["log_truncated"]


def test_a_rewound_run_has_what_it_had_then(desk: Desk) -> None:
    run = desk.run()
    for at in range(0, 20, 5):
        run.say((at, [row(n) for n in range(at, at + 5)]), summary=json.dumps({"loss": at}))
    desk.do(lambda call: history.truncate_after(call, run.pk, 7))
    assert run.history() == [row(n) for n in range(8)]
    stream = run.stream()
    assert (stream["history_lines"], stream["last_step"]) == (8, 7)
    assert json.loads(stream["summary"]) == {"_step": 7, "loss": 3.5}
    assert json.loads(stream["keys"])["loss"] == [{"number": 8}, 0.0, 3.5, True]
    assert stream["history_bytes"] == sum(len(row(n)) + 1 for n in range(8)) - 2
    run.say((8, [row(8)]))
    assert run.history() == [row(n) for n in range(9)]
    desk.do(lambda call: history.truncate_after(call, run.pk, -1))
    assert (run.history(), run.stream()["history_lines"]) == ([], 0)


def test_what_is_said_with_the_end_counts_for_the_end(desk: Desk) -> None:
    """Both at once: the program is preempted, not failed; and back from a crash it still is."""
    run = desk.run()
    run.say(rows=(0, ['{"a": 1}']), preempting=True, exit_code=1)
    assert run.state() == "preempted"
    back = desk.run()
    back.say(rows=(0, ['{"a": 1}']))
    desk.do(lambda call: life.crash_silent(call, timedelta(0)))
    assert back.state() == "crashed"
    back.say(preempting=True)
    assert back.state() == "running"
    assert (back.stream()["live"], back.stream()["preempting"]) == (True, True)
