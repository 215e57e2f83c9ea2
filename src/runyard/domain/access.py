"""
Who may do what: one table of actions and roles, asked by every service.

Deny by default: an action that is not in the table is allowed to nobody, and an object of
an entity that the actor does not belong to is as good as not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final

from runyard.domain.errors import Forbidden, NotFound
from runyard.domain.items import AgentId, RunId


class Role(IntEnum):
    """A higher role may do all that a lower one may."""

    VIEWER = 1
    MEMBER = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        return self.name.lower()

    @classmethod
    def named(cls, word: str) -> Role:
        return cls[word.upper()]


class Action(StrEnum):
    """What can be asked of an entity. The words stand in the message of a refusal."""

    SEE = "see it"
    SUBMIT = "submit to its queues"
    CANCEL = "cancel or stop its items and runs"
    SAVE_JOBS = "save jobs"
    SERVE = "run agents for its queues"
    EDIT_QUEUES = "create, edit or delete its queues"
    STOP_AGENTS = "stop its agents"
    MANAGE_MEMBERS = "manage its members"


NEEDED: Final[Mapping[Action, Role]] = {
    Action.SEE: Role.VIEWER,
    Action.SUBMIT: Role.MEMBER,
    Action.CANCEL: Role.MEMBER,
    Action.SAVE_JOBS: Role.MEMBER,
    Action.SERVE: Role.MEMBER,
    Action.EDIT_QUEUES: Role.ADMIN,
    Action.STOP_AGENTS: Role.ADMIN,
    Action.MANAGE_MEMBERS: Role.ADMIN,
}


class Kind(StrEnum):
    """Whose credential it is. An agent's and a run's open nothing but their own few doors."""

    USER = "user"
    AGENT = "agent"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks. `roles` maps ids of entities to the user's role there."""

    kind: Kind
    user_id: str
    name: str
    is_admin: bool = False
    roles: Mapping[str, Role] = field(default_factory=dict)
    agent_id: AgentId | None = None
    epoch: int = 0
    run_id: RunId | None = None
    credential_id: str = ""

    def may(self, action: Action, entity_id: str) -> bool:
        if self.kind is not Kind.USER:
            return False
        role = Role.ADMIN if self.is_admin else self.roles.get(entity_id)
        return role is not None and action in NEEDED and role >= NEEDED[action]

    def need(self, action: Action, entity_id: str, entity: str, thing: str) -> None:
        """Pass if allowed.

        Raises:
            NotFound: the actor may not even see the entity; `thing` is what was asked for.
            Forbidden: it may see, not do.
        """
        if self.may(action, entity_id):
            return
        if not self.may(Action.SEE, entity_id):
            raise NotFound(f"no {thing} that you may see")
        raise Forbidden(
            f"your role in {entity} is {self.roles[entity_id].word}; "
            f"to {action} takes {NEEDED[action].word}",
            hint=f"ask an admin of {entity}",
        )

    def need_instance_admin(self, what: str) -> None:
        """Pass for an admin of the whole server.

        Raises:
            Forbidden: anybody else.
        """
        if self.kind is not Kind.USER or not self.is_admin:
            raise Forbidden(f"only an admin of this server may {what}")

    def is_agent(self, agent_id: str) -> bool:
        return self.kind is Kind.AGENT and self.agent_id == agent_id
