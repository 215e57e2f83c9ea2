"""
The store of secrets: written by admins, handed to agents with a claim, shown to nobody.

A value leaves the store in one place, `values_for`, towards the agent that has just claimed an
item whose queue or job names it. No answer to a person has it, and no log, event or audit entry.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from runyard.domain import secrets as domain
from runyard.domain.access import Action
from runyard.domain.errors import (
    Conflict,
    Invalid,
    NotFound,
    Rejected,
    RunyardError,
    TooMuch,
    Violation,
)
from runyard.domain.secrets import Refs, Stored
from runyard.services import sealing
from runyard.services.audit import note
from runyard.services.call import Call
from runyard.store import secrets
from runyard.store.db import Duplicate, Row
from runyard.store.values import from_text

MAX_SECRETS: Final = 1000  # of one entity
MAX_DESCRIPTION: Final = 500  # characters
Given = dict[str, str] | RunyardError | None


def put(
    call: Call,
    entity: str | None,
    name: str,
    value: str,
    *,
    description: str | None = None,
    for_jobs: bool | None = None,
) -> Row:
    """Write a secret's next version. What is None stays as it is; at first "" and False.

    Raises:
        Invalid: name, value or description. TooMuch: the entity has `MAX_SECRETS`.
        Conflict: somebody else wrote it at the same moment, or the keys are elsewhere.
        NotFound, Forbidden: as `Call.entity`.
    """
    owner = call.entity(entity, Action.MANAGE_SECRETS)
    domain.check_name(name)
    domain.check_value(value)
    _check_description(description)
    before = secrets.get(call.tx, owner["id"], name)
    if before is None and secrets.count(call.tx, owner["id"]) >= MAX_SECRETS:
        raise TooMuch(f"{owner['name']} has {MAX_SECRETS:,} secrets; delete some first")
    version = before["version"] + 1 if before else 1
    sealed = seal(call, value.encode(), about(owner["id"], name, version))
    was: dict[str, Any] = _noted(before) if before else {"description": "", "for_jobs": False}
    _write(
        call,
        owner["id"],
        name,
        before,
        version=version,
        sealed=sealed,
        description=was["description"] if description is None else description,
        for_jobs=was["for_jobs"] if for_jobs is None else for_jobs,
    )
    after = secrets.get(call.tx, owner["id"], name)
    assert after is not None
    note(
        call, "secret.set", name, entity_id=owner["id"],
        before=was if before else None, after=_noted(after),
    )  # fmt: skip
    return after


def edit(
    call: Call,
    entity: str,
    name: str,
    *,
    description: str | None = None,
    for_jobs: bool | None = None,
) -> Row:
    """Change what is said of a secret, and not its value. What is None stays.

    Raises:
        Invalid: the description. NotFound, Forbidden.
    """
    owner = call.entity(entity, Action.MANAGE_SECRETS)
    before = get(call, owner["name"], name)
    _check_description(description)
    change = {"description": description, "for_jobs": for_jobs}
    secrets.describe(call.tx, before["id"], {k: v for k, v in change.items() if v is not None})
    after = get(call, owner["name"], name)
    note(
        call, "secret.edit", name, entity_id=owner["id"],
        before=_noted(before), after=_noted(after),
    )  # fmt: skip
    return after


def get(call: Call, entity: str, name: str) -> Row:
    """Return what may be seen of a secret: everything but its value.

    Raises:
        NotFound, Forbidden.
    """
    owner = call.entity(entity, Action.SEE)
    found = secrets.get(call.tx, owner["id"], name)
    if found is None:
        raise _unknown(owner["name"], name, secrets.names(call.tx, owner["id"]))
    return found


def page(call: Call, entity: str | None, *, after: str, limit: int) -> Sequence[Row]:
    """Return secrets without their values, of one entity or of all that the caller may see."""
    owners = call.visible()
    if entity is not None:
        owners = [call.entity(entity, Action.SEE)["id"]]
    return secrets.page(call.tx, owners, after=after, limit=limit)


def delete(call: Call, entity: str, name: str, *, force: bool = False) -> None:
    """Delete a secret.

    Its versions are gone for good. Without `force` nothing happens while queues name it: every
    item of theirs would fail when it is claimed, which is rarely what somebody wants.

    Raises:
        Conflict: queues name it. NotFound, Forbidden.
    """
    owner = call.entity(entity, Action.MANAGE_SECRETS)
    found = get(call, owner["name"], name)
    using = _queues_with(call, owner["id"], name)
    if using and not force:
        raise Conflict(
            f"secret {name!r} is named by {len(using)} queues: {', '.join(using[:5])}",
            hint="take it out of their configuration first, or add --force: their items then "
            "fail when an agent claims them",
        )
    secrets.remove(call.tx, found["id"])
    note(call, "secret.delete", name, entity_id=owner["id"], before=_noted(found))


# -- references --------------------------------------------------------------------------


def check_queue(
    call: Call, entity_id: str, entity: str, refs: Refs, *, before: Refs | None = None
) -> None:
    """Pass if a queue of the entity may have these references.

    Naming a secret that the queue did not name hands it to whoever may submit there, so that
    takes the permission to write secrets, beside the one to edit queues (T14, T19).

    Raises:
        Invalid: with a violation for each secret that does not exist. Forbidden.
    """
    new = {ref for ref in refs.values() if ref not in set((before or {}).values())}
    if new:
        call.actor.need(Action.MANAGE_SECRETS, entity_id, entity, f"user or team {entity!r}")
    stored = {v: ref.name for v, ref in refs.items() if isinstance(ref, Stored)}
    if not stored:
        return
    known = secrets.names(call.tx, entity_id)
    wrong = [
        Violation(f"{domain.KEY}.{variable}", _unknown(entity, name, known).message)
        for variable, name in stored.items()
        if name not in known
    ]
    if wrong:
        raise Invalid(_said(wrong), violations=wrong, hint=f"runyard secret list -e {entity}")


def check_job(call: Call, entity_id: str, entity: str, wanted: Mapping[str, str]) -> None:
    """Pass if jobs whose run belongs to the entity may have these secrets of it.

    Raises:
        Invalid: with a violation for each that does not exist or is not for jobs.
    """
    if not wanted:
        return
    known = secrets.names(call.tx, entity_id)
    wrong = []
    for variable, name in wanted.items():
        path = f"source.secrets.{variable}"
        if name not in known:
            wrong.append(Violation(path, _unknown(entity, name, known).message))
        elif not known[name]:
            wrong.append(Violation(path, f"{_not_for_jobs(name)} of {entity}"))
    if wrong:
        raise Invalid(
            _said(wrong),
            violations=wrong,
            hint=f"an admin of {entity} can allow it: runyard secret edit NAME --for-jobs",
        )


def values_for(call: Call, specs: Sequence[Mapping[str, Any]]) -> list[Given]:
    """Return, for each item's spec, what its references stand for: variables and values.

    None is an item without references to the store. An error takes the place of the values of
    an item whose secrets cannot be had: the others are not to suffer for it.
    """
    wanted = [_stored_refs(spec) for spec in specs]
    rows = {
        (row["entity"], row["name"]): row
        for row in secrets.sealed_of(call.tx, _pairs(wanted))
    }  # fmt: skip
    found: list[Given] = []
    for refs in wanted:
        try:
            values = {v: _value(call, ref, rows) for v, ref in refs.items()}
        except RunyardError as error:
            found.append(error)
        else:
            found.append(values or None)
    return found


# -- sealing -----------------------------------------------------------------------------


def seal(call: Call, value: bytes, about: bytes) -> sealing.Sealed:
    """Encrypt with the server's newest key; the first is made when it is first needed.

    Raises:
        Conflict: the database has sealed values, and this server has no keys at all.
        Rejected, Unavailable: the keys cannot be had.
    """
    sealer = sealing.need(call.seal)
    if not sealer.has_key and secrets.key_ids(call.tx):
        raise Conflict(
            "this database has secrets whose keys are not on this server",
            hint="copy the file secrets.key of the server that sealed them, or, if it is lost, "
            "make a new one with runyard db rotate-secrets and write the secrets anew",
        )
    return sealer.seal(value, about)


def _write(
    call: Call,
    entity_id: str,
    name: str,
    before: Row | None,
    *,
    version: int,
    sealed: sealing.Sealed,
    description: str,
    for_jobs: bool,
) -> None:
    more: dict[str, Any] = {
        "key_id": sealed.key_id, "sealed": sealed.data, "for_jobs": for_jobs,
        "description": description, "by": call.actor.name, "now": call.now,
    }  # fmt: skip
    raced = Conflict(f"secret {name!r} was written by somebody else at this moment")
    if before is not None:
        if not secrets.replace(call.tx, before["id"], version=version, **more):
            raise raced
        return
    try:
        secrets.add(call.tx, secret_id=call.new_id(), entity_id=entity_id, name=name, **more)
    except Duplicate as error:
        raise raced from error


def _value(call: Call, ref: Stored, rows: Mapping[tuple[str, str], Row]) -> str:
    row = rows.get((ref.entity, ref.name))
    if row is None:
        raise Rejected(
            f"secret {ref.name!r} of {ref.entity} was deleted",
            hint=f"write it again: runyard secret set {ref.name} -e {ref.entity}",
        )
    if ref.by_job and not row["for_jobs"]:
        raise Rejected(f"{_not_for_jobs(ref.name)} of {ref.entity}")
    sealed = sealing.Sealed(row["key_id"], bytes(row["sealed"]))
    words = about(row["entity_id"], row["name"], row["version"])
    try:
        return sealing.need(call.seal).open(sealed, words).decode()
    except RunyardError as error:
        raise type(error)(f"secret {ref.name!r} of {ref.entity}: {error.message}") from error


def about(entity_id: str, name: str, version: int) -> bytes:
    """Return what the value of one version is bound to."""
    return sealing.about("secret", entity_id, name, version)


def _stored_refs(spec: Mapping[str, Any]) -> dict[str, Stored]:
    if not spec.get(domain.KEY):
        return {}
    refs = domain.of_spec(spec)
    return {variable: ref for variable, ref in refs.items() if isinstance(ref, Stored)}


def _pairs(wanted: Iterable[Mapping[str, Stored]]) -> set[tuple[str, str]]:
    return {(ref.entity, ref.name) for refs in wanted for ref in refs.values()}


def _queues_with(call: Call, entity_id: str, name: str) -> list[str]:
    found = []
    for row in secrets.queue_configs(call.tx, entity_id):
        given = from_text(row["config"]).get(domain.KEY)
        if isinstance(given, Mapping) and name in given.values():
            found.append(row["name"])
    return found


def _check_description(text: str | None) -> None:
    if text is not None and len(text) > MAX_DESCRIPTION:
        raise Invalid(f"description: {MAX_DESCRIPTION} characters at most")


def _noted(row: Row) -> dict[str, Any]:
    return {
        "version": row["version"],
        "description": row["description"],
        "for_jobs": bool(row["for_jobs"]),
    }


def _unknown(entity: str, name: str, known: Iterable[str]) -> NotFound:
    near = difflib.get_close_matches(name, list(known), n=1)
    told = f"; did you mean {near[0]!r}?" if near else ""
    return NotFound(f"{entity} has no secret {name!r}{told}", hint="runyard secret list")


def _not_for_jobs(name: str) -> str:
    return f"jobs may not ask for the secret {name!r}"


def _said(wrong: Sequence[Violation]) -> str:
    return str(wrong[0]) if len(wrong) == 1 else f"{len(wrong)} secrets cannot be used"
