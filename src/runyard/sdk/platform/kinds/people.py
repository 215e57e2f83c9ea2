"""Users, teams, their roles, members and service accounts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from runyard.client.api import Api
from runyard.domain.access import ADMIN, Action, parse_permissions
from runyard.domain.errors import Invalid, Violation
from runyard.sdk.platform.kinds.base import Kind, Wish, without
from runyard.sdk.platform.things import Fields, Found, Key, Thing
from runyard.wire.rest_people import ServiceAccountPatch, UserOut, UserPatch

_USER: Final = {"admin": False, "email": "", "disabled": False}
_ACCOUNT: Final = {"role": "agent", "queues": None, "disabled": False}


class User(Kind):
    """A person. Made if missing, never deleted, and given no key.

    What is left out is left as it is: the first user of a server is an admin anyway.
    """

    name, section, rank = "user", "users", 0

    def wanted(self, part: Any) -> dict[str, Any]:
        return {name: getattr(part, name) for name in _USER if name in part.model_fields_set}

    def written(self, fields: Fields) -> Any:
        return without(fields, _USER)

    def read(self, api: Api, owner: str) -> Iterable[tuple[str, Found]]:  # noqa: ARG002
        for user in api.users():
            yield user.name, Found(_user(user))

    def create(self, api: Api, key: Key, wish: Wish) -> None:
        fields = {**_USER, **wish.fields}
        api.create_user(key.name, is_admin=fields["admin"], email=fields["email"] or None)
        if fields["disabled"]:
            api.edit_user(key.name, UserPatch.model_validate({"disabled": True}))

    def update(self, api: Api, key: Key, wish: Wish) -> None:
        fields = wish.fields
        said = {
            "is_admin": fields.get("admin"),
            "email": fields.get("email") or None,
            "disabled": fields.get("disabled"),
        }
        changed = {"is_admin" if name == "admin" else name for name in wish.changed}
        api.edit_user(key.name, UserPatch.model_validate({name: said[name] for name in changed}))


class Team(Kind):
    """A team. Whoever makes it is its first admin. Never deleted."""

    name, section, rank = "team", "teams", 1

    def wanted(self, part: Any) -> dict[str, Any]:  # noqa: ARG002
        return {}

    def written(self, fields: Fields) -> Any:  # noqa: ARG002
        return {}

    def read(self, api: Api, owner: str) -> Iterable[tuple[str, Found]]:  # noqa: ARG002
        for team in api.teams():
            yield team.name, Found({})

    def create(self, api: Api, key: Key, wish: Wish) -> None:  # noqa: ARG002
        api.create_team(key.name)


class Role(Kind):
    """A team's own role: a bundle of permissions."""

    name, section, rank = "role", "roles", 2

    def check(self, fields: Fields) -> Iterable[Violation]:
        try:
            parse_permissions(fields["permissions"])
        except Invalid as error:
            yield from error.violations

    def wanted(self, part: Any) -> dict[str, Any]:
        # `see` is in every role; the order means nothing.
        permissions = sorted({*part.permissions, Action.SEE.permission})
        return {"permissions": permissions, "description": part.description}

    def written(self, fields: Fields) -> Any:
        return without(fields, {"description": ""})

    def read(self, api: Api, owner: str) -> Iterable[tuple[str, Found]]:
        for role in api.roles(owner):
            if not role.built_in:
                fields = {
                    "permissions": sorted(role.permissions),
                    "description": role.description,
                }
                yield role.name, Found(fields)

    def create(self, api: Api, key: Key, wish: Wish) -> None:
        fields = wish.fields
        api.set_role(key.owner, key.name, fields["permissions"], description=fields["description"])

    def update(self, api: Api, key: Key, wish: Wish) -> None:
        self.create(api, key, wish)

    def delete(self, api: Api, key: Key) -> None:
        api.delete_role(key.owner, key.name)


class Member(Kind):
    """A user's role in a team: `ada: admin`."""

    name, section, rank = "member", "members", 3

    def wanted(self, part: Any) -> dict[str, Any]:
        return {"role": part}

    def written(self, fields: Fields) -> Any:
        return fields["role"]

    def read(self, api: Api, owner: str) -> Iterable[tuple[str, Found]]:
        for member in api.members(owner):
            kept = "a group of the login provider decides" if member.granted_by == "oidc" else ""
            yield member.user, Found({"role": member.role}, kept=kept)

    def create(self, api: Api, key: Key, wish: Wish) -> None:
        api.set_member(key.owner, key.name, wish.fields["role"])

    def update(self, api: Api, key: Key, wish: Wish) -> None:
        self.create(api, key, wish)

    def delete(self, api: Api, key: Key) -> None:
        api.remove_member(key.owner, key.name)

    def order(self, thing: Thing | None) -> int:
        # The new admins first: a team is never without one, not even for a moment.
        return 0 if thing is not None and thing.fields["role"] == ADMIN else 1


class ServiceAccount(Kind):
    """Whom agents and programs log in as. Its keys are in no document."""

    name, section, rank = "service account", "service_accounts", 6

    def wanted(self, part: Any) -> dict[str, Any]:
        queues = None if part.queues is None else sorted(set(part.queues))
        return {"role": part.role, "queues": queues, "disabled": part.disabled}

    def written(self, fields: Fields) -> Any:
        return without(fields, {**_ACCOUNT, "role": ""})

    def read(self, api: Api, owner: str) -> Iterable[tuple[str, Found]]:
        for account in api.service_accounts(owner):
            queues = None if account.queues is None else sorted(account.queues)
            disabled = account.disabled_at is not None
            yield (
                account.name,
                Found({"role": account.role, "queues": queues, "disabled": disabled}),
            )

    def create(self, api: Api, key: Key, wish: Wish) -> None:
        fields = wish.fields
        api.create_service_account(
            key.owner, key.name, role=fields["role"], queues=fields["queues"]
        )
        if fields["disabled"]:
            api.edit_service_account(key.owner, key.name, ServiceAccountPatch(disabled=True))

    def update(self, api: Api, key: Key, wish: Wish) -> None:
        change = ServiceAccountPatch(**{name: wish.fields[name] for name in wish.changed})
        api.edit_service_account(key.owner, key.name, change)

    def delete(self, api: Api, key: Key) -> None:
        api.delete_service_account(key.owner, key.name)


def _user(user: UserOut) -> dict[str, Any]:
    return {
        "admin": user.is_admin,
        "email": user.email or "",
        "disabled": user.disabled_at is not None,
    }
