"""
T19 as a law: whatever people who are no admins of the server do with roles, members, service
accounts and invitations, nobody comes to a permission that was not granted by who had it.

The traffic is random and keeps to a few names, so that steps meet; each step that is let through
is compared with what everybody could do before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from runyard.domain.access import BUILT_IN, Action
from runyard.domain.errors import RunyardError
from runyard.server.edge import SERVER
from runyard.services import invitations, keys, members, roles, service_accounts
from runyard.services.accounts import authenticate
from runyard.store import accounts as rows
from runyard.store.db import Database

from .conftest import Yard

PEOPLE = ("pia", "pol", "pru", "out")  # the last is no member at first
OWN_ROLES = ("r1", "r2", "r3")
SERVICES = ("s1", "s2")
ROLES = (*BUILT_IN, *OWN_ROLES)
Granted = dict[str, frozenset[Action]]

ALL = [action.permission for action in Action]
permissions = st.lists(st.sampled_from(ALL), max_size=6, unique=True)
# Nearly everybody may manage members, and much else: else almost all steps would be refused.
managing = st.lists(st.sampled_from(ALL), max_size=4, unique=True).map(
    lambda without: sorted({*ALL, "manage_members"} - {*without} | {"manage_members"})
)
person, service = st.sampled_from(PEOPLE), st.sampled_from(SERVICES)
role = st.sampled_from((*ROLES, *OWN_ROLES, "viewer", "submitter", "agent"))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("set_member"), person, person, role),
        st.tuples(st.just("remove_member"), person, person),
        st.tuples(st.just("put_role"), person, st.sampled_from(OWN_ROLES), managing),
        st.tuples(st.just("put_role"), person, st.sampled_from(OWN_ROLES), permissions),
        st.tuples(st.just("delete_role"), person, st.sampled_from(OWN_ROLES)),
        st.tuples(st.just("create_service"), person, service, role),
        st.tuples(st.just("edit_service"), person, service, role),
        st.tuples(st.just("key_of_service"), person, service),
        st.tuples(st.just("invite"), person, role),
        st.tuples(st.just("join"), person),
        st.tuples(st.just("join"), st.just("out")),
        st.tuples(st.just("redeem"), person),
    ),
    min_size=20,
    max_size=50,
)


@dataclass
class Traffic:
    """Plays steps, and says for each who acted: for an invitation that is who made it."""

    yard: Yard
    tokens: list[tuple[str, str]] = field(default_factory=list)
    born: list[str] = field(default_factory=list)

    def can(self) -> Granted:
        team = self.yard.team_id("lab")
        everybody = (*PEOPLE, *SERVICES, *self.born)
        found = {name: rows.actor_named(self.yard.tx, name) for name in everybody}
        return {
            name: frozenset() if actor is None else actor.granted(team)
            for name, actor in found.items()
        }

    def play(self, what: str, who: str, *more: Any) -> str:
        return str(getattr(self, what)(who, *more) or who)

    def call(self, who: str) -> Any:
        actor = rows.actor_named(self.yard.tx, who)
        assert actor is not None
        return self.yard.call(actor)

    def set_member(self, who: str, user: str, role: str) -> None:
        members.set_member(self.call(who), "lab", user, role)

    def remove_member(self, who: str, user: str) -> None:
        members.remove_member(self.call(who), "lab", user)

    def put_role(self, who: str, role: str, names: list[str]) -> None:
        roles.put(self.call(who), "lab", role, names, "")

    def delete_role(self, who: str, role: str) -> None:
        roles.delete(self.call(who), "lab", role)

    def create_service(self, who: str, name: str, role: str) -> None:
        service_accounts.create(self.call(who), "lab", name, role=role, queues=None)

    def edit_service(self, who: str, name: str, role: str) -> None:
        service_accounts.edit(self.call(who), "lab", name, {"role": role})

    def key_of_service(self, who: str, name: str) -> None:
        """A key lets its maker do all that the account may."""
        before = self.can()
        made = keys.create_key(self.call(who), name="k", user=name)
        actor = authenticate(self.yard.tx, made.secret, self.yard.now)
        assert actor is not None
        assert actor.granted(self.yard.team_id("lab")) <= before[who]

    def invite(self, who: str, role: str) -> None:
        made = invitations.create(self.call(who), team="lab", role=role, seconds=3600)
        self.tokens.append((made.token, who))

    def join(self, who: str) -> str:
        token, maker = self.tokens[-1] if self.tokens else ("none", who)
        invitations.join(self.call(who), token)
        return maker

    def redeem(self, who: str) -> str:
        token, maker = self.tokens.pop() if self.tokens else ("none", who)
        name = f"new{len(self.born)}"
        invitations.redeem(self.yard.call(SERVER), token, name)
        self.born.append(name)
        return maker


@pytest.fixture(scope="module")
def opened(sqlite_template: Path) -> Iterator[Callable[[], Any]]:
    """Give a transaction on a database with a team, to be rolled back: thousands are needed."""
    database = Database(f"sqlite:///{sqlite_template}")

    class Undo(Exception):
        pass

    def run(work: Callable[[Yard], None]) -> None:
        def played(tx: Any) -> None:
            yard = Yard(tx)
            for name in PEOPLE:
                yard.new_user(name)
            yard.team("lab")
            work(yard)
            raise Undo

        with pytest.raises(Undo):
            database.write(played)

    yield lambda: run
    database.close()


@given(
    own=st.lists(managing, min_size=3, max_size=3),
    first=st.lists(st.sampled_from((*OWN_ROLES, "member")), min_size=3, max_size=3),
    played=steps,
)
@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_T19_nobody_comes_to_a_permission_that_nobody_who_had_it_granted(
    opened: Any, own: list[list[str]], first: list[str], played: list[tuple[Any, ...]]
) -> None:
    def work(yard: Yard) -> None:
        for name, names in zip(OWN_ROLES, own, strict=True):
            roles.put(yard.call(), "lab", name, names, "")
        for name, given_role in zip(PEOPLE[:-1], first, strict=True):
            members.set_member(yard.call(), "lab", name, given_role)
        traffic = Traffic(yard)
        for step in played:
            before = traffic.can()
            try:
                actor = traffic.play(*step)
            except RunyardError:
                event("refused")
                assert {k: v for k, v in traffic.can().items() if k in before} == before
                continue
            event(f"done: {step[0]}")
            for name, now in traffic.can().items():
                was = before.get(name, frozenset())
                assert now - was <= before[actor], (step, name, "gained what its granter lacks")
                assert was - now <= before[actor], (step, name, "lost what its taker lacks")

    opened()(work)
