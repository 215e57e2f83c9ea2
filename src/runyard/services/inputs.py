"""The inputs that jobs declare, enforced for all items of one submission."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from runyard.domain.errors import Invalid
from runyard.domain.inputs import Inputs, budget_for
from runyard.domain.items import ItemId
from runyard.domain.jobs import JobVersion
from runyard.domain.specs import LaunchSpec
from runyard.services.call import Call
from runyard.store import item_warnings

STAGE: Final = "submit"
MOST_KEPT: Final = 2000  # warnings of one submission


class InputChecks:
    """Schemas are made ready once for a submission, and its items share what it may cost."""

    def __init__(self, items: int) -> None:
        self._budget = budget_for(items)
        self._ready: dict[str, Inputs] = {}

    def laid(self, spec: LaunchSpec, job: JobVersion | None) -> tuple[LaunchSpec, tuple[str, ...]]:
        """Return the spec with the job's defaults filled, and warnings for its author.

        Raises:
            Invalid: values are not as the job declares them, with a violation each.
            TooMuch: checking this submission takes too long.
        """
        if job is None or not job.input_schemas:
            return spec, ()
        if job.id not in self._ready:
            self._ready[job.id] = Inputs(job.input_schemas)
        over = spec.overrides
        try:
            given = self._ready[job.id].checked(over.run_config, over.files, self._budget)
        except Invalid as error:
            raise Invalid(
                error.message,
                violations=error.violations,
                hint=f"see what the job takes: runyard job describe {job.path}",
            ) from error
        filled = replace(over, run_config=given.run_config, files=given.files)
        return replace(spec, overrides=filled), given.warnings


def keep(call: Call, warnings: Mapping[ItemId, tuple[str, ...]]) -> None:
    """Write down what the items of a submission were warned of."""
    pairs = [(item_id, text) for item_id, texts in warnings.items() for text in texts]
    item_warnings.add(call.tx, pairs[:MOST_KEPT], stage=STAGE, now=call.now)
