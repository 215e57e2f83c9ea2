"""
Random kills of servers and agents while jobs run: nothing may be lost, nothing run twice.

    bench/chaos/run.py [--jobs N] [--database sqlite|postgres|URL] [--servers N] [--agents N]
    bench/chaos/run.py --share      two servers and two agents on one queue, without kills

Exit code 1 if anything was lost or run twice. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.databases import throw_away
from harness.yard import Yard

from chaos.killing import Killer
from chaos.plan import Planned, plan, read
from runyard.domain.errors import Unavailable
from runyard.wire.rest import ItemOut

QUEUE = "chaos"
BATCH = 25  # items a submission


@dataclass
class Findings:
    """What is printed at the end, in this order."""

    submitted: int = 0
    stored: int = 0
    ended: int = 0
    lost: list[str] = field(default_factory=list)
    run_twice: list[str] = field(default_factory=list)
    expired: list[str] = field(default_factory=list)
    wrong_outcome: list[str] = field(default_factory=list)
    wrong_output: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.run_twice or self.stored != self.submitted)


def main() -> int:
    flags = _flags()
    with ExitStack() as stack:
        yard = stack.enter_context(_yard(flags))
        print(f"seed {flags.seed}, data in {yard.root}", file=sys.stderr, flush=True)
        planned = plan(flags.jobs, flags.seed, brief=flags.share)
        begun = time.monotonic()
        found = _share(yard, flags, planned) if flags.share else _chaos(yard, flags, planned)
        _print(found, flags, time.monotonic() - begun)
        if not found.is_good and flags.keep:
            yard.keep = True
            print(f"kept: {yard.root}", file=sys.stderr)
    return 0 if found.is_good else 1


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--jobs", "--items", type=int, help="default 500; 1000 with --share")
    parser.add_argument(
        "--database", default=None, help="sqlite, postgres (RUNYARD_TEST_POSTGRES), or a URL"
    )
    parser.add_argument("--servers", type=int, help="default 1; 2 on PostgreSQL")
    parser.add_argument("--agents", type=int, help="default 1; 2 on PostgreSQL")
    parser.add_argument("--slots", type=int, default=8, help="jobs at a time, of each agent")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--minutes", type=float, default=10.0, help="what has not ended is lost")
    parser.add_argument("--pause", type=float, default=4.0, help="seconds between kills, about")
    parser.add_argument("--share", action="store_true", help="two servers, two agents, no kills")
    parser.add_argument("--keep", action="store_true", help="keep logs and records of a bad run")
    flags = parser.parse_args()
    flags.database = flags.database or ("postgres" if flags.share else "sqlite")
    if flags.database == "postgres":
        flags.database = os.environ.get("RUNYARD_TEST_POSTGRES", "")
        if not flags.database:
            parser.error("--database postgres needs RUNYARD_TEST_POSTGRES, the URL of a server")
    is_postgres = flags.database != "sqlite"
    flags.servers = flags.servers or (2 if is_postgres else 1)
    flags.agents = flags.agents or (2 if is_postgres else 1)
    flags.jobs = flags.jobs or (1000 if flags.share else 500)
    if flags.servers > 1 and not is_postgres:
        parser.error("SQLite has one server; --database postgres takes more")
    return flags


@contextmanager
def _yard(flags: argparse.Namespace) -> Iterator[Yard]:
    with ExitStack() as stack:
        url = None
        if flags.database != "sqlite":
            url = stack.enter_context(throw_away(flags.database))
        yard = stack.enter_context(Yard(database_url=url, servers=flags.servers))
        (yard.root / "records").mkdir()
        yard.add_queue(QUEUE)
        for n in range(flags.agents):
            yard.add_agent(QUEUE, name=f"a{n}", max_jobs=flags.slots, server=n % flags.servers)
        yard.wait_agents(QUEUE, flags.agents)
        yield yard


# -- the two modes -----------------------------------------------------------------------


def _chaos(yard: Yard, flags: argparse.Namespace, planned: Sequence[Planned]) -> Findings:
    between = (0.2 * flags.pause, 1.8 * flags.pause)
    with Killer([*yard.servers, *yard.agents], flags.seed, between=between) as killer:
        ids = _submit(yard, planned)
        _wait(yard, len(planned), 60 * flags.minutes)
    for program in [*yard.servers, *yard.agents]:
        if not program.runs:
            program.start()
    for n in range(len(yard.servers)):
        yard.wait_ready(n)
    _wait(yard, len(planned), 30)
    kills = ", ".join(f"{name} {n}" for name, n in sorted(killer.kills.items()))
    print(f"kills          {sum(killer.kills.values())}: {kills}")
    for line in killer.died:
        print(f"left by itself {line}")
    return _judge(yard, planned, ids)


def _share(yard: Yard, flags: argparse.Namespace, planned: Sequence[Planned]) -> Findings:
    ids = _submit(yard, planned)
    _wait(yard, len(planned), 60 * flags.minutes)
    found = _judge(yard, planned, ids)
    by_agent: dict[str, int] = {}
    for item in _items(yard):
        by_agent[item.agent or "nobody"] = by_agent.get(item.agent or "nobody", 0) + 1
    print("by agent       " + ", ".join(f"{name} {n}" for name, n in sorted(by_agent.items())))
    return found


def _submit(yard: Yard, planned: Sequence[Planned]) -> dict[int, str]:
    """Submit everything, in turn to each server; return the items' ids."""
    job = _insist(lambda: _job(yard))
    ids: dict[int, str] = {}
    records = yard.root / "records"
    for at in range(0, len(planned), BATCH):
        batch = planned[at : at + BATCH]
        specs = [{"job": job, "overrides": {"args": p.args(records)}} for p in batch]
        with yard.api((at // BATCH) % len(yard.servers)) as api:
            # Its own Idempotency-Key makes one call of all its tries; a second call would not.
            _insist(api.me)
            answer = api.submit(yard.entity, QUEUE, specs, minimal=True)
        ids |= {p.n: item.id for p, item in zip(batch, answer.items, strict=True)}
    return ids


def _job(yard: Yard) -> str:
    text = Path(__file__).with_name("job.py").read_text()
    return yard.add_job({"job.py": text}, [sys.executable, "job.py"])


def _wait(yard: Yard, number: int, seconds: float) -> None:
    """Return when all have ended, or the time is over."""
    deadline = time.monotonic() + seconds
    shown = time.monotonic()
    while time.monotonic() < deadline:
        try:
            with yard.api() as api:
                queue = api.queue(yard.entity, QUEUE)
        except Unavailable:
            time.sleep(0.1)
            continue
        if queue.pending + queue.running == 0:
            return
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            print(
                f"  {number} jobs: {queue.pending} wait, {queue.running} run",
                file=sys.stderr,
                flush=True,
            )
        time.sleep(0.25)


def _insist(call):  # type: ignore[no-untyped-def]
    """Call until a server that is being killed answers; for calls that may be repeated."""
    while True:
        try:
            return call()
        except Unavailable:
            time.sleep(0.1)


# -- what became of it -------------------------------------------------------------------


def _items(yard: Yard) -> list[ItemOut]:
    with yard.api() as api:
        return list(api.items(entity=yard.entity, queue=QUEUE))


def _judge(yard: Yard, planned: Sequence[Planned], ids: dict[int, str]) -> Findings:
    found = Findings(submitted=len(ids))
    items = {item.id: item for item in _items(yard)}
    found.stored = len(items)
    with yard.api() as api:
        sizes = {run.item_id: run.log_bytes for run in api.runs(entity=yard.entity)}
    for job in planned:
        item, record = items.get(ids[job.n]), read(yard.root / "records" / str(job.n))
        label = f"{job.n} ({ids[job.n]}): "
        if record.ran_twice:
            found.run_twice.append(label + f"starts {record.starts}, ends {record.ends}")
        if item is None or item.ended_at is None:
            found.lost.append(label + (f"{item.state}, {item.status}" if item else "not stored"))
            continue
        found.ended += 1
        failure = item.failure.message if item.failure else ""
        if item.failure and item.failure.stage == "agent":
            found.expired.append(label + failure)
        elif item.state == "FINISHED" and not record.ends:
            found.lost.append(label + "FINISHED, but its job did not")
        elif (item.state, item.exit_code, record.ran_once) != ("FINISHED", job.code, True):
            found.wrong_outcome.append(
                label + f"{item.state} with {item.exit_code}, meant was {job.code}; {failure} "
                f"{item.reason} starts {record.starts}, ends {record.ends}"
            )
        if sizes.get(item.id) != job.log_bytes:
            found.wrong_output.append(label + f"{sizes.get(item.id)} of {job.log_bytes} bytes")
    return found


def _print(found: Findings, flags: argparse.Namespace, seconds: float) -> None:
    database = "SQLite" if flags.database == "sqlite" else "PostgreSQL"
    print(f"where          {database}, {flags.servers} server(s), {flags.agents} agent(s)")
    print(f"took           {seconds:.0f} s, seed {flags.seed}")
    doubled = "" if found.stored == found.submitted else f"   (stored: {found.stored})"
    print(f"submitted      {found.submitted}{doubled}")
    print(f"ended          {found.ended}")
    right = found.ended - len(found.wrong_outcome) - len(found.expired)
    for name, what in (
        ("lost", found.lost), ("run twice", found.run_twice), ("claim expired", found.expired),
        ("wrong outcome", found.wrong_outcome), ("wrong output", found.wrong_output),
    ):  # fmt: skip
        print(f"{name:14} {len(what)}")
        for line in what[:10]:
            print(f"               {line}")
    print(f"right outcome  {right}")


if __name__ == "__main__":
    sys.exit(main())
