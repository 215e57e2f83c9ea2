"""
When a failed item is run again: one rule of a queue's policy, what it takes, and how it is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Final

from runyard.domain.errors import Violation
from runyard.domain.items import Failure, Stage

_WEEK: Final = 7 * 86_400
_STAGES: Final = tuple(stage.value for stage in Stage)
_RETRY: Final[Mapping[str, tuple[float, float]]] = {
    "at_most": (1, 100),
    "backoff": (0, _WEEK),
    "backoff_factor": (1, 10),
    "backoff_max": (0, _WEEK),
}


@dataclass(frozen=True, slots=True)
class RetryRule:
    """
    Run a failed item again, `at_most` so many times in all, if everything that is said matches.

    `exit_codes`, `stages` and `reasons` (parts of the reason's text, in any case) left empty match
    anything. The first retry waits `backoff` seconds, each further one `backoff_factor` times as
    long, never longer than `backoff_max`. `config` is laid over the resource's settings from then
    on (more memory), `queue` is where it waits (another queue of the same owner and resource).
    """

    at_most: int = 1
    exit_codes: tuple[int, ...] = ()
    stages: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    backoff: int = 0
    backoff_factor: float = 2.0
    backoff_max: int = 3600
    config: Mapping[str, Any] | None = None
    queue: str | None = None

    def matches(self, failure: Failure, exit_code: int | None) -> bool:
        if self.exit_codes and exit_code not in self.exit_codes:
            return False
        if self.stages and failure.stage not in self.stages:
            return False
        message = failure.message.casefold()
        return not self.reasons or any(part.casefold() in message for part in self.reasons)

    def delay(self, retries: int) -> timedelta:
        """Return how long to wait before the next try, `retries` having been made."""
        if not self.backoff:
            return timedelta()
        # Bounded before it is raised to a power: a hundred retries would overflow.
        grown = self.backoff * self.backoff_factor ** min(retries, 64)
        return timedelta(seconds=min(grown, self.backoff_max))

    def to_json(self) -> dict[str, Any]:
        """Return what the rule says, as `read_retry` takes it."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {name: list(v) if isinstance(v, tuple) else v for name, v in found.items()}
        return {name: value for name, value in plain.items() if value not in (None, [])}


def read_texts(path: str, value: Any, wrong: list[Violation]) -> tuple[str, ...]:
    """Read a list of texts; what is wrong with it is added to `wrong`."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str) and len(value) <= 100
    if not is_list or not all(isinstance(v, str) and 0 < len(v) <= 256 for v in value):
        wrong.append(Violation(path, "is a list of 100 texts at most"))
        return ()
    return tuple(value)


def read_retry(path: str, data: Any, wrong: list[Violation]) -> RetryRule:
    """Read a rule; what is wrong with it is added to `wrong`."""
    if not isinstance(data, Mapping):
        wrong.append(Violation(path, "is a mapping, such as {exit_codes: [75], at_most: 3}"))
        return RetryRule()
    before = len(wrong)
    known = [f.name for f in fields(RetryRule)]
    wrong += [
        Violation(f"{path}.{name}", f"unknown; a rule has {', '.join(known)}")
        for name in data
        if name not in known
    ]
    for name, (low, high) in _RETRY.items():
        value = data.get(name, low)
        kinds = (int, float) if name == "backoff_factor" else (int,)
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            wrong.append(Violation(f"{path}.{name}", f"{value!r} is not from {low} to {high}"))
    codes = data.get("exit_codes", ())
    if not isinstance(codes, Sequence) or not all(_is_exit_code(c) for c in codes):
        wrong.append(Violation(f"{path}.exit_codes", "is a list of numbers from 1 to 255"))
        codes = ()
    stages = read_texts(f"{path}.stages", data.get("stages", ()), wrong)
    reasons = read_texts(f"{path}.reasons", data.get("reasons", ()), wrong)
    if bad := [s for s in stages if s not in _STAGES]:
        wrong.append(Violation(f"{path}.stages", f"{bad[0]!r} is none of {', '.join(_STAGES)}"))
    if not isinstance(data.get("config"), Mapping | None):
        wrong.append(Violation(f"{path}.config", "is a mapping of the resource's settings"))
    if not isinstance(data.get("queue"), str | None):
        wrong.append(Violation(f"{path}.queue", "is the name of a queue"))
    if len(wrong) > before:
        return RetryRule()
    lists = {"exit_codes": tuple(codes), "stages": stages, "reasons": reasons}
    return RetryRule(**{**data, **lists})


def _is_exit_code(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 255


SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "at_most": {"type": "integer", "minimum": 1, "maximum": 100, "default": 1},
        "exit_codes": {
            "type": "array",
            "items": {"type": "integer", "minimum": 1, "maximum": 255},
        },
        "stages": {"type": "array", "items": {"enum": list(_STAGES)}},
        "reasons": {"type": "array", "items": {"type": "string"}},
        "backoff": {"type": "integer", "minimum": 0, "maximum": _WEEK, "default": 0},
        "backoff_factor": {"type": "number", "minimum": 1, "maximum": 10, "default": 2},
        "backoff_max": {"type": "integer", "minimum": 0, "maximum": _WEEK, "default": 3600},
        "config": {"type": "object"},
        "queue": {"type": "string"},
    },
}
