"""Every field at the top of the tracking protocol, asked by every role, of everybody's things."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from runyard.domain.access import Kind
from runyard.server.graphql.documents import load_schema
from runyard.server.graphql.ids import artifact_id, encode, run_id
from runyard.server.settings import ServerSettings
from tests.http.conftest import Caller, World
from tests.http.logging_artifacts import b64, log, md5, said
from tests.http.test_graphql import post

from .graphql_matrix import ARTIFACTS, LAUNCH, MUTATIONS, PEOPLE, QUERIES, TRACKING, Ask, theirs
from .matrix import IMAGE, Expected, Who, Whose
from .test_matrix import STRANGE, _never_told, _taken_back, _without
from .town import Town

NOBODY = "0" * 26
DRAFT = """mutation($input: CreateArtifactInput!) { createArtifact(input: $input) {
    artifact { id } } }"""
BEGIN = """mutation($input: CreateArtifactManifestInput!) { createArtifactManifest(input: $input) {
    artifactManifest { id } } }"""
PARTS = """mutation($input: CreateArtifactFilesInput!) { createArtifactFiles(input: $input) {
    files { edges { node { storagePath uploadMultipartUrls { uploadID } } } } } }"""
LINK = """mutation($input: LinkArtifactInput!) { linkArtifact(input: $input) {
    artifactMembership { artifactCollection { id } artifact { artifactSequence { id } } } } }"""
SERVE = """mutation($input: CreateLaunchAgentInput!) { createLaunchAgent(input: $input) {
    launchAgentId } }"""
POP = """mutation($input: PopFromRunQueueInput!) { popFromRunQueue(input: $input) {
    runQueueItemId runSpec } }"""
SWEEPER = """mutation($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }"""
PK = """query($e: String, $p: String, $r: String!) { project(entityName: $e, name: $p) {
    run(name: $r) { internalId } } }"""
QUEUE = """query($e: String, $q: String!) { project(entityName: $e, name: "default") {
    runQueue(name: $q) { id } } }"""
USERS = "{ users { edges { node { id name } } } }"
# What no other ids are made of: told by what made them.
ABSENT = {
    "artifact": artifact_id(999_999), "draft": artifact_id(999_998), "file": encode(
        "File", NOBODY, "a.txt"), "manifest": encode("ArtifactManifest", NOBODY),
    "sequence": encode("ArtifactCollection", NOBODY), "collection": "absent",
    "portfolio": encode("ArtifactCollection", NOBODY[:-1] + "1"), "client": "f" * 32,
    "upload": NOBODY[:-1] + "2", "path": f"wandb_artifacts/00/{'0' * 32}",
    "sweep_agent": NOBODY[:-1] + "3",
    "launch_agent": NOBODY[:-1] + "4", "leased": f"{NOBODY}-{'0' * 16}",
    "leased_run": "absent-leased",
    "queue_id": NOBODY[:-1] + "5", "pop_queue": "absent-pop", "user_id": NOBODY[:-1] + "6",
}  # fmt: skip


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """Roles do not know which database it is: SQLite alone."""
    path = tmp_path / "runyard.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def settings(tmp_path: Path) -> ServerSettings:
    return ServerSettings(home=tmp_path / "home", sweep_interval_s=60)


class TrackedTown(Town):
    """The town, and what its people have logged."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.people = [who for who in self.people if who.name not in ("opa", "cus")]
        self._aside()
        users = said(self.root, USERS)["users"]["edges"]
        self.users = {edge["node"]["name"]: edge["node"]["id"] for edge in users}
        self.tracked = {
            "lab": self._tracked(self.keys["mate"], "lab", ""),
            "rival": self._tracked(self.keys["rival-ann"], "rival", "rival-"),
            "run": self._logged(self.keys["run"], "lab", "own-", self.things["run"]["run"]),
        }
        self.tracked["mem"] = self._served(self.keys["mem"], "lab", "mem-")

    def names(self, who: Who, whose: Whose) -> dict[str, str]:
        if who.name == "aside":
            who = next(each for each in self.people if each.name == "run")
        names = super().names(who, whose)
        ours = {f"our_{name}": value for name, value in self._lab("q", "q2", "mate", self.things[
            "mate"]).items()}  # fmt: skip
        if whose in (Whose.ABSENT, Whose.NOWHERE):
            names |= ABSENT
        else:
            names |= self._more(who, whose, names)
        place = names["project"], names["entity"]
        return {
            **ours, **names, "run_id": run_id(names["run"], *place),
            "project_id": encode("Project", "v1", *place),
            "sweep_id": encode("Sweep", "v1", names["sweep"], *place),
        }  # fmt: skip

    def _more(self, who: Who, whose: Whose, names: dict[str, str]) -> dict[str, str]:
        entity = names["entity"]
        pk = said(self.root, PK, e=entity, p=names["project"], r=names["run"])["project"]["run"]
        queue = said(self.root, QUEUE, e=entity, q=names["queue"])["project"]["runQueue"]
        more = {
            "file": encode("File", pk["internalId"], "a.txt"), "queue_id": queue["id"],
            "user_id": self.users.get(names["user"], ""),
        }  # fmt: skip
        if whose in (Whose.MATE, Whose.FOREIGN):
            return {**more, **self.tracked[entity]}
        return {**more, **self.tracked.get(who.name, {})} if whose is Whose.OWN else more

    def _aside(self) -> None:
        """Have a run in another project of lab, and its token."""
        mate = self.keys["mate"]
        mate.ok("POST", "/queues/lab/busy/items", json={"items": [
            {"job": "lab/default/code", "project": "aside"}]})  # fmt: skip
        held = self.world.agent("aside", ("busy",), mate, "lab").claim()
        self.people.append(Who("aside", held["run_token"], kind=Kind.RUN))

    def _tracked(self, who: Caller, entity: str, mark: str) -> dict[str, str]:
        run = self.things["mate" if entity == "lab" else "rival"]["run"]
        sweep = self.things["lab" if entity == "lab" else "rival-team"]["sweep"]
        place = {"entityName": entity, "projectName": "default"}
        sweeper = said(who, SWEEPER, input={**place, "host": "h", "sweep": sweep})["createAgent"]
        return {
            **self._logged(who, entity, mark, run), **self._served(who, entity, mark),
            "sweep_agent": sweeper["agent"]["id"],
        }  # fmt: skip

    def _logged(self, who: Caller, entity: str, mark: str, run: str) -> dict[str, str]:
        """Log a version and link it; begin another, with a manifest and an upload in parts."""
        place = {"entityName": entity, "projectName": "default"}
        client = md5(f"client of {mark}".encode())
        data, name = f"{mark}words".encode(), f"{mark}data"
        done = log(
            who, f"{entity}/default/{name}", {"f": data}, runName=run, clientID=client,
            metadata=json.dumps({"by": f"{mark}words"}),
        )  # fmt: skip
        begun = {**place, "runName": run, "artifactTypeName": "dataset",
                 "artifactCollectionName": name, "digest": md5(b"draft")}  # fmt: skip
        draft = said(who, DRAFT, input=begun)["createArtifact"]["artifact"]["id"]
        manifest = {**place, "runName": run, "artifactID": draft, "name": "m", "digest": ""}
        made = said(who, BEGIN, input=manifest)["createArtifactManifest"]["artifactManifest"]
        large = {"artifactID": draft, "name": "large", "md5": b64(f"{mark}large".encode()),
                 "uploadPartsInput": [{"partNumber": 1, "hexMD5": md5(b"")}]}  # fmt: skip
        files = said(who, PARTS, input={"artifactFiles": [large], "storageLayout": "V2"})
        node = files["createArtifactFiles"]["files"]["edges"][0]["node"]
        link = {**place, "artifactID": done, "artifactPortfolioName": f"{mark}box"}
        member = said(who, LINK, input=link)["linkArtifact"]["artifactMembership"]
        return {
            "artifact": done, "draft": draft, "manifest": made["id"], "client": client,
            "collection": name, "portfolio": member["artifactCollection"]["id"],
            "sequence": member["artifact"]["artifactSequence"]["id"],
            "upload": node["uploadMultipartUrls"]["uploadID"], "path": node["storagePath"],
        }  # fmt: skip

    def _served(self, who: Caller, entity: str, mark: str) -> dict[str, str]:
        """Serve a queue of one's own as the client's agents do, and hold an item of it."""
        queue, place = f"{mark}pop", {"entityName": entity, "projectName": "default"}
        body = {"entity": entity, "name": queue, "resource": "local-container"}
        self.root.ok("POST", "/queues", json=body)
        self.root.ok("POST", f"/queues/{entity}/{queue}/items", json={"items": [IMAGE, IMAGE]})
        queue_id = said(self.root, QUEUE, e=entity, q=queue)["project"]["runQueue"]["id"]
        agent = said(who, SERVE, input={**place, "runQueues": [queue_id], "hostname": "h"})
        launch_agent = agent["createLaunchAgent"]["launchAgentId"]
        pop = {**place, "queueName": queue, "launchAgentId": launch_agent}
        popped = said(who, POP, input=pop)["popFromRunQueue"]
        spec = popped["runSpec"]
        return {
            "pop_queue": queue, "launch_agent": launch_agent, "leased": popped["runQueueItemId"],
            "leased_run": spec["run_id"],
        }  # fmt: skip


