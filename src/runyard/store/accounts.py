"""Users and their names, projects, and the credentials that stand for people and programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from runyard.domain.access import ADMIN, BUILT_IN, Actor, Kind
from runyard.domain.items import AgentId, RunId
from runyard.store import tables as t
from runyard.store.bulk import insertion
from runyard.store.db import Row, Tx
from runyard.store.members import actions_of
from runyard.store.values import from_text, ms_or_none, to_ms, to_text

_E, _U, _M, _K, _P = (
    t.entities.c, t.users.c, t.memberships.c, t.credentials.c, t.projects.c,
)  # fmt: skip

_BY_HASH: Final = (
    select(
        t.credentials, _E.name.label("user"), _U.is_admin, _U.queues, _U.kind.label("user_kind"),
        t.runs.c.project_id, t.runs.c.name.label("run_name"),
    )
    .join(t.users, _U.id == _K.user_id)
    .join(t.entities, _E.id == _U.id)
    .outerjoin(t.runs, t.runs.c.id == _K.run_id)
    .where(
        _K.hash == bindparam("hash"),
        _U.disabled_at.is_(None),
        or_(_K.expires_at.is_(None), _K.expires_at > bindparam("now")),
    )
)  # fmt: skip
_BY_NAME: Final = (
    select(_U.id, _E.name.label("user"), _U.is_admin, _U.queues, _U.kind.label("user_kind"))
    .join(t.entities, _E.id == _U.id)
    .where(_E.name == bindparam("name"), _U.disabled_at.is_(None))
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
    return replace(
        _actor(tx, row, row["user_id"]),
        kind=Kind(row["kind"]),
        agent_id=row["agent_id"] and AgentId(row["agent_id"]),
        epoch=row["epoch"],
        run_id=row["run_id"] and RunId(row["run_id"]),
        run_name=row["run_name"] or "",
        project_id=row["project_id"] or "",
        credential_id=row["id"],
    )


def actor_named(tx: Tx, name: str) -> Actor | None:
    """Return whom a key of this user would stand for now; None if nobody, or it is disabled."""
    row = tx.one(_BY_NAME, {"name": name})
    return None if row is None else _actor(tx, row, row["id"])


def _actor(tx: Tx, row: Row, user_id: str) -> Actor:
    found = tx.all(_ROLES, {"user": user_id})
    roles = {r["team_id"]: r["role"] for r in found}
    grants = {r["team_id"]: actions_of(r) for r in found}
    is_service = row["user_kind"] == "service"
    if not is_service:  # everybody administers what is their own
        roles[user_id], grants[user_id] = ADMIN, BUILT_IN[ADMIN]
    return Actor(
        kind=Kind.USER,
        user_id=user_id,
        name=row["user"],
        is_admin=row["is_admin"],
        roles=roles,
        grants=grants,
        queues=None if row["queues"] is None else frozenset(from_text(row["queues"])),
        is_service=is_service,
    )


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


_KEYS: Final = (
    select(t.credentials, _E.name.label("user"), _U.team_id)
    .join(t.entities, _E.id == _K.user_id)
    .join(t.users, _U.id == _K.user_id)
    .where(_K.kind == "user")
)


def keys(tx: Tx, user_id: str | None, *, after: str, limit: int) -> Sequence[Row]:
    """Return the keys of a user, or of everybody, in order of their ids."""
    found = _KEYS.where(_K.id > after).order_by(_K.id).limit(limit)
    return tx.all(found if user_id is None else found.where(_K.user_id == user_id))


def key(tx: Tx, key_id: str) -> Row | None:
    return tx.one(_KEYS.where(_K.id == key_id))


def drop_key(tx: Tx, key_id: str) -> None:
    tx.run(delete(t.credentials).where(_K.id == key_id))


def drop_credentials_of(tx: Tx, user_id: str) -> None:
    """Drop all keys of a user, and the tokens of the agents and runs that stood for it."""
    tx.run(delete(t.credentials).where(_K.user_id == user_id))


# A service account has a name, and nothing under it: it is no entity to whoever asks for one.
_ENTITY: Final = (
    select(t.entities)
    .outerjoin(t.users, _U.id == _E.id)
    .where(_E.name == bindparam("name"), or_(_U.kind.is_(None), _U.kind != "service"))
)
_HOME: Final = (
    select(t.entities)
    .join(t.users, _U.team_id == _E.id)
    .where(_U.id == bindparam("user"))
)  # fmt: skip


def entity(tx: Tx, name: str) -> Row | None:
    return tx.one(_ENTITY, {"name": name})


def home_of(tx: Tx, user_id: str) -> Row | None:
    """Return the team that a service account belongs to."""
    return tx.one(_HOME, {"user": user_id})


def is_taken(tx: Tx, name: str) -> bool:
    """Tell whether a user, a team or a service account has the name."""
    return tx.one(select(_E.id).where(_E.name == name)) is not None


def add_entity(tx: Tx, entity_id: str, name: str, kind: str, now: datetime) -> None:
    tx.run(
        insert(t.entities),
        {"id": entity_id, "name": name, "kind": kind, "created_at": to_ms(now)},
    )


def add_user(
    tx: Tx, user_id: str, *, is_admin: bool, email: str | None = None, vouched: bool = False
) -> None:
    tx.run(
        insert(t.users),
        {"id": user_id, "is_admin": is_admin, "email": email, "email_vouched": vouched},
    )


def add_service(tx: Tx, user_id: str, team_id: str, queues: Sequence[str] | None) -> None:
    tx.run(
        insert(t.users),
        {
            "id": user_id, "is_admin": False, "kind": "service", "team_id": team_id,
            "queues": None if queues is None else to_text(queues),
        },
    )  # fmt: skip


def any_user(tx: Tx) -> bool:
    return tx.one(select(_U.id).limit(1)) is not None


_TEAM: Final = t.entities.alias("team")
_USERS: Final = (
    select(t.users, _E.name, _E.created_at, _TEAM.c.name.label("team"))
    .join(t.entities, _E.id == _U.id)
    .outerjoin(_TEAM, _TEAM.c.id == _U.team_id)
)
_SERVICES: Final = (
    _USERS.add_columns(_M.role, t.roles.c.permissions)
    .join(t.memberships, (_M.user_id == _U.id) & (_M.team_id == _U.team_id))
    .outerjoin(t.roles, (t.roles.c.team_id == _M.team_id) & (t.roles.c.name == _M.role))
)


def users(tx: Tx, kind: str | None, *, after: str, limit: int) -> Sequence[Row]:
    """Return users of a kind, or of all kinds, in order of their ids."""
    found = _USERS.where(_U.id > after).order_by(_U.id).limit(limit)
    return tx.all(found if kind is None else found.where(_U.kind == kind))


def user(tx: Tx, name: str) -> Row | None:
    return tx.one(_USERS.where(_E.name == name))


def services(tx: Tx, team_id: str, *, after: str, limit: int) -> Sequence[Row]:
    """Return the service accounts of a team with their roles, in order of their ids."""
    found = _SERVICES.where(_U.team_id == team_id, _U.id > after)
    return tx.all(found.order_by(_U.id).limit(limit))


def service(tx: Tx, team_id: str, name: str) -> Row | None:
    return tx.one(_SERVICES.where(_U.team_id == team_id, _E.name == name))


def count_services(tx: Tx, team_id: str) -> int:
    found: int = tx.scalar(select(func.count()).select_from(t.users).where(_U.team_id == team_id))
    return found


def edit_user(tx: Tx, user_id: str, values: Mapping[str, Any]) -> None:
    """Change columns of a user; `queues` is a list or None, `disabled_at` a time or None."""
    stored = dict(values)
    if stored.get("queues") is not None:
        stored["queues"] = to_text(stored["queues"])
    if "disabled_at" in stored:
        stored["disabled_at"] = ms_or_none(stored["disabled_at"])
    tx.run(update(t.users).where(_U.id == user_id).values(**stored))


def working_admins(tx: Tx) -> set[str]:
    """Return the ids of the server's admins who are not disabled, and lock their rows."""
    found = tx.all(
        select(_U.id).where(_U.is_admin, _U.disabled_at.is_(None)).with_for_update(key_share=True)
    )
    return {row["id"] for row in found}


_PROJECT: Final = select(_P.id).where(
    _P.entity_id == bindparam("entity"), _P.name == bindparam("name")
)


def project_id(tx: Tx, entity_id: str, name: str) -> str | None:
    found: str | None = tx.scalar(_PROJECT, {"entity": entity_id, "name": name})
    return found


def add_project(
    tx: Tx, project: str, entity_id: str, name: str, *, created_by: str, now: datetime
) -> None:
    """Add a project, unless somebody was faster: many runs of a new one begin at once."""
    dialect = postgresql if tx.is_postgres else sqlite
    values: dict[str, Any] = {
        "id": project, "entity_id": entity_id, "name": name, "created_by": created_by,
        "created_at": to_ms(now),
    }  # fmt: skip
    tx.run(dialect.insert(t.projects).on_conflict_do_nothing(), values)


def count_projects(tx: Tx, entity_id: str) -> int:
    found: int = tx.scalar(
        select(func.count()).select_from(t.projects).where(_P.entity_id == entity_id)
    )
    return found
