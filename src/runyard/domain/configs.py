"""
Whether a resource could take a configuration: everything that is wrong with it, at once.

Asked with a queue's own configuration when an admin writes it, with every value that its variables
may take, and again with the result of each submission. `builder` and `secrets` are the queue's own
words to us; they never reach the resource.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from runyard.domain import building, secrets, volumes
from runyard.domain.docker_options import GRANTABLE, check_docker_options, gpus_wanted
from runyard.domain.errors import Invalid, Violation
from runyard.domain.queues import Resource
from runyard.domain.templates import Value, Variables, check_template, fill
from runyard.domain.variables import parse_env_list

OURS: Final = (building.KEY, secrets.KEY)
_PROCESS_KEYS: Final = ("env", "gpus", "volumes")
_MOST_TRIES: Final = 100  # values of one variable that are tried when an admin writes a template


def faults(resource: Resource, config: Mapping[str, Any]) -> list[Violation]:
    """Return what is wrong with a configuration that has no placeholders (any more)."""
    options = {key: value for key, value in config.items() if key not in OURS}
    found: list[Violation] = []
    if secrets.KEY in config:
        try:
            secrets.split(config, kubernetes=resource is Resource.KUBERNETES)
        except Invalid as error:
            found += error.violations
    if building.KEY in config:
        kubernetes = resource is Resource.KUBERNETES
        try:
            building.parse_options(config[building.KEY], of_queue=True, kubernetes=kubernetes)
        except Invalid as error:
            found += error.violations
    if resource in (Resource.LOCAL_CONTAINER, Resource.LOCAL_PROCESS):
        container = resource is Resource.LOCAL_CONTAINER
        options, _, wrong = volumes.taken_out(options, container=container)
        found += wrong
    if resource is Resource.LOCAL_CONTAINER:
        # What an agent's own config may allow beyond the safe options, the server cannot know: it
        # lets them pass, and the agent decides (T8).
        found += check_docker_options(options, granted=GRANTABLE)
    elif resource is Resource.LOCAL_PROCESS:
        found += _process_faults(options)
    return found


def check(resource: Resource, config: Mapping[str, Any]) -> None:
    """Pass if an agent could accept the configuration, whoever said it.

    Raises:
        Invalid: with every violation.
    """
    if wrong := faults(resource, config):
        raise Invalid(f"the {resource} configuration is not valid", violations=wrong)


def template_faults(
    resource: Resource, config: Mapping[str, Any], variables: Variables
) -> list[Violation]:
    """Return what is wrong with a template: its placeholders, or what they could make of it."""
    found = list(check_template(config, variables))
    if found:
        return found
    usual = {name: _usual(name, variables) for name in variables}
    told = set()
    for name, value in _tries(variables, usual):
        filled = fill(config, {**usual, name: value}) if name else fill(config, usual)
        for fault in faults(resource, filled):
            with_value = f" (with {name} = {value!r})" if name else ""
            if fault.path not in told:
                told.add(fault.path)
                found.append(replace(fault, message=fault.message + with_value))
    return found


_PLAIN: Final[Mapping[str, Value]] = {
    "string": "x", "integer": 1, "number": 1.0, "boolean": True,
}  # fmt: skip


def _usual(name: str, variables: Variables) -> Value:
    variable = variables[name]
    if variable.default is not None:
        return variable.default
    if variable.enum:
        return variable.enum[0]
    if variable.minimum is not None or variable.maximum is not None:
        bound = variable.minimum if variable.minimum is not None else variable.maximum
        assert bound is not None
        return bound
    return _PLAIN[variable.type]


def _tries(variables: Variables, usual: Mapping[str, Value]) -> Iterator[tuple[str, Value]]:
    """Yield a variable and a value to put in place of its usual one; a free text is not tried."""
    free = [n for n, v in variables.items() if v.type == "string" and not v.enum and not v.default]
    if not free:
        yield "", ""
    for name, variable in variables.items():
        if free:
            continue  # nobody knows what will be written there
        bounds = [b for b in (variable.minimum, variable.maximum) if b is not None]
        for value in [*(variable.enum or ())[:_MOST_TRIES], *bounds]:
            if value != usual[name]:
                yield name, value


def _process_faults(options: Mapping[str, Any]) -> list[Violation]:
    found = []
    for key in options:
        if key not in _PROCESS_KEYS:
            near = difflib.get_close_matches(key, _PROCESS_KEYS, n=1)
            told = f"did you mean {near[0]}?" if near else f"it takes {', '.join(_PROCESS_KEYS)}"
            found.append(Violation(key, f"unknown to local-process; {told}"))
    try:
        gpus_wanted(options)
    except Invalid as error:
        found += error.violations
    if "env" in options:
        found += parse_env_list(options["env"])[1]
    return found
