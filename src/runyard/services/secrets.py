"""
What secrets are for: who may name them, and what an agent gets when it claims an item.

A value leaves the store in one place, `values_for`, towards the agent that has just claimed an
item whose queue or job names it. No answer to a person has it, and no log, event or audit entry.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runyard.domain import secrets as domain
from runyard.domain.access import Action
from runyard.domain.errors import (
    Conflict,
    Invalid,
    NotFound,
    Rejected,
    RunyardError,
    Violation,
)
from runyard.domain.secrets import Refs, Stored
from runyard.services import sealing
from runyard.services.call import Call
from runyard.store import secrets
from runyard.store.db import Row

Given = dict[str, str] | RunyardError | None


def check_queue(
    call: Call, entity_id: str, entity: str, refs: Refs, *, before: Refs | None = None
) -> None:
    """Pass if a queue of the entity may have these references, by the path of each.

    Naming a secret that the queue did not name hands it to whoever may submit there, so that
    takes the permission to write secrets, beside the one to edit queues (T14, T19).

    Raises:
        Invalid: with a violation for each secret that does not exist. Forbidden.
    """
    new = {ref for ref in refs.values() if ref not in set((before or {}).values())}
    if new:
        call.actor.need(Action.MANAGE_SECRETS, entity_id, entity, f"user or team {entity!r}")
    stored = {path: ref.name for path, ref in refs.items() if isinstance(ref, Stored)}
    if not stored:
        return
    known = secrets.names(call.tx, entity_id)
    wrong = [
        Violation(path, unknown(entity, name, known).message)
        for path, name in stored.items()
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
            wrong.append(Violation(path, unknown(entity, name, known).message))
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

    Those of its image's build stand beside them, as `build:<id>`.

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
    if not spec.get(domain.KEY) and not spec.get(domain.BUILD_KEY):
        return {}
    refs = {**domain.of_spec(spec), **domain.of_build(spec)}
    return {variable: ref for variable, ref in refs.items() if isinstance(ref, Stored)}


def _pairs(wanted: Iterable[Mapping[str, Stored]]) -> set[tuple[str, str]]:
    return {(ref.entity, ref.name) for refs in wanted for ref in refs.values()}


def unknown(entity: str, name: str, known: Iterable[str]) -> NotFound:
    """Return the refusal of a secret that is not there, with the nearest of those that are."""
    near = difflib.get_close_matches(name, list(known), n=1)
    told = f"; did you mean {near[0]!r}?" if near else ""
    return NotFound(f"{entity} has no secret {name!r}{told}", hint="runyard secret list")


def _not_for_jobs(name: str) -> str:
    return f"jobs may not ask for the secret {name!r}"


def _said(wrong: Sequence[Violation]) -> str:
    return str(wrong[0]) if len(wrong) == 1 else f"{len(wrong)} secrets cannot be used"
