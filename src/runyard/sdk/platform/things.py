"""The words of planning: things that a platform is made of, and steps from one state to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

Fields = Mapping[str, Any]
Section = tuple[str, str]  # (kind, owner)


class Key(NamedTuple):
    """What a thing is called. `owner` is the team or user it belongs to, "" for those two."""

    kind: str
    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.owner}/{self.name}" if self.owner else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Thing:
    """What a document asks for: every field, whether it was written or is the default."""

    key: Key
    fields: Fields
    where: str = ""  # file and line
    base: Path = Path()  # to which the paths in it are relative


@dataclass(frozen=True, slots=True)
class Platform:
    """All that the documents ask for. `managed`: the sections that they list, be it as empty."""

    things: Mapping[Key, Thing] = field(default_factory=dict)
    managed: frozenset[Section] = frozenset()

    def owners(self) -> list[Key]:
        """Return the keys of the teams and users that are named, in their order."""
        return [key for key in self.things if key.kind in ("team", "user")]


@dataclass(frozen=True, slots=True)
class Found:
    """A thing as the server has it. `waiting`: items that deleting it would cancel."""

    fields: Fields
    waiting: int = 0
    kept: str = ""  # why pruning leaves it alone


@dataclass(frozen=True, slots=True)
class State:
    """What the server has of a platform. `hidden`: sections that the caller may not read."""

    me: str
    is_admin: bool = False
    things: Mapping[Key, Found] = field(default_factory=dict)
    hidden: Mapping[Section, str] = field(default_factory=dict)


class Verb(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """One field. `sign`: + it is new, - it goes, ~ it changes."""

    sign: str
    path: str
    was: Any = None
    becomes: Any = None


@dataclass(frozen=True, slots=True)
class Step:
    """One call to the server. `thing` is what is wanted; of a deletion there is none."""

    verb: Verb
    key: Key
    changes: tuple[Change, ...] = ()
    thing: Thing | None = None
    why: str = ""
    prunes: bool = False
    leaves: bool = False  # a team that the caller made for others
    waiting: int = 0

    def __str__(self) -> str:
        return f"{self.verb} {self.key}"


@dataclass(frozen=True, slots=True)
class Plan:
    """
    Steps in the order in which they can be taken. `missing` are secrets that somebody has to
    write by hand: the document only says that they exist.
    """

    steps: tuple[Step, ...] = ()
    unchanged: tuple[Key, ...] = ()
    missing: tuple[Key, ...] = ()

    @property
    def differs(self) -> bool:
        return bool(self.steps or self.missing)

    @property
    def pruned(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.prunes)

    def count(self, verb: Verb) -> int:
        return sum(step.verb is verb for step in self.steps)
