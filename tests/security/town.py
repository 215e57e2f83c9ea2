"""Two teams with everything in them, and everybody who may want something of it."""

from __future__ import annotations

import hashlib
from base64 import b64encode

from runyard.domain.access import BUILT_IN, Kind
from tests.http.conftest import Caller, World

from .matrix import CURATOR, IMAGE, LEAD, Who, Whose

ROLES = {
    "vic": "viewer", "sue": "submitter", "abe": "agent", "mem": "member", "opa": "operator",
    "adm": "admin", "lea": "lead", "cus": "curator",
}  # fmt: skip
SWEEP = """mutation UpsertSweep($entity: String, $name: String) { upsertSweep(input: {
  entityName: $entity, projectName: "default", displayName: $name,
  config: "method: grid" }) { sweep { name } } }"""
OWN_ROLES = {"lead": LEAD, "curator": CURATOR}


class Town:
    """
    Team lab and team rival, filled by requests as people send them.

    `people` are who asks; `names(who, whose)` are the names of the object that is asked for.
    Whatever belongs to the other team has "rival" in its name, whatever lies in the queue that
    the kept service account may not touch has "elsewhere", so that a leak is seen in any answer.
    """

    def __init__(self, world: World) -> None:
        self.world, self.root = world, world.admin
        self.things: dict[str, dict[str, str]] = {}
        self.keys: dict[str, Caller] = {"admin": world.admin}
        self.people: list[Who] = []
        self._found()
        self._team("lab", "adm", "mate", ["q", "q2", "elsewhere"])
        self._team("rival", "rival-ann", "rival-bob", ["rival-q", "rival-q2"])
        self._accounts()
        for name in [*ROLES, "mate", "out", "kept", "admin"]:
            self.things[name] = self._things(name, "lab", "q")
        self.things["rival"] = self._things("rival-ann", "rival", "rival-q")
        self.things["elsewhere"] = self._things("mate", "lab", "elsewhere", "elsewhere-")
        self._run()
        self._settle()
        self._who()

    def names(self, who: Who, whose: Whose) -> dict[str, str]:
        """Return the names of the object; KeyError if this caller has none of its own."""
        if whose is Whose.OWN:
            return self._lab("q", "q2", who.name, self.things[who.name])
        if whose is Whose.MATE:
            return self._lab("q", "q2", "mate", self.things["mate"])
        if whose is Whose.ELSEWHERE:
            return self._lab("elsewhere", "elsewhere", "mate", self.things["elsewhere"])
        rival = self._rival()
        if whose is Whose.FOREIGN:
            return rival
        absent = {name: self._absent(name, value) for name, value in rival.items()}
        if whose is Whose.ABSENT:
            return {**absent, "entity": "rival", "team": "rival", "project": "default"}
        return {**absent, "entity": "nowhere", "team": "nowhere"}

    def _absent(self, name: str, value: str) -> str:
        if name == "new_digest" or name in ("alias", "default"):
            return value
        if "digest" in name:
            return "sha256:" + "0" * 64
        return f"absent{len(name):04}{name.replace('_', '')}"

    def _lab(self, queue: str, second: str, user: str, things: dict[str, str]) -> dict[str, str]:
        return {
            "entity": "lab", "team": "lab", "project": "default", "queue": queue, "user": user,
            "second_queue": second, "new_queue": f"new-{queue}", "role": "curator",
            "spare_role": "spare", "bot": "bot", "name": "TOKEN", "job": "job",
            "alias": "latest", "default": "default", **self.things["lab"], **things,
        }  # fmt: skip

    def _rival(self) -> dict[str, str]:
        return {
            "entity": "rival", "team": "rival", "project": "default", "queue": "rival-q",
            "second_queue": "rival-q2", "new_queue": "rival-q3", "role": "rival-role",
            "spare_role": "rival-spare", "bot": "rival-bot", "name": "rival-TOKEN",
            "user": "rival-bob", "job": "rival-job", "alias": "latest", "default": "default",
            **self.things["rival-team"], **self.things["rival"],
        }  # fmt: skip

    # -- filling ---------------------------------------------------------------------------

    def _found(self) -> None:
        self.root.ok("PATCH", "/users/admin", json={"email": "admin@example.org"})
        for name in [*ROLES, "mate", "out", "rival-ann", "rival-bob"]:
            body = {"name": name, "email": f"{name}@example.org"}
            self.root.ok("POST", "/users", json=body)
            self.keys[name] = self._key(name)

    def _key(self, name: str) -> Caller:
        return self.world.caller(self.root.ok("POST", "/keys", json={"user": name})["key"])

    def _team(self, team: str, admin: str, member: str, queues: list[str]) -> None:
        who, mark = self.keys[admin], "rival-" if team == "rival" else ""
        who.ok("POST", "/teams", json={"name": team})
        members = [*ROLES, "out", "admin", member] if team == "lab" else [member]
        for name in members:
            if name != admin:
                who.ok("PUT", f"/teams/{team}/members/{name}", json={"role": "member"})
        for queue in queues:
            body = {"entity": team, "name": queue, "resource": "local-container"}
            who.ok("POST", "/queues", json={**body, "policy": {"priorities": True}})
        who.ok("PUT", f"/secrets/{team}/{mark}TOKEN", json={"value": "some-secret-value"})
        source = {"kind": "image", "image": "busybox"}
        who.ok("POST", f"/jobs/{team}/default/{mark}job/versions", json={"source": source})
        for role in (f"{mark}role" if mark else "curator", f"{mark}spare"):
            actions = CURATOR if "spare" not in role else frozenset()
            body = {"permissions": [a.permission for a in actions]}
            who.ok("PUT", f"/teams/{team}/roles/{role}", json=body)
        self.things["rival-team" if mark else "lab"] = self._shared(who, team, mark)

    def _shared(self, who: Caller, team: str, mark: str) -> dict[str, str]:
        data = f"upload of {team}".encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        who.ok("PUT", f"/blobs/{team}/{digest}", content=data)
        bot = f"{mark}bot"
        body = {"name": bot, "role": "submitter"}
        who.ok("POST", f"/teams/{team}/service-accounts", json=body)
        bot_key = who.ok("POST", "/keys", json={"user": bot})["id"]
        made = who.ok("POST", "/invitations", json={"team": team, "role": "viewer"})
        new = f"sha256:{hashlib.sha256(b'new').hexdigest()}"
        body = {"query": SWEEP, "variables": {"entity": team, "name": f"{team}-sweep"}}
        basic = {"Authorization": "Basic " + b64encode(f"api:{who.key}".encode()).decode()}
        swept = who.ok("POST", "/graphql", json=body, headers=basic)
        return {
            "sweep": swept["data"]["upsertSweep"]["sweep"]["name"],
            "digest": digest, "new_digest": new, "bot_key": bot_key,
            "invitation_id": made["id"], "token": made["token"],
        }  # fmt: skip

    def _accounts(self) -> None:
        body = {"name": "kept", "role": "admin", "queues": ["q", "q2"]}
        self.keys["adm"].ok("POST", "/teams/lab/service-accounts", json=body)
        self.keys["kept"] = self._key("kept")

    def _things(self, name: str, team: str, queue: str, mark: str = "") -> dict[str, str]:
        """Make what one person has in a queue: items and runs, a hook, an agent, a key."""
        who = self.keys[name]
        mark = mark or ("rival-" if team == "rival" else "")
        made: dict[str, str] = {}
        for kind in ("item", "held", "done"):
            run = f"{mark}{name}-{kind}"
            answer = who.ok(
                "POST", f"/queues/{team}/{queue}/items", json={"items": [{**IMAGE, "run_id": run}]}
            )
            item = answer["items"][0]["id"]
            made |= {f"{kind}_id": item, "run" if kind == "item" else f"{kind}_run": run}
        who.ok("POST", f"/items/{made['held_id']}/hold")
        who.ok("POST", f"/items/{made['done_id']}/cancel")
        if name != "kept":  # what is no person has no address
            made["hook"] = f"{mark}{name}-hook"
            body = {"name": made["hook"], "events": ["item.failed"], "mine": True, "queue": queue}
            who.ok("POST", f"/hooks/{team}", json=body)
        made["agent_id"] = self.world.agent(f"{mark}{name}", (queue,), who, team).id
        made["key_id"] = self.root.ok("POST", "/keys", json={"user": name})["id"]
        return made

    def _run(self) -> None:
        """Have an agent claim something: its token, and the run's."""
        mate = self.keys["mate"]
        body = {"entity": "lab", "name": "busy", "resource": "local-process"}
        self.keys["adm"].ok("POST", "/queues", json=body)
        archive = self.things["lab"]["digest"]
        source = {"kind": "code", "archive": archive, "entry_point": ["python", "a.py"]}
        mate.ok("POST", "/jobs/lab/default/code/versions", json={"source": source})
        body = {"items": [{"job": "lab/default/code"}]}
        mate.ok("POST", "/queues/lab/busy/items", json=body)
        agent = self.world.agent("holder", ("busy",), mate, "lab")
        held = agent.claim()
        item = self.root.ok("GET", f"/items/{held['item_id']}")
        run = item["run"]["run_id"]
        ours = {"run": run, "done_run": run, "agent_id": agent.id, "item_id": held["item_id"]}
        self.things["agent"] = self.things["run"] = {**self.things["mate"], **ours}
        self.keys["agent"] = agent.caller
        self.keys["run"] = self.world.caller(held["run_token"])

    def _settle(self) -> None:
        """Now that everybody has things, give them their roles; one has left."""
        adm = self.keys["adm"]
        body = {"permissions": [a.permission for a in LEAD]}
        adm.ok("PUT", "/teams/lab/roles/lead", json=body)
        for name, role in {**ROLES, "admin": "admin"}.items():
            adm.ok("PUT", f"/teams/lab/members/{name}", json={"role": role})
        adm.ok("DELETE", "/teams/lab/members/out")

    def _who(self) -> None:
        key = {name: caller.key or "" for name, caller in self.keys.items()}
        for name, role in ROLES.items():
            granted = OWN_ROLES.get(role) or BUILT_IN[role]
            self.people.append(Who(name, key[name], granted))
        everything = BUILT_IN["admin"]
        self.people += [
            Who("admin", key["admin"], everything, is_admin=True),
            Who("kept", key["kept"], everything, is_service=True, is_kept=True),
            Who("out", key["out"]),
            Who("rival-ann", key["rival-ann"], is_rival=True),
            Who("agent", key["agent"], kind=Kind.AGENT),
            Who("run", key["run"], kind=Kind.RUN),
        ]