@pytest.fixture
def town(live: World) -> TrackedTown:
    town = TrackedTown(live)
    database = live.server.database
    database.write = _taken_back(database)  # type: ignore[method-assign]
    return town


def test_T1_every_field_at_the_top_of_the_protocol_has_a_rule() -> None:
    schema = load_schema()
    for kind, rules in (("Query", QUERIES), ("Mutation", MUTATIONS)):
        fields = set(schema.type_map[kind].fields)  # type: ignore[attr-defined]
        listed = {rule.field for rule in rules}
        assert not fields - listed, "say in tests/security/graphql_matrix.py who may ask for these"
        assert not listed - fields, "these are gone: take them out of graphql_matrix.py"


@pytest.mark.parametrize(
    "rules",
    [[*QUERIES, *PEOPLE, *TRACKING], [*ARTIFACTS, *LAUNCH]],
    ids=["runs", "artifacts and queues"],
)
def test_T15_T19_everybody_gets_of_the_protocol_what_their_role_says(
    town: TrackedTown, rules: list[Ask]
) -> None:
    walk = Walk(town, rules)
    for rule in rules:
        for who in town.people:
            for whose in rule.among if who.kind is not Kind.AGENT else rule.among[:1]:
                walk.ask(rule, who, whose)
    walk.compare_strange()
    assert walk.asked > 1000
    walk.wrong += [
        f"nobody was let in: {rule.field} {rule.arguments}"
        for number, rule in enumerate(rules)
        if number not in walk.entered and rule.field != "organization"
    ]
    assert not walk.wrong, f"{len(walk.wrong)} deviations:\n" + "\n".join(walk.wrong)


