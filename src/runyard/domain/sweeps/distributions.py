"""
The distributions of a parameter, each as a map from the unit interval.

`at(u)` is the value below which the share `u` of all values lies, `place(value)` the way back.
So one uniform random number makes one value, and a model that searches needs to know of places
between 0 and 1 only.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import accumulate
from statistics import NormalDist
from typing import Final, Protocol, TypeAlias

from runyard.domain.sweeps.beta import beta_cdf, beta_quantile

Number: TypeAlias = int | float

_EDGE: Final = 1e-12  # quantiles of 0 and 1 lie at infinity for some


class Leaf(Protocol):
    """What one parameter may be. `size` is how many values it has; None: it is continuous."""

    @property
    def size(self) -> int | None: ...

    def nth(self, n: int, /) -> object:
        """Return the value of a number below `size`."""

    def at(self, u: float) -> object:
        """Return the value at a place; 0 <= u < 1."""

    def place(self, value: object) -> float | None:
        """Return where a value lies: its number if there is a `size`; None: it is none of them."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the values, all equally likely or with weights; a constant is the choice of one."""

    values: tuple[object, ...]
    weights: tuple[float, ...] = ()

    @property
    def size(self) -> int:
        return len(self.values)

    def nth(self, n: int) -> object:
        return self.values[n]

    def at(self, u: float) -> object:
        if not self.weights:
            return self.values[min(int(u * self.size), self.size - 1)]
        sums = list(accumulate(self.weights))
        n = bisect_right(sums, u * sums[-1])
        last = max(k for k, weight in enumerate(self.weights) if weight > 0)
        return self.values[min(n, last)]

    def place(self, value: object) -> float | None:
        for n, own in enumerate(self.values):
            # True == 1, but they are two values.
            if own == value and isinstance(own, bool) == isinstance(value, bool):
                return n
        return None


class Link(StrEnum):
    """What is done to the number that the distribution is of."""

    PLAIN = "plain"
    EXP = "exp"
    INVERSE_EXP = "inverse exp"


class Family(StrEnum):
    UNIFORM = "uniform"
    NORMAL = "normal"
    BETA = "beta"


@dataclass(frozen=True, slots=True)
class Shape:
    """A continuous distribution; `first` and `second` are its bounds, or mu and sigma, or a and b.

    `low` and `high` are the least and the largest value, as its author wrote them.
    """

    family: Family
    first: float
    second: float
    link: Link = Link.PLAIN
    low: float = -math.inf
    high: float = math.inf

    @property
    def size(self) -> int | None:
        return None

    def nth(self, _n: int, /) -> object:
        raise ValueError("a continuous parameter has no numbered values")

    def at(self, u: float) -> float:
        u = 1 - u if self.link is Link.INVERSE_EXP else u
        x = self._quantile(min(max(u, _EDGE), 1 - _EDGE))
        if self.link is Link.EXP:
            x = math.exp(x)
        elif self.link is Link.INVERSE_EXP:
            x = math.exp(-x)
        return min(max(x, self.low), self.high)

    def place(self, value: object) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if not math.isfinite(value) or not self.low <= value <= self.high:
            return None
        x = float(value)
        if self.link is not Link.PLAIN:
            if x <= 0:
                return None
            x = math.log(x) if self.link is Link.EXP else -math.log(x)
        u = self._cdf(x)
        u = 1 - u if self.link is Link.INVERSE_EXP else u
        return min(max(u, 0.0), 1.0)

    def _quantile(self, u: float) -> float:
        if self.family is Family.UNIFORM:
            return self.first + u * (self.second - self.first)
        if self.family is Family.NORMAL:
            return NormalDist(self.first, self.second).inv_cdf(u)
        return beta_quantile(u, self.first, self.second)

    def _cdf(self, x: float) -> float:
        if self.family is Family.UNIFORM:
            width = self.second - self.first
            return (x - self.first) / width if width else 0.5
        if self.family is Family.NORMAL:
            return NormalDist(self.first, self.second).cdf(x)
        return beta_cdf(x, self.first, self.second)


@dataclass(frozen=True, slots=True)
class Steps:
    """Multiples of a step. `first` and `last` number them where the shape has bounds.

    Without a shape all of them are equally likely.
    """

    step: Number
    first: int | None
    last: int | None
    shape: Shape | None = None

    @property
    def size(self) -> int | None:
        if self.first is None or self.last is None:
            return None
        return self.last - self.first + 1

    def nth(self, n: int) -> Number:
        assert self.first is not None
        return self._multiple(self.first + n)

    def at(self, u: float) -> Number:
        if self.shape is None:
            assert self.size is not None
            return self.nth(min(int(u * self.size), self.size - 1))
        k = round(self.shape.at(u) / self.step)
        if self.first is not None:
            k = max(k, self.first)
        if self.last is not None:
            k = min(k, self.last)
        return self._multiple(k)

    def place(self, value: object) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if not math.isfinite(value):
            return None
        if self.first is None or self.last is None:
            return self.shape.place(value) if self.shape else None
        n = round(value / self.step) - self.first
        return n if 0 <= n <= self.last - self.first else None

    def _multiple(self, k: int) -> Number:
        if isinstance(self.step, int):
            return self.step * k
        return float(Decimal(repr(self.step)) * k)  # 3 * 0.1 is 0.3
