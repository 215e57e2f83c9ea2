"""What groups give and take, whatever was there before, and who is faster."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runyard.domain.access import BUILT_IN
from runyard.domain.errors import Conflict
from runyard.domain.groups import parse_rules
from runyard.domain.oidc import Person, challenge_of
from runyard.server.edge import Ids, new_secret, utc_now
from runyard.services import identities, members
from runyard.services.call import Call
from runyard.store import identities as rows
from runyard.store.db import Database, Tx
from tests.services.conftest import T0, Yard

ISSUER = "https://id.example.org"
TEAMS = ("red", "blue")
ROLES = tuple(BUILT_IN)
MAPPING = tuple(f"{team}-{role}={team}:{role}" for team in TEAMS for role in ROLES)
RULES = parse_rules(("*",), (*MAPPING, "root=*:instance-admin"))
GROUPS = [*(entry.partition("=")[0] for entry in MAPPING), "root"]
PROVIDER = identities.Provider(ISSUER, RULES, link_by_email=False)
numbers = itertools.count()


def person(*groups: str, subject: str = "u", name: str = "ada") -> Person:
    return Person(subject, name, None, frozenset(groups))


@pytest.fixture
def shared(yard: Yard) -> Yard:
    members.create_team(yard.call(), "red")
    return yard


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.sets(st.sampled_from(GROUPS), max_size=5), min_size=1, max_size=4),
    st.sampled_from([None, *ROLES]),
)
def test_T19_after_each_login_people_have_what_the_mapping_says_and_no_more(
    shared: Yard, logins: list[set[str]], by_hand: str | None
) -> None:
    name = f"u{next(numbers)}"
    for turn, groups in enumerate(logins):
        call = shared.call()
        who = identities.sign_in(call, PROVIDER, person(*groups, subject=name, name=name))
        if turn == 0 and by_hand is not None:
            members.set_member(shared.call(), "red", name, by_hand)
            identities.sign_in(call, PROVIDER, person(*groups, subject=name, name=name))
        has = {row["team"]: row["role"] for row in rows.memberships(shared.tx, who.user_id)}
        for team in TEAMS:
            roles = [role for role in ROLES if f"{team}-{role}" in groups]
            if team == "red" and by_hand is not None:
                assert has[team] == by_hand
            elif not roles:
                assert team not in has
            else:
                most = max(len(BUILT_IN[role]) for role in roles)
                assert has[team] in roles
                assert len(BUILT_IN[has[team]]) == most
        actor = shared.user(name)
        assert actor.is_admin is ("root" in groups)


def in_threads(work: Callable[[], Any], count: int = 6) -> list[Any]:
    """Run something in several threads at one moment; return what each returned or raised."""
    start, ended = threading.Barrier(count), []

    def run() -> None:
        start.wait()
        try:
            ended.append(work())
        except Exception as error:  # looked at by the test
            ended.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ended


def served(database: Database, work: Callable[[Call], Any]) -> Any:
    from runyard.server.edge import SERVER

    ids = Ids(utc_now)

    def run(tx: Tx) -> Any:
        return work(Call(tx, SERVER, utc_now(), ids, new_secret))

    return database.write(run)


def test_first_logins_at_one_moment_make_one_account(database: Database) -> None:
    def login() -> Any:
        try:
            return served(database, lambda c: identities.sign_in(c, PROVIDER, person("red-member")))
        except Conflict:  # as the route does
            return served(database, lambda c: identities.sign_in(c, PROVIDER, person("red-member")))

    ended = in_threads(login)
    assert {who.user_id for who in ended} == {ended[0].user_id}
    assert [who.name for who in ended] == ["ada"] * len(ended)


def test_T18_a_code_gives_one_key_however_many_ask_at_one_moment(database: Database) -> None:
    verifier = "v" * 43
    who = served(database, lambda c: identities.sign_in(c, PROVIDER, person()))
    code = served(database, lambda c: identities.hand_out(c, who.user_id, challenge_of(verifier)))
    ended = in_threads(
        lambda: served(database, lambda c: identities.redeem(c, code, verifier, hours=1))
    )
    assert len([one for one in ended if isinstance(one, identities.Session)]) == 1
    assert ended.count(None) == len(ended) - 1


def test_servers_share_one_key_whoever_makes_it(database: Database) -> None:
    def key() -> Any:
        try:
            return served(database, lambda c: identities.server_key(c, "k"))
        except Conflict:
            return served(database, lambda c: identities.server_key(c, "k"))

    assert len(set(in_threads(key))) == 1


def test_codes_that_nobody_fetched_are_dropped(yard: Yard) -> None:
    from sqlalchemy import text

    who = identities.sign_in(yard.call(), PROVIDER, person())
    for _ in range(3):
        identities.hand_out(yard.call(), who.user_id, "c")
        yard.later(minutes=10)
    assert yard.now > T0
    assert yard.tx.scalar(text("SELECT count(*) FROM login_codes")) == 1
