"""What policies cost at lease: the same items with and without them, in turns, in one run."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from statistics import median

from harness.databases import throw_away
from harness.results import Row
from harness.yard import Yard

from measures.floors import BATCH, Floors
from measures.traffic import SPEC
from runyard.client.agent_api import AgentApi
from runyard.domain.access import Actor
from runyard.server.edge import Edge
from runyard.server.metrics import Metrics
from runyard.services import accounts, members, queues, submitting
from runyard.store import accounts as account_rows
from runyard.store.db import Database
from runyard.wire.agent import Claim, Observe, Poll, Register

TEAM = "lab"
# Each makes a lease ask another question: whose turn, how many at all, how many of whom.
POLICY = {
    "fair_share": True, "max_running": 100_000, "max_running_per_user": 10_000,
    "priorities": True, "aging": 3600, "run_timeout": 86_400, "retry": [{"at_most": 2}],
}  # fmt: skip
BURST = 5  # items that a user submits at a time
QUEUES = {"plain": {}, "ruled": POLICY}


def rows(floors: Floors) -> list[Row]:
    found = _on("SQLite", None, floors)
    if server := os.environ.get("RUNYARD_TEST_POSTGRES"):
        with throw_away(server) as url:
            found += _on("PostgreSQL", url, floors)
    return found


def _on(database: str, url: str | None, floors: Floors) -> list[Row]:
    users, items, rounds = (100, 10_000, 4) if floors.quick else (500, 100_000, 8)
    with Yard(database_url=url) as yard:
        _fill(yard, url or f"sqlite:///{yard.root / 'server0' / 'runyard.db'}", users, items)
        by_batch = asyncio.run(_rates(yard, BATCH, rounds, 1000))
        singly = asyncio.run(_rates(yard, 1, rounds, 100))
    what = f"{items:,} waiting, {users} users, {database}"
    return [
        Row(f"lease by {n} under a policy, {what}", "items/s", rates["ruled"],
            median(rates["plain"]), "the same without a policy, in turns with it",
            0.9 * median(rates["plain"]), more_is_better=True)
        for n, rates in ((BATCH, by_batch), (1, singly))
    ]  # fmt: skip


def _fill(yard: Yard, url: str, users: int, items: int) -> None:
    """Make a team of many who submit to both queues, one after the other, again and again.

    Straight into the database: a hundred thousand requests would take longer than the measuring.
    """
    database = Database(url)
    edge = Edge(database, Metrics())
    try:
        admin = database.read(lambda tx: account_rows.actor_named(tx, yard.entity))
        assert admin is not None
        people = database.write(lambda tx: _team(edge, tx, admin, users))
        for _ in range(items // users // BURST):
            for queue in QUEUES:
                database.write(lambda tx, to=queue: _submit(edge, tx, people, to))
    finally:
        database.close()


def _team(edge: Edge, tx: object, admin: Actor, users: int) -> Sequence[Actor]:
    call = edge.call(tx, admin)  # type: ignore[arg-type]
    members.create_team(call, TEAM)
    for n in range(users):
        accounts.create_user(call, f"user{n}", is_admin=False)
        members.set_member(call, TEAM, f"user{n}", "member")
    found = [account_rows.actor_named(call.tx, f"user{n}") for n in range(users)]
    for name, policy in QUEUES.items():
        queues.create(call, entity=TEAM, name=name, resource="local-container", policy=policy)
    return [actor for actor in found if actor is not None]


def _submit(edge: Edge, tx: object, people: Sequence[Actor], queue: str) -> None:
    for actor in people:
        submitting.submit(edge.call(tx, actor), TEAM, queue, [SPEC] * BURST)  # type: ignore[arg-type]


async def _rates(yard: Yard, batch: int, rounds: int, number: int) -> dict[str, list[float]]:
    """Return leases a second by queue: time in polls alone, the queues taking turns."""
    apis = {queue: AgentApi(yard.urls[0], yard.key) for queue in QUEUES}
    rates: dict[str, list[float]] = {queue: [] for queue in QUEUES}
    try:
        for queue, api in apis.items():
            await api.register(
                Register(entity=TEAM, name=f"{queue}{batch}", hostname="bench", version="0",
                         queues=[queue], max_jobs=-1)
            )  # fmt: skip
        for turn in range(rounds + 1):
            for queue, api in apis.items():
                rate = await _rate(api, batch, number)
                if turn:  # the first warms up
                    rates[queue].append(rate)
        for api in apis.values():
            await api.retire()
    finally:
        for api in apis.values():
            await api.close()
    return rates


async def _rate(api: AgentApi, batch: int, number: int) -> float:
    spent, done = 0.0, 0
    while done < number:
        begun = time.perf_counter()
        held = (await api.poll(Poll(slots=batch))).leased
        spent += time.perf_counter() - begun
        if not held:
            raise RuntimeError("the queue ran empty")
        done += len(held)
        await api.move([Claim(item_id=h.item_id, token=h.token) for h in held])
        await api.move(
            [Observe(item_id=h.item_id, token=h.token, phase="exited", exit_code=0) for h in held]
        )
    return done / spent
