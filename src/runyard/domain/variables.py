"""
Environment variables that somebody else wrote: are they safe to hand to a process?

A name that is no identifier, or a value with a NUL, is refused here, before anything that
starts programs sees it. The `env` list of a queue's configuration says `NAME=value`, or a
bare `NAME` to pass the agent's own value through, which only the agent's settings can allow.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from runyard.domain.errors import Violation

MASK: Final = "********"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class EnvList:
    """An `env` list taken apart: what it sets, and what it wants from the agent."""

    values: Mapping[str, str] = field(default_factory=dict)
    passed: tuple[str, ...] = ()


def variable_faults(variables: Mapping[str, str], *, path: str = "env") -> list[Violation]:
    """Return what is wrong with names and values; the values themselves are never quoted."""
    faults = []
    for name, value in variables.items():
        if not _NAME.fullmatch(name):
            faults.append(
                Violation(path, f"{name!r} is no variable name: letters, digits and _ only")
            )
        elif "\0" in value:
            faults.append(Violation(f"{path}.{name}", "the value contains a NUL byte"))
    return faults


def word_faults(words: Sequence[str], *, path: str) -> list[Violation]:
    """Return what keeps `words` from being the arguments of a process."""
    return [
        Violation(f"{path}[{index}]", f"{word!r} contains a NUL byte")
        for index, word in enumerate(words)
        if "\0" in word
    ]


def parse_env_list(given: Any, *, path: str = "env") -> tuple[EnvList, list[Violation]]:
    """Take an `env` list apart; a single text counts as a list of one."""
    entries = [given] if isinstance(given, str) else given
    if not isinstance(entries, (list, tuple)) or not all(isinstance(e, str) for e in entries):
        return EnvList(), [
            Violation(path, f'{given!r} is not a list of texts like ["A=1", "NAME"]')
        ]
    values: dict[str, str] = {}
    passed: list[str] = []
    for entry in entries:
        name, is_set, value = entry.partition("=")
        if is_set:
            values[name] = value
        else:
            passed.append(name)
    faults = variable_faults({**dict.fromkeys(passed, ""), **values}, path=path)
    return EnvList(values, tuple(passed)), faults


def pass_through(
    env: EnvList, host: Mapping[str, str], allowed: Collection[str], *, path: str = "env"
) -> tuple[dict[str, str], list[Violation]]:
    """Return the variables that `env` amounts to on a host, and the names that were refused.

    A name that is allowed but not set on the host is left out, as `docker run` does.
    """
    faults = [
        Violation(
            path,
            f"{name} may not be taken from the agent's environment; "
            f"its settings allow: {', '.join(sorted(allowed)) or 'none'} (env_passthrough)",
        )
        for name in env.passed
        if name not in allowed
    ]
    passed = {n: host[n] for n in env.passed if n in allowed and n in host}
    return {**passed, **env.values}, faults
