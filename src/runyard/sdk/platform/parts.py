"""What may be written in a document, piece by piece. Its JSON Schema is made of this."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic import model_validator as validator
from pydantic_core import PydanticCustomError

from runyard.domain.access import Action
from runyard.domain.hooks import WAIT
from runyard.domain.policy import json_schema as policy_schema

VERSION: Final = "runyard/v1"
EntityName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$", min_length=1, max_length=63)
]
QueueName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", min_length=1, max_length=64)
]
ThingName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", min_length=1, max_length=128)
]
JobName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}/[A-Za-z0-9._-]{1,128}$"),
]
WAIT_S: Final = int(WAIT.total_seconds())
_POLICY: Final = {n: v for n, v in policy_schema().items() if n != "$schema"}
Description = Annotated[str, Field(max_length=4096, description="For people.")]


class Part(BaseModel):
    """A piece of the document. A name that nobody knows is a mistake."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @validator(mode="before")
    @classmethod
    def _nothing_is_empty(cls, value: Any) -> Any:
        return {} if value is None else value


class LinkPart(Part):
    label: Annotated[str, Field(description="What people click.", min_length=1, max_length=100)]
    url: Annotated[str, Field(description="Where it leads: http or https.", max_length=2000)]


class QueuePart(Part):
    resource: Annotated[str, Field(description="Kind of compute. Cannot be changed afterwards.")]
    description: Description = ""
    config: Annotated[dict[str, Any], Field(description="The resource's settings.")] = {}
    variables: Annotated[
        dict[str, Any], Field(description="What members may choose: a schema for each `{{name}}`.")
    ] = {}
    policy: Annotated[
        dict[str, Any],
        Field(description="The queue's rules.", json_schema_extra=_POLICY),
    ] = {}
    links: Annotated[list[LinkPart], Field(description="Links on the queue's page.")] = []


class SourcePart(Part):
    """Where a secret value comes from: one of these."""

    from_env: Annotated[
        str | None, Field(description="An environment variable of whoever applies.", min_length=1)
    ] = None
    from_file: Annotated[
        str | None,
        Field(description="A file of whoever applies; relative to the document.", min_length=1),
    ] = None
    exists: Annotated[
        Literal[True] | None, Field(description="It is there already; somebody else writes it.")
    ] = None

    def source(self) -> dict[str, Any]:
        """Return the one that was given. More or less than one is a mistake found before."""
        return self.model_dump(include={"value", *SourcePart.model_fields}, exclude_none=True)

    @validator(mode="after")
    def _one_source(self) -> Self:
        if len(self.source()) != 1:
            raise PydanticCustomError("one_source", "has one of {known}", {
                "known": ", ".join(n for n in ("value", *SourcePart.model_fields)
                                   if n in type(self).model_fields)})  # fmt: skip
        return self


class SecretPart(SourcePart):
    description: Annotated[str, Field(description="For people.", max_length=500)] = ""
    for_jobs: Annotated[bool, Field(description="Jobs may ask for it by name.")] = False


class UrlPart(SourcePart):
    """Where a webhook goes. A text is its `value`."""

    value: Annotated[str | None, Field(description="The address itself.")] = None

    @validator(mode="before")
    @classmethod
    def _text_is_value(cls, value: Any) -> Any:
        return {"value": value} if isinstance(value, str) else value


class HookPart(Part):
    url: Annotated[
        UrlPart | None,
        Field(description="Where a webhook goes: a text, or a source as of a secret."),
        WithJsonSchema({"anyOf": [{"type": "string"}, UrlPart.model_json_schema()]}),
    ] = None
    emails: Annotated[list[str], Field(description="Addresses, instead of a URL.")] = []
    events: Annotated[list[str], Field(description="Of what it tells.", min_length=1)]
    queue: Annotated[str | None, Field(description="Only of this queue.")] = None
    wait_s: Annotated[int, Field(description="Seconds after which waiting is too long.")] = WAIT_S
    enabled: bool = True


class RolePart(Part):
    permissions: Annotated[
        list[str], Field(description="What it may do: " + ", ".join(a.permission for a in Action))
    ]
    description: Annotated[str, Field(description="For people.", max_length=500)] = ""


class ServiceAccountPart(Part):
    role: Annotated[str, Field(description="Built in, or one of the team's.")] = "agent"
    queues: Annotated[
        list[str] | None, Field(description="The only queues it may touch; left out: any.")
    ] = None
    disabled: Annotated[bool, Field(description="Its keys open nothing.")] = False


class JobPart(Part):
    source: Annotated[dict[str, Any], Field(description="Of kind image or git, and its fields.")]
    description: Description = ""
    aliases: Annotated[list[str], Field(description="Names of this version.")] = []
    input_schemas: Annotated[
        dict[str, Any], Field(description="JSON schemas of the run's config and of files.")
    ] = {}


class OwnerPart(Part):
    secrets: Annotated[dict[ThingName, SecretPart], Field(description="Secrets, by name.")] = {}
    queues: Annotated[dict[QueueName, QueuePart], Field(description="Queues, by name.")] = {}
    hooks: Annotated[dict[ThingName, HookPart], Field(description="Notifications, by name.")] = {}
    jobs: Annotated[dict[JobName, JobPart], Field(description="Jobs, by PROJECT/NAME.")] = {}


class UserPart(OwnerPart):
    """A user. What is left out stays as it is."""

    admin: Annotated[bool, Field(description="Administers the server.")] = False
    email: Annotated[str, Field(description="Empty: none.", max_length=320)] = ""
    disabled: Annotated[bool, Field(description="The user's keys open nothing.")] = False


class TeamPart(OwnerPart):
    roles: Annotated[dict[ThingName, RolePart], Field(description="Roles of its own.")] = {}
    members: Annotated[dict[EntityName, str], Field(description="The role of each user.")] = {}
    service_accounts: Annotated[
        dict[EntityName, ServiceAccountPart], Field(description="Logins of agents and programs.")
    ] = {}


class Document(Part):
    """What teams and users have on a server."""

    apiVersion: Annotated[Literal["runyard/v1"], Field(description="Always runyard/v1.")]
    users: Annotated[dict[EntityName, UserPart], Field(description="Users, by name.")] = {}
    teams: Annotated[dict[EntityName, TeamPart], Field(description="Teams, by name.")] = {}
