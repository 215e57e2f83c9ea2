"""
What each field at the top of the tracking protocol asks of its caller.

As in `matrix`: a rule says which permission a field takes and on whose object, and what everybody
gets follows from the roles. A run's token is no role: a rule names the objects that it is let in
to, and it gets nothing else. A field of Query or Mutation without a rule fails the test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runyard.domain.access import BUILT_IN, Action, Kind

from .matrix import (
    AGENTS,
    ONCE,
    TEAMS,
    THINGS,
    Expected,
    Take,
    Who,
    Whose,
    everybody,
    members_of_team,
    of_team,
    own_key,
    people,
    server_admins,
)

A = Action
Names = Mapping[str, str]
NOBODY: frozenset[Whose] = frozenset()
OWN, MATE = frozenset({Whose.OWN}), frozenset({Whose.MATE})
RUNS = tuple(Whose)
QUEUES = tuple(w for w in Whose if w is not Whose.OWN)
MINE = (Whose.OWN, Whose.MATE, Whose.FOREIGN, Whose.ABSENT)
MIXED = (Whose.FOREIGN, Whose.ABSENT)  # something of theirs, into something of ours


@dataclass(frozen=True)
class Ask:
    """One way to ask a field. In `arguments`, `{name}` stands for one of the object's names, and
    `{our_name}` for what team lab has of the kind."""

    field: str
    takes: Take
    among: tuple[Whose, ...]
    arguments: Mapping[str, Any]
    shown: str = "__typename"
    runs: frozenset[Whose] = NOBODY  # what the token of a run in lab/default is let in to
    asides: frozenset[Whose] = NOBODY  # the same of a run in another project of lab
    meets: tuple[int, ...] = ()  # refusals by the service of those who are let in
    says_no: bool = False  # a refusal is `success: false`

    def expect(self, who: Who, whose: Whose) -> Expected:
        if who.kind is Kind.AGENT:
            return Expected.FORBIDDEN
        if who.kind is Kind.RUN:
            enters = self.runs if who.name == "run" else self.asides
            return Expected.IN if whose in enters else Expected.NOT_FOUND
        return self.takes(who, whose)


def owner(action: Action) -> Take:
    """Let in whoever made it, and has the permission still; nobody else, admins included."""

    def takes(who: Who, whose: Whose) -> Expected:
        is_in = whose is Whose.OWN and action in who.may(whose)
        return Expected.IN if is_in else Expected.NOT_FOUND

    return takes


def nothing(_who: Who, _whose: Whose) -> Expected:
    return Expected.NOT_FOUND


def theirs(who: Who, _whose: Whose) -> Expected:
    """To take something of another team into one's own takes seeing it."""
    return Expected.IN if who.is_admin else Expected.NOT_FOUND


see, track = of_team(A.SEE), of_team(A.TRACK)
of_queue, track_run = of_team(A.SEE, in_queue=True), of_team(A.TRACK, in_queue=True)
cancel = of_team(A.CANCEL, by_author=True, in_queue=True)
edit, submit = of_team(A.EDIT_QUEUES, in_queue=True), of_team(A.SUBMIT, in_queue=True)
serve, manage = of_team(A.SERVE, in_queue=True), of_team(A.MANAGE_MEMBERS)
PLACE = {"entityName": "{entity}", "projectName": "{project}"}
RUN = {**PLACE, "runName": "{run}"}
IMAGE = json.dumps({"docker": {"docker_image": "busybox"}, "resource": "local-container",
                    "overrides": {}}).replace("{", "{{").replace("}", "}}")  # fmt: skip
ALIAS = {**PLACE, "artifactCollectionName": "{collection}", "alias": "mark"}
NOTHING_HASHED = "1B2M2Y8AsgTpgAmY7PhCfg=="  # the MD5 of no bytes

