"""What every kind of thing can do: be read from the server, be written to it, be said in YAML."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from runyard.client.api import Api
from runyard.domain.errors import Violation
from runyard.sdk.platform.things import Fields, Found, Key, Thing


@dataclass(frozen=True, slots=True)
class Wish:
    """What a thing shall be: all fields, which of them differ, and the values of secret ones."""

    fields: Fields
    changed: frozenset[str] = frozenset()
    values: Mapping[str, str] = field(default_factory=dict, repr=False)


class Kind(ABC):
    """
    One kind of thing. `section` is its place below a team or user, `rank` when it is made
    (what it refers to comes first; deletions run the other way round).
    """

    name: ClassVar[str]
    section: ClassVar[str]
    rank: ClassVar[int]
    fixed: ClassVar[frozenset[str]] = frozenset()  # fields that cannot be changed afterwards
    sealed: ClassVar[frozenset[str]] = frozenset()  # fields that can be written, never read
    pruned: ClassVar[bool] = True  # whether pruning may delete it
    missing: ClassVar[str] = ""  # what to do about one that only has to exist, and does not
    whole: ClassVar[bool] = False  # whether no other field can be written without the sealed ones

    def check(self, fields: Fields) -> Iterable[Violation]:  # noqa: ARG002
        """Return what is wrong beyond types; the paths are relative to the thing."""
        return ()

    @abstractmethod
    def wanted(self, part: Any) -> dict[str, Any]:
        """Return every field of what a document says, defaults filled in."""

    @abstractmethod
    def written(self, fields: Fields) -> Any:
        """Return the shortest thing to write that `wanted` reads as these fields."""

    @abstractmethod
    def read(self, api: Api, owner: str) -> Iterable[tuple[str, Found]]:
        """Yield what the owner has, by name. Raises as the server."""

    def compared(self, found: Fields, wanted: Fields) -> dict[str, Any]:
        """Return what is there of the fields that are wanted, as far as it can be changed."""
        return {name: found[name] for name in wanted if name not in self.sealed}

    def moved(self, name: str, source: Fields, there: Fields) -> bool:  # noqa: ARG002
        """Whether the source of a sealed field is seen to differ from what is there."""
        return False

    def read_named(
        self, api: Api, owner: str, names: Collection[str]  # noqa: ARG002
    ) -> Iterable[tuple[str, Found]]:  # fmt: skip
        """Yield what there is of these names at least; all there is, where pruning looks."""
        return self.read(api, owner)

    @abstractmethod
    def create(self, api: Api, key: Key, wish: Wish) -> str | None:
        """Make it. Return a secret that the server made and shows this once, if it did."""

    def update(self, api: Api, key: Key, wish: Wish) -> None:
        """Change the fields that differ."""
        raise NotImplementedError(f"a {self.name} is never changed")

    def delete(self, api: Api, key: Key) -> None:
        raise NotImplementedError(f"a {self.name} is never deleted")

    def order(self, thing: Thing | None) -> int:  # noqa: ARG002
        """Return which of several things of this kind is written first: the lower one."""
        return 0


def without(fields: Fields, defaults: Fields) -> dict[str, Any]:
    """Return the fields that are not what they would be anyway."""
    return {
        name: value
        for name, value in fields.items()
        if name not in defaults or defaults[name] != value
    }
