"""Writing versions of artifacts: their files and manifests, their aliases, what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runyard.domain.errors import Invalid
from runyard.server.graphql import artifact_uploads, ids, jobs_bridge
from runyard.server.graphql.areas import artifact_sources as shown
from runyard.server.graphql.context import Area, Info, context_of, or_none, prepared_for
from runyard.services.artifacts import (
    aliases,
    committing,
    creating,
    deleting,
    editing,
    manifests,
    using,
)
from runyard.services.call import Call

Input = Mapping[str, Any]


def client_id_mapping(_: None, info: Info, clientID: str) -> dict[str, Any] | None:
    found = or_none(lambda: creating.of_client(_call(info), clientID))
    return None if found is None else {"serverID": ids.artifact_id(found)}


def create_artifact_type(_: None, info: Info, input: Input) -> dict[str, Any]:
    place = creating.create_type(
        _call(info),
        input["entityName"],
        input["projectName"],
        input["name"],
        input.get("description") or "",
    )
    return {"artifactType": shown.type_named(place, input["name"])}


def create_artifact(_: None, info: Info, input: Input) -> dict[str, Any]:
    name = _collection_name(input)
    wanted = creating.Wanted(
        collection=name,
        type=input["artifactTypeName"],
        digest=input["digest"],
        run=input.get("runName"),
        algorithm=input.get("digestAlgorithm"),
        description=input.get("description") or "",
        metadata=input.get("metadata"),
        aliases=_aliases_in(name, input.get("aliases") or ()),
        tags=tag_names(input.get("tags")),
        ttl_s=input.get("ttlDurationSeconds"),
        history_step=input.get("historyStep"),
        client_id=input.get("clientID"),
        distributed_id=input.get("distributedID"),
        region=input.get("storageRegion"),
        deduplicate=input.get("enableDigestDeduplication") is not False,
    )
    row = creating.create(_call(info), input["entityName"], input["projectName"], wanted)
    return {"artifact": shown.artifact_source(row)}


def create_artifact_manifest(_: None, info: Info, input: Input) -> dict[str, Any]:
    made = manifests.begin(
        _call(info),
        ids.artifact_of(input["artifactID"]),
        name=input["name"],
        kind=input.get("type") or "FULL",
        digest=input["digest"],
        base=_optional_artifact(input.get("baseArtifactID")),
    )
    return {"artifactManifest": _manifest(info, made)}


def update_artifact_manifest(_: None, info: Info, input: Input) -> dict[str, Any]:
    (manifest_id,) = ids.decode(input["artifactManifestID"], "ArtifactManifest", 1)
    changed = manifests.change(
        _call(info),
        manifest_id,
        digest=input.get("digest"),
        base=_optional_artifact(input.get("baseArtifactID")),
    )
    return {"artifactManifest": _manifest(info, changed)}


def create_artifact_files(_: None, info: Info, input: Input) -> dict[str, Any]:
    offered = manifests.offer(_call(info), artifact_uploads.wanted(input))
    nodes = artifact_uploads.sources(context_of(info), prepared_for(info), offered)
    return {
        "files": {
            "edges": [{"node": node, "cursor": str(n)} for n, node in enumerate(nodes)],
            "pageInfo": {"hasNextPage": False, "hasPreviousPage": False},
            "totalCount": len(nodes),
        }
    }


def complete_multipart(_: None, info: Info, input: Input) -> dict[str, Any]:
    artifact_id = ids.artifact_of(input["artifactID"])
    manifests.end_upload(_call(info), artifact_id, input["uploadID"])
    return {"digest": prepared_for(info)}


def commit_artifact(_: None, info: Info, input: Input) -> dict[str, Any]:
    context = context_of(info)
    prepared: jobs_bridge.Prepared = prepared_for(info)
    row = committing.commit(context.call, ids.artifact_of(input["artifactID"]), prepared.checked)
    jobs_bridge.after_commit(context, row, prepared)
    return {"artifact": shown.artifact_source(row)}


def use_artifact(_: None, info: Info, input: Input) -> dict[str, Any]:
    row = using.use(
        _call(info),
        ids.artifact_of(input["artifactID"]),
        entity=input["entityName"],
        project=input["projectName"],
        run=input["runName"],
        used_as=input.get("usedAs"),
    )
    return {"artifact": shown.artifact_source(row)}


def update_artifact(_: None, info: Info, input: Input) -> dict[str, Any]:
    given = input.get("aliases")
    change = editing.Change(
        description=input.get("description"),
        metadata=input.get("metadata"),
        ttl_s=input.get("ttlDurationSeconds"),
        tags_to_add=tag_names(input.get("tagsToAdd")),
        tags_to_delete=tag_names(input.get("tagsToDelete")),
        aliases=None if given is None else [one["alias"] for one in given],
    )
    row = editing.edit(_call(info), ids.artifact_of(input["artifactID"]), change)
    return {"artifact": shown.artifact_source(row)}


def delete_artifact(_: None, info: Info, input: Input) -> dict[str, Any]:
    number = ids.artifact_of(input["artifactID"])
    call = _call(info)
    row = deleting.delete(call, number, with_aliases=bool(input.get("deleteAliases")))
    return {"artifact": shown.artifact_source(row)}


def add_aliases(_: None, info: Info, input: Input) -> dict[str, Any]:
    number = ids.artifact_of(input["artifactID"])
    aliases.add(_call(info), number, _placed_aliases(input))
    return done(input)


def delete_aliases(_: None, info: Info, input: Input) -> dict[str, Any]:
    number = ids.artifact_of(input["artifactID"])
    aliases.remove(_call(info), number, _placed_aliases(input))
    return done(input)


def _call(info: Info) -> Call:
    return context_of(info).call


def _manifest(info: Info, made: manifests.Manifest) -> dict[str, Any]:
    manifest_id = ids.encode("ArtifactManifest", made.id)
    file = artifact_uploads.manifest_source(context_of(info), manifest_id, made)
    return {"id": manifest_id, "digest": made.md5, "type": made.kind, "file": file}


def _collection_name(input: Input) -> str:
    names = list(input.get("artifactCollectionNames") or [])
    name = input.get("artifactCollectionName")
    if name:
        return str(name)
    if len(names) != 1:
        raise Invalid(f"an artifact is logged to one collection, not to {len(names)}")
    return str(names[0])


def _aliases_in(name: str, given: Sequence[Input]) -> list[str]:
    for one in given:
        if one["artifactCollectionName"] != name:
            raise Invalid(
                f"the alias {one['alias']!r} is for {one['artifactCollectionName']}, and the "
                f"artifact is logged to {name}"
            )
    return [one["alias"] for one in given]


def _placed_aliases(input: Input) -> list[aliases.Alias]:
    return [
        aliases.Alias(
            one["entityName"], one["projectName"], one["artifactCollectionName"], one["alias"]
        )
        for one in input["aliases"]
    ]


def tag_names(tags: Sequence[Input] | None) -> list[str]:
    return [tag["tagName"] for tag in tags or ()]


def _optional_artifact(text: str | None) -> int | None:
    return ids.artifact_of(text) if text else None


def done(input: Input) -> dict[str, Any]:
    return {"success": True, "clientMutationId": input.get("clientMutationId")}


AREA = Area(
    {
        "Query": {"clientIDMapping": client_id_mapping},
        "Mutation": {
            "createArtifactType": create_artifact_type,
            "createArtifact": create_artifact,
            "createArtifactManifest": create_artifact_manifest,
            "updateArtifactManifest": update_artifact_manifest,
            "createArtifactFiles": create_artifact_files,
            "completeMultipartUploadArtifact": complete_multipart,
            "commitArtifact": commit_artifact,
            "useArtifact": use_artifact,
            "updateArtifact": update_artifact,
            "deleteArtifact": delete_artifact,
            "addAliases": add_aliases,
            "deleteAliases": delete_aliases,
        },
    },
    prepares={
        "createArtifactFiles": artifact_uploads.prepare_files,
        "completeMultipartUploadArtifact": artifact_uploads.prepare_completion,
        "commitArtifact": jobs_bridge.prepare_commit,
    },
)
