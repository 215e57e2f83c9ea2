"""
What each route asks of its caller, in one table, and what follows from it for everybody.

A rule says which permission a route takes, and on whose object. What a caller may do comes from
the roles as `domain.access` has them; the expected answer is computed from these two, and never
written down by hand. A route that is not in the table fails the test, and so does a line of the
table without a route.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from runyard.domain.access import BUILT_IN, Action, Kind
from runyard.wire import agent as wire

A = Action
V1 = "/api/v1"


class Whose(StrEnum):
    """Whose object is asked for, as seen from team lab."""

    OWN = "one's own"
    MATE = "of the same team"
    ELSEWHERE = "of the same team, in another queue"
    FOREIGN = "of another team"
    ABSENT = "of another team, and not there"
    NOWHERE = "of a team that is not there"


class Expected(StrEnum):
    IN = "let in"
    FORBIDDEN = "403"
    NOT_FOUND = "404"


@dataclass(frozen=True)
class Who:
    """Who asks, and what the roles say that they may do in team lab."""

    name: str
    key: str
    granted: frozenset[Action] = frozenset()
    kind: Kind = Kind.USER
    is_admin: bool = False
    is_service: bool = False
    is_kept: bool = False  # to some queues of the team
    is_rival: bool = False

    def may(self, whose: Whose) -> frozenset[Action]:
        if self.is_admin:
            return frozenset(Action)
        in_lab = whose in (Whose.OWN, Whose.MATE, Whose.ELSEWHERE)
        return self.granted if in_lab else frozenset()


Take = Callable[[Who, Whose], Expected]
Names = Mapping[str, str]
Body = Callable[[Names], Any]


@dataclass(frozen=True)
class Rule:
    """One way to ask a route. `among` are the objects that make a difference there."""

    route: str
    takes: Take
    among: tuple[Whose, ...] = tuple(Whose)
    query: Mapping[str, str] = field(default_factory=dict)
    json: Body | None = None
    content: bytes | None = None
    media: str = "application/octet-stream"
    fill: Mapping[str, str] = field(default_factory=dict)  # a placeholder -> which name it takes
    meets: tuple[int, ...] = ()  # refusals by the service of those who are let in
    kinds: frozenset[Kind] = frozenset({Kind.USER})
    tells: tuple[str, ...] = ()  # what is told on purpose, where the walk would call it a leak

    @property
    def method(self) -> str:
        return self.route.partition(" ")[0]

    @property
    def path(self) -> str:
        return self.route.partition(" ")[2]

    def expect(self, who: Who, whose: Whose) -> Expected:
        if who.kind not in self.kinds:
            return Expected.FORBIDDEN
        if who.kind is Kind.AGENT and "{agent_id}" in self.path:
            return Expected.IN if whose is Whose.OWN else Expected.FORBIDDEN
        if who.kind is Kind.RUN and "{run}" in self.path:
            return Expected.IN if whose is Whose.OWN else Expected.NOT_FOUND
        return self.takes(who, whose)


def of_team(
    action: Action,
    *,
    by_author: bool = False,  # the author of an item, who may still submit
    by_maker: bool = False,  # whoever made it
    in_queue: bool = False,
    by_people: bool = False,
    by_unkept: bool = False,
    handing_on: frozenset[Action] = frozenset(),
    hides: bool = False,
) -> Take:
    """Let in who has a permission in the team of the object; 404 to whoever may not see it."""

    def takes(who: Who, whose: Whose) -> Expected:
        refused = Expected.NOT_FOUND if hides else Expected.FORBIDDEN
        if by_people and who.is_service:
            return refused
        may, own = who.may(whose), whose is Whose.OWN
        if A.SEE not in may or (in_queue and who.is_kept and whose is Whose.ELSEWHERE):
            return Expected.NOT_FOUND
        if action not in may and not (own and (by_maker or (by_author and A.SUBMIT in may))):
            return refused
        if by_unkept and who.is_kept:
            return refused
        return Expected.FORBIDDEN if handing_on - may else Expected.IN

    return takes


def members_of_team(who: Who, whose: Whose) -> Expected:
    """Change a membership: as far as the role of now is not above the caller's own (T19)."""
    of_mate = BUILT_IN["member"] if whose is Whose.MATE else frozenset()
    return of_team(A.MANAGE_MEMBERS, by_unkept=True, handing_on=of_mate)(who, whose)


def everybody(_who: Who, _whose: Whose) -> Expected:
    return Expected.IN


def people(who: Who, _whose: Whose) -> Expected:
    return Expected.FORBIDDEN if who.is_service else Expected.IN


