"""
The configuration of a run, as we keep it and as the tracking protocol writes it.

There each key has `{"value": …, "desc": …}`; here it is its value. What the client notes of itself
stands under `_wandb`. NaN and Infinity pass.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from runyard.domain.errors import Invalid, TooMuch

INTERNAL: Final = "_wandb"
LONGEST: Final = 8 << 20  # characters of a configuration or summary
_DEEPEST: Final = 60


def read_object(text: str, what: str) -> dict[str, Any]:
    """Read a JSON object that may have NaN in it.

    Raises:
        Invalid: it is none, or nested too deeply. TooMuch: it is too long.
    """
    if len(text) > LONGEST:
        raise TooMuch(f"{what} has over {LONGEST >> 20} MiB")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Invalid(f"{what} is not a JSON object")
    if _is_deeper(value, _DEEPEST):
        raise Invalid(f"{what} is nested more than {_DEEPEST} levels deep")
    return value


def unwrapped(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration by plain keys and values."""
    return {key: _value(entry) for key, entry in config.items()}


def wrapped(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return it as the protocol writes it."""
    return {key: {"value": value, "desc": None} for key, value in config.items()}


def taken_over(
    was: Mapping[str, Any], told: Mapping[str, Any], submitted: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a run's configuration after its program told all of its own.

    What was submitted with the run stays under it, and what the client notes of itself stays if
    it is left out: people who edit a configuration do not send it.
    """
    kept = {INTERNAL: was[INTERNAL]} if INTERNAL in was else {}
    return {**kept, **submitted, **told}


def internal(config: Mapping[str, Any], keys: Sequence[str] | None) -> dict[str, Any]:
    """Return what the client notes of itself: all, or these keys of it."""
    found = config.get(INTERNAL)
    if not isinstance(found, dict):
        return {}
    return {k: v for k, v in found.items() if keys is None or k in keys}


def plain_json(value: Any) -> Any:
    """Return a value for readers of strict JSON: NaN and Infinity as strings, and all text as
    UTF-8 can write it."""
    if isinstance(value, dict):
        return {plain_json(str(k)): plain_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain_json(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode()
    return value


def _value(entry: Any) -> Any:
    return entry["value"] if isinstance(entry, dict) and "value" in entry else entry


def _is_deeper(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        level = [
            below
            for each in level
            for below in (each.values() if isinstance(each, dict) else each)
            if isinstance(below, dict | list)
        ]
        if not level:
            return False
    return True
