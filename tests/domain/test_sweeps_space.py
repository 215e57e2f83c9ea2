"""Spaces: a grid is the product, and samples keep to their bounds and steps."""

from __future__ import annotations

import itertools
import math
import random
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.domain.errors import Invalid
from runyard.domain.sweeps import config
from runyard.domain.sweeps.beta import beta_cdf, beta_quantile
from runyard.domain.sweeps.space import Space

scalars = st.one_of(st.booleans(), st.integers(-9, 9), st.text(max_size=3), st.none())
names = st.text("abcdef", min_size=1, max_size=3)


def space_of(parameters: dict[str, Any], method: str = "random") -> Space:
    return config.parse({"method": method, "parameters": parameters}).space


def leaf(**parameter: Any) -> Any:
    ((_, found),) = space_of({"x": parameter}).leaves
    return found


@given(st.dictionaries(names, st.lists(scalars, min_size=1, max_size=4), min_size=1, max_size=4))
def test_a_grid_is_the_product_with_the_last_parameter_fastest(
    values: dict[str, list[Any]],
) -> None:
    space = space_of({name: {"values": each} for name, each in values.items()}, "grid")
    expected = [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]
    assert space.points == len(expected)
    got = [space.point(n) for n in range(len(expected))]
    assert [[*map(repr, p.values())] for p in got] == [[*map(repr, p.values())] for p in expected]


def test_nested_parameters_multiply_and_keep_their_place() -> None:
    space = space_of(
        {
            "a": {"values": [1, 2]},
            "o": {"parameters": {"lr": {"values": [3, 4, 5]}, "m": {"parameters": {
                "deep": {"value": "x"}}}}},
        },
        "grid",
    )  # fmt: skip
    assert space.points == 6
    assert space.point(4) == {"a": 2, "o": {"lr": 4, "m": {"deep": "x"}}}
    assert space.places(space.point(4)) == {("a",): 1, ("o", "lr"): 1, ("o", "m", "deep"): 0}


@pytest.mark.parametrize(
    ("parameter", "points"),
    [
        ({"min": 1, "max": 4}, [1, 2, 3, 4]),
        ({"min": 0, "max": 10, "q": 5}, [0, 5, 10]),
        ({"min": 1, "max": 10, "q": 3}, [3, 6, 9]),
        ({"min": 0.1, "max": 0.35, "q": 0.1, "distribution": "q_uniform"}, [0.1, 0.2, 0.3]),
        ({"min": 1, "max": 8, "q": 4, "distribution": "q_log_uniform_values"}, [4, 8]),
        ({"a": 2, "b": 2, "q": 0.5, "distribution": "q_beta"}, [0.0, 0.5, 1.0]),
        ({"value": None}, [None]),
    ],
)
def test_a_grid_of_steps_is_the_multiples_within_the_bounds(
    parameter: dict[str, Any], points: list[Any]
) -> None:
    space = space_of({"x": parameter}, "grid")
    assert [space.point(n)["x"] for n in range(space.points or 0)] == points


bounded = st.tuples(st.floats(0.001, 50), st.floats(0, 50), st.sampled_from([0.25, 0.1, 1, 2])).map(
    lambda t: (t[0], t[0] + t[1], t[2])
)


@given(bounded, st.sampled_from(["uniform", "log_uniform_values", "inv_log_uniform_values"]),
       st.floats(0, 1, exclude_max=True))  # fmt: skip
def test_samples_lie_between_their_bounds_and_find_their_place_again(
    bounds: tuple[float, float, float], kind: str, u: float
) -> None:
    low, high, _ = bounds
    found = leaf(distribution=kind, min=low, max=high)
    value = found.at(u)
    assert low <= value <= high
    place = found.place(value)
    assert place is not None
    assert found.at(min(place, 1 - 1e-12)) == pytest.approx(value, rel=1e-6)


@given(bounded, st.sampled_from(["q_uniform", "q_log_uniform_values"]),
       st.floats(0, 1, exclude_max=True))  # fmt: skip
