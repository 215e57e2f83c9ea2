"""
A queue's policy: the rules that it lays down for all of its items, as data.

One table says of each rule what values it takes, what it means and in which direction a
submission may narrow it; reading, the JSON Schema, the docs and `runyard queue explain` come of
it. Times are in seconds. 0 switches a limit or a time off.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any, Final, Literal

from runyard.domain.errors import Invalid, Violation
from runyard.domain.items import CLAIM_TTL, MAX_REQUEUES, Failure, Stage

DAY: Final = 86_400
_STAGES: Final = tuple(stage.value for stage in Stage)


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


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """What a queue lays down. See `RULES` for each."""

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
        return cls(**_read(data))

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
        given = {} if wrong else _read(by)
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
            for name, value in _read(narrowed).items()
            if _is_narrower(name, value, getattr(self, name))
        }
        return replace(self, **given)

    def to_json(self) -> dict[str, Any]:
        """Return every rule with its value, as `parse` takes it."""
        found = {f.name: _plain(getattr(self, f.name)) for f in fields(self)}
        found["retry"] = [_rule_json(rule) for rule in self.retry]
        return found


@dataclass(frozen=True, slots=True)
class Rule:
    """
    What one rule takes and means. `low` and `high` bound a number. `narrows` is how a
    submission may change it: to a lower number (0 being none at all, and so the widest, where
    `zero_is_none`), or not at all.
    """

    kind: Literal["flag", "number", "texts", "place", "retry"]
    means: str
    low: int = 0
    high: int = 0
    narrows: bool = False
    zero_is_none: bool = True


_WEEK: Final = 7 * DAY
_MANY: Final = 1_000_000
RULES: Final[Mapping[str, Rule]] = {
    "priorities": Rule("flag", "submissions choose a priority: critical, high, medium or low"),
    "aging": Rule("number", "an item rises by one level each time it has waited this long, in "
                  "seconds; 0: never", 0, 30 * DAY),
    "max_running": Rule("number", "most items of the queue that run at once; 0: no limit", 0,
                        _MANY),
    "max_running_per_user": Rule("number", "most items of one user that run at once; 0: no limit",
                                 0, _MANY),
    "max_waiting": Rule("number", "most items that may wait; more are refused; 0: no limit",
                        0, 100 * _MANY),
    "max_waiting_per_user": Rule("number", "most items of one user that may wait; 0: no limit",
                                 0, 100 * _MANY),
    "fair_share": Rule("flag", "within a priority, who used least of late goes first"),
    "fair_share_half_life": Rule("number", "seconds after which use counts half", 60, 365 * DAY),
    "retry": Rule("retry", "rules by which failed items are run again; the first that matches "
                  "decides", narrows=True),
    "max_requeues": Rule("number", "how often an item goes back after preemption; 0: never", 0, 100,
                         narrows=True, zero_is_none=False),
    "requeue_reasons": Rule("texts", "preemptions that count, by parts of their reason; empty: "
                            "all"),
    "requeue_place": Rule("place", "where a preempted item waits: `end` of the queue, or `front`, "
                          "its old place"),
    "host_retries": Rule("number", "how often an item goes back because an agent's host was at "
                         "fault", 0, 100),
    "start_timeout": Rule("number", "seconds from claim to running; then it fails; 0: no limit",
                          0, _WEEK, narrows=True),
    "run_timeout": Rule("number", "seconds that one attempt may run; then it is stopped; 0: no "
                        "limit", 0, 365 * DAY, narrows=True),
    "wait_timeout": Rule("number", "seconds that an item may wait; then it is cancelled; 0: no "
                         "limit", 0, 365 * DAY, narrows=True),
    "stop_grace": Rule("number", "seconds that a workload has to leave after it was asked to",
                       0, DAY, narrows=True, zero_is_none=False),
    "claim_ttl": Rule("number", "seconds that a silent agent keeps what it runs", 60, _WEEK),
    "images": Rule("texts", "images that may run, as patterns with `*`; empty: any"),
    "locked": Rule("flag", "only admins may change the resource's settings in a submission; always "
                   "so on a queue with variables"),
    "narrow": Rule("texts", "rules that a submission may narrow for its own items"),
}  # fmt: skip
_RETRY: Final[Mapping[str, tuple[float, float]]] = {
    "at_most": (1, 100),
    "backoff": (0, _WEEK),
    "backoff_factor": (1, 10),
    "backoff_max": (0, _WEEK),
}
NARROWABLE: Final = tuple(name for name, rule in RULES.items() if rule.narrows)


def _read(data: Mapping[str, Any]) -> dict[str, Any]:
    wrong: list[Violation] = []
    read: dict[str, Any] = {}
    for name, value in data.items():
        rule = RULES.get(name)
        if rule is None:
            near = difflib.get_close_matches(str(name), RULES, n=1)
            told = f"did you mean {near[0]}?" if near else f"a policy has {_list(RULES)}"
            wrong.append(Violation(f"policy.{name}", f"unknown; {told}"))
        else:
            read[name] = _value(f"policy.{name}", rule, value, wrong)
    for name in read.get("narrow") or ():
        if name not in NARROWABLE:
            wrong.append(Violation("policy.narrow", f"{name!r} is none of {_list(NARROWABLE)}"))
    if wrong:
        raise Invalid("the policy is not valid", violations=wrong)
    return read


def _value(path: str, rule: Rule, value: Any, wrong: list[Violation]) -> Any:
    if rule.kind == "flag":
        if not isinstance(value, bool):
            wrong.append(Violation(path, "is true or false"))
    elif rule.kind == "number":
        if isinstance(value, bool) or not isinstance(value, int):
            wrong.append(Violation(path, f"is a whole number, not {value!r}"))
        elif not rule.low <= value <= rule.high:
            wrong.append(Violation(path, f"{value} is not from {rule.low} to {rule.high}"))
    elif rule.kind == "place":
        if value not in ("end", "front"):
            wrong.append(Violation(path, "is `end` or `front`"))
    elif rule.kind == "texts":
        return _texts(path, value, wrong)
    elif not isinstance(value, Sequence) or isinstance(value, str) or len(value) > 20:
        wrong.append(Violation(path, "is a list of 20 rules at most"))
    else:
        return tuple(_retry(f"{path}.{n}", one, wrong) for n, one in enumerate(value))
    return value


def _texts(path: str, value: Any, wrong: list[Violation]) -> tuple[str, ...]:
    is_list = isinstance(value, Sequence) and not isinstance(value, str) and len(value) <= 100
    if not is_list or not all(isinstance(v, str) and 0 < len(v) <= 256 for v in value):
        wrong.append(Violation(path, "is a list of 100 texts at most"))
        return ()
    return tuple(value)


def _retry(path: str, data: Any, wrong: list[Violation]) -> RetryRule:
    if not isinstance(data, Mapping):
        wrong.append(Violation(path, "is a mapping, such as {exit_codes: [75], at_most: 3}"))
        return RetryRule()
    before = len(wrong)
    known = [f.name for f in fields(RetryRule)]
    wrong += [
        Violation(f"{path}.{name}", f"unknown; a rule has {_list(known)}")
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
    stages = _texts(f"{path}.stages", data.get("stages", ()), wrong)
    reasons = _texts(f"{path}.reasons", data.get("reasons", ()), wrong)
    if bad := [s for s in stages if s not in _STAGES]:
        wrong.append(Violation(f"{path}.stages", f"{bad[0]!r} is none of {_list(_STAGES)}"))
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


def _is_narrower(name: str, value: Any, limit: Any) -> bool:
    if name == "retry":  # only fewer of the queue's own rules
        return all(rule in limit for rule in value)
    if RULES[name].zero_is_none:
        return bool(limit == 0 or 0 < value <= limit)
    return bool(value <= limit)


def _fits(image: str, pattern: str) -> bool:
    parts, patterns = image.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))


def _rule_json(rule: RetryRule) -> dict[str, Any]:
    found = {f.name: _plain(getattr(rule, f.name)) for f in fields(rule)}
    return {name: value for name, value in found.items() if value not in (None, [])}


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
            return {"type": "array", "items": _RETRY_SCHEMA, "maxItems": 20, **told}


_RETRY_SCHEMA: Final[dict[str, Any]] = {
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
