"""
A sweep's configuration: what its YAML says, checked.

What cannot work is refused, with all violations at once; what is odd is a warning, and the sweep
is made nevertheless.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from runyard.domain.errors import Invalid, Violation
from runyard.domain.sweeps import hyperband
from runyard.domain.sweeps.hyperband import Hyperband
from runyard.domain.sweeps.parameters import Reading
from runyard.domain.sweeps.space import Space

MOST_POINTS: Final = 2**31 - 1  # of a grid
_KNOWN: Final = frozenset(
    {
        "$schema", "apiVersion", "command", "controller", "description", "early_terminate",
        "entity", "image_uri", "impute", "impute_while_running", "job", "launch", "method",
        "metric", "name", "parameters", "program", "project", "queue", "resource", "run_cap",
        "scheduler", "settings",
    }
)  # fmt: skip


class Method(StrEnum):
    GRID = "grid"
    RANDOM = "random"
    BAYES = "bayes"
    CUSTOM = "custom"  # somebody else proposes the runs


class Proposer(StrEnum):
    """Who thinks of the next run."""

    SERVER = "server"
    CONTROLLER = "controller"  # a program, that writes into the sweep's `controller`
    SCHEDULER = "scheduler"  # a program, that enqueues the runs itself


@dataclass(frozen=True, slots=True)
class Metric:
    """What is searched for: the name may have dots, for a key of a nested value."""

    name: str
    maximize: bool = False


@dataclass(frozen=True, slots=True)
class SweepConfig:
    """`warnings` are about what was odd."""

    method: Method
    space: Space
    metric: Metric | None = None
    run_cap: int | None = None
    program: str | None = None
    name: str | None = None
    description: str | None = None
    proposer: Proposer = Proposer.SERVER
    band: Hyperband | None = None
    warnings: tuple[str, ...] = ()

    @property
    def expected_runs(self) -> int | None:
        """How many runs there will be, if that is known."""
        points = self.space.points if self.method is Method.GRID else None
        known = [n for n in (points, self.run_cap) if n is not None]
        return min(known, default=None)


def parse(data: object) -> SweepConfig:
    """Read a configuration. Raises: Invalid, with all violations."""
    if not isinstance(data, Mapping):
        raise Invalid("the sweep's configuration must map names to values, as `method: grid`")
    reading = Reading()
    wrong, odd = reading.wrong, reading.odd
    space = reading.space(data.get("parameters") or {})
    odd += [f"{key!r} is not read here" for key in data if key not in _KNOWN]
    method = _method(data.get("method"), wrong)
    metric = _metric(data.get("metric"), wrong, odd)
    band = _early_terminate(data.get("early_terminate"), metric, wrong, odd)
    proposer = _proposer(method, data)
    if proposer is Proposer.SERVER:
        if not space.leaves and not wrong:
            odd.append("there are no parameters: all runs are the same")
        wrong += _of_method(method, metric, space)
    config = SweepConfig(
        method=method,
        space=space,
        metric=metric,
        run_cap=_run_cap(data.get("run_cap"), wrong),
        program=_text(data, "program", wrong),
        name=_text(data, "name", wrong),
        description=_text(data, "description", wrong),
        proposer=proposer,
        band=band,
        warnings=tuple(odd),
    )
    if wrong:
        raise Invalid("the sweep's configuration is not valid", violations=wrong)
    return config


def _method(value: object, wrong: list[Violation]) -> Method:
    if isinstance(value, str) and value in set(Method):
        return Method(value)
    told = "is missing" if value is None else f"is {value!r}"
    wrong.append(Violation("method", f"{told}; it must be one of {', '.join(Method)}"))
    return Method.CUSTOM


def _metric(value: object, wrong: list[Violation], odd: list[str]) -> Metric | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        wrong.append(Violation("metric", "must be a mapping with a name: {name: loss}"))
        return None
    goal = value.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        wrong.append(Violation("metric.goal", f"is {goal!r}; it must be minimize or maximize"))
    unread = [key for key in value if key not in ("name", "goal", "target", "impute")]
    odd += [f"metric: {key!r} is not read here" for key in unread]
    return Metric(value["name"], maximize=goal == "maximize")


def _early_terminate(
    value: object, metric: Metric | None, wrong: list[Violation], odd: list[str]
) -> Hyperband | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        wrong.append(Violation("early_terminate", "must be a mapping with a type"))
        return None
    try:
        band = hyperband.parse(value)
    except Invalid as error:
        wrong += error.violations
        return None
    odd += [f"early_terminate: {key!r} is not read" for key in hyperband.unknown_keys(value)]
    if metric is None:
        wrong.append(Violation("metric", "early_terminate needs to know which metric counts"))
    return band


def _of_method(method: Method, metric: Metric | None, space: Space) -> list[Violation]:
    if method is Method.BAYES and metric is None:
        return [Violation("metric", "bayes needs to know which metric counts")]
    if method is not Method.GRID:
        return []
    endless = [
        Violation(
            ".".join(("parameters", *path)),
            "a grid needs a value, values, int_uniform or a bounded distribution with steps (q)",
        )
        for path, leaf in space.leaves
        if leaf.size is None
    ]
    points = space.points
    if points is not None and points > MOST_POINTS:
        return [Violation("parameters", f"the grid has {points} points; {MOST_POINTS} at most")]
    return endless


def _proposer(method: Method, data: Mapping[str, object]) -> Proposer:
    controller, scheduler = data.get("controller"), data.get("scheduler")
    if isinstance(controller, Mapping) and controller.get("type") == "local":
        return Proposer.CONTROLLER
    engine = isinstance(scheduler, Mapping) and "engine" in scheduler
    return Proposer.SCHEDULER if engine or method is Method.CUSTOM else Proposer.SERVER


def _run_cap(value: object, wrong: list[Violation]) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_POINTS:
        wrong.append(Violation("run_cap", f"is {value!r}; it must be a whole number, 1 or more"))
        return None
    return value


def _text(data: Mapping[str, object], key: str, wrong: list[Violation]) -> str | None:
    value = data.get(key)
    if value is None or isinstance(value, str):
        return value
    wrong.append(Violation(key, "must be text"))
    return None


def metric_value(summary: Mapping[str, object], name: str) -> float | None:
    """Return a metric of a run's summary: by its whole name, or through nested values by dots."""
    found: object = summary.get(name)
    if name not in summary:
        found = summary
        for word in name.split("."):
            found = found.get(word) if isinstance(found, Mapping) else None
    if isinstance(found, Mapping):  # a summary by aggregate, as define_metric makes it
        found = next((found[k] for k in ("last", "min", "max", "mean") if k in found), None)
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return None
    return float(found)