def server_admins(who: Who, _whose: Whose) -> Expected:
    return Expected.IN if who.is_admin else Expected.FORBIDDEN


def oneself(who: Who, whose: Whose) -> Expected:
    return Expected.IN if whose is Whose.OWN or who.is_admin else Expected.FORBIDDEN


def own_key(who: Who, whose: Whose) -> Expected:
    return Expected.IN if whose is Whose.OWN or who.is_admin else Expected.NOT_FOUND


def nobody(_who: Who, _whose: Whose) -> Expected:
    return Expected.FORBIDDEN


def keys_of_bot(*, revoking: bool = False) -> Take:
    """Keys of a service account: of who manages its team's members, up to their own (T19)."""

    def takes(who: Who, whose: Whose) -> Expected:
        may = who.may(whose)
        if A.SEE not in may and not revoking:
            return Expected.FORBIDDEN  # as for any name: only admins ask for others
        if who.is_service or A.MANAGE_MEMBERS not in may:
            return Expected.NOT_FOUND if revoking else Expected.FORBIDDEN
        return Expected.FORBIDDEN if SUBMITTER - may else Expected.IN

    return takes


SUBMITTER = BUILT_IN["submitter"]
VIEWER = BUILT_IN["viewer"]
CURATOR = frozenset({A.SEE, A.MANAGE_SECRETS, A.SEE_AUDIT})
LEAD = frozenset({A.SEE, A.MANAGE_MEMBERS})

ONCE = (Whose.OWN,)
TEAMS = (Whose.MATE, Whose.FOREIGN, Whose.NOWHERE)  # of a team as a whole
THINGS = (Whose.MATE, Whose.FOREIGN, Whose.ABSENT, Whose.NOWHERE)
AGENTS = (Whose.OWN, Whose.MATE, Whose.ELSEWHERE, Whose.FOREIGN, Whose.ABSENT)
USER = frozenset({Kind.USER})
USER_RUN = frozenset({Kind.USER, Kind.RUN})
IMAGE = {"docker": {"docker_image": "busybox"}}
NO_LOGS = msgspec.msgpack.encode(wire.Logs([]))
HELD, DONE = {"item_id": "held_id", "run": "held_run"}, {"item_id": "done_id", "run": "done_run"}
Q, IT, T, H, S, J, R, G, W = (
    f"{V1}/queues/{{entity}}/{{queue}}", f"{V1}/items/{{item_id}}", f"{V1}/teams/{{team}}",
    f"{V1}/hooks/{{entity}}", f"{V1}/secrets/{{entity}}/{{name}}",
    f"{V1}/jobs/{{entity}}/{{project}}/{{name}}", f"{V1}/runs/{{entity}}/{{project}}/{{run}}",
    f"{V1}/agents/{{agent_id}}", f"{V1}/sweeps/{{entity}}/{{project}}/{{sweep}}",
)  # fmt: skip
A1 = f"{V1}/artifacts/{{entity}}/{{project}}/{{name}}"


def say(**body: Any) -> Body:
    """A body in which `{name}` stands for one of the object's names."""

    def made(names: Names) -> Any:
        return {k: v.format_map(names) if isinstance(v, str) else v for k, v in body.items()}

    return made


def queue_rules() -> list[Rule]:
    see, edit = of_team(A.SEE, in_queue=True), of_team(A.EDIT_QUEUES, in_queue=True)
    operate, submit = of_team(A.OPERATE, in_queue=True), of_team(A.SUBMIT, in_queue=True)
    among = tuple(w for w in Whose if w is not Whose.OWN)
    resource = "local-container"
    return [
        Rule(f"GET {V1}/queues", everybody, ONCE),
        Rule(f"GET {V1}/queues", of_team(A.SEE), TEAMS, query={"entity": "{entity}"}),
        Rule(f"POST {V1}/queues", of_team(A.EDIT_QUEUES, in_queue=True),
             (Whose.ELSEWHERE, Whose.FOREIGN, Whose.NOWHERE),
             json=say(entity="{entity}", name="{new_queue}", resource=resource)),
        Rule(f"GET {Q}", see, among),
        Rule(f"PATCH {Q}", edit, among, json=say(description="x")),
        Rule(f"DELETE {Q}", edit, among),
        *(Rule(f"POST {Q}/{verb}", operate, among) for verb in ("pause", "drain", "resume")),
        Rule(f"GET {Q}/explain", see, among),
        Rule(f"POST {Q}/items", submit, among, json=say(items=[IMAGE])),
        Rule(f"POST {Q}/items", submit, (Whose.ELSEWHERE, Whose.FOREIGN, Whose.NOWHERE),
             json=say(items=[{"job": "lab/default/code"}]), fill={"queue": "default"}),
        Rule(f"POST {Q}/select", see, among, json=say(action="hold", dry_run=True)),
        Rule(f"GET {V1}/schemas/queue-policy", everybody, ONCE),
    ]  # fmt: skip


