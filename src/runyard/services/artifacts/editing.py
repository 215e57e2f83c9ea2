"""Changing what is said of versions and collections; what a version is made of never changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runyard.domain import artifacts as rules
from runyard.domain import wandb_jobs
from runyard.domain.access import Action
from runyard.domain.errors import Conflict, Invalid, NotFound
from runyard.services import audit
from runyard.services.artifacts import aliases, reach
from runyard.services.artifacts.committing import expiry
from runyard.services.artifacts.creating import check_description
from runyard.services.artifacts.reach import Collection
from runyard.services.call import Call
from runyard.services.tracking import places
from runyard.store.artifacts import collections, writing
from runyard.store.db import Row
from runyard.store.values import from_text, to_text


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of a version; None leaves it. `aliases` are all that it shall have."""

    description: str | None = None
    metadata: str | None = None
    ttl_s: int | None = None  # 0 and less: for ever
    tags_to_add: Sequence[str] = ()
    tags_to_delete: Sequence[str] = ()
    aliases: Sequence[str] | None = None


def edit(call: Call, artifact_id: int, change: Change) -> Row:
    """Change a version; return it.

    Raises:
        NotFound, Forbidden. Invalid, TooMuch: a value.
    """
    seen = writing.get(call.tx, artifact_id) if change.aliases is not None else None
    if seen is not None:  # before the version, as by whoever logs to the sequence
        collections.held(call.tx, seen["sequence_id"])
    version = reach.to_write(call, artifact_id)
    values: dict[str, Any] = {}
    if change.description is not None:
        check_description(change.description)
        values["description"] = change.description
    if change.metadata is not None:
        values["metadata"] = rules.check_metadata(change.metadata)
    if change.ttl_s is not None:
        values["ttl_s"] = rules.ttl_of(change.ttl_s)
        committed = version.row["committed_at"]
        if committed is not None:
            values["expires_at"] = expiry(call, values["ttl_s"], committed)
    if change.tags_to_add or change.tags_to_delete:
        values["tags"] = _tags(version.row, change.tags_to_add, change.tags_to_delete)
    if values:
        writing.change(call.tx, artifact_id, call.now, **values)
    if change.aliases is not None:
        reach.need_state(version, writing.COMMITTED)
        aliases.replace(call, version, change.aliases)
    row = writing.get(call.tx, artifact_id)
    assert row is not None
    return row


def edit_collection(
    call: Call, collection_id: str, kind: str, *, name: str | None, description: str | None
) -> Row:
    """Rename or describe a collection; its versions are found under the new name.

    Raises:
        NotFound, Forbidden. Conflict: the name is taken. Invalid: it is a job, or a value.
        TooMuch.
    """
    of = reach.to_edit(call, collection_id, kind=kind)
    values = {}
    if name is not None and name != of.row["name"]:
        rules.check_collection(name)
        if (kind, of.row["type"]) == (collections.SEQUENCE, wandb_jobs.TYPE):
            raise Invalid(
                f"job {of.path} keeps its name: queues and runs know it by that",
                hint="make it anew under the other name: wandb job create, or runyard job create",
            )
        if collections.named(call.tx, of.place.id, name) is not None:
            raise Conflict(f"there is a collection {of.place.name}/{name} already")
        values["name"] = name
    if description is not None:
        check_description(description)
        values["description"] = description
    if values:
        collections.change(call.tx, collection_id, call.now, **values)
        _note(call, of, "collection.edit", values)
    return _again(call, of)


def move(call: Call, sequence_id: str, type_name: str) -> Row:
    """Give a sequence another type, made if it is new.

    Raises:
        NotFound, Forbidden. Invalid: the name of the type, or jobs would come or go by it.
    """
    rules.check_type(type_name)
    of = reach.to_edit(call, sequence_id, kind=collections.SEQUENCE)
    if of.row["type"] != type_name and wandb_jobs.TYPE in (of.row["type"], type_name):
        raise Invalid(
            f"{of.path} cannot go from type {of.row['type']!r} to {type_name!r}: jobs are made, "
            "not moved",
            hint="wandb job create",
        )
    type_id = collections.type_id(call.tx, call.new_id(), of.place.id, type_name, "", call.now)
    collections.change(call.tx, sequence_id, call.now, type_id=type_id)
    audit.note(
        call, "collection.edit", of.path, entity_id=of.place.entity_id,
        before={"type": of.row["type"]}, after={"type": type_name},
    )  # fmt: skip
    return _again(call, of)


def tag(
    call: Call, entity: str, project: str, name: str,
    *, add: Sequence[str] = (), delete: Sequence[str] = (),
) -> Row:  # fmt: skip
    """Change the tags of a collection; return it.

    Raises:
        NotFound, Forbidden, Invalid.
    """
    place = places.find(call, entity, project, Action.TRACK)
    row = collections.named(call.tx, place.id, name)
    if row is None:
        raise NotFound(f"no collection {entity}/{project}/{name} that you may see")
    of = reach.editable(call, row)
    collections.change(call.tx, of.id, call.now, tags=_tags(row, add, delete))
    return _again(call, of)


def _tags(row: Row, add: Sequence[str], delete: Sequence[str]) -> str:
    kept = [name for name in from_text(row["tags"]) if name not in set(delete)]
    return to_text(list(rules.check_tags([*kept, *add])))


def _note(call: Call, of: Collection, action: str, after: dict[str, Any]) -> None:
    before = {name: of.row[name] for name in after}
    audit.note(call, action, of.path, entity_id=of.place.entity_id, before=before, after=after)


def _again(call: Call, of: Collection) -> Row:
    row = collections.held(call.tx, of.id)
    assert row is not None
    return row
