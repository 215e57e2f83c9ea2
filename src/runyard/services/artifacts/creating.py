"""Beginning a version: its type and sequence are made on the way; known content begins none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runyard.domain import artifacts as rules
from runyard.domain.access import Action, Kind
from runyard.domain.errors import Forbidden, Invalid, NotFound, TooMuch
from runyard.services.artifacts import aliases, jobs
from runyard.services.artifacts.reach import writable
from runyard.services.call import Call
from runyard.services.tracking import places, runs
from runyard.services.tracking.places import Place
from runyard.store.artifacts import collections, writing
from runyard.store.artifacts.writing import COMMITTED
from runyard.store.db import Row
from runyard.store.values import to_text

_LONGEST_DESCRIPTION = 64 << 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """A version to be. `run` is the name of the run that logs it, None for a user without one."""

    collection: str
    type: str
    digest: str
    run: str | None = None
    algorithm: str | None = None
    description: str = ""
    metadata: str | None = None
    aliases: Sequence[str] = ()
    tags: Sequence[str] = ()
    ttl_s: int | None = None
    history_step: int | None = None
    client_id: str | None = None
    distributed_id: str | None = None
    region: str | None = None
    deduplicate: bool = True


def create(call: Call, entity: str | None, project: str | None, wanted: Wanted) -> Row:
    """Begin a version, or return the one that this is already.

    That is the one of the same client id; or a committed one of the same digest, which gets the
    aliases; or the one that several writers make together under this distributed id.

    Raises:
        NotFound: no such entity or run. Forbidden. Invalid: a name, or the sequence has another
            type.
    """
    _check(wanted)
    place = places.need(call, entity, project, Action.TRACK)
    run_id = _run_of(call, place, wanted.run)
    sequence = _sequence(call, place, wanted)
    found = _existing(call, sequence, wanted)
    if found is None:
        found = writing.add(
            call.tx,
            {
                "sequence_id": sequence["id"],
                "digest": wanted.digest,
                "description": wanted.description,
                "metadata": rules.check_metadata(wanted.metadata),
                "tags": to_text(rules.check_tags(wanted.tags)),
                "pending_aliases": to_text(rules.check_aliases(wanted.aliases)),
                "ttl_s": rules.ttl_of(wanted.ttl_s),
                "history_step": wanted.history_step,
                "distributed_id": wanted.distributed_id or None,
                "run_id": run_id,
                "created_by": call.actor.user_id,
            },
            call.now,
        )
    if wanted.client_id:
        writing.note_client(call.tx, wanted.client_id, found, call.now)
    row = writing.get(call.tx, found)
    assert row is not None
    return row


def create_type(
    call: Call, entity: str | None, project: str | None, name: str, description: str
) -> Place:
    """Make a type unless it is there; return its project. Versions make theirs by themselves; old
    clients ask first.

    Raises:
        NotFound, Forbidden. Invalid: its name.
    """
    rules.check_type(name)
    check_description(description)
    place = places.need(call, entity, project, Action.TRACK)
    collections.type_id(call.tx, call.new_id(), place.id, name, description, call.now)
    return place


def of_client(call: Call, client_id: str) -> int:
    """Return the version that a program began under an id of its own.

    Raises:
        NotFound: none that the caller may see.
    """
    for row in writing.of_client(call.tx, client_id):
        try:
            places.by_id(call, row["project_id"], "artifact")
        except NotFound:
            continue
        return int(row["id"])
    raise NotFound("no artifact of this client id that you may see")


def check_description(text: str) -> None:
    """Raises: TooMuch: it is longer than anybody reads."""
    if len(text) > _LONGEST_DESCRIPTION:
        raise TooMuch(f"the description is longer than {_LONGEST_DESCRIPTION} characters")


def _check(wanted: Wanted) -> None:
    rules.check_collection(wanted.collection)
    rules.check_type(wanted.type)
    rules.check_digest(wanted.digest, wanted.algorithm)
    rules.check_region(wanted.region)
    rules.check_client_id(wanted.client_id)
    rules.check_client_id(wanted.distributed_id)
    check_description(wanted.description)


def _run_of(call: Call, place: Place, name: str | None) -> str | None:
    if call.actor.kind is Kind.RUN:  # whatever it makes belongs to its run
        if name not in (None, "", call.actor.run_name):
            raise Forbidden(
                f"this token is good for run {call.actor.run_name}, not for {name}",
                hint="use a key of your own to write other runs: runyard key create",
            )
        return call.actor.run_id
    if not name:
        return None
    return run_named(call, place, name)


def run_named(call: Call, place: Place, name: str) -> str:
    """Return the id of a run that the caller may see. Raises: NotFound."""
    return str(runs.find(call, place.entity, place.name, name)["pk"])


def _sequence(call: Call, place: Place, wanted: Wanted) -> Row:
    """Return the sequence, held: writers of one sequence take turns."""
    found = collections.named(call.tx, place.id, wanted.collection)
    if found is None:
        type_id = collections.type_id(call.tx, call.new_id(), place.id, wanted.type, "", call.now)
        collections.add(
            call.tx, call.new_id(), place.id, type_id, collections.SEQUENCE, wanted.collection,
            call.actor.user_id, call.now,
        )  # fmt: skip
        found = collections.named(call.tx, place.id, wanted.collection)
        assert found is not None
        jobs.begin_after(call, found)
    if found["kind"] != collections.SEQUENCE:
        raise Invalid(
            f"{wanted.collection} is a collection of links; versions are logged to another name",
            hint="log the artifact under another name and link it to this collection",
        )
    if found["type"] != wanted.type:
        raise Invalid(
            f"artifact {place.entity}/{place.name}/{wanted.collection} is of the type "
            f"{found['type']!r}, not {wanted.type!r}",
            hint="use its type, or another name",
        )
    return found


def _existing(call: Call, sequence: Row, wanted: Wanted) -> int | None:
    if wanted.client_id:
        for row in writing.of_client(call.tx, wanted.client_id):
            if row["sequence_id"] == sequence["id"]:
                return row["id"] if row["state"] == COMMITTED else writable(call, row).id
    if wanted.distributed_id:
        return writing.shared(call.tx, sequence["id"], wanted.distributed_id)
    same = writing.same(call.tx, sequence["id"], wanted.digest) if wanted.deduplicate else None
    if same is not None:
        aliases.give(call, sequence["id"], same, rules.check_aliases(wanted.aliases))
    return same
