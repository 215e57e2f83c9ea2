"""
The settings of one training run.

They come from config.yaml, then from the launch system, which puts what the submission
changed into the environment variable WANDB_CONFIG as JSON (in pieces WANDB_CONFIG_0,
WANDB_CONFIG_1, ... when it is long), then from the command line. The last word wins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import count
from pathlib import Path
from typing import Any

import yaml


class BadSettings(Exception):
    """A setting that cannot be trained with; the message names it."""


@dataclass(frozen=True)
class Settings:
    epochs: int
    batch_size: int
    hidden_units: int
    learning_rate: float
    seed: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            wanted = (int, float) if field.name == "learning_rate" else int
            if not isinstance(value, wanted) or isinstance(value, bool):
                raise BadSettings(f"{field.name} is {value!r}: a number is needed")
            if field.name != "seed" and value <= 0:
                raise BadSettings(f"{field.name} is {value!r}: it must be above 0")


def read(path: Path, environ: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """Leave out of `flags` what the command line did not name."""
    merged = {**_from_file(path), **_from_launch(environ), **flags}
    known = [field.name for field in fields(Settings)]
    if unknown := sorted(merged.keys() - set(known)):
        raise BadSettings(f"{', '.join(unknown)}: no such setting; there are {', '.join(known)}")
    if missing := [name for name in known if name not in merged]:
        raise BadSettings(f"{', '.join(missing)}: not set in {path.name}")
    return Settings(**merged)


def _from_file(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")) or {})


def _from_launch(environ: Mapping[str, str]) -> dict[str, Any]:
    text = environ.get("WANDB_CONFIG") or _joined(environ)
    try:
        changed = json.loads(text or "{}")
    except ValueError as error:
        raise BadSettings(f"WANDB_CONFIG is not JSON: {error}") from error
    if not isinstance(changed, dict):
        raise BadSettings(f"WANDB_CONFIG is {changed!r}: an object is needed")
    return changed


def _joined(environ: Mapping[str, str]) -> str:
    pieces = []
    for number in count():
        piece = environ.get(f"WANDB_CONFIG_{number}")
        if piece is None:
            return "".join(pieces)
        pieces.append(piece)
    raise AssertionError("count() has no end")
