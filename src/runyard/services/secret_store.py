"""
The store of secrets: who may write, list and delete them. Nobody may read them.

`services.secrets` has what they are used for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from runyard.domain import building
from runyard.domain import secrets as domain
from runyard.domain.access import Action
from runyard.domain.errors import Conflict, Invalid, TooMuch
from runyard.services.audit import note
from runyard.services.call import Call
from runyard.services.sealing import Sealed
from runyard.services.secrets import about, seal, unknown
from runyard.store import secrets
from runyard.store.db import Duplicate, Row
from runyard.store.values import from_text

MAX_SECRETS: Final = 1000  # of one entity
MAX_DESCRIPTION: Final = 500  # characters


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
        raise unknown(owner["name"], name, secrets.names(call.tx, owner["id"]))
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


def _write(
    call: Call,
    entity_id: str,
    name: str,
    before: Row | None,
    *,
    version: int,
    sealed: Sealed,
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


def _queues_with(call: Call, entity_id: str, name: str) -> list[str]:
    found = []
    for row in secrets.queue_configs(call.tx, entity_id):
        config = from_text(row["config"])
        builder = config.get(building.KEY)
        blocks = (config, builder if isinstance(builder, Mapping) else {})
        given = [block.get(domain.KEY) for block in blocks]
        if any(isinstance(refs, Mapping) and name in refs.values() for refs in given):
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
