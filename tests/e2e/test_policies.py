"""A queue's policy at work on real processes: what tests/services shows in virtual time."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bench.harness.yard import Yard
from runyard.client import follow, making
from runyard.client.api import Api
from runyard.domain.errors import Conflict
from runyard.domain.jobs import SourceKind
from runyard.wire.rest import ItemDetail, QueueIn
from tests.e2e.conftest import runyard, until

QUEUES = ("share", "again", "patience", "short", "held", "drained", "paused", "ranked", "changed")
HELD = ("LEASED", "CLAIMED")
TEAM = "lab"


class Lab:
    """A team of two members on a server of its own, and an agent for its queues."""

    def __init__(self, yard: Yard, *queues: str) -> None:
        self.yard = yard
        self.admin = yard.api()
        self.admin.create_team(TEAM)
        self.ada, self.bob = self._member("ada"), self._member("bob")
        yard.add_agent(*queues, entity=TEAM, max_jobs=50)

    def _member(self, name: str) -> Api:
        self.admin.create_user(name)
        self.admin.set_member(TEAM, name, "member")
        return Api(self.yard.urls[0], self.admin.create_key("test", user=name).key)

    def queue(self, name: str, **policy: Any) -> None:
        new = QueueIn(entity=TEAM, name=name, resource="local-process", policy=policy)
        self.admin.create_queue(new)

    def job(self, name: str, *entry_point: str) -> str:
        """Save a job without files of its own; return what a launch spec calls it."""
        source = self.yard.root / f"source-{name}"
        source.mkdir()
        (source / "README").write_text(f"{name}\n")
        recipe = making.Recipe(
            kind=SourceKind.CODE, path=str(source), name=name, entry_point=entry_point
        )
        with making.drafted(recipe, environ=os.environ) as draft:
            return making.save(self.ada, TEAM, "default", draft).path

    def submit(self, who: Api, queue: str, job: str, n: int = 1, **spec: Any) -> list[str]:
        items = who.submit(TEAM, queue, [{"job": job, **spec}] * n).items
        return [item.id for item in items]

    def item(self, item_id: str) -> ItemDetail:
        return self.admin.item(item_id)

    def ended(self, item_id: str, *, seconds: float = 60) -> ItemDetail:
        until(lambda: self.item(item_id).ended_at is not None, seconds=seconds)
        return self.item(item_id)

    def log(self, item: ItemDetail) -> str:
        return b"".join(follow.log(self.admin, item.run)).decode()

    def cli(self, *words: str) -> str:
        done = runyard(self.yard, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def why(self, item_id: str) -> str:
        return self.cli("item", "why", item_id)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Yard() as yard:
        yield Lab(yard, *QUEUES)


def held_at_once(items: list[ItemDetail]) -> int:
    """Return how many were held by agents at the worst moment, by the items' own history."""
    now = most = 0
    for event in sorted((e for item in items for e in item.events), key=lambda e: e.seq):
        now += (event.became in HELD) - (event.was in HELD)
        most = max(most, now)
    assert now == 0
    return most


def lasting_together(items: list[ItemDetail]) -> int:
    """Return how many ran at the worst moment, by when their runs began and ended."""
    moves = []
    for item in items:
        assert item.started_at is not None
        assert item.ended_at is not None
        moves += [(item.started_at, 1), (item.ended_at, -1)]
    now = most = 0
    for _, change in sorted(moves):  # an end counts before a beginning at the same moment
        now += change
        most = max(most, now)
    return most


def starts(items: list[ItemDetail]) -> list[str]:
    """Return whose items were started, in order."""
    order = sorted(items, key=lambda i: next(e.seq for e in i.events if e.became == "LEASED"))
    return [item.author for item in order]


