"""
What writing artifacts asks of the store, before the transaction: links, ends of uploads, checks.

Links are made beforehand since they may take the store's library a while each, and thousands are
asked for at once. What the transaction then finds otherwise gets its link there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import anyio.to_thread

from runyard.domain import artifacts as rules
from runyard.domain.errors import Invalid, NotFound
from runyard.server.graphql import ids
from runyard.server.graphql.context import Before, Context
from runyard.server.storage import Storage
from runyard.services.artifacts import committing, manifests
from runyard.services.artifacts.manifests import Offered
from runyard.store.objects.base import Link, blob_key


@dataclass(frozen=True, slots=True)
class Parts:
    """An upload in parts: the store's name for it, and where each part goes."""

    upload: str
    links: Mapping[int, Link]


@dataclass(frozen=True, slots=True)
class Way:
    """How content comes: in one piece, or in parts where the client asks for it."""

    whole: Link
    parts: Parts | None = None


# By entity and MD5.
Ways: TypeAlias = dict[tuple[str, str], Way]


def wanted(input: Mapping[str, Any]) -> list[manifests.Wanted]:
    """Return the files of a request. Raises: NotFound, Invalid."""
    if input.get("digestAlgorithm") not in (None, rules.MD5):
        raise Invalid(f"{input['digestAlgorithm']} is no algorithm of this server", hint=rules.MD5)
    if input["storageLayout"] != "V2":
        raise Invalid("this server has the storage layout V2 only")
    return [
        manifests.Wanted(
            artifact_id=ids.artifact_of(spec["artifactID"]),
            name=spec["name"],
            md5=rules.md5_of(spec["md5"]),
            mimetype=spec.get("mimetype") or "",
            parts=_parts(spec.get("uploadPartsInput")),
        )
        for spec in input["artifactFiles"]
    ]


async def prepare_files(before: Before) -> Ways:
    asked = wanted(before.args["input"])
    offered = await before.parts.edge.read(before.actor, lambda call: manifests.look(call, asked))
    return await anyio.to_thread.run_sync(_ways, before.parts.storage, before.base_url, offered)


async def prepare_completion(before: Before) -> str:
    """End an upload in parts; return the digest of what came, in base64."""
    input = before.args["input"]
    artifact_id = ids.artifact_of(input["artifactID"])
    path, upload_id = input["storagePath"], input["uploadID"]
    found = await before.parts.edge.read(
        before.actor, lambda call: manifests.upload_of(call, artifact_id, path, upload_id)
    )
    store, key = before.parts.storage.store, blob_key(found.entity_id, found.md5)

    def end() -> None:
        if found.upload is None:
            if store.stat(key) is None:
                raise NotFound("no such upload: it has ended, or was never begun")
        elif input["completeMultipartAction"] == "Abort":
            store.drop_parts(key, found.upload)
        else:
            etags = [(part["partNumber"], part["hexMD5"]) for part in input["completedParts"]]
            store.finish_parts(key, found.upload, etags)

    await anyio.to_thread.run_sync(end)
    return rules.in_base64(found.md5)


async def prepare_commit(before: Before) -> committing.Checked | None:
    edge, store = before.parts.edge, before.parts.storage.store
    artifact_id = ids.artifact_of(before.args["input"]["artifactID"])
    draft = await edge.read(before.actor, lambda call: committing.look(call, artifact_id))
    if draft is None:
        return None
    gathered = await anyio.to_thread.run_sync(committing.gather, store, draft)
    known = await edge.read(before.actor, lambda call: committing.lacking(call, gathered))
    return await anyio.to_thread.run_sync(committing.check, store, known)


def sources(context: Context, ways: Ways, offered: Sequence[Offered]) -> list[dict[str, Any]]:
    """Return the files of a request as clients are told of them, in its order."""
    return [_source(context, ways, one) for one in offered]


def manifest_source(context: Context, file_id: str, made: manifests.Manifest) -> dict[str, Any]:
    """Return where a manifest is to be put; nowhere before its MD5 is known."""
    link = (
        context.parts.storage.put_blob(made.entity_id, made.md5, base=context.base_url)
        if made.md5
        else None
    )
    return {
        "id": file_id,
        "name": "wandb_manifest.json",
        "displayName": "wandb_manifest.json",
        "directUrl": link.url if link else "",
        "sizeBytes": 0,
        "uploadUrl": link.url if link else None,
        "uploadHeaders": _headers(link),
    }


def _source(context: Context, ways: Ways, one: Offered) -> dict[str, Any]:
    file = one.wanted
    source: dict[str, Any] = {
        "id": ids.encode("ArtifactFile", file.artifact_id, file.md5),
        "name": file.name,
        "displayName": file.name,
        "directUrl": "",
        "sizeBytes": 0,
        "mimetype": file.mimetype,
        "md5": rules.in_base64(file.md5),
        "digest": rules.in_base64(file.md5),
        "storagePath": rules.storage_path(file.md5),
        "uploadUrl": None,
        "uploadHeaders": [],
        "artifact": {"id": ids.artifact_id(one.birth)},
    }
    if one.is_there:
        return source
    key = (one.entity_id, file.md5)
    way = ways.get(key) or _way(context.parts.storage, context.base_url, one)
    source |= {"uploadUrl": way.whole.url, "uploadHeaders": _headers(way.whole)}
    if way.parts is not None:
        source["uploadMultipartUrls"] = {
            "uploadID": manifests.begin_upload(context.call, one, way.parts.upload),
            "uploadUrlParts": [
                {"partNumber": n, "uploadUrl": link.url}
                for n, link in sorted(way.parts.links.items())
            ],
        }
    return source


def _ways(storage: Storage, base: str, offered: Sequence[Offered]) -> Ways:
    ways: Ways = {}
    for one in offered:
        key = (one.entity_id, one.wanted.md5)
        if not one.is_there and key not in ways:
            ways[key] = _way(storage, base, one)
    return ways


def _way(storage: Storage, base: str, one: Offered) -> Way:
    md5 = one.wanted.md5
    whole = storage.put_blob(one.entity_id, md5, base=base)
    if not one.wanted.parts:
        return Way(whole)
    key = blob_key(one.entity_id, md5)
    upload = storage.store.begin_parts(key)
    links = {
        n: storage.store.part_link(key, upload, n, md5=part, seconds=storage.seconds, base=base)
        for n, part in one.wanted.parts.items()
    }
    return Way(whole, Parts(upload, links))


def _parts(given: Sequence[Mapping[str, Any]] | None) -> dict[int, str] | None:
    return {part["partNumber"]: part["hexMD5"] for part in given} if given else None


def _headers(link: Link | None) -> list[str]:
    return [f"{name}:{value}" for name, value in link.headers.items()] if link else []
