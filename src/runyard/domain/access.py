"""
Who may do what: permissions, the roles that bundle them, and one question asked by every service.

Deny by default: an action that no role of the actor's has is refused, and an object of an entity
that the actor does not belong to is as good as not there. Built-in roles are below; a team may
add its own, made of the same permissions. Nobody hands on what they do not have.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from runyard.domain.errors import Forbidden, Invalid, NotFound, Violation
from runyard.domain.items import AgentId, RunId


class Action(StrEnum):
    """What can be asked of an entity. The words stand in the message of a refusal."""

    SEE = "see it"
    TRACK = "log runs and artifacts"
    SUBMIT = "submit to its queues"
    SUBMIT_FOR = "submit in the name of its members"
    CANCEL = "cancel or stop items and runs of others"
    SAVE_JOBS = "save jobs"
    SERVE = "run agents for its queues"
    OPERATE = "pause queues and move items of others"
    STOP_AGENTS = "stop and readmit its agents"
    EDIT_QUEUES = "create, edit or delete its queues"
    MANAGE_SECRETS = "write its secrets"
    MANAGE_HOOKS = "edit its notifications"
    SEE_AUDIT = "read its audit log and usage"
    MANAGE_MEMBERS = "manage its members, roles and service accounts"

    @property
    def permission(self) -> str:
        """The name that roles are written with."""
        return self.name.lower()

    @classmethod
    def named(cls, permission: str) -> Action:
        return cls[permission.upper()]


ADMIN: Final = "admin"
_MEMBER: Final = frozenset(
    {Action.SEE, Action.TRACK, Action.SUBMIT, Action.CANCEL, Action.SAVE_JOBS, Action.SERVE}
)
_OPERATOR: Final = _MEMBER | {Action.OPERATE, Action.STOP_AGENTS, Action.SEE_AUDIT}
# The weaker ones first: a refusal names the first that would do.
BUILT_IN: Final[Mapping[str, frozenset[Action]]] = {
    "viewer": frozenset({Action.SEE}),
    "submitter": frozenset({Action.SEE, Action.TRACK, Action.SUBMIT}),
    "agent": frozenset({Action.SEE, Action.TRACK, Action.SERVE}),
    "member": _MEMBER,
    "operator": _OPERATOR,
    ADMIN: frozenset(Action),
}
# What the author of an item may do to it without the permission for those of others.
_OF_AUTHORS: Final = frozenset({Action.CANCEL, Action.OPERATE})


class Kind(StrEnum):
    """Whose credential it is. An agent's and a run's open nothing but their own few doors."""

    USER = "user"
    AGENT = "agent"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class Actor:
    """
    Who asks. `roles` maps ids of entities to the name of the user's role there, `grants` to what
    it may do. `queues` are the only ones that a service account may touch, by name; None is any.
    A run's token has the run and its project.
    """

    kind: Kind
    user_id: str
    name: str
    is_admin: bool = False
    roles: Mapping[str, str] = field(default_factory=dict)
    grants: Mapping[str, frozenset[Action]] = field(default_factory=dict)
    queues: frozenset[str] | None = None
    is_service: bool = False
    agent_id: AgentId | None = None
    epoch: int = 0
    run_id: RunId | None = None
    run_name: str = ""
    project_id: str = ""
    credential_id: str = ""

    def may(self, action: Action, entity_id: str, *, author_id: str | None = None) -> bool:
        """Whether the actor may do this in an entity, to something that `author_id` made."""
        if self.kind is not Kind.USER:
            return False
        granted = self.granted(entity_id)
        if action in granted:
            return True
        own = author_id is not None and author_id == self.user_id
        return own and action in _OF_AUTHORS and Action.SUBMIT in granted

    def granted(self, entity_id: str) -> frozenset[Action]:
        """Return all that the actor may do in an entity."""
        if self.is_admin:
            return BUILT_IN[ADMIN]
        return self.grants.get(entity_id, frozenset())

    def need(
        self,
        action: Action,
        entity_id: str,
        entity: str,
        thing: str,
        *,
        author_id: str | None = None,
    ) -> None:
        """Pass if allowed.

        Raises:
            NotFound: the actor may not even see the entity; `thing` is what was asked for.
            Forbidden: it may see, not do.
        """
        if self.may(action, entity_id, author_id=author_id):
            return
        if not self.may(Action.SEE, entity_id):
            raise NotFound(f"no {thing} that you may see")
        enough = next(name for name, actions in BUILT_IN.items() if action in actions)
        raise Forbidden(
            f"your role in {entity} is {self.roles.get(entity_id, 'none')}; "
            f"to {action} takes {enough}, or a role with the permission {action.permission}",
            hint=f"ask an admin of {entity}",
        )

    def may_touch(self, queue: str) -> bool:
        """Whether the queue is one of those that the actor is kept to, if it is."""
        return self.queues is None or queue in self.queues

    def need_queue(self, name: str) -> None:
        """Pass unless this is a service account that was not given the queue.

        Raises:
            NotFound: it was not, which looks like a queue that is not there.
        """
        if not self.may_touch(name):
            raise NotFound(f"no queue {name!r} that this service account may touch")

    def need_to_grant(self, actions: Collection[Action], entity_id: str, what: str) -> None:
        """Pass if the actor has all that is handed on (T19).

        Raises:
            Forbidden: some of it is above what the actor may do.
        """
        above = sorted(a.permission for a in set(actions) - self.granted(entity_id))
        if above:
            raise Forbidden(
                f"{what} has permissions that you lack: {', '.join(above)}",
                hint="nobody grants or changes what is above their own; ask an admin of the team",
            )

    def need_instance_admin(self, what: str) -> None:
        """Pass for an admin of the whole server.

        Raises:
            Forbidden: anybody else.
        """
        if self.kind is not Kind.USER or not self.is_admin:
            raise Forbidden(
                f"only an admin of this server may {what}", hint="ask an admin of this server"
            )

    def is_agent(self, agent_id: str) -> bool:
        return self.kind is Kind.AGENT and self.agent_id == agent_id


def parse_permissions(names: Collection[str]) -> frozenset[Action]:
    """Read the permissions of a team's own role. `see` is always among them.

    Raises:
        Invalid: with a violation for each unknown name.
    """
    known = {action.permission: action for action in Action}
    wrong = [
        Violation(f"permissions.{name}", f"unknown; known are {', '.join(known)}")
        for name in names
        if name not in known
    ]
    if wrong:
        raise Invalid("the role is not valid", violations=wrong)
    return frozenset({Action.SEE, *(known[name] for name in names)})
