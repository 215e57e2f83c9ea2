"""Who asks, users, teams, keys, and the server itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runyard.server.graphql.context import Area, Info, context_of, or_none
from runyard.server.graphql.features import server_info
from runyard.services import keys
from runyard.services.tracking import people
from runyard.services.tracking.people import Member
from runyard.store.db import Row
from runyard.store.values import at_or_none

Source = dict[str, Any]
Input = Mapping[str, Any]


def user_source(user_id: str, name: str) -> Source:
    """Return what everybody knows who meets a user, as the author of a run, say.

    The rest is resolved for those who may see it.
    """
    return {"id": user_id, "name": name, "username": name, "entity": name, "flags": "{}"}


def entity_source(entity_id: str, name: str) -> Source:
    """Return what resolvers of an entity start from. The caller may see it."""
    return {
        "id": entity_id,
        "name": name,
        "available": False,  # the name, for a new team
        "readOnly": False,
        "readOnlyAdmin": False,
        "privateOnly": True,
        "storageBytes": 0,
        "codeSavingEnabled": True,
        "defaultAccess": "PRIVATE",
        "isPaid": True,
        "xxhashDigestsEnabled": False,
    }


# -- users ---------------------------------------------------------------------------------


def viewer(_: None, info: Info) -> Source:
    call = context_of(info).call
    source = user_source(call.actor.user_id, call.actor.name)
    source["entity"] = people.home(call)
    return source


def users(_: None, info: Info, query: str | None = None) -> Source:
    found = people.search(context_of(info).call, query or "")
    return {
        "edges": [
            {"node": user_source(row["id"], row["name"]), "cursor": row["id"]} for row in found
        ],
        "pageInfo": {"hasNextPage": False},
    }


def _profile(source: Source, info: Info) -> Row | None:
    if "profile" not in source:
        source["profile"] = people.profile(context_of(info).call, source["id"], source["name"])
    found: Row | None = source["profile"]
    return found


def _email(source: Source, info: Info) -> str | None:
    row = _profile(source, info)
    return None if row is None else row["email"]


def _admin(source: Source, info: Info) -> bool | None:
    row = _profile(source, info)
    return None if row is None else row["is_admin"]


def _deleted_at(source: Source, info: Info) -> Any:
    row = _profile(source, info)
    return None if row is None else at_or_none(row["disabled_at"])


def _api_keys(source: Source, info: Info) -> Source:
    row = _profile(source, info)
    found = [] if row is None else people.keys_of(context_of(info).call, row)
    return {"edges": [{"node": _key(each, each["prefix"])} for each in found]}


def _teams(source: Source, info: Info) -> Source:
    row = _profile(source, info)
    found = [] if row is None else people.entities_of(context_of(info).call, row)
    return {"edges": [{"node": entity_source(*each)} for each in found]}


def _key(row: Row, name: str) -> Source:
    return {"id": row["id"], "name": name, "description": row["name"]}


# -- entities ------------------------------------------------------------------------------


def entity(_: None, info: Info, name: str | None = None) -> Source | None:
    row = or_none(lambda: people.entity(context_of(info).call, name))
    return None if row is None else entity_source(row["id"], row["name"]) | {"row": row}


def _row(source: Source, info: Info) -> Row:
    if "row" not in source:
        source["row"] = people.entity(context_of(info).call, source["name"])
    row: Row = source["row"]
    return row


def _is_team(source: Source, info: Info) -> bool:
    return bool(_row(source, info)["kind"] == "team")


def _entity_type(source: Source, info: Info) -> str:
    return str(_row(source, info)["kind"])


def _members(source: Source, info: Info) -> list[Source]:
    found = people.members_of(context_of(info).call, _row(source, info))
    return [_member(each) for each in found]


def _user_of(source: Source, info: Info) -> Source | None:
    row = _row(source, info)
    return None if row["kind"] == "team" else user_source(row["id"], row["name"])


def _member(member: Member) -> Source:
    return {
        "id": member.id,
        "name": member.name,
        "username": member.name,
        "role": member.role,
        "admin": member.role == "admin",
        "pending": False,
        "email": member.email,
        "accountType": "SERVICE" if member.is_service else "USER",
    }


# -- what changes them ---------------------------------------------------------------------


def create_user(_: None, info: Info, input: Input) -> Source:
    row = people.create_user(
        context_of(info).call, input["email"], is_admin=bool(input.get("admin"))
    )
    return {"user": user_source(row["id"], row["name"])}


def create_team(_: None, info: Info, input: Input) -> Source:
    call = context_of(info).call
    row = people.create_team(call, input["teamName"], input.get("teamAdminUserName"))
    return {"entity": entity_source(row["id"], row["name"]) | {"row": row}}


def create_invite(_: None, info: Info, input: Input) -> Source:
    call = context_of(info).call
    row = people.add_member(
        call, input["entityName"], user=input.get("username"), email=input.get("email"),
        is_admin=bool(input.get("admin")),
    )  # fmt: skip
    user = user_source(row["id"], row["name"])
    invite = {"id": row["id"], "name": row["name"], "createdAt": call.now, "toUser": user}
    return {"invite": invite}


def delete_invite(_: None, info: Info, input: Input) -> Source:
    call = context_of(info).call
    people.remove_member(call, input.get("entityName") or "", input.get("id") or "")
    return {"success": True}


def create_service_account(_: None, info: Info, input: Input) -> Source:
    row = people.create_service_account(
        context_of(info).call, input["entityName"], input["description"]
    )
    return {"user": user_source(row["id"], row["name"])}


def generate_api_key(_: None, info: Info, input: Input) -> Source:
    made = people.create_key(context_of(info).call, input.get("description"))
    return {"apiKey": _key(made.row, made.secret)}  # the one time that the name is all of it


def delete_api_key(_: None, info: Info, input: Input) -> Source:
    keys.revoke_key(context_of(info).call, input["id"])
    return {"success": True}


AREA = Area(
    {
        "Query": {
            "viewer": viewer,
            "users": users,
            "entity": entity,
            "organization": lambda *_, **__: None,
            "serverInfo": lambda *_: server_info(),
        },
        "Mutation": {
            "createUser": create_user,
            "createTeam": create_team,
            "createInvite": create_invite,
            "deleteInvite": delete_invite,
            "createServiceAccount": create_service_account,
            "generateApiKey": generate_api_key,
            "deleteApiKey": delete_api_key,
        },
        "User": {
            "email": _email,
            "admin": _admin,
            "deletedAt": _deleted_at,
            "apiKeys": _api_keys,
            "teams": _teams,
            "organizations": lambda *_: [],  # there are none; the client needs the list
        },
        "Entity": {
            "isTeam": _is_team,
            "entityType": _entity_type,
            "members": _members,
            "user": _user_of,
        },
    }
)