def test_quantized_samples_are_multiples_within_the_bounds(
    bounds: tuple[float, float, float], kind: str, u: float
) -> None:
    low, high, q = bounds
    try:
        found = leaf(distribution=kind, min=low, max=high, q=q)
    except Invalid:
        assert math.floor(high / q) < math.ceil(low / q)  # no multiple lies between
        return
    value = found.at(u)
    assert low - 1e-6 <= value <= high + 1e-6
    assert value / q == pytest.approx(round(value / q), abs=1e-6)
    assert found.nth(int(found.place(value))) == value


@given(st.integers(-50, 50), st.integers(0, 20), st.randoms(use_true_random=False))
def test_int_uniform_gives_whole_numbers_between_its_bounds(
    low: int, width: int, source: random.Random
) -> None:
    value = space_of({"x": {"min": low, "max": low + width}}).sample(source)["x"]
    assert isinstance(value, int)
    assert low <= value <= low + width


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ({"min": 0.0, "max": 4.0}, lambda u: 4 * u),
        ({"distribution": "log_uniform", "min": -1, "max": 2}, lambda u: math.exp(3 * u - 1)),
        ({"distribution": "inv_log_uniform", "min": 1, "max": 3}, lambda u: math.exp(2 * u - 3)),
        ({"distribution": "log_uniform_values", "min": 1, "max": 100}, lambda u: 100**u),
        ({"distribution": "inv_log_uniform_values", "min": 1, "max": 100}, lambda u: 100**u),
        ({"distribution": "normal", "mu": 3, "sigma": 2}, NormalDist(3, 2).inv_cdf),
        ({"distribution": "log_normal"}, lambda u: math.exp(NormalDist().inv_cdf(u))),
        ({"distribution": "q_normal", "mu": 10, "sigma": 4, "q": 5},
         lambda u: 5 * round(NormalDist(10, 4).inv_cdf(u) / 5)),
        ({"distribution": "q_log_normal", "q": 0.5},
         lambda u: 0.5 * round(math.exp(NormalDist().inv_cdf(u)) / 0.5)),
        ({"distribution": "beta", "a": 1, "b": 3}, lambda u: 1 - (1 - u) ** (1 / 3)),
    ],
)  # fmt: skip
def test_each_distribution_has_its_quantiles(parameter: dict[str, Any], expected: Any) -> None:
    found = leaf(**parameter)
    for u in (0.01, 0.3, 0.5, 0.77, 0.99):
        assert found.at(u) == pytest.approx(expected(u), rel=1e-9, abs=1e-9)


def test_probabilities_are_kept_and_none_of_zero_is_chosen() -> None:
    found = leaf(values=["a", "b", "c"], probabilities=[0.25, 0.75, 0])
    chosen = [found.at(n / 1000) for n in range(1000)]
    assert chosen.count("a") == 250
    assert chosen.count("b") == 750


@given(st.floats(0.2, 30), st.floats(0.2, 30), st.floats(0.001, 0.999))
def test_the_beta_quantile_is_the_inverse_of_its_distribution(a: float, b: float, u: float) -> None:
    x = beta_quantile(u, a, b)
    assert 0 <= x <= 1
    if 1e-9 < x < 1 - 1e-9:
        assert beta_cdf(x, a, b) == pytest.approx(u, abs=1e-6)


def test_booleans_and_numbers_are_different_values() -> None:
    found = leaf(values=[1, True, 0, False])
    assert [found.place(v) for v in (1, True, 0, False, 2)] == [0, 1, 2, 3, None]


def test_arguments_of_another_space_have_no_place() -> None:
    space = space_of({"x": {"min": 0.0, "max": 1.0}, "y": {"values": [1]}})
    assert space.places({"x": 0.5, "y": 1}) == {("x",): 0.5, ("y",): 0}
    for args in ({"x": 2.0, "y": 1}, {"x": 0.5}, {"x": "a", "y": 1}, {"x": 0.5, "y": 3}):
        assert space.places(args) is None
