"""
The rules that a queue's policy is made of: what values each takes, what it means, and whether a
submission may narrow it. Reading, the JSON Schema, the docs and `queue explain` come of this table.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from runyard.domain.errors import Invalid, Violation
from runyard.domain.retries import read_retry, read_texts

DAY: Final = 86_400


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
NARROWABLE: Final = tuple(name for name, rule in RULES.items() if rule.narrows)


def read(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rules that are said, read.

    Raises:
        Invalid: with a violation per unknown name or bad value.
    """
    wrong: list[Violation] = []
    found: dict[str, Any] = {}
    for name, value in data.items():
        rule = RULES.get(name)
        if rule is None:
            near = difflib.get_close_matches(str(name), RULES, n=1)
            told = f"did you mean {near[0]}?" if near else f"a policy has {', '.join(RULES)}"
            wrong.append(Violation(f"policy.{name}", f"unknown; {told}"))
        else:
            found[name] = _value(f"policy.{name}", rule, value, wrong)
    for name in found.get("narrow") or ():
        if name not in NARROWABLE:
            wrong.append(Violation("policy.narrow", f"{name!r} is none of {', '.join(NARROWABLE)}"))
    if wrong:
        raise Invalid("the policy is not valid", violations=wrong)
    return found


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
        return read_texts(path, value, wrong)
    elif not isinstance(value, Sequence) or isinstance(value, str) or len(value) > 20:
        wrong.append(Violation(path, "is a list of 20 rules at most"))
    else:
        return tuple(read_retry(f"{path}.{n}", one, wrong) for n, one in enumerate(value))
    return value