def test_two_users_alternate_and_never_pass_a_limit_of_four(lab: Lab) -> None:
    lab.queue("share", fair_share=True, max_running=4)
    job = lab.job("nothing", "true")
    items = lab.submit(lab.ada, "share", job, 100)  # all of them before the other's first
    items += lab.submit(lab.bob, "share", job, 100)
    until(lambda: lab.admin.queue(TEAM, "share").pending < 180)
    told = json.loads(lab.cli("queue", "explain", f"{TEAM}/share", "--json"))
    shown = lab.cli("queue", "explain", f"{TEAM}/share")
    ended = [lab.ended(item) for item in items]

    assert Counter(item.status for item in ended) == {"Finished": 200}
    assert held_at_once(ended) == 4
    assert lasting_together(ended) <= 4
    authors = starts(ended)
    assert 40 <= authors[:100].count("ada") <= 60
    for n in range(0, 180, 20):
        assert 5 <= authors[n : n + 20].count("ada") <= 15, authors[n : n + 20]

    assert (told["queue"], told["running"] <= 4, told["waiting"] > 0) == ("share", True, True)
    assert {user["user"] for user in told["users"]} == {"ada", "bob"}
    assert any(rule.startswith("max_running = 4: ") for rule in told["rules"])
    assert set(told["next"]) == {"ada", "bob"}
    assert abs(told["next"].count("ada") - told["next"].count("bob")) <= 2
    lines = shown.splitlines()
    assert any(re.fullmatch(r"Running: +\d of 4 \(max_running\)", line) for line in lines)
    assert any(re.match(r"Next: +(ada|bob), ", line) for line in lines)
    assert {line.split()[0] for line in lines[-2:]} == {"ada", "bob"}


def test_an_exit_code_is_tried_again_with_backoff_until_it_succeeds(lab: Lab) -> None:
    lab.queue("again", retry=[{"exit_codes": [75], "at_most": 3, "backoff": 1}])
    marks = lab.yard.root / "marks"
    job = lab.job(
        "flaky", "sh", "-c", 'echo x >> "$0"; [ "$(wc -l < "$0")" -ge 3 ] || exit 75', str(marks)
    )
    (item,) = lab.submit(lab.ada, "again", job)
    until(lambda: lab.item(item).parked == "backoff")
    assert "retry 1 of 3 in 1 s, after: exit code 75" in lab.item(item).parked_why
    found = lab.ended(item)
    assert (found.status, found.exit_code, found.attempt, found.retries) == ("Finished", 0, 3, 2)
    assert marks.read_text() == "x\n" * 3
    retries = [e for e in found.events if e.became == "PENDING" and "retry" in e.detail]
    assert [e.detail for e in retries] == [
        "retry 1 of 3 in 1 s, after: exit code 75",
        "retry 2 of 3 in 2 s, after: exit code 75",
    ]
    backs = [e.at for e in retries]
    leases = [e.at for e in found.events if e.became == "LEASED"]
    waits = [(b - a).total_seconds() for a, b in zip(backs, leases[1:], strict=True)]
    assert waits[0] >= 1
    assert waits[1] >= 2

    (other,) = lab.submit(lab.ada, "again", lab.job("broken", "sh", "-c", "exit 7"))
    found = lab.ended(other)
    assert (found.status, found.exit_code, found.retries) == ("Failed", 7, 0)


def test_what_waits_too_long_in_a_paused_queue_is_cancelled(lab: Lab) -> None:
    lab.queue("patience", wait_timeout=2)
    lab.cli("queue", "pause", f"{TEAM}/patience", "-m", "driver update")
    (item,) = lab.submit(lab.ada, "patience", lab.job("patient", "true"))
    assert "queue lab/patience is paused by admin: driver update" in lab.why(item)
    found = lab.ended(item)
    assert (found.status, found.attempt) == ("Killed", 0)
    assert "(wait_timeout)" in found.reason
    assert "(wait_timeout)" in lab.cli("item", "show", item)


def test_what_runs_too_long_is_stopped_and_says_why(lab: Lab) -> None:
    lab.queue("short", run_timeout=1, stop_grace=1)
    (item,) = lab.submit(lab.ada, "short", lab.job("sleeper", "sleep", "3141"))
    found = lab.ended(item)
    assert found.status == "Killed"
    assert found.reason == "stopped by the server: it ran longer than 1 s (run_timeout)"
    assert found.started_at is not None
    assert found.ended_at is not None
    assert (found.ended_at - found.started_at).total_seconds() >= 1
    assert "(run_timeout)" in lab.cli("run", "show", found.run.run_id)
    until(lambda: not processes("sleep", "3141"))