def item_rules() -> list[Rule]:
    see = of_team(A.SEE, in_queue=True)
    operate = of_team(A.OPERATE, by_author=True, in_queue=True)
    cancel = of_team(A.CANCEL, by_author=True, in_queue=True)
    of_queue = {"entity": "{entity}", "queue": "{queue}"}
    return [
        Rule(f"GET {V1}/items", everybody, ONCE),
        Rule(f"GET {V1}/items", of_team(A.SEE), TEAMS, query={"entity": "{entity}"}),
        Rule(f"GET {V1}/items", see, query=of_queue),
        Rule(f"GET {IT}", see),
        Rule(f"GET {IT}/logs", see, fill=DONE),
        Rule(f"GET {IT}/logs", see, fill=DONE, query={"stage": "build"}),
        Rule(f"POST {IT}/cancel", cancel),
        Rule(f"POST {IT}/hold", operate),
        Rule(f"POST {IT}/release", operate, fill=HELD),
        Rule(f"POST {IT}/priority", operate, json=say(priority="high")),
        Rule(f"POST {IT}/move", operate, json=say(queue="{second_queue}"), meets=(409,)),
        Rule(f"POST {IT}/retry", of_team(A.SUBMIT, in_queue=True), fill=DONE),
        Rule(f"GET {V1}/runs", everybody, ONCE),
        Rule(f"GET {V1}/runs", of_team(A.SEE), TEAMS, query={"entity": "{entity}"}),
        Rule(f"GET {R}", see, kinds=USER_RUN),
        Rule(f"GET {R}/logs", see, fill=DONE, kinds=USER_RUN),
        Rule(f"GET {R}/logs", see, fill=DONE, kinds=USER_RUN, query={"stage": "build"}),
        Rule(f"GET {R}/events", see, fill=DONE, kinds=USER_RUN),
        Rule(f"GET {R}/metrics", see, kinds=USER_RUN),
        Rule(f"GET {R}/history", see, kinds=USER_RUN),
        Rule(f"GET {R}/system-metrics", see, kinds=USER_RUN),
        Rule(f"GET {R}/alerts", see),
        Rule(f"POST {R}/stop", cancel),
        Rule(f"GET {V1}/sweeps/{{entity}}/{{project}}", of_team(A.SEE), TEAMS),
        Rule(f"GET {W}", of_team(A.SEE), THINGS),
        Rule(f"PATCH {W}", of_team(A.CANCEL), THINGS, json=say(state="CANCELED")),
        Rule(f"GET {V1}/events", everybody, ONCE),
        Rule(f"GET {V1}/events", see, (Whose.MATE, Whose.FOREIGN, Whose.NOWHERE), query=of_queue),
    ]


