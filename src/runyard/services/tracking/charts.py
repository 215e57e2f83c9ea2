"""Charts: a Vega specification under a name, that runs may refer to. The server only keeps it."""

from __future__ import annotations

import json
import re
from typing import Final

from runyard.domain.access import Action
from runyard.domain.errors import Invalid, TooMuch
from runyard.services import audit
from runyard.services.call import Call
from runyard.store.tracking import charts as rows

MOST: Final = 1000  # of one user or team
_LONGEST: Final = 1 << 20  # characters of a specification
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,127}")
_ACCESS: Final = ("PRIVATE", "PUBLIC", "private", "public")


def save(
    call: Call, entity: str, name: str, *, display_name: str, kind: str, access: str, spec: str
) -> str:
    """Keep a chart, or change the one of that name; return its id, `entity/name`.

    Raises:
        NotFound, Forbidden: the entity.
        Invalid: the name, the access, or a specification that is no JSON object.
        TooMuch: too many, or too long.
    """
    owner = call.entity(entity, Action.TRACK)
    _check(name, access, kind, display_name)
    _check_spec(spec)
    was = rows.get(call.tx, owner["id"], name)
    if was is None and rows.count(call.tx, owner["id"]) >= MOST:
        raise TooMuch(f"{owner['name']} has {MOST} charts, which is the most")
    rows.save(
        call.tx, owner["id"], name, call.now,
        display_name=display_name, kind=kind, access=access.lower(), spec=spec,
        created_by=call.actor.name,
    )  # fmt: skip
    chart = f"{owner['name']}/{name}"
    verb = "create" if was is None else "edit"
    audit.note(call, f"chart.{verb}", chart, entity_id=owner["id"])
    return chart


def _check(name: str, access: str, kind: str, display_name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Invalid(f"name {name[:140]!r}: 1 to 128 letters, digits, '_', '-', '.' or spaces")
    if access not in _ACCESS:
        raise Invalid(f"access {access[:40]!r}: private or public")
    if len(kind) > 40 or len(display_name) > 200:
        raise Invalid("type or display name: too long")


def _check_spec(spec: str) -> None:
    if len(spec) > _LONGEST:
        raise TooMuch(f"the specification is longer than {_LONGEST} characters")
    try:
        value = json.loads(spec)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Invalid("spec: not a JSON object")