def test_T1_nobody_asks_the_protocol_without_a_key(live: World) -> None:
    for rule in [*QUERIES, *MUTATIONS]:
        body = document(rule, defaultdict(str))
        for headers in ({}, {"Authorization": "Bearer ry_wrong"}):
            answer = live.http.request("POST", "/graphql", json=body, headers=headers)
            assert answer.status_code == 401, rule.field
            assert answer.json()["data"] is None, rule.field


def document(rule: Ask, names: Any) -> dict[str, Any]:
    """Return a request that asks for the field, of the object with these names."""
    arguments = _filled(rule.arguments, names)
    schema = load_schema()
    if rule in MUTATIONS:
        kind = schema.type_map["Mutation"].fields[rule.field].args["input"].type  # type: ignore[attr-defined]
        text = f"mutation($input: {kind}) {{ {rule.field}(input: $input) {{ {rule.shown} }} }}"
        return {"query": text, "variables": {"input": arguments}}
    types = schema.type_map["Query"].fields[rule.field].args  # type: ignore[attr-defined]
    declared = ", ".join(f"${name}: {types[name].type}" for name in arguments)
    passed = ", ".join(f"{name}: ${name}" for name in arguments)
    head = f"query({declared}) {{ {rule.field}({passed})" if arguments else f"{{ {rule.field}"
    return {"query": f"{head} {{ {rule.shown} }} }}", "variables": arguments}


