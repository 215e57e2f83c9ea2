"""
A job's declared inputs: checked when a version is saved, enforced when it is submitted.

A version may carry schemas: `@wandb.config` is the one of the run's config, every other name is
a JSON or YAML file of the job, relative to its directory. A submission's values are laid over
what the job has. Of the run's config the schema knows the defaults, so the whole is checked; of
a file only the job has the rest, so what a submission says of it is checked as a part.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from runyard.domain.errors import Invalid, Violation
from runyard.domain.input_fields import Filling, unknown_keys
from runyard.domain.input_names import CONFIG, SUFFIXES, is_input_name
from runyard.domain.schemas import LARGEST, Budget, Schema, check_schema

MOST_FILES: Final = 20
MOST_WARNINGS: Final = 20
STEPS_AT_LEAST: Final = 50_000  # of one submission, whatever it holds
STEPS_EACH: Final = 200  # more for each of its items
_NO_NAME: Final = (
    f"is neither {CONFIG} nor a file of the job, relative to its directory, that ends in "
    + ", ".join(SUFFIXES)
)


@dataclass(frozen=True, slots=True)
class Given:
    """What a submission gives a job, with defaults filled; `warnings` are for its author."""

    run_config: Mapping[str, Any]
    files: Mapping[str, Any]
    warnings: tuple[str, ...] = ()


class Inputs:
    """The inputs that a version declares, made ready once for all items of a submission."""

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        self._schemas = schemas
        self._tried = {
            name: Schema(schema, partial=name != CONFIG) for name, schema in schemas.items()
        }

    def checked(
        self, run_config: Mapping[str, Any], files: Mapping[str, Any], budget: Budget
    ) -> Given:
        """Return the values to run with.

        Raises:
            Invalid: they are not as declared, with a violation each.
            TooMuch: the budget does not suffice.
        """
        if not self._schemas:
            return Given(run_config, files)
        if CONFIG in self._schemas:
            schema = self._schemas[CONFIG]
            run_config = Filling(schema, budget.spend).filled(run_config, schema)
        wrong: list[Violation] = []
        warnings: list[str] = []
        for name, value in ((CONFIG, run_config), *files.items()):
            path = "overrides.run_config" if name == CONFIG else f"overrides.files[{name}]"
            if name in self._tried:
                schema = self._schemas[name]
                wrong += self._tried[name].violations(value, path, budget)
                unknown = unknown_keys(value, schema, schema, path, budget)
                warnings += islice(unknown, MOST_WARNINGS)
            elif name != CONFIG:
                known = self._schemas.keys() - {CONFIG}
                warnings.append(f"{path}: is no input of the job{budget.near(name, known)}")
        if wrong:
            raise Invalid("the inputs are not as the job declares them", violations=wrong)
        return Given(run_config, files, tuple(warnings[:MOST_WARNINGS]))


def budget_for(items: int) -> Budget:
    """Return what a submission of that many items may spend."""
    return Budget(STEPS_AT_LEAST + STEPS_EACH * items)


def check_inputs(schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what somebody declares, if it can be enforced.

    Raises:
        Invalid: with all that is wrong.
    """
    wrong: list[Violation] = []
    if len(schemas) > MOST_FILES + 1:
        wrong.append(Violation("input_schemas", f"has more than {MOST_FILES} files"))
    elif len(json.dumps(schemas)) > LARGEST:
        wrong.append(Violation("input_schemas", f"is larger than {LARGEST >> 10} KiB"))
    else:
        for name, schema in schemas.items():
            path = f"input_schemas[{name[:128]}]"
            if is_input_name(name):
                wrong += check_schema(schema, path)
            else:
                wrong.append(Violation(path, _NO_NAME))
    if wrong:
        raise Invalid("the declared inputs are not valid", violations=wrong)
    return schemas
