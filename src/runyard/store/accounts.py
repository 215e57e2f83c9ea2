"""People, teams, memberships, projects, and the credentials that stand for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, or_, select, update

from runyard.domain.access import ADMIN, BUILT_IN, Action, Actor, Kind
from runyard.domain.items import AgentId, RunId
from runyard.store import tables as t
from runyard.store.bulk import insertion
from runyard.store.db import Row, Tx
from runyard.store.values import from_text, ms_or_none, to_ms

_E, _U, _M, _K, _P = (
    t.entities.c, t.users.c, t.memberships.c, t.credentials.c, t.projects.c,
)  # fmt: skip

_BY_HASH: Final = (
    select(t.credentials, _E.name.label("user"), _U.is_admin, _U.queues, _U.kind.label("user_kind"))
    .join(t.users, _U.id == _K.user_id)
    .join(t.entities, _E.id == _U.id)
    .where(
        _K.hash == bindparam("hash"),
        _U.disabled_at.is_(None),
        or_(_K.expires_at.is_(None), _K.expires_at > bindparam("now")),
    )
)
_NEW_CREDENTIALS: Final = insertion(
    t.credentials, "id", "hash", "kind", "user_id", "agent_id", "epoch", "run_id", "name", "prefix",
    "created_at", "expires_at",
)  # fmt: skip
_ROLES: Final = (
    select(_M.team_id, _M.role, t.roles.c.permissions)
    .outerjoin(t.roles, (t.roles.c.team_id == _M.team_id) & (t.roles.c.name == _M.role))
    .where(_M.user_id == bindparam("user"))
)


@dataclass(frozen=True, slots=True)
class Credential:
    """What is stored of a key or token: its hash, and what it stands for."""

    id: str
    hash: str
    kind: Kind
    user_id: str
    name: str = ""
    prefix: str = ""
    agent_id: str | None = None
    epoch: int = 0
    run_id: str | None = None
    expires_at: datetime | None = None


def actor_of(tx: Tx, token_hash: str, now: datetime) -> Actor | None:
    """Return whom the credential with this hash stands for; None if nobody, or too late."""
    row = tx.one(_BY_HASH, {"hash": token_hash, "now": to_ms(now)})
    if row is None:
        return None
    found = tx.all(_ROLES, {"user": row["user_id"]})
    roles = {r["team_id"]: r["role"] for r in found}
    grants = {r["team_id"]: _granted(r) for r in found}
    is_service = row["user_kind"] == "service"
    if not is_service:  # everybody administers what is their own
        roles[row["user_id"]], grants[row["user_id"]] = ADMIN, BUILT_IN[ADMIN]
    return Actor(
        kind=Kind(row["kind"]),
        user_id=row["user_id"],
        name=row["user"],
        is_admin=row["is_admin"],
        roles=roles,
        grants=grants,
        queues=None if row["queues"] is None else frozenset(from_text(row["queues"])),
        is_service=is_service,
        agent_id=row["agent_id"] and AgentId(row["agent_id"]),
        epoch=row["epoch"],
        run_id=row["run_id"] and RunId(row["run_id"]),
        credential_id=row["id"],
    )


def _granted(row: Row) -> frozenset[Action]:
    """Return what a role may do; one that nobody knows any more may do nothing."""
    if row["permissions"] is None:
        return BUILT_IN.get(row["role"], frozenset())
    return frozenset(Action.named(name) for name in from_text(row["permissions"]))


def add_credentials(tx: Tx, new: Sequence[Credential], now: datetime) -> None:
    _NEW_CREDENTIALS.run(
        tx,
        [
            {
                "id": c.id, "hash": c.hash, "kind": c.kind.value, "user_id": c.user_id,
                "agent_id": c.agent_id, "epoch": c.epoch, "run_id": c.run_id, "name": c.name,
                "prefix": c.prefix, "created_at": to_ms(now),
                "expires_at": ms_or_none(c.expires_at),
            }
            for c in new
        ],
    )  # fmt: skip


_OF_RUNS: Final = delete(t.credentials).where(_K.run_id.in_(bindparam("runs", expanding=True)))
_OF_AGENT: Final = delete(t.credentials).where(
    _K.agent_id == bindparam("agent"), _K.epoch < bindparam("below")
)
_USED: Final = (
    update(t.credentials).where(_K.id == bindparam("key")).values(last_used_at=bindparam("at"))
)


def drop_run_tokens(tx: Tx, run_ids: Sequence[str]) -> None:
    tx.run(_OF_RUNS, {"runs": list(run_ids)})


def drop_agent_tokens(tx: Tx, agent_id: str, *, below: int = 2**31 - 1) -> None:
    """Drop the tokens of an agent, or those of its epochs below one."""
    tx.run(_OF_AGENT, {"agent": agent_id, "below": below})


def note_use(tx: Tx, used: Sequence[tuple[str, datetime]]) -> None:
    tx.run(_USED, [{"key": key, "at": to_ms(at)} for key, at in used])


def keys(tx: Tx, user_id: str | None, *, after: str, limit: int) -> Sequence[Row]:
    """Return the keys of a user, or of everybody, in order of their ids."""
    found = (
        select(t.credentials, _E.name.label("user"))
        .join(t.entities, _E.id == _K.user_id)
        .where(_K.kind == "user", _K.id > after)
        .order_by(_K.id)
        .limit(limit)
    )
    return tx.all(found if user_id is None else found.where(_K.user_id == user_id))


def key(tx: Tx, key_id: str) -> Row | None:
    return tx.one(
        select(t.credentials, _E.name.label("user"))
        .join(t.entities, _E.id == _K.user_id)
        .where(_K.kind == "user", _K.id == key_id)
    )


def drop_key(tx: Tx, key_id: str) -> None:
    tx.run(delete(t.credentials).where(_K.id == key_id))


_ENTITY: Final = select(t.entities).where(_E.name == bindparam("name"))


def entity(tx: Tx, name: str) -> Row | None:
    return tx.one(_ENTITY, {"name": name})


def add_entity(tx: Tx, entity_id: str, name: str, kind: str, now: datetime) -> None:
    tx.run(
        insert(t.entities),
        {"id": entity_id, "name": name, "kind": kind, "created_at": to_ms(now)},
    )


def add_user(tx: Tx, user_id: str, *, is_admin: bool) -> None:
    tx.run(insert(t.users), {"id": user_id, "is_admin": is_admin})


def any_user(tx: Tx) -> bool:
    return tx.one(select(_U.id).limit(1)) is not None


_USERS: Final = select(
    _U.id, _U.is_admin, _E.name, _E.created_at
).join(t.entities, _E.id == _U.id)  # fmt: skip


def users(tx: Tx, *, after: str, limit: int) -> Sequence[Row]:
    return tx.all(_USERS.where(_U.id > after).order_by(_U.id).limit(limit))


def user(tx: Tx, name: str) -> Row | None:
    return tx.one(_USERS.where(_E.name == name))


def teams(tx: Tx, user_id: str | None, *, after: str, limit: int) -> Sequence[Row]:
    """Return the teams of a user with the role there, or all teams."""
    found = select(t.entities).where(_E.kind == "team", _E.id > after)
    if user_id is not None:
        found = found.where(_E.id.in_(select(_M.team_id).where(_M.user_id == user_id)))
    return tx.all(found.order_by(_E.id).limit(limit))


def memberships_of(tx: Tx, user_id: str) -> Sequence[Row]:
    """Return team name and role."""
    return tx.all(
        select(_E.name.label("team"), _M.role)
        .join(t.entities, _E.id == _M.team_id)
        .where(_M.user_id == user_id)
        .order_by(_E.name)
    )


def members(tx: Tx, team_id: str) -> Sequence[Row]:
    return tx.all(
        select(_E.name.label("user"), _M.role, _M.user_id)
        .join(t.entities, _E.id == _M.user_id)
        .where(_M.team_id == team_id)
        .order_by(_E.name)
    )


def set_role(tx: Tx, team_id: str, user_id: str, role: str) -> None:
    drop_member(tx, team_id, user_id)
    tx.run(insert(t.memberships), {"team_id": team_id, "user_id": user_id, "role": role})


def drop_member(tx: Tx, team_id: str, user_id: str) -> int:
    return tx.run(delete(t.memberships).where(_M.team_id == team_id, _M.user_id == user_id))


_PROJECT: Final = select(_P.id).where(
    _P.entity_id == bindparam("entity"), _P.name == bindparam("name")
)


def project_id(tx: Tx, entity_id: str, name: str) -> str | None:
    found: str | None = tx.scalar(_PROJECT, {"entity": entity_id, "name": name})
    return found


def add_project(tx: Tx, project: str, entity_id: str, name: str, now: datetime) -> None:
    values: dict[str, Any] = {
        "id": project, "entity_id": entity_id, "name": name, "created_at": to_ms(now),
    }  # fmt: skip
    tx.run(insert(t.projects), values)
