"""
The space that a sweep searches: its parameters, nested ones by their path.

A grid's points are numbered, the last parameter changing fastest, so that one number says how
far a grid has been gone through. Random numbers come from a source that is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from runyard.domain.sweeps.distributions import Leaf

Path: TypeAlias = tuple[str, ...]
Arguments: TypeAlias = dict[str, object]


class Source(Protocol):
    """What rolls the dice, as `random.Random` does."""

    def random(self) -> float:
        """Return a number, 0 <= number < 1."""


@dataclass(frozen=True, slots=True)
class Space:
    """The parameters of a sweep, in the order of its configuration."""

    leaves: tuple[tuple[Path, Leaf], ...]

    @property
    def points(self) -> int | None:
        """How many points the space has; None if a parameter is continuous."""
        sizes = [leaf.size for _, leaf in self.leaves]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def point(self, n: int) -> Arguments:
        """Return the arguments of a point of the grid, 0 <= n < points."""
        values = []
        for _, leaf in reversed(self.leaves):
            assert leaf.size is not None
            n, digit = divmod(n, leaf.size)
            values.append(leaf.nth(digit))
        return self._arranged(reversed(values))

    def sample(self, source: Source) -> Arguments:
        return self._arranged(leaf.at(source.random()) for _, leaf in self.leaves)

    def chosen(self, places: Mapping[Path, float]) -> Arguments:
        """Return the arguments of a place in each parameter, as `places` tells them."""
        return self._arranged(
            leaf.at(places[path]) if leaf.size is None else leaf.nth(int(places[path]))
            for path, leaf in self.leaves
        )

    def places(self, args: Mapping[str, object]) -> dict[Path, float] | None:
        """Return where arguments lie in each parameter; None: not in this space."""
        found = {}
        for path, leaf in self.leaves:
            value: object = args
            for word in path:
                if not isinstance(value, Mapping) or word not in value:
                    return None
                value = value[word]
            place = leaf.place(value)
            if place is None:
                return None
            found[path] = place
        return found

    def _arranged(self, values: Iterator[object]) -> Arguments:
        args: Arguments = {}
        for (path, _), value in zip(self.leaves, values, strict=True):
            at = args
            for word in path[:-1]:
                inner = at.setdefault(word, {})
                assert isinstance(inner, dict)
                at = inner
            at[path[-1]] = value
        return args
