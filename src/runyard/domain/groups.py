"""
What the groups of a login provider are worth here: who may enter, and with which roles.

    ml-eng=vision:member     people of the group are members of the team
    admins=*:instance-admin  people of the group administer the server

Nothing is inherited and nothing guessed: a person has what the groups of their last login give,
and who is in no group that is let in does not enter.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from runyard.domain.errors import Invalid, Violation

EVERYBODY: Final = "*"
INSTANCE_ADMIN: Final = "instance-admin"
_TEAM: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_ROLE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_FORM: Final = "GROUP=TEAM:ROLE, or GROUP=*:instance-admin"


@dataclass(frozen=True, slots=True)
class Grant:
    """One line of the mapping. `team` None is the server as a whole."""

    group: str
    team: str | None
    role: str


@dataclass(frozen=True, slots=True)
class Rules:
    """The whole mapping, and who may enter at all. Nobody may if `allowed` is empty."""

    allowed: frozenset[str]
    grants: tuple[Grant, ...] = ()

    def lets_in(self, groups: Collection[str]) -> bool:
        return EVERYBODY in self.allowed or not self.allowed.isdisjoint(groups)

    def makes_admin(self, groups: Collection[str]) -> bool:
        return any(g.team is None and g.group in groups for g in self.grants)

    def roles(self, groups: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Return for each team the roles that these groups give there, in the mapping's order."""
        found: dict[str, list[str]] = {}
        for grant in self.grants:
            if grant.team is not None and grant.group in groups:
                found.setdefault(grant.team, []).append(grant.role)
        return found


def parse_rules(allowed: Sequence[str], teams: Sequence[str]) -> Rules:
    """Read both settings. `%2C` in a group stands for a comma, `%25` for a percent sign.

    Raises:
        Invalid: with a violation for each mistake.
    """
    wrong: list[Violation] = []
    grants: list[Grant] = []
    for entry in teams:
        try:
            grant = _parsed(entry)
        except Invalid as error:
            wrong.append(Violation("oidc_teams", f"{entry!r}: {error.message}"))
            continue
        if grant in grants:
            wrong.append(Violation("oidc_teams", f"{entry!r} is said twice"))
        grants.append(grant)
    if wrong:
        raise Invalid("the mapping of groups to teams is not valid", violations=wrong)
    return Rules(frozenset(map(unquote, allowed)), tuple(grants))


def _parsed(entry: str) -> Grant:
    group, equals, target = entry.rpartition("=")  # a group may have '=' in it, a team may not
    team, colon, role = target.partition(":")
    if not equals or not colon:
        raise Invalid(f"is not {_FORM}")
    if not group.strip() or group.strip() == EVERYBODY:
        raise Invalid("begins with the name of a group of the provider")
    group = unquote(group.strip())
    if (team == "*") != (role == INSTANCE_ADMIN):
        raise Invalid(f"'*' and {INSTANCE_ADMIN!r} belong together: GROUP=*:{INSTANCE_ADMIN}")
    if team == "*":
        return Grant(group, None, role)
    if not _TEAM.fullmatch(team):
        raise Invalid(f"{team!r} is not the name of a team: lower-case letters, digits, '-', '_'")
    if not _ROLE.fullmatch(role):
        raise Invalid(f"{role!r} is not the name of a role, such as member or admin")
    return Grant(group, team, role)