QUERIES = [
    Ask("viewer", everybody, ONCE, {}, "name email", runs=OWN, asides=OWN),
    Ask("serverInfo", everybody, ONCE, {}, runs=OWN, asides=OWN),
    Ask("organization", nothing, TEAMS, {"name": "{entity}"}),
    Ask("users", everybody, ONCE, {"query": ""}, "edges { node { name email } }", runs=OWN,
        asides=OWN),
    Ask("entity", see, TEAMS, {"name": "{entity}"}, "id name members { name email }", runs=MATE,
        asides=MATE),
    Ask("project", see, TEAMS, {"name": "{project}", "entityName": "{entity}"}, "id name",
        runs=MATE),
    # A launched program finds its own, whatever it asks for.
    Ask("model", see, TEAMS, {"name": "{project}", "entityName": "{entity}"}, "id name",
        runs=frozenset(TEAMS), asides=frozenset(TEAMS)),
    Ask("models", see, TEAMS, {"entityName": "{entity}"}, "edges { node { name } }", runs=MATE,
        asides=MATE),
    Ask("artifact", see, THINGS, {"id": "{artifact}"}, "digest metadata", runs=MATE),
    Ask("artifact", see, THINGS, {"id": "{draft}"}, "digest metadata", runs=MATE),
    Ask("artifactCollection", see, THINGS, {"id": "{sequence}"}, "__typename name", runs=MATE),
    Ask("clientIDMapping", see, THINGS, {"clientID": "{client}"}, "serverID", runs=MATE),
    Ask("launchAgent", of_queue, AGENTS, {"id": "{agent_id}"}, "id name hostname runQueues"),
]  # fmt: skip

PEOPLE = [
    Ask("createCustomChart", track, TEAMS, {"entity": "{entity}", "name": "c", "displayName": "c",
        "type": "vega2", "access": "private", "spec": "{{}}"}),
    Ask("createUser", server_admins, ONCE, {"email": "new@example.org"}),
    Ask("createTeam", people, ONCE, {"teamName": "new"}),
    Ask("createInvite", of_team(A.MANAGE_MEMBERS, by_unkept=True, handing_on=BUILT_IN["member"]),
        TEAMS, {"entityName": "{entity}", "username": "out"}),
    Ask("deleteInvite", members_of_team, THINGS, {"entityName": "{entity}", "id": "{user_id}"}),
    Ask("createServiceAccount", of_team(A.MANAGE_MEMBERS, by_people=True,
        handing_on=BUILT_IN["member"]), TEAMS, {"entityName": "{entity}", "description": "a b"}),
    Ask("generateApiKey", people, ONCE, {"description": "x"}),
    Ask("deleteApiKey", own_key, (Whose.OWN, *THINGS), {"id": "{key_id}"}),
    Ask("upsertModel", track, TEAMS, {"entityName": "{entity}", "name": "{project}"}, runs=MATE),
    Ask("upsertModel", track, TEAMS, {"entityName": "{entity}", "name": "{project}",
        "description": "x"}),
    Ask("renameProject", manage, TEAMS, {"entityName": "{entity}", "oldProjectName": "{project}",
        "newProjectName": "renamed"}, meets=(409,)),
    Ask("deleteModel", manage, TEAMS, {"id": "{project_id}"}, meets=(409,)),
]  # fmt: skip

