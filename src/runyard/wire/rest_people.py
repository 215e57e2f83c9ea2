"""The REST API's bodies about people: users, teams, roles, service accounts, invitations, keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from runyard.wire.rest import In, Name, Out

_YEAR = 365 * 86_400
Email = Annotated[str, Field(max_length=320)]
Lasting = Annotated[int, Field(ge=60, le=10 * _YEAR, description="How long it lasts, in seconds.")]
Queues = Annotated[
    list[Name],
    Field(max_length=200, description="Names of the only queues it may touch; null is any."),
]


class MembershipOut(Out):
    """What the caller is in a team, and what that lets them do there."""

    team: str
    role: str
    permissions: list[str] = Field(default_factory=list)


class MeOut(Out):
    """`kind` is user, service, agent or run. `entity` is meant where a request names none."""

    kind: str
    name: str
    is_admin: bool
    entity: str
    teams: list[MembershipOut]
    server_version: str
    email: str | None = None
    queues: list[str] | None = Field(
        None, description="The only queues that a service account may touch; null is any."
    )


class UserIn(In):
    name: Name
    is_admin: bool = False
    email: Email | None = None


class UserPatch(In):
    """What is left out stays. People change their own `email`; the rest takes an admin."""

    email: Email | None = Field(None, description="null forgets it.")
    is_admin: bool | None = None
    disabled: bool | None = Field(None, description="Keys of a disabled user open nothing.")


class UserOut(Out):
    """`kind` is person or service; a service account has a `team`."""

    id: str
    name: str
    is_admin: bool
    created_at: datetime
    kind: str = "person"
    team: str | None = None
    email: str | None = None
    disabled_at: datetime | None = None


class TeamIn(In):
    name: Name


class TeamOut(Out):
    id: str
    name: str
    created_at: datetime


class MemberIn(In):
    role: Name


class MemberOut(Out):
    """`granted_by` is oidc where a group of the login provider decides."""

    user: str
    role: str
    granted_by: str = ""


class RoleIn(In):
    permissions: Annotated[
        list[Name], Field(max_length=100, description="What it may do; `see` is always among it.")
    ]
    description: Annotated[str, Field(max_length=500)] = ""


class RoleOut(Out):
    name: str
    permissions: list[str]
    description: str
    built_in: bool
    created_at: datetime | None = None


class ServiceAccountIn(In):
    name: Name
    role: Name = Field("agent", description="A role of the team: agent, submitter, …")
    queues: Queues | None = None


class ServiceAccountPatch(In):
    """What is left out stays."""

    role: Name | None = None
    queues: Queues | None = None
    disabled: bool | None = Field(None, description="Its keys open nothing until it is enabled.")


class ServiceAccountOut(Out):
    id: str
    name: str
    team: str
    role: str
    queues: list[str] | None
    disabled_at: datetime | None
    created_at: datetime


class InvitationIn(In):
    """Without a team it makes a user of the server, which takes an admin of the server."""

    team: Name | None = None
    role: Name | None = Field(None, description="Default: member.")
    email: Email = Field("", description="For whom it is; nothing is sent there.")
    expires_in_s: Annotated[int, Field(ge=60, le=90 * 86_400)] = 7 * 86_400


class InvitationOut(Out):
    """`state` is open, used or expired."""

    id: str
    team: str | None
    role: str | None
    email: str
    state: Literal["open", "used", "expired"]
    created_by: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None


class NewInvitationOut(InvitationOut):
    """`token` is shown this once."""

    token: str


class RedeemIn(In):
    """What is wrong with a token is told without quoting it, so nothing is checked here."""

    token: str
    name: Name = Field(description="The name that the new user wants.")


class JoinIn(In):
    token: str


class JoinedOut(Out):
    user: str
    team: str | None
    role: str | None


class KeyIn(In):
    """`user` is for admins who make a key for somebody else, or for a service account's."""

    name: Name = "key"
    user: str | None = None
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    expires_in_s: Lasting | None = None


class KeyOut(Out):
    id: str
    name: str
    user: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    expired: bool = False


class NewKeyOut(KeyOut):
    """`key` is shown this once."""

    key: str


class RedeemedOut(JoinedOut):
    """The new user's first key is shown this once."""

    key: NewKeyOut
