"""The names that users, teams and service accounts share, and who may speak of them at all."""

from __future__ import annotations

import re
from typing import Final

from runyard.domain.access import Action, Kind
from runyard.domain.errors import Conflict, Forbidden, Invalid, NotFound
from runyard.services.call import Call
from runyard.store import accounts
from runyard.store.db import Duplicate, Row, Tx

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_PROJECT = re.compile(r"[^/\\#?%:]{1,128}")
_EMAIL = re.compile(r"[^\s@<>\"',;\x00-\x20\x7f]{1,64}@[^\s@<>\"',;\x00-\x20\x7f]{1,254}")
# Names that are words of our paths: an entity with such a name would read as a route (T2).
RESERVED: Final = frozenset({
    "api", "artifacts", "authorize", "files", "graphql", "healthz", "login", "me", "metrics",
    "oidc", "ready", "readyz", "sdk", "static", "storage",
})  # fmt: skip


def check_name(name: str, what: str) -> None:
    """Raises: Invalid: no user, team, service account or role can be named so."""
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise Invalid(
            f"{what} name {name!r}: 1 to 63 lower-case letters, digits, '-' or '_', "
            f"beginning with a letter or digit, and none of {', '.join(sorted(RESERVED))}"
        )


def check_project_name(name: str) -> None:
    """Raises: Invalid: no project can be named so; the tracking client has the same rule."""
    fits = _PROJECT.fullmatch(name) and name.isprintable() and name == name.strip()
    if not fits or name in (".", ".."):
        raise Invalid(
            f"project name {name[:140]!r}: 1 to 128 printable characters, none of / \\ # ? % :, "
            "and no space at either end"
        )


def check_email(email: str) -> None:
    """Raises: Invalid: it does not look like an address. Nothing is sent to it here."""
    if not _EMAIL.fullmatch(email):
        raise Invalid(f"email: {email[:80]!r} does not look like an e-mail address")


def claim_name(call: Call, entity_id: str, name: str, kind: str, what: str = "") -> None:
    """Give a name to a new entity of `kind` user or team.

    Raises:
        Invalid: no entity can have it.
        Conflict: another one has it.
    """
    check_name(name, what or kind)
    if accounts.is_taken(call.tx, name):
        raise Conflict(f"there is a user, team or service account named {name!r} already")
    try:
        accounts.add_entity(call.tx, entity_id, name, kind, call.now)
    except Duplicate as error:
        raise Conflict(f"there is a user or team named {name!r} already") from error


def find_user(tx: Tx, name: str) -> Row:
    """Return a person or a service account, disabled or not.

    Raises:
        NotFound.
    """
    row = accounts.user(tx, name)
    if row is None:
        raise NotFound(
            f"no user {name!r}",
            hint="an admin of this server creates users; an admin of a team may invite new ones: "
            "runyard invite create",
        )
    return row


def find_team(call: Call, name: str, action: Action) -> Row:
    """Return a team in which the caller may do this.

    Raises:
        NotFound: no such team that the caller may see.
        Forbidden: it may see it, no more; or it wants to manage members with a key that is for
            some queues alone, and would hand on more than that.
    """
    row = call.entity(name, action)
    if row["kind"] != "team":
        raise NotFound(f"no team {name!r}; it is a user", hint="runyard team list")
    if action is Action.MANAGE_MEMBERS and call.actor.queues is not None:
        raise Forbidden(
            "a service account that may touch some queues alone cannot manage members",
            hint=f"ask an admin of {name}",
        )
    return row


def only_users(call: Call) -> None:
    """Pass for people and service accounts.

    Raises:
        Forbidden: it is an agent's or a run's token.
    """
    if call.actor.kind is not Kind.USER:
        raise Forbidden("this takes a person's key; an agent's or a run's token opens only its own")


def only_people(call: Call, what: str) -> None:
    """Pass for people: what makes accounts and keys is never done by a program's own account.

    Raises:
        Forbidden: it is a service account, or an agent's or a run's token.
    """
    only_users(call)
    if call.actor.is_service:
        raise Forbidden(
            f"a service account cannot {what}",
            hint="ask a person who is an admin of its team",
        )
