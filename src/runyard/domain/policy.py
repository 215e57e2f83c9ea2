"""
A queue's policy: the rules that it lays down for all of its items, as data.

`rules.RULES` says what each means. Times are in seconds. 0 switches a limit or a time off.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any, Literal

from runyard.domain.errors import Invalid, Violation
from runyard.domain.items import CLAIM_TTL, MAX_REQUEUES, Failure
from runyard.domain.retries import SCHEMA as RETRY_SCHEMA
from runyard.domain.retries import RetryRule
from runyard.domain.rules import DAY, NARROWABLE, RULES, Rule, read


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """What a queue lays down. See `rules.RULES` for each."""

    priorities: bool = False
    aging: int = 0
    max_running: int = 0
    max_running_per_user: int = 0
    max_waiting: int = 0
    max_waiting_per_user: int = 0
    fair_share: bool = False
    fair_share_half_life: int = DAY
    retry: tuple[RetryRule, ...] = ()
    max_requeues: int = MAX_REQUEUES
    requeue_reasons: tuple[str, ...] = ()
    requeue_place: Literal["end", "front"] = "end"
    host_retries: int = 10
    start_timeout: int = 1800
    run_timeout: int = 0
    wait_timeout: int = 0
    stop_grace: int = 60
    claim_ttl: int = int(CLAIM_TTL.total_seconds())
    images: tuple[str, ...] = ()
    locked: bool = False
    narrow: tuple[str, ...] = (
        "retry", "max_requeues", "start_timeout", "run_timeout", "wait_timeout", "stop_grace",
    )  # fmt: skip

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> QueuePolicy:
        """Read a policy, all mistakes at once.

        Raises:
            Invalid: with a violation per unknown name or bad value.
        """
        return cls(**read(data))

    @property
    def claims_last(self) -> timedelta:
        return timedelta(seconds=self.claim_ttl)

    @property
    def has_limits(self) -> bool:
        """Whether leasing has to count what runs."""
        return bool(self.max_running or self.max_running_per_user)

    def requeues_after(self, reason: str) -> bool:
        """Whether a preemption with this reason is one that the queue makes up for."""
        text = reason.casefold()
        return not self.requeue_reasons or any(r.casefold() in text for r in self.requeue_reasons)

    def retry_of(self, failure: Failure, exit_code: int | None, retries: int) -> RetryRule | None:
        """Return the rule under which a failed item is run again, None if it is not."""
        for rule in self.retry:
            if rule.matches(failure, exit_code):
                return rule if retries < rule.at_most else None
        return None

    def allows_image(self, image: str) -> bool:
        """Whether an image is on the list; a `*` does not cross a `/`."""
        return not self.images or any(_fits(image, pattern) for pattern in self.images)

    def narrowed(self, by: Mapping[str, Any]) -> QueuePolicy:
        """Return the policy for one item, with what its submission narrowed.

        Raises:
            Invalid: a rule that the queue does not let a submission narrow, or a wider value.
        """
        if not by:
            return self
        wrong = [
            Violation(
                f"policy.{name}", f"a submission to this queue may narrow {_list(self.narrow)}"
            )
            for name in by
            if name not in self.narrow
        ]
        given = {} if wrong else read(by)
        wrong += [
            Violation(f"policy.{name}", f"{_words(value)} is wider than the queue's "
                      f"{_words(getattr(self, name))}")
            for name, value in given.items()
            if not _is_narrower(name, value, getattr(self, name))
        ]  # fmt: skip
        if wrong:
            raise Invalid("the submission's policy is not valid", violations=wrong)
        return replace(self, **given)

    def within(self, narrowed: Mapping[str, Any]) -> QueuePolicy:
        """Return the policy of an item that narrowed it, as far as that is narrower still."""
        given = {
            name: value
            for name, value in read(narrowed).items()
            if _is_narrower(name, value, getattr(self, name))
        }
        return replace(self, **given)

    def to_json(self) -> dict[str, Any]:
        """Return every rule with its value, as `parse` takes it."""
        found = {f.name: _plain(getattr(self, f.name)) for f in fields(self)}
        found["retry"] = [rule.to_json() for rule in self.retry]
        return found


def _is_narrower(name: str, value: Any, limit: Any) -> bool:
    if name == "retry":  # only fewer of the queue's own rules
        return all(rule in limit for rule in value)
    if RULES[name].zero_is_none:
        return bool(limit == 0 or 0 < value <= limit)
    return bool(value <= limit)


def _fits(image: str, pattern: str) -> bool:
    parts, patterns = image.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _words(value: Any) -> str:
    return "none" if value in (0, ()) else f"{value}"


def _list(names: Any) -> str:
    return ", ".join(names) or "nothing"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a policy, for editors and forms."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Queue policy",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _schema(name, rule) for name, rule in RULES.items()},
    }


def _schema(name: str, rule: Rule) -> dict[str, Any]:
    default = QueuePolicy().to_json()[name]
    told = {"description": rule.means, "default": default}
    match rule.kind:
        case "flag":
            return {"type": "boolean", **told}
        case "number":
            return {"type": "integer", "minimum": rule.low, "maximum": rule.high, **told}
        case "place":
            return {"enum": ["end", "front"], **told}
        case "texts":
            items: dict[str, Any] = {"type": "string"}
            if name == "narrow":
                items["enum"] = list(NARROWABLE)
            return {"type": "array", "items": items, "maxItems": 100, **told}
        case "retry":
            return {"type": "array", "items": RETRY_SCHEMA, "maxItems": 20, **told}