def processes(*words: str) -> list[list[str]]:
    """Return the command lines that are these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_text().split("\0")[:-1])
    return [line for line in found if line == list(words)]


def test_what_is_held_runs_when_it_is_released(lab: Lab) -> None:
    lab.queue("held")
    job = lab.job("holdable", "true")
    (item,) = lab.submit(lab.ada, "held", job, hold=True)
    (free,) = lab.submit(lab.ada, "held", job)
    assert lab.ended(free).status == "Finished"
    assert lab.item(item).state == "PENDING"
    assert f"runyard item release {item}" in lab.why(item)
    assert "held by admin: not yet" in lab.cli("item", "hold", item, "-m", "not yet")
    lab.cli("item", "release", item)
    assert lab.ended(item).status == "Finished"


def test_a_draining_queue_ends_what_it_has_and_takes_nothing_new(lab: Lab) -> None:
    lab.queue("drained", max_running=1)
    job = lab.job("drip", "sleep", "0.5")
    items = lab.submit(lab.ada, "drained", job, 3)
    lab.cli("queue", "drain", f"{TEAM}/drained", "-m", "moved to big")
    with pytest.raises(Conflict, match="draining, and takes nothing new: admin: moved to big"):
        lab.submit(lab.bob, "drained", job)
    done = runyard(lab.yard, "launch", "-j", job, "-q", f"{TEAM}/drained")
    assert (done.returncode, "draining" in done.stderr) == (1, True)
    assert {lab.ended(item).status for item in items} == {"Finished"}
    lab.cli("queue", "resume", f"{TEAM}/drained")
    (item,) = lab.submit(lab.bob, "drained", job)
    assert lab.ended(item).status == "Finished"


def test_a_paused_queue_goes_on_when_it_is_resumed(lab: Lab) -> None:
    lab.queue("paused")
    job = lab.job("pausable", "true")
    lab.cli("queue", "pause", f"{TEAM}/paused")
    items = lab.submit(lab.ada, "paused", job, 3)
    time.sleep(1)  # an agent that asks gets nothing
    assert {lab.item(item).state for item in items} == {"PENDING"}
    lab.cli("queue", "resume", f"{TEAM}/paused")
    assert {lab.ended(item).status for item in items} == {"Finished"}


def test_a_priority_that_is_changed_while_it_waits_takes_effect(lab: Lab) -> None:
    lab.queue("ranked", priorities=True, max_running=1)
    job = lab.job("rankable", "true")
    lab.cli("queue", "pause", f"{TEAM}/ranked")
    first, second, third = lab.submit(lab.ada, "ranked", job, 3)
    assert re.search(r"Place: +3", lab.cli("item", "show", third))
    lab.cli("item", "priority", "critical", third)
    lab.cli("item", "priority", "low", first)
    assert re.search(r"Place: +1", lab.cli("item", "show", third))
    lab.cli("queue", "resume", f"{TEAM}/ranked")
    ended = [lab.ended(item) for item in (first, second, third)]
    order = sorted(ended, key=lambda i: next(e.seq for e in i.events if e.became == "LEASED"))
    assert [item.id for item in order] == [third, second, first]


def test_a_failed_item_is_retried_with_changes(lab: Lab) -> None:
    lab.queue("changed")
    job = lab.job("picky", "sh", "-c", 'echo "with $0"; [ "$0" = right ]')
    (item,) = lab.submit(lab.ada, "changed", job, overrides={"args": ["wrong"]})
    assert lab.ended(item).exit_code == 1
    changes = '{"overrides": {"args": ["right"]}}'
    made = json.loads(lab.cli("item", "retry", item, "-c", changes, "--json"))
    ((again),) = made
    found = lab.ended(again["id"])
    assert (found.status, found.exit_code, lab.log(found)) == ("Finished", 0, "with right\n")
    assert found.run.run_id != lab.item(item).run.run_id
    assert lab.item(item).status == "Failed"  # as it was
