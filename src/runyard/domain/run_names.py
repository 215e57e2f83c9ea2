"""What runs are called: the names that may be typed, and those that are made up."""

from __future__ import annotations

import zlib
from typing import Final

from runyard.domain.errors import Invalid

_LONGEST: Final = 128
_NOT_IN_NAMES: Final = frozenset('/\\#?%:~"<>|')
# What a deleted run's name is marked with, so that the name is free again; nobody can type it.
DELETED: Final = "~"

_ADJECTIVES: Final = (
    "amber", "apt", "bold", "brisk", "calm", "clear", "cosy", "crisp", "deft", "dry", "eager",
    "even", "fair", "fast", "fine", "fond", "fresh", "gentle", "glad", "golden", "grand", "hardy",
    "hazy", "honest", "humble", "icy", "jolly", "keen", "kind", "late", "light", "lively", "lucid",
    "lucky", "mellow", "mild", "misty", "neat", "noble", "odd", "pale", "patient", "plain",
    "polite", "prime", "proud", "quick", "quiet", "rapid", "rare", "ripe", "rosy", "rustic", "sage",
    "salty", "sharp", "silent", "sleek", "snug", "sober", "solid", "steady", "stoic", "sunny",
    "swift", "tidy", "timid", "true", "vivid", "warm", "wise", "witty", "young", "zesty",
)  # fmt: skip
_NOUNS: Final = (
    "acorn", "anchor", "apple", "badger", "bay", "beacon", "birch", "breeze", "bridge", "brook",
    "canyon", "cedar", "cliff", "clover", "comet", "coral", "crane", "creek", "delta", "dune",
    "eagle", "ember", "falcon", "fern", "field", "finch", "fjord", "forest", "fox", "glade",
    "grove", "gull", "harbor", "hazel", "heron", "hill", "island", "ivy", "juniper", "lagoon",
    "lake", "lark", "leaf", "maple", "marsh", "meadow", "moon", "moss", "oak", "orchard", "otter",
    "owl", "pebble", "pine", "plain", "pond", "quail", "rain", "raven", "reef", "ridge", "river",
    "robin", "sparrow", "spring", "star", "stone", "summit", "thicket", "tide", "trail", "valley",
    "willow", "wren",
)  # fmt: skip


def check_run_name(name: str) -> None:
    """Pass a name that can stand in addresses, ids and paths.

    Raises:
        Invalid.
    """
    if (
        0 < len(name) <= _LONGEST
        and name == name.strip()
        and name.isprintable()
        and not name.startswith(".")
        and not _NOT_IN_NAMES.intersection(name)
    ):
        return
    raise Invalid(
        f"run id {name[:_LONGEST]!r}: {_LONGEST} printable characters at most, no '.' in front, "
        f"and none of {' '.join(sorted(_NOT_IN_NAMES))}",
        hint="letters, digits, '-' and '_' are safe",
    )


def made_up(number: int, seed: str) -> str:
    """Return a name for people: adjective-noun-number. The same for the same seed."""
    at, adjective = divmod(zlib.crc32(seed.encode()), len(_ADJECTIVES))
    return f"{_ADJECTIVES[adjective]}-{_NOUNS[at % len(_NOUNS)]}-{number}"


def deleted_name(name: str, run_pk: str) -> str:
    """Return what a deleted run is called from now on."""
    return f"{name[: _LONGEST - len(run_pk) - 1]}{DELETED}{run_pk}"


def plain_name(name: str) -> str:
    """Return what a run was called, also of one that was deleted."""
    return name.partition(DELETED)[0]
