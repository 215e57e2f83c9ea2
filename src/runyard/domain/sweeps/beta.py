"""The beta distribution: its distribution function, and that one's inverse by bisection."""

from __future__ import annotations

import math
from typing import Final

_TERMS: Final = 300
_SMALL: Final = 1e-300
_ENOUGH: Final = 1e-14


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return the share of values below x: the regularized incomplete beta function."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    # The continued fraction converges fast below the mean; beyond it, look from the other end.
    if x > (a + 1) / (a + b + 2):
        return 1 - _by_fraction(1 - x, b, a)
    return _by_fraction(x, a, b)


def beta_quantile(u: float, a: float, b: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if beta_cdf(middle, a, b) < u:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _by_fraction(x: float, a: float, b: float) -> float:
    """Evaluate Gauss's continued fraction, from its front, by the method of Lentz."""
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        + a * math.log(x) + b * math.log1p(-x)
    ) / a  # fmt: skip
    c, d = 1.0, 1 / _apart(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _apart(1 + term * d)
            c = _apart(1 + term / c)
            change = c * d
            value *= change
        if abs(change - 1) < _ENOUGH:
            break
    return front * value


def _apart(x: float) -> float:
    """Return x, or a tiny number for 0."""
    return x if abs(x) > _SMALL else _SMALL