def people_rules() -> list[Rule]:
    manage = of_team(A.MANAGE_MEMBERS, by_unkept=True)
    see, spare = of_team(A.SEE), {"role": "spare_role"}
    roles = [p.permission for p in CURATOR]
    bot = {"user": "bot", "name": "bot", "key_id": "bot_key"}
    accounts = of_team(A.MANAGE_MEMBERS, by_people=True, handing_on=SUBMITTER)
    return [
        Rule(f"GET {V1}/me", everybody, ONCE, kinds=USER_RUN),
        Rule(f"GET {V1}/users", server_admins, ONCE),
        Rule(f"POST {V1}/users", server_admins, ONCE, json=say(name="new")),
        Rule(f"GET {V1}/users/{{user}}", oneself, (Whose.OWN, *THINGS)),
        Rule(f"PATCH {V1}/users/{{user}}", oneself, (Whose.OWN, *THINGS),
             json=say(email="new@example.org"), meets=(422,)),  # accounts of programs have none
        Rule(f"PATCH {V1}/users/{{user}}", server_admins, (Whose.OWN, *THINGS),
             json=say(is_admin=True), meets=(422,)),
        Rule(f"GET {V1}/teams", everybody, ONCE),
        Rule(f"POST {V1}/teams", people, ONCE, json=say(name="new")),
        Rule(f"GET {T}/members", see, TEAMS),
        Rule(f"PUT {T}/members/{{user}}", members_of_team, (Whose.OWN, *THINGS),
             json=say(role="viewer")),
        Rule(f"PUT {T}/members/{{user}}", of_team(A.MANAGE_MEMBERS, by_unkept=True,
             handing_on=frozenset(Action)), (Whose.MATE,), json=say(role="admin")),
        Rule(f"DELETE {T}/members/{{user}}", members_of_team, (Whose.OWN, *THINGS)),
        Rule(f"GET {V1}/keys", everybody, ONCE),
        Rule(f"GET {V1}/keys", server_admins, ONCE, query={"everybody": "true"}),
        Rule(f"GET {V1}/keys", oneself, (Whose.OWN, *THINGS), query={"user": "{user}"}),
        Rule(f"GET {V1}/keys", keys_of_bot(), THINGS, query={"user": "{bot}"}),
        Rule(f"POST {V1}/keys", people, ONCE, json=say(name="x")),
        Rule(f"POST {V1}/keys", server_admins, THINGS, json=say(name="x", user="{user}")),
        Rule(f"POST {V1}/keys", keys_of_bot(), THINGS, json=say(name="x", user="{bot}")),
        Rule(f"DELETE {V1}/keys/{{key_id}}", own_key, (Whose.OWN, *THINGS)),
        Rule(f"DELETE {V1}/keys/{{key_id}}", keys_of_bot(revoking=True), THINGS, fill=bot),
        Rule(f"GET {T}/roles", see, TEAMS),
        Rule(f"GET {T}/roles/{{role}}", see, THINGS),
        Rule(f"PUT {T}/roles/{{role}}", of_team(A.MANAGE_MEMBERS, by_unkept=True,
             handing_on=CURATOR), THINGS, json=say(permissions=roles)),
        Rule(f"DELETE {T}/roles/{{role}}", manage, THINGS, fill=spare),
        Rule(f"GET {T}/service-accounts", see, TEAMS),
        Rule(f"POST {T}/service-accounts", accounts, TEAMS, json=say(name="new", role="submitter")),
        Rule(f"GET {T}/service-accounts/{{name}}", see, THINGS, fill=bot),
        Rule(f"PATCH {T}/service-accounts/{{name}}", accounts, THINGS, fill=bot,
             json=say(disabled=True)),
        Rule(f"DELETE {T}/service-accounts/{{name}}", accounts, THINGS, fill=bot),
        Rule(f"GET {V1}/invitations", server_admins, ONCE),
        Rule(f"GET {V1}/invitations", manage, TEAMS, query={"team": "{team}"}),
        Rule(f"POST {V1}/invitations", server_admins, ONCE, json=say()),
        Rule(f"POST {V1}/invitations", of_team(A.MANAGE_MEMBERS, by_people=True,
             handing_on=VIEWER), TEAMS, json=say(team="{team}", role="viewer")),
        Rule(f"POST {V1}/invitations/join", people, (Whose.MATE,), json=say(token="{token}"),
             meets=(409,), tells=('"lab"',)),  # members are members already
        Rule(f"DELETE {V1}/invitations/{{invitation_id}}", of_team(A.MANAGE_MEMBERS,
             by_people=True, hides=True), THINGS),
    ]  # fmt: skip


