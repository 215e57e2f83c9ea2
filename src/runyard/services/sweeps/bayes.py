"""
The next point by a model of the runs so far: Optuna's TPE sampler.

The model is built anew each time from what the runs have come to, so nothing is kept between two
questions. It knows places between 0 and 1, and numbers of values, never the values themselves.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runyard.domain.errors import Invalid
from runyard.domain.sweeps.distributions import Choice, Leaf
from runyard.domain.sweeps.space import Arguments, Path, Space

MOST_TRIALS: Final = 500
_AT_RANDOM: Final = 10  # the first ones: a model of less is no model


@dataclass(frozen=True, slots=True)
class Trial:
    """What a run came to; None: it still runs."""

    args: Mapping[str, object]
    value: float | None


def need() -> None:
    """Pass if the library is there. Raises: Invalid."""
    if importlib.util.find_spec("optuna") is None:
        raise Invalid(
            "method bayes takes Optuna, which this server lacks",
            hint="pip install 'runyard[sweeps]' on the server, or use method: random",
        )


def propose(space: Space, trials: Sequence[Trial], *, maximize: bool, seed: int) -> Arguments:
    """Return the arguments of the next run. The same for the same trials and seed."""
    need()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {_name(n): _distribution(leaf) for n, (_, leaf) in enumerate(space.leaves)}
    sampler = optuna.samplers.TPESampler(
        seed=seed, constant_liar=True, n_startup_trials=_AT_RANDOM, multivariate=False
    )
    study = optuna.create_study(direction="maximize" if maximize else "minimize", sampler=sampler)
    names = {path: _name(n) for n, (path, _) in enumerate(space.leaves)}
    for trial in trials[-MOST_TRIALS:]:
        places = space.places(trial.args)
        if places is None:
            continue
        state = optuna.trial.TrialState
        params = {names[path]: _param(space, path, place) for path, place in places.items()}
        study.add_trial(
            optuna.trial.create_trial(
                state=state.RUNNING if trial.value is None else state.COMPLETE,
                value=trial.value,
                params=params,
                distributions=distributions,
            )
        )
    asked = study.ask(distributions)
    return space.chosen({path: asked.params[name] for path, name in names.items()})


def _name(n: int) -> str:
    return f"p{n}"


def _distribution(leaf: Leaf) -> Any:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(leaf, Choice):
        return CategoricalDistribution(range(leaf.size))
    if leaf.size is not None:
        return IntDistribution(0, leaf.size - 1)
    return FloatDistribution(0.0, 1.0)


def _param(space: Space, path: Path, place: float) -> float:
    leaf = dict(space.leaves)[path]
    return place if leaf.size is None else int(place)
