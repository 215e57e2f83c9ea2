"""Configurations of sweeps: what is refused, what is only odd; states; hyperband."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.domain.errors import IllegalMove, Invalid
from runyard.domain.sweeps import config, hyperband, states
from runyard.domain.sweeps.config import Method, Proposer
from runyard.domain.sweeps.states import SweepState

GRID = {"method": "grid", "parameters": {"x": {"values": [1, 2, 3]}}}
METRIC = {"metric": {"name": "loss"}}


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ("text", ""),
        ({}, "method"),
        ({"method": "simplex"}, "method"),
        ({"method": ["grid"]}, "method"),
        ({**GRID, "parameters": ["x"]}, "parameters"),
        ({**GRID, "parameters": {"x": 3}}, "parameters.x"),
        ({**GRID, "parameters": {"x": {}}}, "parameters.x"),
        ({**GRID, "parameters": {"x": {"values": []}}}, "parameters.x"),
        ({**GRID, "parameters": {"x": {"values": "abc"}}}, "parameters.x"),
        ({**GRID, "parameters": {"x": {"min": 0.0, "max": 1.0}}}, "parameters.x"),
        ({**GRID, "parameters": {"x": {"distribution": "q_normal"}}}, "parameters.x"),
        ({**GRID, "parameters": {"o": {"parameters": {}}}}, "parameters.o"),
        ({**GRID, "parameters": {"o": {"parameters": {"x": 1}}}}, "parameters.o.x"),
        ({"method": "random", "parameters": {"x": {"min": 1, "max": 2.5}}}, "parameters.x"),
        ({"method": "random", "parameters": {"x": {"min": 3, "max": 2}}}, "parameters.x"),
        ({"method": "random", "parameters": {"x": {"min": 3}}}, "parameters.x"),
        ({"method": "random", "parameters": {"x": {"distribution": "zipf"}}}, "parameters.x"),
        ({"method": "random", "parameters": {"x": {"distribution": "uniform", "min": 1}}},
         "parameters.x"),
        ({"method": "random", "parameters": {"x": {"distribution": "int_uniform", "min": 1.5,
                                                   "max": 2}}}, "parameters.x"),
        ({"method": "random", "parameters": {"x": {"distribution": "log_uniform", "min": 0,
                                                   "max": 1000}}}, "parameters.x"),
        ({"method": "random", "parameters": {"x": {"distribution": "log_uniform_values",
                                                   "min": 0, "max": 1}}}, "parameters.x"),
        ({"method": "random", "parameters": {"x": {"distribution": "normal", "sigma": 0}}},
         "parameters.x"),
        ({"method": "random", "parameters": {"x": {"values": [1, 2], "probabilities": [1]}}},
         "parameters.x"),
        ({"method": "random", "parameters": {"x": {"min": 0.0, "max": float("inf")}}},
         "parameters.x"),
        ({"method": "bayes", "parameters": {"x": {"min": 0.0, "max": 1.0}}}, "metric"),
        ({**GRID, "metric": "loss"}, "metric"),
        ({**GRID, "metric": {"name": "loss", "goal": "best"}}, "metric.goal"),
        ({**GRID, "run_cap": 0}, "run_cap"),
        ({**GRID, "run_cap": "ten"}, "run_cap"),
        ({**GRID, "program": 3}, "program"),
        ({**GRID, "early_terminate": {"type": "hyperband", "min_iter": 3}}, "metric"),
        ({**GRID, **METRIC, "early_terminate": {"type": "envelope"}}, "early_terminate.type"),
        ({**GRID, **METRIC, "early_terminate": {"type": "hyperband"}}, "early_terminate"),
        ({**GRID, **METRIC, "early_terminate": {"type": "hyperband", "max_iter": 9}},
         "early_terminate"),
        ({**GRID, **METRIC, "early_terminate": {"type": "hyperband", "min_iter": 3, "eta": 1}},
         "early_terminate.eta"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_where_it_is_wrong(data: Any, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        config.parse(data)
    assert path in [v.path for v in refused.value.violations] or not path


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        config.parse({"parameters": {"x": {}, "y": 1}, "run_cap": -1})
    paths = [v.path for v in refused.value.violations]
    assert paths == ["parameters.x", "parameters.y", "method", "run_cap"]


def test_what_is_odd_is_told_and_taken() -> None:
    found = config.parse(
        {**GRID, "colour": 1, "parameters": {"x": {"values": [1], "mu": 3}},
         "metric": {"name": "loss", "unit": "m"}}
    )  # fmt: skip
    assert len(found.warnings) == 3
    assert config.parse({"method": "random"}).warnings


def test_a_huge_grid_is_refused_without_being_built() -> None:
    wide = {f"p{n}": {"min": 1, "max": 10**9} for n in range(50)}
    with pytest.raises(Invalid) as refused:
        config.parse({"method": "grid", "parameters": wide})
    assert "points" in refused.value.violations[0].message


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (GRID, 3),
        ({**GRID, "run_cap": 2}, 2),
        ({**GRID, "run_cap": 20}, 3),
        ({"method": "random", "parameters": {"x": {"values": [1]}}}, None),
        ({"method": "random", "parameters": {"x": {"values": [1]}}, "run_cap": 5}, 5),
    ],
)
def test_the_expected_count_of_runs_is_known_where_it_can_be(
    data: dict[str, Any], expected: int | None
) -> None:
    assert config.parse(data).expected_runs == expected


def test_who_proposes_runs() -> None:
    assert config.parse(GRID).proposer is Proposer.SERVER
    local = config.parse({**GRID, "controller": {"type": "local"}})
    assert local.proposer is Proposer.CONTROLLER
    assert config.parse({"method": "custom"}).proposer is Proposer.SCHEDULER
    engine = config.parse({"method": "bayes", "scheduler": {"engine": "optuna"}})
    assert (engine.method, engine.proposer) == (Method.BAYES, Proposer.SCHEDULER)


@pytest.mark.parametrize(
    ("summary", "value"),
    [
        ({"loss": 2}, 2.0),
        ({"a.b": 1.5, "a": {"b": 3}}, None),
        ({"loss": {"min": 1, "last": 2}}, 2.0),
        ({"loss": "low"}, None),
        ({"loss": True}, None),
        ({"loss": float("nan")}, None),
        ({}, None),
    ],
)
def test_the_metric_of_a_summary(summary: dict[str, Any], value: float | None) -> None:
    assert config.metric_value(summary, "loss") == value


def test_a_metric_may_be_nested() -> None:
    assert config.metric_value({"val": {"loss": 3}}, "val.loss") == 3.0
    assert config.metric_value({"val.loss": 1, "val": {"loss": 3}}, "val.loss") == 1.0


S = SweepState


@pytest.mark.parametrize(
    ("state", "to", "allowed"),
    [
        (S.PENDING, S.RUNNING, True),
        (S.RUNNING, S.PAUSED, True),
        (S.PAUSED, S.RUNNING, True),
        (S.PAUSED, S.FINISHED, True),
        (S.FINISHED, S.RUNNING, True),
        (S.CANCELED, S.PENDING, True),
        (S.FINISHED, S.CANCELED, False),
        (S.FINISHED, S.PAUSED, False),
        (S.CRASHED, S.FINISHED, False),
        (S.CANCELED, S.CANCELED, True),
    ],
)
def test_moves_of_a_sweep(state: S, to: S, allowed: bool) -> None:
    if allowed:
        assert states.moved("s", state, to) is to
    else:
        with pytest.raises(IllegalMove):
            states.moved("s", state, to)


def test_states_are_read_as_clients_write_them() -> None:
    assert states.parse("cancelled") is S.CANCELED
    assert states.parse("Paused") is S.PAUSED
    with pytest.raises(Invalid):
        states.parse("DONE")


@pytest.mark.parametrize(
    ("data", "rungs"),
    [
        ({"min_iter": 3}, (3, 9, 27, 81)),
        ({"min_iter": 2, "eta": 2}, (2, 4, 8, 16)),
        ({"max_iter": 27, "s": 2}, (3, 9)),
        ({"max_iter": 4, "s": 5, "eta": 2}, (1, 2)),
    ],
)
def test_rungs_of_hyperband(data: dict[str, Any], rungs: tuple[int, ...]) -> None:
    band = hyperband.parse({"type": "hyperband", **data})
    assert band.rungs[: len(rungs)] == rungs
    assert "min_iter" in data or band.rungs == rungs


@pytest.mark.parametrize(
    ("own", "others", "strict", "stopped"),
    [
        # (values of this run), (values of the others): at rungs 1 and 3, eta 3, less is better
        ([5.0], [[1.0], [2.0], [3.0]], False, True),
        ([1.0], [[5.0], [6.0], [7.0]], False, False),
        ([], [[1.0], [2.0]], False, False),
        ([9.0], [], False, False),  # alone, nothing is worse
        ([2.0], [[1.0], [3.0], [4.0]], False, False),  # two of four are kept
        ([9.0, 9.0, 1.0], [[1.0], [2.0], [3.0]], False, False),  # good at its newest rung
        ([9.0, 9.0, 1.0], [[1.0], [2.0], [3.0]], True, True),  # but not at the one before
        ([4.0, 1.0, 8.0], [[2.0, 2.0, 2.0]] * 3, False, False),  # its best counts
        ([4.0, 9.0], [[1.0, 1.0], [1.0, 1.0]], False, True),  # between rungs
    ],
)
def test_hyperband_ends_what_is_not_among_the_best_share(
    own: list[float], others: list[list[float]], strict: bool, stopped: bool
) -> None:
    band = hyperband.Hyperband((1, 3), 3, strict)
    for sign, maximize in ((1, False), (-1, True)):
        runs = [[sign * v for v in run] for run in [own, *others]]
        bests = [hyperband.bests(run, band.rungs, maximize=maximize) for run in runs]
        everyones = {rung: [b[rung] for b in bests if rung in b] for rung in band.rungs}
        assert hyperband.stops(band, bests[0], everyones, maximize=maximize) is stopped
