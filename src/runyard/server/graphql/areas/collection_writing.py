"""Writing collections of artifacts: links into them, their names, types and tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runyard.domain.errors import Invalid, NotFound
from runyard.server.graphql import ids
from runyard.server.graphql.areas import artifact_sources as shown
from runyard.server.graphql.areas.artifact_writing import done, tag_names
from runyard.server.graphql.context import Area, Info, context_of
from runyard.services.artifacts import creating, deleting, editing, linking
from runyard.services.call import Call
from runyard.store.artifacts.collections import PORTFOLIO, SEQUENCE
from runyard.store.db import Row

Input = Mapping[str, Any]


def link_artifact(_: None, info: Info, input: Input) -> dict[str, Any]:
    call = _call(info)
    number = _linked(call, input)
    names = [one["alias"] for one in input.get("aliases") or ()]
    if input.get("artifactPortfolioID"):
        portfolio_id = shown.collection_id_of(input["artifactPortfolioID"])
        member = linking.link_into(call, number, portfolio_id, names)
    elif input.get("artifactPortfolioName"):
        member = linking.link(
            call,
            number,
            entity=input.get("entityName"),
            project=input.get("projectName"),
            name=input["artifactPortfolioName"],
            names=names,
        )
    else:
        raise Invalid("neither artifactPortfolioName nor artifactPortfolioID says where to link")
    return {
        "versionIndex": member.row["member_version"],
        "artifactMembership": shown.membership_source(member.row, member.artifact),
    }


def unlink_artifact(_: None, info: Info, input: Input) -> dict[str, Any]:
    portfolio_id = shown.collection_id_of(input["artifactPortfolioID"])
    linking.unlink(_call(info), ids.artifact_of(input["artifactID"]), portfolio_id)
    return done(input)


def delete_sequence(_: None, info: Info, input: Input) -> dict[str, Any]:
    collection_id = shown.collection_id_of(input["artifactSequenceID"])
    row = deleting.delete_sequence(_call(info), collection_id).row
    return _deleted(row)


def delete_portfolio(_: None, info: Info, input: Input) -> dict[str, Any]:
    collection_id = shown.collection_id_of(input["artifactPortfolioID"])
    row = deleting.delete_portfolio(_call(info), collection_id).row
    return _deleted(row)


def update_sequence(_: None, info: Info, input: Input) -> dict[str, Any]:
    return _updated(info, input["artifactSequenceID"], SEQUENCE, input)


def update_portfolio(_: None, info: Info, input: Input) -> dict[str, Any]:
    return _updated(info, input["artifactPortfolioID"], PORTFOLIO, input)


def move_sequence(_: None, info: Info, input: Input) -> dict[str, Any]:
    collection_id = shown.collection_id_of(input["artifactSequenceID"])
    row = editing.move(_call(info), collection_id, input["destinationArtifactTypeName"])
    return {"artifactCollection": shown.collection_source(row)}


def create_tags(_: None, info: Info, input: Input) -> dict[str, Any]:
    added = tag_names(input["tags"])
    row = editing.tag(_call(info), *_path(input), add=added)
    return {"tags": shown.tag_sources(row["id"], added)}


def delete_tags(_: None, info: Info, input: Input) -> dict[str, Any]:
    editing.tag(_call(info), *_path(input), delete=tag_names(input["tags"]))
    return done(input)


def _call(info: Info) -> Call:
    return context_of(info).call


def _updated(info: Info, collection: str, kind: str, input: Input) -> dict[str, Any]:
    row = editing.edit_collection(
        _call(info),
        shown.collection_id_of(collection),
        kind,
        name=input.get("name"),
        description=input.get("description"),
    )
    return {"artifactCollection": shown.collection_source(row)}


def _deleted(row: Row) -> dict[str, Any]:
    return {"artifactCollection": {**shown.collection_source(row), "state": "DELETED"}}


def _linked(call: Call, input: Input) -> int:
    if input.get("artifactID"):
        return ids.artifact_of(input["artifactID"])
    if input.get("clientID"):
        return creating.of_client(call, input["clientID"])
    raise NotFound("neither artifactID nor clientID says what to link")


def _path(input: Input) -> tuple[str, str, str]:
    return input["entityName"], input["projectName"], input["artifactCollectionName"]


AREA = Area(
    {
        "Mutation": {
            "linkArtifact": link_artifact,
            "unlinkArtifact": unlink_artifact,
            "deleteArtifactSequence": delete_sequence,
            "deleteArtifactPortfolio": delete_portfolio,
            "updateArtifactSequence": update_sequence,
            "updateArtifactPortfolio": update_portfolio,
            "moveArtifactSequence": move_sequence,
            "createArtifactCollectionTagAssignments": create_tags,
            "deleteArtifactCollectionTagAssignments": delete_tags,
        },
    }
)
