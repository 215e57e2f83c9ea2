"""
A sweep's configuration out of YAML that strangers wrote.

Size and depth are bounded, and aliases are refused: a few hundred bytes of them can stand for
more than fits into memory. Times stay text, as JSON has none.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import yaml

from runyard.domain.errors import Invalid
from runyard.domain.sweeps import config
from runyard.domain.sweeps.config import SweepConfig

MOST_BYTES: Final = 256 << 10
DEEPEST: Final = 40
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]
    """YAML's plain values, without times."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
    for first, found in _BASE.yaml_implicit_resolvers.items()
}


@lru_cache(maxsize=64)
def read(text: str) -> SweepConfig:
    """Return a configuration, checked. Raises: Invalid."""
    return config.parse(load(text))


def load(text: str) -> Any:
    """Return what a text of YAML says, as JSON knows it. Raises: Invalid."""
    if len(text) > MOST_BYTES:
        raise Invalid(f"the sweep's configuration is over {MOST_BYTES >> 10} KiB")
    try:
        _check_events(text)
        found = _loaded(text)
    except yaml.YAMLError as error:
        raise Invalid(f"the sweep's configuration is no YAML: {_told(error)}") from None
    except (ValueError, RecursionError) as error:  # an integer of 5,000 digits, say
        raise Invalid(f"the sweep's configuration cannot be read: {error}") from None
    _check_plain(found)
    return found


def _loaded(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _check_events(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise Invalid(
                f"the sweep's configuration refers to an anchor with *{event.anchor}",
                hint="write the values out: sweeps take no aliases",
            )
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise Invalid(f"the sweep's configuration is nested more than {DEEPEST} levels deep")


def _check_plain(value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise Invalid(f"the key {key!r} must be text; put it in quotes")
            _check_plain(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_plain(inner)
    elif value is not None and not isinstance(value, str | bool | int | float):
        raise Invalid(f"{type(value).__name__} is no value for a sweep; put it in quotes")


def _told(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "it cannot be parsed"
    return f"{problem} (line {mark.line + 1})" if mark is not None else str(problem)