TRACKING = [
    Ask("upsertBucket", track_run, RUNS, {"id": "{run_id}", "notes": "x"}, runs=OWN),
    Ask("upsertBucket", track, TEAMS, {"entityName": "{entity}", "modelName": "{project}",
        "name": "brand-new"}),
    Ask("deleteRun", cancel, (Whose.OWN, *THINGS), {"id": "{run_id}"}),
    Ask("updateRunState", track_run, RUNS, {"id": "{run_id}", "state": "failed"}, runs=OWN,
        meets=(422,)),
    Ask("stopRun", cancel, RUNS, {"id": "{run_id}"}),
    Ask("rewindRun", track_run, RUNS, {**RUN, "metricName": "_step", "metricValue": 0.0},
        runs=OWN),
    Ask("notifyScriptableRunAlert", track_run, RUNS, {**RUN, "title": "t", "text": "x"}, runs=OWN),
    Ask("createRunFiles", track_run, RUNS, {**RUN, "files": ["a.txt"]}, runs=OWN),
    Ask("markRunFilesUploaded", track_run, RUNS, {**RUN, "files": ["a.txt"]}, runs=OWN),
    Ask("deleteFiles", track_run, RUNS, {"files": ["{file}"]}, runs=OWN),
    Ask("upsertSweep", track, TEAMS, {**PLACE, "config": "method: grid"}),
    Ask("upsertSweep", track, THINGS, {"id": "{sweep_id}", "description": "x"}),
    Ask("upsertSweep", of_team(A.CANCEL), THINGS, {"id": "{sweep_id}", "state": "CANCELED"}),
    Ask("createAgent", track, THINGS, {**PLACE, "host": "h", "sweep": "{sweep}"}),
    Ask("agentHeartbeat", track, THINGS, {"id": "{sweep_agent}", "metrics": "{{}}",
        "runState": "{{}}"}),
    Ask("enqueueSweepRun", track, THINGS, {"id": "{sweep_id}", "config": "{{}}"}),
]  # fmt: skip

ARTIFACTS = [
    Ask("createArtifactType", track, TEAMS, {**PLACE, "name": "new"}, runs=MATE),
    Ask("createArtifact", track, TEAMS, {**PLACE, "artifactTypeName": "dataset",
        "artifactCollectionName": "new", "digest": "0" * 32}, runs=MATE),
    Ask("createArtifact", track_run, RUNS, {**RUN, "artifactTypeName": "dataset",
        "artifactCollectionName": "new", "digest": "0" * 32}, runs=OWN),
    Ask("createArtifactFiles", track, (Whose.OWN, *THINGS), {"storageLayout": "V2",
        "artifactFiles": [{"artifactID": "{draft}", "name": "f", "md5": NOTHING_HASHED}]},
        runs=OWN),
    Ask("createArtifactManifest", track, (Whose.OWN, *THINGS), {**RUN, "artifactID": "{draft}",
        "name": "m", "digest": ""}, runs=OWN),
    Ask("updateArtifactManifest", track, (Whose.OWN, *THINGS), {"artifactManifestID": "{manifest}",
        "digest": NOTHING_HASHED}, runs=OWN),
    Ask("commitArtifact", track, (Whose.OWN, *THINGS), {"artifactID": "{draft}"}, runs=OWN,
        meets=(422,)),
    Ask("completeMultipartUploadArtifact", track, (Whose.OWN, *THINGS), {
        "completeMultipartAction": "Abort", "completedParts": [], "artifactID": "{draft}",
        "storagePath": "{path}", "uploadID": "{upload}"}, runs=OWN),
    Ask("useArtifact", track_run, (Whose.OWN, *THINGS), {**RUN, "artifactID": "{artifact}"},
        runs=OWN),
    Ask("useArtifact", theirs, MIXED, {"entityName": "lab", "projectName": "default",
        "runName": "{our_run}", "artifactID": "{artifact}"}),
    Ask("updateArtifact", track, (Whose.OWN, *THINGS), {"artifactID": "{artifact}",
        "description": "x"}, runs=OWN),
    Ask("deleteArtifact", track, (Whose.OWN, *THINGS), {"artifactID": "{artifact}",
        "deleteAliases": True}, runs=OWN),
    Ask("addAliases", track, (Whose.OWN, *THINGS), {"artifactID": "{artifact}",
        "aliases": [ALIAS]}, runs=OWN),
    Ask("deleteAliases", track, (Whose.OWN, *THINGS), {"artifactID": "{artifact}",
        "aliases": [ALIAS]}, runs=OWN),
    Ask("linkArtifact", track, (Whose.OWN, *THINGS), {**PLACE, "artifactID": "{artifact}",
        "artifactPortfolioName": "shelf"}, runs=OWN),
    Ask("linkArtifact", theirs, MIXED, {"entityName": "lab", "projectName": "default",
        "artifactID": "{artifact}", "artifactPortfolioName": "shelf"}),
    Ask("linkArtifact", track, THINGS, {"artifactID": "{artifact}",
        "artifactPortfolioID": "{portfolio}"}),
    Ask("unlinkArtifact", track, THINGS, {"artifactID": "{artifact}",
        "artifactPortfolioID": "{portfolio}"}),
    Ask("deleteArtifactSequence", track, THINGS, {"artifactSequenceID": "{sequence}"}),
    Ask("deleteArtifactPortfolio", track, THINGS, {"artifactPortfolioID": "{portfolio}"}),
    Ask("updateArtifactSequence", track, THINGS, {"artifactSequenceID": "{sequence}",
        "description": "x"}),
    Ask("updateArtifactPortfolio", track, THINGS, {"artifactPortfolioID": "{portfolio}",
        "description": "x"}),
    Ask("moveArtifactSequence", track, THINGS, {"artifactSequenceID": "{sequence}",
        "destinationArtifactTypeName": "other"}),
    Ask("createArtifactCollectionTagAssignments", track, THINGS, {**PLACE,
        "artifactCollectionName": "{collection}", "tags": [{"tagName": "t"}]}),
    Ask("deleteArtifactCollectionTagAssignments", track, THINGS, {**PLACE,
        "artifactCollectionName": "{collection}", "tags": [{"tagName": "t"}]}),
]  # fmt: skip

