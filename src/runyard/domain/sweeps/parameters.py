"""Reading the `parameters` of a sweep's configuration into distributions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from runyard.domain.errors import Violation
from runyard.domain.sweeps.distributions import Choice, Family, Leaf, Link, Number, Shape, Steps
from runyard.domain.sweeps.space import Path, Space

MOST_PARAMETERS: Final = 1000
_FARTHEST_EXPONENT: Final = 690  # e to the power of more is no number of 64 bits
_MOST_STEPS: Final = 2**53
# What beside `distribution` each distribution reads; those with `?` have a default.
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "constant": ("value",),
    "categorical": ("values",),
    "categorical_w_probabilities": ("values", "probabilities"),
    "int_uniform": ("min", "max"),
    "uniform": ("min", "max"),
    "q_uniform": ("min", "max", "q?"),
    "log_uniform": ("min", "max"),
    "log_uniform_values": ("min", "max"),
    "q_log_uniform": ("min", "max", "q?"),
    "q_log_uniform_values": ("min", "max", "q?"),
    "inv_log_uniform": ("min", "max"),
    "inv_log_uniform_values": ("min", "max"),
    "normal": ("mu?", "sigma?"),
    "q_normal": ("mu?", "sigma?", "q?"),
    "log_normal": ("mu?", "sigma?"),
    "q_log_normal": ("mu?", "sigma?", "q?"),
    "beta": ("a", "b"),
    "q_beta": ("a", "b", "q?"),
}
_DEFAULTS: Final[Mapping[str, Number]] = {"q": 1, "mu": 0.0, "sigma": 1.0}


class Reading:
    """Reads parameters; `wrong` and `odd` collect what it finds on its way."""

    def __init__(self) -> None:
        self.wrong: list[Violation] = []
        self.odd: list[str] = []

    def space(self, parameters: object) -> Space:
        leaves: list[tuple[Path, Leaf]] = []
        self._walk(parameters, (), leaves)
        if len(leaves) > MOST_PARAMETERS:
            self._fault((), f"{len(leaves)} parameters; {MOST_PARAMETERS} at most")
        return Space(tuple(leaves))

    def _walk(self, found: object, path: Path, leaves: list[tuple[Path, Leaf]]) -> None:
        if not isinstance(found, Mapping):
            self._fault(path, "must map names to parameters")
            return
        if not found and path:
            self._fault(path, "has no parameters")
        for name, inner in found.items():
            here = (*path, str(name))
            if not isinstance(inner, Mapping):
                self._fault(here, "must be a mapping, as in {values: [1, 2]} or {value: 1}")
            elif "parameters" in inner:
                self._walk(inner["parameters"], here, leaves)
                self._note_unknown(here, inner, {"parameters"})
            else:
                leaf = self._leaf(here, inner)
                if leaf is not None:
                    leaves.append((here, leaf))

    def _leaf(self, path: Path, data: Mapping[str, object]) -> Leaf | None:
        kind = data["distribution"] if "distribution" in data else self._kind(path, data)
        if kind is None:
            return None
        if not isinstance(kind, str) or kind not in _KEYS:
            self._fault(path, f"distribution {kind!r} is none of {', '.join(_KEYS)}")
            return None
        known = {key.rstrip("?") for key in _KEYS[kind]}
        missing = [k for k in _KEYS[kind] if not k.endswith("?") and k not in data]
        if missing:
            self._fault(path, f"{kind} takes {' and '.join(missing)}")
            return None
        self._note_unknown(path, data, known | {"distribution"})
        if kind == "constant":
            return Choice((data["value"],))
        if kind.startswith("categorical"):
            return self._choice(path, data)
        return self._measured(path, kind, known, data)

    def _kind(self, path: Path, data: Mapping[str, object]) -> str | None:
        """Return the distribution that is meant where none is named."""
        if "values" in data:
            return "categorical_w_probabilities" if "probabilities" in data else "categorical"
        if "value" in data:
            return "constant"
        if "min" in data and "max" in data:
            if "q" in data:
                return "q_uniform"
            kinds = {type(data["min"]), type(data["max"])}
            if kinds == {int}:
                return "int_uniform"
            if kinds == {float}:
                return "uniform"
            self._fault(path, "min and max must both be whole numbers, or both have a point")
            return None
        if "mu" in data or "sigma" in data:
            return "q_normal" if "q" in data else "normal"
        self._fault(path, "give value, values, min and max, parameters, or a distribution")
        return None

    def _choice(self, path: Path, data: Mapping[str, object]) -> Leaf | None:
        values, weights = data["values"], data.get("probabilities")
        if not isinstance(values, list) or not values:
            self._fault(path, "values must be a list with something in it")
            return None
        if weights is None:
            return Choice(tuple(values))
        if (
            not isinstance(weights, list)
            or len(weights) != len(values)
            or not all(_is_number(w) and w >= 0 for w in weights)
            or not sum(weights) > 0
        ):
            self._fault(path, "probabilities must be a list of numbers, one for each value")
            return None
        if abs(sum(weights) - 1) > 1e-6:
            self.odd.append(f"{_told(path)}: the probabilities do not add up to 1")
        return Choice(tuple(values), tuple(map(float, weights)))

    def _measured(
        self, path: Path, kind: str, known: set[str], data: Mapping[str, object]
    ) -> Leaf | None:
        numbers: dict[str, Number] = {}
        for key in sorted(known):
            value = data.get(key, _DEFAULTS.get(key))
            if not _is_number(value):
                self._fault(path, f"{key} must be a number, not {value!r}")
                return None
            assert isinstance(value, int | float)
            numbers[key] = value
        low, high = numbers.get("min"), numbers.get("max")
        if low is not None and high is not None and low > high:
            self._fault(path, f"min {low} is above max {high}")
            return None
        for key in ("sigma", "q", "a", "b"):
            if key in numbers and numbers[key] <= 0:
                self._fault(path, f"{key} must be above 0")
                return None
        if kind == "int_uniform":
            if not isinstance(low, int) or not isinstance(high, int):
                self._fault(path, "min and max of int_uniform must be whole numbers")
                return None
            return Steps(1, low, high)
        shape = self._shape(path, kind.removeprefix("q_"), numbers)
        if shape is None or "q" not in numbers:
            return shape
        return self._steps(path, numbers["q"], shape)

    def _shape(self, path: Path, kind: str, n: Mapping[str, Number]) -> Shape | None:
        if kind == "beta":
            return Shape(Family.BETA, n["a"], n["b"], low=0.0, high=1.0)
        if kind in ("normal", "log_normal"):
            mu, sigma = n["mu"], n["sigma"]
            if kind == "normal":
                return Shape(Family.NORMAL, mu, sigma)
            if abs(mu) + 8 * sigma > _FARTHEST_EXPONENT:
                self._fault(path, "mu and sigma are exponents of e, and these are too large")
                return None
            return Shape(Family.NORMAL, mu, sigma, Link.EXP, low=0.0)
        low, high = n["min"], n["max"]
        if kind == "uniform":
            return Shape(Family.UNIFORM, low, high, low=low, high=high)
        if kind.endswith("_values"):
            if low <= 0:
                self._fault(path, "min must be above 0 on a logarithmic scale")
                return None
            first, second = math.log(low), math.log(high)
            if kind.startswith("inv"):
                return Shape(Family.UNIFORM, -second, -first, Link.INVERSE_EXP, low, high)
            return Shape(Family.UNIFORM, first, second, Link.EXP, low, high)
        if max(abs(low), abs(high)) > _FARTHEST_EXPONENT:
            self._fault(
                path, f"min and max of {kind} are exponents of e; for values, {kind}_values"
            )
            return None
        if kind == "inv_log_uniform":
            bounds = math.exp(-high), math.exp(-low)
            return Shape(Family.UNIFORM, low, high, Link.INVERSE_EXP, *bounds)
        return Shape(Family.UNIFORM, low, high, Link.EXP, math.exp(low), math.exp(high))

    def _steps(self, path: Path, step: Number, shape: Shape) -> Leaf | None:
        first = None if math.isinf(shape.low) else math.ceil(shape.low / step - 1e-9)
        last = None if math.isinf(shape.high) else math.floor(shape.high / step + 1e-9)
        if first is not None and last is not None and not 0 <= last - first <= _MOST_STEPS:
            self._fault(path, f"between min and max is no multiple of q = {step}")
            return None
        return Steps(step, first, last, shape)

    def _fault(self, path: Path, message: str) -> None:
        self.wrong.append(Violation(_told(path), message))

    def _note_unknown(self, path: Path, data: Mapping[str, object], known: set[str]) -> None:
        for key in data:
            if key not in known:
                self.odd.append(f"{_told(path)}: {key!r} is not read here")


def _told(path: Path) -> str:
    return ".".join(("parameters", *path))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
