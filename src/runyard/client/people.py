"""People over REST: users, teams, roles, service accounts, invitations, keys, the audit log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from runyard.client.parts import Calls, path
from runyard.client.transport import Params
from runyard.wire import rest_people as wire
from runyard.wire.rest_audit import AuditOut


class PeopleApi(Calls):
    def me(self) -> wire.MeOut:
        return self._get("/me", wire.MeOut)

    # -- users ---------------------------------------------------------------------------

    def users(self, *, kind: str | None = "person") -> Iterator[wire.UserOut]:
        """Yield people, service accounts (`kind` service), or both (None)."""
        return self._pages("/users", wire.UserOut, {"kind": kind})

    def user(self, name: str) -> wire.UserOut:
        return self._get(path("users", name), wire.UserOut)

    def create_user(
        self, name: str, *, is_admin: bool = False, email: str | None = None
    ) -> wire.UserOut:
        body = {"name": name, "is_admin": is_admin, "email": email}
        return self._post("/users", wire.UserOut, body)

    def edit_user(self, name: str, change: wire.UserPatch) -> wire.UserOut:
        answer = self.transport.call(
            "PATCH", path("users", name), body=change.model_dump(exclude_unset=True)
        )
        return self._read(wire.UserOut, answer)

    # -- teams and their members ---------------------------------------------------------

    def teams(self) -> Iterator[wire.TeamOut]:
        return self._pages("/teams", wire.TeamOut)

    def create_team(self, name: str) -> wire.TeamOut:
        return self._post("/teams", wire.TeamOut, {"name": name})

    def members(self, team: str) -> Iterator[wire.MemberOut]:
        """Yield the people in a team; see `service_accounts` for the others."""
        return self._pages(path("teams", team, "members"), wire.MemberOut)

    def set_member(self, team: str, user: str, role: str) -> wire.MemberOut:
        answer = self.transport.call(
            "PUT", path("teams", team, "members", user), body={"role": role}
        )
        return self._read(wire.MemberOut, answer)

    def remove_member(self, team: str, user: str) -> None:
        self.transport.call("DELETE", path("teams", team, "members", user))

    # -- roles ---------------------------------------------------------------------------

    def roles(self, team: str) -> Iterator[wire.RoleOut]:
        """Yield the built-in roles, and then the team's own."""
        return self._pages(path("teams", team, "roles"), wire.RoleOut)

    def set_role(
        self, team: str, role: str, permissions: Sequence[str], *, description: str = ""
    ) -> wire.RoleOut:
        """Make a role of a team, or change it for all who have it."""
        answer = self.transport.call(
            "PUT",
            path("teams", team, "roles", role),
            body={"permissions": list(permissions), "description": description},
        )
        return self._read(wire.RoleOut, answer)

    def delete_role(self, team: str, role: str) -> None:
        self.transport.call("DELETE", path("teams", team, "roles", role))

    # -- service accounts ----------------------------------------------------------------

    def service_accounts(self, team: str) -> Iterator[wire.ServiceAccountOut]:
        return self._pages(path("teams", team, "service-accounts"), wire.ServiceAccountOut)

    def service_account(self, team: str, name: str) -> wire.ServiceAccountOut:
        return self._get(path("teams", team, "service-accounts", name), wire.ServiceAccountOut)

    def create_service_account(
        self, team: str, name: str, *, role: str = "agent", queues: Sequence[str] | None = None
    ) -> wire.ServiceAccountOut:
        body = {"name": name, "role": role, "queues": None if queues is None else list(queues)}
        accounts = path("teams", team, "service-accounts")
        return self._post(accounts, wire.ServiceAccountOut, body)

    def edit_service_account(
        self, team: str, name: str, change: wire.ServiceAccountPatch
    ) -> wire.ServiceAccountOut:
        answer = self.transport.call(
            "PATCH",
            path("teams", team, "service-accounts", name),
            body=change.model_dump(exclude_unset=True),
        )
        return self._read(wire.ServiceAccountOut, answer)

    def delete_service_account(self, team: str, name: str) -> None:
        self.transport.call("DELETE", path("teams", team, "service-accounts", name))

    # -- invitations ---------------------------------------------------------------------

    def invitations(self, *, team: str | None = None) -> Iterator[wire.InvitationOut]:
        return self._pages("/invitations", wire.InvitationOut, {"team": team})

    def invite(self, invitation: wire.InvitationIn) -> wire.NewInvitationOut:
        return self._post("/invitations", wire.NewInvitationOut, invitation.model_dump())

    def revoke_invitation(self, invitation_id: str) -> None:
        self.transport.call("DELETE", path("invitations", invitation_id))

    def join(self, token: str) -> wire.JoinedOut:
        """Join the team that an invitation is to, as who one is logged in."""
        return self._post("/invitations/join", wire.JoinedOut, {"token": token})

    def redeem(self, token: str, name: str) -> wire.RedeemedOut:
        """Become a user by an invitation. Needs no key."""
        body = {"token": token, "name": name}
        return self._post("/invitations/redeem", wire.RedeemedOut, body)

    # -- keys ----------------------------------------------------------------------------

    def keys(self, *, user: str | None = None, everybody: bool = False) -> Iterator[wire.KeyOut]:
        return self._pages("/keys", wire.KeyOut, {"user": user, "everybody": everybody or None})

    def create_key(
        self,
        name: str,
        *,
        user: str | None = None,
        expires_in_days: int | None = None,
        expires_in_s: int | None = None,
    ) -> wire.NewKeyOut:
        body: dict[str, Any] = {"name": name, "user": user}
        given = {"expires_in_days": expires_in_days, "expires_in_s": expires_in_s}
        body |= {field: value for field, value in given.items() if value is not None}
        return self._post("/keys", wire.NewKeyOut, body)

    def revoke_key(self, key_id: str) -> None:
        self.transport.call("DELETE", path("keys", key_id))

    # -- the audit log -------------------------------------------------------------------

    def audit(
        self,
        *,
        entity: str | None = None,
        actor: str | None = None,
        action: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[AuditOut]:
        """Yield changes, the newest first; of the whole server without an entity."""
        params = _asked(entity, actor, action, since, until)
        return self._pages("/audit", AuditOut, params, limit)

    def export_audit(
        self,
        *,
        format: str = "jsonl",
        entity: str | None = None,
        actor: str | None = None,
        action: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[bytes]:
        """Yield the log in pieces, the oldest entry first, as `format` jsonl or csv has it."""
        asked = {**_asked(entity, actor, action, since, until), "format": format}
        with self.transport.stream("/audit/export", asked) as answer:
            yield from answer.iter_bytes()


def _asked(
    entity: str | None,
    actor: str | None,
    action: str | None,
    since: datetime | None,
    until: datetime | None,
) -> Params:
    return {
        "entity": entity,
        "actor": actor,
        "action": action,
        "since": None if since is None else since.isoformat(),
        "until": None if until is None else until.isoformat(),
    }
