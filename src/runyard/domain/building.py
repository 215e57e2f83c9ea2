"""
What a queue, a submission and a job say about how images are built, read strictly.

`builder` is one of our own keys in a queue's configuration, and a key of a launch spec, which is
laid over it. The peer's spellings are understood. Where images go, by which program and with which
secrets is the operator's and the queue's alone to say.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from runyard.domain import secrets
from runyard.domain.errors import Invalid, Violation
from runyard.domain.images import ImageRef, Packages, check_platform

KEY: Final = "builder"
_NONE: Final = ("none", "noop")
_SUBMITTERS: Final = ("base_image", "accelerator", "cuda", "platform", "packages")
_QUEUES: Final = ("type", "secrets", *_SUBMITTERS)


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """`builds` False: git and code jobs run in a base image, with their files mounted.

    Empty is: as the job or the agent has it. `secrets` are references by the id that a step mounts
    them by; only a queue has some.
    """

    builds: bool = True
    base_image: str = ""
    accelerator: str = ""  # a base image that has no Python
    platform: str = ""
    packages: Packages | None = None
    secrets: secrets.Refs = field(default_factory=dict)


def parse_options(
    given: Any, *, path: str = KEY, of_queue: bool, kubernetes: bool = False
) -> BuildOptions:
    """Read a `builder` block. `of_queue`: else it is a submission's, which may say less.

    Raises:
        Invalid: with a violation per mistake.
    """
    if not isinstance(given, Mapping):
        told = 'is a mapping: {"accelerator": {"base_image": "…"}}'
        raise Invalid("the builder's options are not valid", violations=[Violation(path, told)])
    known = _QUEUES if of_queue else _SUBMITTERS
    wrong = [Violation(f"{path}.{key}", _unknown(key, known)) for key in given if key not in known]
    images = {"base_image": given.get("base_image")}
    for key in ("accelerator", "cuda"):
        block = given.get(key)
        if block is None:
            continue
        if not isinstance(block, Mapping) or set(block) - {"base_image"}:
            wrong.append(Violation(f"{path}.{key}", 'is {"base_image": "…"}'))
        else:
            images["accelerator"] = block.get("base_image")
    options: dict[str, Any] = {}
    for key, text in images.items():
        try:
            options[key] = _image(text)
        except Invalid as error:
            where = "base_image" if key == "base_image" else f"{_spelled(given)}.base_image"
            wrong.append(Violation(f"{path}.{where}", error.message))
    if platform := given.get("platform"):
        try:
            options["platform"] = check_platform(str(platform))
        except Invalid as error:
            wrong.append(Violation(f"{path}.platform", error.message))
    if packages := given.get("packages"):
        try:
            options["packages"] = Packages(packages)
        except ValueError:
            wrong.append(Violation(f"{path}.packages", "is strict or lenient"))
    if of_queue and given.get("type") is not None and given["type"] not in _NONE:
        told = "only 'none' may be said here; which builder it is, the agent's settings say"
        wrong.append(Violation(f"{path}.type", told))
    if of_queue and given.get("secrets"):
        try:
            options["secrets"] = secrets.parse_refs(
                given["secrets"], path=f"{path}.secrets", kubernetes=kubernetes
            )
        except Invalid as error:
            wrong += error.violations
    if wrong:
        raise Invalid("the builder's options are not valid", violations=wrong)
    return BuildOptions(builds=given.get("type") not in _NONE, **options)


def _image(text: Any) -> str:
    if text in (None, ""):
        return ""
    if not isinstance(text, str):
        raise Invalid("is the name of an image")
    ImageRef.parse(text)
    return text


def _spelled(given: Mapping[str, Any]) -> str:
    return "cuda" if "cuda" in given else "accelerator"


def _unknown(key: Any, known: tuple[str, ...]) -> str:
    if key in _QUEUES:
        return "only a queue's own configuration may say this"
    near = difflib.get_close_matches(str(key), known, n=1)
    return "unknown key" + (f"; did you mean {near[0]}?" if near else "")