def _filled(value: Any, names: Any) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, names) for inner in value]
    return value.format_map(names) if isinstance(value, str) else value


class Walk:
    """Asks, compares, and remembers what was not as expected."""

    def __init__(self, town: TrackedTown, rules: Sequence[Ask]) -> None:
        self.town, self.rules = town, rules
        self.wrong: list[str] = []
        self.entered: set[int] = set()
        self.asked = 0
        self._names: dict[tuple[str, Whose], dict[str, str]] = {}
        self._strange: dict[tuple[int, str], dict[Whose, tuple[int, str]]] = defaultdict(dict)

    def ask(self, rule: Ask, who: Who, whose: Whose) -> None:
        if whose in STRANGE and (who.is_rival or (whose is not Whose.FOREIGN and who.is_admin)):
            return  # at home there; or there is nothing to hide from them
        try:
            names = self._of(who, whose)
            body = document(rule, names)
        except KeyError:
            assert whose in (Whose.OWN, Whose.ELSEWHERE), (rule.field, who.name, whose)
            return
        self.asked += 1
        answer = post(self.town.world.caller(who.key), body)
        expected, number = rule.expect(who, whose), self.rules.index(rule)
        if not _is_as(expected, answer, rule, who):
            what = f"expected {expected}, got {answer.status_code}: {answer.text[:200]}"
            self._tell(rule, who, whose, what)
        elif expected is Expected.IN:
            self.entered.add(number)
        for word in _never_told(who) if answer.status_code == 200 else ():
            if word in answer.text:
                self._tell(rule, who, whose, f"is told {word!r}: {answer.text[:200]}")
        if whose in STRANGE and expected is not Expected.IN:
            asked = {name: v for name, v in names.items() if not name.startswith("our_")}
            shown = _without(asked, answer.text)
            self._strange[number, who.name][whose] = answer.status_code, shown

    def compare_strange(self) -> None:
        """What another team has must look like what nobody has."""
        for (number, name), answers in self._strange.items():
            if Whose.FOREIGN in answers and len(set(answers.values())) > 1 and name != "admin":
                told = "; ".join(f"{whose}: {a}" for whose, a in answers.items())
                self.wrong.append(f"{self.rules[number].field} tells {name} apart: {told}")

    def _of(self, who: Who, whose: Whose) -> dict[str, str]:
        if (who.name, whose) not in self._names:
            self._names[who.name, whose] = self.town.names(who, whose)
        return self._names[who.name, whose]

    def _tell(self, rule: Ask, who: Who, whose: Whose, what: str) -> None:
        self.wrong.append(f"{rule.field} {list(rule.arguments)} | {who.name} | {whose} | {what}")


def _is_as(expected: Expected, answer: Any, rule: Ask, who: Who) -> bool:
    status, told = answer.status_code, answer.json()
    if who.kind is Kind.AGENT:
        return bool(status == 403)
    data = (told.get("data") or {}).get(rule.field)
    if rule.says_no:
        return status == 200 and (data["success"] is (expected is Expected.IN))
    if expected is Expected.IN:
        return status in rule.meets or (status == 200 and "errors" not in told and data is not None)
    if rule in QUERIES:
        return data is None and status in (200, 403, 404)
    if who.kind is Kind.RUN or rule.takes is theirs:
        return status in (403, 404) and data is None
    return bool(status == (403 if expected is Expected.FORBIDDEN else 404)) and data is None
