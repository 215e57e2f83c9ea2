"""Names, groups and proofs of people who come by a login provider."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain import oidc
from runyard.domain.errors import Forbidden, Invalid
from runyard.domain.groups import Grant, parse_rules


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("ada", "ada"),
        ("Ada.Lovelace@example.org", "ada-lovelace"),
        ("Ünal Özgür", "unal-ozgur"),
        ("ada_l", "ada_l"),
        ("--x--", "x"),
        ("a" * 100, "a" * 63),
        ("@example.org", "user"),
        ("李雷", "user"),
        ("../../etc/passwd", "etc-passwd"),
        ("a\udc00b", "ab"),
    ],
)
def test_a_name_follows_our_rules(called: str, name: str) -> None:
    assert oidc.user_name(called) == name


@given(st.text(), st.integers(1, 999))
def test_whatever_somebody_is_called_the_name_is_one_of_ours(called: str, number: int) -> None:
    name = oidc.numbered(oidc.user_name(called), number)
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", name)
    assert number == 1 or name.endswith(f"-{number}")


def test_claims_are_found_by_name_or_path() -> None:
    claims = {"a": {"b": ["x"]}, "https://x.y/groups": ["y"], "a.b": ["z"]}
    assert oidc.claim(claims, "https://x.y/groups") == ["y"]
    assert oidc.claim(claims, "a.b") == ["z"]  # the name goes before the path
    assert oidc.claim({"a": {"b": ["x"]}}, "a.b") == ["x"]
    assert oidc.claim(claims, "a.c.d") is None
    assert oidc.claim({"a": "text"}, "a.b") is None


def test_a_person_must_have_a_name_and_a_bearable_number_of_groups() -> None:
    for wrong in ({}, {"name": ""}, {"name": 7}, {"name": "a", "groups": ["g"] * 5001}):
        with pytest.raises(Forbidden):
            oidc.person({"sub": "1", **wrong}, user_claim="name", groups_claim="groups")


def test_T18_an_address_counts_only_if_it_is_verified() -> None:
    def email(**claims: object) -> str | None:
        said = {"sub": "1", "name": "a", **claims}
        return oidc.person(said, user_claim="name", groups_claim="groups").email

    assert email(email="Ada@Example.org", email_verified=True) == "ada@example.org"
    for verified in (False, "true", 1, None):
        assert email(email="ada@example.org", email_verified=verified) is None
    for odd in ("ada", "a b@c", "a@b@c", "a@b\n", 7, None, "a\0@b", "<a@b>"):
        assert email(email=odd, email_verified=True) is None


def test_groups_are_read_with_care() -> None:
    rules = parse_rules(
        ("ml eng", "a%2Cb"),
        (
            "CN=ml=x=vision:member",
            "a%2Cb=seeing:own-role",
            "x=*:instance-admin",
            "/ml=vision:admin",
        ),
    )
    assert rules.allowed == {"ml eng", "a,b"}
    assert rules.grants[0] == Grant("CN=ml=x", "vision", "member")
    assert rules.roles({"a,b", "/ml", "CN=ml=x"}) == {
        "seeing": ["own-role"],
        "vision": ["member", "admin"],
    }
    assert rules.makes_admin({"x"})
    assert not rules.makes_admin({"a,b"})
    assert rules.lets_in({"a,b"})
    assert not rules.lets_in({"x", "*"})
    assert not parse_rules((), ()).lets_in({"x"})
    assert parse_rules(("*",), ()).lets_in(())


def test_mistakes_in_the_mapping_are_told_all_at_once() -> None:
    wrong = ("a", "a=b", "=b:c", "*=b:member", "a=B:member", "a=b:Member", "a=*:admin",
             "a=b:instance-admin", "a=b:", "a=:member", "a=b:c:d")  # fmt: skip
    with pytest.raises(Invalid) as error:
        parse_rules(("x",), wrong)
    assert len(error.value.violations) == len(wrong)


def test_proofs_of_possession() -> None:
    # The example of RFC 7636, appendix B.
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert oidc.challenge_of(verifier) == challenge
    assert oidc.meets(verifier, challenge)
    assert not oidc.meets(verifier + "x", challenge)
    assert not oidc.meets("x" * 42, oidc.challenge_of("x" * 42))  # shorter than the standard
    assert not oidc.meets("é" * 43, challenge)
