"""
Service accounts: names and keys for programs. An agent on a cluster, a pipeline that submits.

A service account belongs to one team, has one role there and, if wanted, a list of the only
queues it may touch. It owns nothing, administers no server, and makes no accounts or keys. Who
manages the members of the team manages it, as far as its role is not above their own (T19).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from runyard.domain.access import Action
from runyard.domain.errors import Conflict, Invalid, NotFound, TooMuch
from runyard.services import audit, roles
from runyard.services.call import Call
from runyard.services.naming import claim_name, find_team, only_people
from runyard.store import accounts, members
from runyard.store.db import Row
from runyard.store.values import from_text

MOST: Final = 1000  # service accounts of a team, deleted ones included: their names stay taken
_QUEUE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def create(call: Call, team: str, name: str, *, role: str, queues: Sequence[str] | None) -> Row:
    """Make a service account, or bring back one of this team that was deleted.

    `queues` are the names of all that it may touch; None is any queue of the team.

    Raises:
        NotFound, Forbidden: among them a role that may more than the caller.
        Invalid: the name, a queue's name, or a role that there is not.
        Conflict: the name is taken.
        TooMuch: the team has as many as it can.
    """
    only_people(call, "make service accounts")
    row = find_team(call, team, Action.MANAGE_MEMBERS)
    given = roles.of_team(call, row, role)
    roles.need_to_grant(call, row, given)
    allowed = _checked(queues)
    members.lock_team(call.tx, row["id"])
    user_id = _revived(call, row, name, allowed) or _added(call, row, name, allowed)
    members.set_role(call.tx, row["id"], user_id, role)
    made = _get(call, row, name)
    audit.note(call, "service_account.create", name, entity_id=row["id"], after=_noted(made))
    call.tx.announce("credentials")
    return made


def page(call: Call, team: str, *, after: str, limit: int) -> Sequence[Row]:
    row = find_team(call, team, Action.SEE)
    return accounts.services(call.tx, row["id"], after=after, limit=limit)


def get(call: Call, team: str, name: str) -> Row:
    """Raises: NotFound, Forbidden."""
    return _get(call, find_team(call, team, Action.SEE), name)


def edit(call: Call, team: str, name: str, changes: Mapping[str, Any]) -> Row:
    """Change `role`, `queues` or `disabled` of a service account; takes effect at once.

    Raises:
        NotFound, Forbidden: among them a role, of now or before, that may more than the caller.
        Invalid: a queue's name, or a role that there is not.
    """
    row, was = _managed(call, team, name, "change service accounts")
    if "role" in changes:
        new = roles.of_team(call, row, changes["role"])
        roles.need_to_grant(call, row, new)
        members.set_role(call.tx, row["id"], was["id"], new.name)
    values: dict[str, Any] = {}
    if "queues" in changes:
        values["queues"] = _checked(changes["queues"])
    if "disabled" in changes and changes["disabled"] != (was["disabled_at"] is not None):
        values["disabled_at"] = call.now if changes["disabled"] else None
    if values:
        accounts.edit_user(call.tx, was["id"], values)
    edited = _get(call, row, name)
    audit.note(
        call, "service_account.edit", name,
        entity_id=row["id"], before=_noted(was), after=_noted(edited),
    )  # fmt: skip
    call.tx.announce("credentials")
    return edited


def delete(call: Call, team: str, name: str) -> None:
    """End a service account, its keys and the tokens of its agents, at once.

    Its name stays taken, since it stands in the history of items and runs.

    Raises:
        NotFound, Forbidden: among them a role that may more than the caller.
    """
    row, was = _managed(call, team, name, "delete service accounts")
    accounts.drop_credentials_of(call.tx, was["id"])
    members.drop_member(call.tx, row["id"], was["id"])
    accounts.edit_user(call.tx, was["id"], {"disabled_at": call.now})
    audit.note(call, "service_account.delete", name, entity_id=row["id"], before=_noted(was))
    call.tx.announce("credentials")


def queues_of(row: Row) -> list[str] | None:
    return None if row["queues"] is None else list(from_text(row["queues"]))


def _managed(call: Call, team: str, name: str, what: str) -> tuple[Row, Row]:
    only_people(call, what)
    row = find_team(call, team, Action.MANAGE_MEMBERS)
    members.lock_team(call.tx, row["id"])
    was = _get(call, row, name)
    who = f"the service account {name!r} ({was['role']})"
    call.actor.need_to_grant(members.actions_of(was), row["id"], who)
    return row, was


def _get(call: Call, team: Row, name: str) -> Row:
    row = accounts.service(call.tx, team["id"], name)
    if row is None:
        raise NotFound(
            f"{team['name']} has no service account {name!r}",
            hint=f"runyard service-account list {team['name']}",
        )
    return row


def _added(call: Call, team: Row, name: str, queues: Sequence[str] | None) -> str:
    if accounts.count_services(call.tx, team["id"]) >= MOST:
        raise TooMuch(f"{team['name']} has {MOST} service accounts, which is the most")
    user_id = call.new_id()
    claim_name(call, user_id, name, "user", "service account")
    accounts.add_service(call.tx, user_id, team["id"], queues)
    return user_id


def _revived(call: Call, team: Row, name: str, queues: Sequence[str] | None) -> str | None:
    was = accounts.user(call.tx, name)
    if was is None or was["team_id"] != team["id"]:
        return None
    if members.member(call.tx, team["id"], was["id"]) is not None:
        raise Conflict(
            f"{team['name']} has a service account {name!r} already",
            hint=f"change it: runyard service-account edit {team['name']} {name}",
        )
    accounts.edit_user(call.tx, was["id"], {"queues": queues, "disabled_at": None})
    return str(was["id"])


def _checked(queues: Sequence[str] | None) -> list[str] | None:
    """Return the names of queues in order, each once. They need not exist yet."""
    if queues is None:
        return None
    for name in queues:
        if not _QUEUE.fullmatch(name):
            raise Invalid(
                f"queues: {name[:80]!r} is not the name of a queue",
                hint="a queue's name alone, without the team's",
            )
    return sorted(set(queues))


def _noted(row: Row) -> dict[str, Any]:
    return {
        "role": row["role"],
        "queues": queues_of(row),
        "disabled": row["disabled_at"] is not None,
    }
