"""What two people do at the same moment, in transactions of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from runyard.domain.errors import Conflict, NotFound, RunyardError, Unauthenticated
from runyard.server.edge import SERVER, Ids, new_secret
from runyard.services import (
    accounts,
    agents,
    invitations,
    leasing,
    members,
    queues,
    roles,
    submitting,
)
from runyard.services.call import Call
from runyard.store import accounts as rows
from runyard.store import agents as agent_rows
from runyard.store.db import Database, Tx
from runyard.wire import agent as wire

NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Lab:
    """A team with two admins, one of whom administers the server too."""

    def __init__(self, database: Database) -> None:
        self._database, self._ids = database, Ids(lambda: NOW)
        self.write("", lambda call: accounts.bootstrap(call, "ann"))
        self.write("ann", lambda call: accounts.create_user(call, "bob", is_admin=True))
        self.write("ann", lambda call: accounts.create_team(call, "lab"))
        self.write("ann", lambda call: members.set_member(call, "lab", "bob", "admin"))

    def write(self, who: str, service: Callable[[Call], Any]) -> Any:
        def run(tx: Tx) -> Any:
            actor = rows.actor_named(tx, who) if who else SERVER
            if actor is None:
                raise Unauthenticated(f"{who} is nobody any more")
            return service(Call(tx, actor, NOW, self._ids, new_secret))

        return self._database.write(run)

    def together(self, *work: tuple[str, Callable[[Call], Any]]) -> list[Any]:
        """Do all at once; return results and our errors, in order."""
        ready, done = threading.Barrier(len(work)), [None] * len(work)

        def one(n: int, who: str, service: Callable[[Call], Any]) -> None:
            def late(call: Call) -> Any:
                # Everybody is authorised with what was true before anybody began.
                if call.tx.is_postgres:
                    ready.wait(10)
                return service(call)

            try:
                done[n] = self.write(who, late)
            except RunyardError as error:
                done[n] = error

        threads = [threading.Thread(target=one, args=(n, *each)) for n, each in enumerate(work)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return done


@pytest.fixture
def lab(database: Database) -> Lab:
    return Lab(database)


def refused(done: list[Any]) -> list[type]:
    return [type(one) for one in done if isinstance(one, RunyardError)]


def test_two_admins_cannot_remove_each_other_at_once(lab):
    done = lab.together(
        ("ann", lambda call: members.remove_member(call, "lab", "bob")),
        ("bob", lambda call: members.remove_member(call, "lab", "ann")),
    )
    assert refused(done) == [Conflict]
    assert len(lab.write("", lambda call: members.list_members(call, "lab"))) == 1


def test_the_last_two_admins_of_a_server_cannot_disable_each_other_at_once(lab):
    done = lab.together(
        ("ann", lambda call: accounts.edit_user(call, "bob", {"disabled": True})),
        ("bob", lambda call: accounts.edit_user(call, "ann", {"disabled": True})),
    )
    # The second is refused as the last admin or, where writers queue up, as nobody any more.
    assert len(refused(done)) == 1
    users = lab.write("", lambda call: accounts.list_users(call, after="", limit=9))
    assert [u["disabled_at"] for u in users].count(None) == 1


def test_a_token_makes_one_user_however_many_bring_it_at_once(lab):
    made = lab.write(
        "ann", lambda call: invitations.create(call, team="lab", role="viewer", seconds=60)
    )
    done = lab.together(
        *(
            ("", lambda call, name=f"new{n}": invitations.redeem(call, made.token, name))
            for n in range(4)
        )
    )
    assert refused(done) == [NotFound] * 3
    users = lab.write("", lambda call: accounts.list_users(call, after="", limit=9))
    assert len(users) == 3


def test_a_role_is_not_deleted_while_it_is_given(lab):
    lab.write("ann", lambda call: roles.put(call, "lab", "own", ["submit"], ""))
    lab.write("ann", lambda call: accounts.create_user(call, "sid", is_admin=False))
    lab.together(
        ("ann", lambda call: members.set_member(call, "lab", "sid", "own")),
        ("bob", lambda call: roles.delete(call, "lab", "own")),
    )
    found = {m["user"]: m["role"] for m in lab.write("", lambda c: members.list_members(c, "lab"))}
    known = {r.name for r in lab.write("", lambda call: roles.list_roles(call, "lab"))}
    assert set(found.values()) <= known


def test_two_people_cannot_have_one_name(lab):
    done = lab.together(
        ("ann", lambda call: accounts.create_user(call, "new", is_admin=False)),
        ("bob", lambda call: accounts.create_team(call, "new")),
    )
    assert [issubclass(error, Conflict) for error in refused(done)] == [True]


def test_a_limit_holds_when_many_agents_lease_at_the_same_moment(database):
    lab = Lab(database)
    lab.write("ann", lambda call: queues.create(
        call, entity="lab", name="q", resource="local-container",
        policy={"max_running": 4, "fair_share": True, "max_running_per_user": 3},
    ))  # fmt: skip
    image = {"docker": {"docker_image": "busybox"}}
    for who in ("ann", "bob"):
        lab.write(who, lambda call: submitting.submit(call, "lab", "q", [image] * 10))
    agents_there = [
        lab.write("ann", lambda call, n=n: agents.register(call, wire.Register(
            entity="lab", name=f"a{n}", hostname="h", version="1", queues=["q"], max_jobs=-1,
        )))
        for n in range(4)
    ]  # fmt: skip

    def lease(call: Call) -> list[str]:
        (served,) = agent_rows.served(call.tx, agents_there[0].agent_id)
        n = next(turns)
        held = leasing.lease(call, agents_there[n].agent_id, f"a{n}", [served], 3)
        return [h.spec["author"] for h in held]

    turns = iter(range(4))
    taken = lab.together(*[("ann", lease)] * 4)
    authors = [author for held in taken for author in held]
    assert sorted(authors) == ["ann", "ann", "bob", "bob"]