HELD = {"runQueueItemId": "{leased}", "message": "m", "stage": "agent"}
LAUNCH = [
    Ask("createDefaultResourceConfig", of_team(A.EDIT_QUEUES), TEAMS, {"entityName": "{entity}",
        "resource": "local-container", "config": "{{}}"}),
    Ask("createRunQueue", edit, (Whose.ELSEWHERE, Whose.FOREIGN, Whose.NOWHERE), {**PLACE,
        "queueName": "{new_queue}", "access": "PROJECT"}),
    Ask("upsertRunQueue", edit, QUEUES, {**PLACE, "queueName": "{queue}",
        "resourceType": "local-container", "resourceConfig": "{{}}"}),
    Ask("deleteRunQueues", edit, QUEUES, {"queueIDs": ["{queue_id}"]}),
    Ask("pushToRunQueue", submit, QUEUES, {"queueID": "{queue_id}", "runSpec": IMAGE}),
    Ask("pushToRunQueueByName", submit, QUEUES, {**PLACE, "queueName": "{queue}",
        "runSpec": IMAGE}),
    Ask("popFromRunQueue", owner(A.SERVE), MINE, {**PLACE, "queueName": "{pop_queue}",
        "launchAgentId": "{launch_agent}"}),
    Ask("ackRunQueueItem", owner(A.SERVE), MINE, {"runQueueItemId": "{leased}",
        "runName": "{leased_run}"}, "success", says_no=True),
    Ask("failRunQueueItem", owner(A.SERVE), MINE, HELD, "success", says_no=True),
    Ask("updateRunQueueItemWarning", owner(A.SERVE), MINE, HELD, "success", says_no=True),
    Ask("deleteFromRunQueue", cancel, RUNS, {"queueID": "{queue_id}",
        "runQueueItemId": "{item_id}"}),
    Ask("createLaunchAgent", serve, QUEUES, {**PLACE, "runQueues": ["{queue_id}"],
        "hostname": "h"}),
    Ask("updateLaunchAgent", of_team(A.STOP_AGENTS, in_queue=True), AGENTS,
        {"launchAgentId": "{agent_id}", "stopPolling": True}),
    Ask("updateLaunchAgent", owner(A.SERVE), MINE, {"launchAgentId": "{launch_agent}",
        "agentStatus": "POLLING"}),
]  # fmt: skip
MUTATIONS = [*PEOPLE, *TRACKING, *ARTIFACTS, *LAUNCH]