def other_rules() -> list[Rule]:
    see, save, secret = of_team(A.SEE), of_team(A.SAVE_JOBS), of_team(A.MANAGE_SECRETS)
    stop = of_team(A.STOP_AGENTS, in_queue=True)
    hook = of_team(A.MANAGE_HOOKS, by_maker=True, in_queue=True)
    audit, of_entity = of_team(A.SEE_AUDIT), {"entity": "{entity}"}
    job, source = {"name": "job"}, {"kind": "image", "image": "busybox"}
    blob, mail = f"{V1}/blobs/{{entity}}/{{digest}}", ["ops@example.org"]
    agent = frozenset({Kind.AGENT})
    hooks = tuple(Whose)
    return [
        Rule(f"GET {V1}/secrets", everybody, ONCE),
        Rule(f"GET {V1}/secrets", see, TEAMS, query=of_entity),
        Rule(f"GET {S}", see, THINGS),
        Rule(f"PUT {S}", secret, THINGS, json=say(value="a-value-of-some-length")),
        Rule(f"PATCH {S}", secret, THINGS, json=say(description="x")),
        Rule(f"DELETE {S}", secret, THINGS),
        Rule(f"GET {V1}/images", everybody, ONCE),
        Rule(f"GET {V1}/images", of_team(A.SEE, by_unkept=True), TEAMS, query=of_entity),
        Rule(f"POST {V1}/images/prune", of_team(A.OPERATE, by_unkept=True), TEAMS,
             json=say(entity="{entity}", dry_run=True)),
        Rule(f"POST {V1}/images/prune", of_team(A.OPERATE, by_unkept=True), TEAMS,
             json=say(entity="{entity}")),
        Rule(f"GET {V1}/jobs", everybody, ONCE),
        Rule(f"GET {V1}/jobs", see, TEAMS, query=of_entity),
        Rule(f"PATCH {J}", save, THINGS, fill=job, json=say(description="x")),
        Rule(f"GET {J}/versions", see, THINGS, fill=job),
        Rule(f"POST {J}/versions", save, THINGS, fill=job, json=say(source=source)),
        Rule(f"GET {J}/versions/{{alias}}", see, THINGS, fill=job),
        Rule(f"GET {V1}/artifacts/{{entity}}/{{project}}", see, TEAMS),
        Rule(f"GET {A1}/versions", see, THINGS, fill=job),
        Rule(f"GET {A1}/versions/{{alias}}", see, THINGS, fill=job),
        Rule(f"GET {A1}/versions/{{alias}}/files", see, THINGS, fill=job),
        Rule(f"HEAD {blob}", see, THINGS),
        Rule(f"PUT {blob}", save, TEAMS, content=b"new", fill={"digest": "new_digest"}),
        Rule(f"GET {V1}/agents", everybody, ONCE),
        Rule(f"GET {V1}/agents", see, TEAMS, query=of_entity),
        Rule(f"POST {V1}/agents", of_team(A.SERVE), TEAMS, json=say(
            entity="{entity}", name="new", hostname="h", version="1", queues=["q"], max_jobs=1)),
        Rule(f"DELETE {G}", stop, AGENTS, kinds=frozenset({Kind.USER, Kind.AGENT})),
        Rule(f"POST {G}/readmit", stop, AGENTS),
        Rule(f"POST {G}/set-aside", stop, AGENTS, json=say(reason="x")),
        Rule(f"POST {G}/poll", nobody, AGENTS, kinds=agent, json=say(slots=0, wait_s=0)),
        Rule(f"POST {G}/moves", nobody, AGENTS, kinds=agent, json=say(moves=[])),
        Rule(f"POST {G}/check", nobody, AGENTS, kinds=agent,
             json=say(checks=[{"name": "disk", "ok": True}])),
        Rule(f"POST {G}/doomed-images", nobody, AGENTS, kinds=agent,
             json=say(place="", repository="registry.example/jobs")),
        Rule(f"POST {G}/logs", nobody, AGENTS, kinds=agent, content=NO_LOGS,
             media="application/msgpack"),
        Rule(f"GET {G}/blobs/{{item_id}}/{{digest}}", nobody, AGENTS, kinds=agent),
        Rule(f"GET {H}", see, TEAMS),
        Rule(f"POST {H}", of_team(A.MANAGE_HOOKS), TEAMS, json=say(
            name="new", events=["item.failed"], emails=mail, queue="{queue}")),
        Rule(f"POST {H}", of_team(A.SUBMIT), TEAMS, json=say(
            name="new", events=["item.failed"], mine=True, queue="{queue}"), meets=(422,)),
        Rule(f"GET {H}/{{name}}", hook, hooks, fill={"name": "hook"}),
        Rule(f"PATCH {H}/{{name}}", hook, hooks, fill={"name": "hook"}, json=say(enabled=False)),
        Rule(f"DELETE {H}/{{name}}", hook, hooks, fill={"name": "hook"}),
        Rule(f"POST {H}/{{name}}/test", hook, hooks, fill={"name": "hook"}),
        Rule(f"GET {V1}/usage", everybody, ONCE, query={"group": "user,queue,team,project"}),
        Rule(f"GET {V1}/usage", see, TEAMS, query={**of_entity, "group": "user,queue,team"}),
        Rule(f"GET {V1}/audit", server_admins, ONCE),
        Rule(f"GET {V1}/audit", audit, TEAMS, query=of_entity, tells=("elsewhere",)),
        Rule(f"GET {V1}/audit/export", server_admins, ONCE),
        Rule(f"GET {V1}/audit/export", audit, TEAMS, query=of_entity, tells=("elsewhere",)),
        Rule(f"GET {V1}/server", everybody, ONCE, kinds=USER_RUN),
        Rule("GET /metrics", everybody, ONCE),
    ]  # fmt: skip


# Of what needs no credential `test_door` has the tests: here they only must not be forgotten.
PUBLIC = {
    "GET /healthz", "GET /readyz", f"GET {V1}/openapi.json", f"GET {V1}/login/methods",
    f"GET {V1}/login/oidc", f"GET {V1}/login/oidc/callback", f"POST {V1}/login/exchange",
    f"POST {V1}/invitations/redeem",
}  # fmt: skip
RULES = [*queue_rules(), *item_rules(), *people_rules(), *other_rules()]
