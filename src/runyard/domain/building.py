"""
What a queue, a submission and a job say about how images are built, read strictly.

`builder` is one of our own keys in a queue's configuration, and a key of a launch spec, which is
laid over it. The peer's spellings are understood. Where images go, by which program and with which
secrets is the operator's and the queue's alone to say.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from runyard.domain import secrets
from runyard.domain.errors import Invalid, Violation
from runyard.domain.images import ImageRef, Packages, check_platform

KEY: Final = "builder"
_NONE: Final = ("none", "noop")
BASES: Final = ("base_image", "accelerator", "cuda")  # the keys that say what to build upon
_SUBMITTERS: Final = (*BASES, "platform", "packages")
_QUEUES: Final = ("type", "secrets", *_SUBMITTERS)
# In the peer's settings of an agent, where they belong; its documents show some in queues too.
_AGENTS: Final = (
    "destination", "uri", "build-context-store", "build-job-name", "secret-name", "secret-key",
    "kaniko-image", "kaniko-config", "user_id", "insecure_registries", "timeout_s",
)  # fmt: skip


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

    def over(self, below: BuildOptions) -> BuildOptions:
        """Return a submission's options laid over others; `below` keeps what these do not say.

        An image of either kind takes the place of both below it.
        """
        own = self.base_image or self.accelerator
        return replace(
            below,
            base_image=self.base_image if own else below.base_image,
            accelerator=self.accelerator if own else below.accelerator,
            platform=self.platform or below.platform,
            packages=self.packages or below.packages,
        )

    def to_json(self) -> dict[str, Any]:
        """Return what a submission can say of these, in one spelling."""
        said = {
            "base_image": self.base_image,
            "accelerator": {"base_image": self.accelerator} if self.accelerator else None,
            "platform": self.platform,
            "packages": self.packages.value if self.packages else None,
        }
        return {key: value for key, value in said.items() if value}


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
    options: dict[str, Any] = dict(_images(given, path, wrong))
    if platform := given.get("platform"):
        try:
            options["platform"] = check_platform(str(platform))
        except Invalid as error:
            wrong.append(Violation(f"{path}.platform", error.message))
    if packages := given.get("packages"):
        try:
            options["packages"] = Packages(str(packages))
        except ValueError:
            wrong.append(Violation(f"{path}.packages", "is strict or lenient"))
    is_none = isinstance(given.get("type"), str) and given["type"] in _NONE
    if of_queue and given.get("type") is not None and not is_none:
        told = "only 'none' may be said here; which builder it is, the agent's settings say"
        wrong.append(Violation(f"{path}.type", told))
    if of_queue and given.get("secrets"):
        try:
            options["secrets"] = secrets.parse_build_refs(
                given["secrets"], path=f"{path}.secrets", kubernetes=kubernetes
            )
        except Invalid as error:
            wrong += error.violations
    if wrong:
        raise Invalid("the builder's options are not valid", violations=wrong)
    return BuildOptions(builds=not is_none, **options)


def secrets_named(config: Mapping[str, Any], *, kubernetes: bool = False) -> dict[str, secrets.Ref]:
    """Return every secret that a queue's configuration names, by the path where it does.

    Raises:
        Invalid: with a violation per reference that is none.
    """
    builder = config.get(KEY)
    builds = builder.get("secrets") if isinstance(builder, Mapping) else None
    refs, _ = secrets.split(config, kubernetes=kubernetes)
    path = f"{KEY}.secrets"
    build_refs = secrets.parse_build_refs(builds or {}, path=path, kubernetes=kubernetes)
    return {
        **{f"{secrets.KEY}.{variable}": ref for variable, ref in refs.items()},
        **{f"{path}.{name}": ref for name, ref in build_refs.items()},
    }


def _images(given: Mapping[str, Any], path: str, wrong: list[Violation]) -> dict[str, str]:
    """Return what is said of the image to build upon, and add to what is wrong."""
    images = {"base_image": given.get("base_image")}
    if given.get("accelerator") and given.get("cuda"):
        told = "is the older name of `accelerator`; give one of them"
        wrong.append(Violation(f"{path}.cuda", told))
    for key in ("accelerator", "cuda"):
        block = given.get(key)
        if block is None:
            continue
        if not isinstance(block, Mapping) or set(block) - {"base_image"}:
            wrong.append(Violation(f"{path}.{key}", 'is {"base_image": "…"}'))
        else:
            images["accelerator"] = block.get("base_image")
    found: dict[str, str] = {}
    for key, text in images.items():
        try:
            found[key] = _image(text)
        except Invalid as error:
            where = "base_image" if key == "base_image" else f"{_spelled(given)}.base_image"
            wrong.append(Violation(f"{path}.{where}", error.message))
    return found


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
    if key == "type":
        return "is not a submission's to say: the agent's settings do, and a queue may say none"
    if key in _QUEUES:
        return "only a queue's own configuration may say this"
    if key in _AGENTS:
        return "is the agent's to say: how and where images are built is in its own settings"
    near = difflib.get_close_matches(str(key), known, n=1)
    return "unknown key" + (f"; did you mean {near[0]}?" if near else "")
