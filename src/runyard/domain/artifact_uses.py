"""
Which artifacts an item is known to use before it starts: those that its submission names.

An artifact is named in a run config, in a file of inputs or in the overrides of artifacts, in one
of the ways in which the tracking client writes it:

    "wandb-artifact://entity/project/name:alias", "wandb-artifact://_id/<id>"
    {"_type": "artifactVersion", "id": "<id>", …}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

MOST: Final = 20  # artifacts of one item; the rest its program fetches itself
_SCHEME: Final = "wandb-artifact://"
_LONGEST: Final = 500
_DEEPEST: Final = 20


@dataclass(frozen=True, slots=True)
class Use:
    """An artifact's id, or where it is and what it is called there: `name` or `name:alias`."""

    id: str = ""
    entity: str = ""
    project: str = ""
    name: str = ""

    def __str__(self) -> str:
        return self.id or f"{self.entity}/{self.project}/{self.name}"


def known_uses(spec: Mapping[str, Any]) -> tuple[Use, ...]:
    """Return the artifacts that a resolved spec names, each once."""
    over = spec["overrides"]
    found = _within([over["artifacts"], over["run_config"], over["files"]], 0)
    return tuple(islice(dict.fromkeys(found), MOST))


def _within(value: Any, depth: int) -> Iterator[Use]:
    if isinstance(value, str):
        if use := _addressed(value):
            yield use
        return
    if depth > _DEEPEST:
        return
    if isinstance(value, Mapping):
        name = value.get("id")
        if value.get("_type") == "artifactVersion" and isinstance(name, str):
            if 0 < len(name) <= _LONGEST:
                yield Use(id=name)
            return
        value = value.values()
    elif not isinstance(value, list | tuple):
        return
    for each in value:
        yield from _within(each, depth + 1)


def _addressed(text: str) -> Use | None:
    if not text.startswith(_SCHEME) or len(text) > _LONGEST:
        return None
    parts = text.removeprefix(_SCHEME).split("/")
    if parts[0] == "_id" and len(parts) > 1 and parts[1]:
        return Use(id=parts[1])
    if len(parts) < 3 or not all(parts[:3]):
        return None
    return Use(entity=parts[0], project=parts[1], name=parts[2])
