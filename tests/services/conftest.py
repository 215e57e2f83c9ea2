"""A small world: one admin, one team, one queue, one agent, and a clock that we move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from runyard.domain.access import Actor, Kind
from runyard.domain.queues import Queue
from runyard.services import accounts, agents, moving, queues, submitting
from runyard.services.call import Call
from runyard.services.sealing import Sealer
from runyard.store import accounts as rows
from runyard.store import views
from runyard.store.db import Database, Row, Tx
from runyard.wire import agent as wire

T0 = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class Yard:
    """One open transaction on a real database, and short words for what tests do in it."""

    tx: Tx
    now: datetime = T0
    numbers: Iterator[int] = field(default_factory=count)
    seal: Sealer | None = None
    admin: Actor = field(init=False)
    queue: Queue = field(init=False)

    def __post_init__(self) -> None:
        self.admin = Actor(Kind.USER, "", "ann", is_admin=True)
        accounts.bootstrap(self.call(), "ann")
        self.admin = self.user("ann")
        self.queue = queues.create(
            self.call(), entity="ann", name="q", resource="local-container", config={}, policy={}
        )

    def call(self, actor: Actor | None = None) -> Call:
        return Call(
            self.tx,
            actor or self.admin,
            self.now,
            lambda: f"{next(self.numbers):026d}",
            lambda: f"{next(self.numbers):043d}",
            self.seal,
        )

    def user(self, name: str) -> Actor:
        """Return the actor that a new key of this user would stand for."""
        secret = accounts.admin_key(self.call(), name, "test")
        actor = accounts.authenticate(self.tx, secret, self.now)
        assert actor is not None
        return actor

    def new_user(self, name: str) -> Actor:
        accounts.create_user(self.call(), name, is_admin=False)
        return self.user(name)

    def team(self, name: str, **members: str) -> None:
        accounts.create_team(self.call(), name)
        for user, role in members.items():
            accounts.set_member(self.call(), name, user, role)

    def team_id(self, name: str) -> str:
        row = rows.entity(self.tx, name)
        assert row is not None
        return str(row["id"])

    def later(self, **duration: float) -> None:
        self.now += timedelta(**duration)

    def submit(self, *names: str, actor: Actor | None = None, **spec: Any) -> list[str]:
        specs = [{"docker": {"docker_image": "busybox"}, "run_id": n, **spec} for n in names]
        made = submitting.submit(self.call(actor), "ann", "q", specs)
        return [s.id for s in made]

    def register(self, name: str = "a", queues: Sequence[str] = ("q",)) -> wire.Registered:
        asked = wire.Register(
            name=name, hostname="h", version="1", queues=list(queues), max_jobs=-1
        )
        return agents.register(self.call(), asked)

    def agent(self, registered: wire.Registered) -> Actor:
        actor = accounts.authenticate(self.tx, registered.token, self.now)
        assert actor is not None
        return actor

    def lease(self, who: wire.Registered, n: int = 1) -> list[wire.Held]:
        polled, _ = agents.poll(
            self.call(self.agent(who)), who.agent_id, wire.Poll(slots=n), turn=0
        )
        return polled.leased

    def poll(self, who: wire.Registered, *holding: str) -> wire.Polled:
        asked = wire.Poll(slots=0, holding=list(holding))
        return agents.poll(self.call(self.agent(who)), who.agent_id, asked, turn=0)[0]

    def move(self, who: wire.Registered, *moves: wire.AnyMove) -> list[wire.Moved]:
        call = self.call(self.agent(who))
        return moving.move(call, agents.current(call, who.agent_id), moves)

    def claimed(self, who: wire.Registered) -> wire.Held:
        (held,) = self.lease(who)
        (answer,) = self.move(who, wire.Claim(item_id=held.item_id, token=held.token))
        assert answer.code == ""
        held.run_token = answer.run_token
        return held

    def row(self, item_id: str) -> Row:
        row = views.item(self.tx, item_id)
        assert row is not None
        return row

    def states(self, item_id: str) -> tuple[str, str]:
        row = self.row(item_id)
        return row["state"], row["run_state"]

    def moves_of(self, item_id: str) -> list[str]:
        return [row["became"] for row in views.events_of(self.tx, item_id)]


@pytest.fixture
def yard(database: Database) -> Iterator[Yard]:
    with database.begin() as tx:
        yield Yard(tx)


__all__ = ["T0", "Yard", "rows", "yard"]
