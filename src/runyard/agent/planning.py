"""
Whether an item's image is built, and what it is to be: pure, from its spec and the settings.

A git or code job on a resource that runs images is built if this agent has a builder and neither
settings nor queue say otherwise; else it runs in a base image, with its files mounted. The base
is the first of these that is said: of either kind by the submission, `builder.accelerator` of its
queue, the job's own, `builder.base_image` of its queue, the agent's for accelerators if GPUs are
asked for, the agent's, `python:<version of the job>-slim`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Final

from runyard.agent.build_settings import BuilderSettings
from runyard.builders.none import explain
from runyard.domain.building import KEY, BuildOptions, parse_options
from runyard.domain.errors import Invalid, Rejected
from runyard.domain.images import BaseImage, Packages, Plan
from runyard.domain.jobs import Source, SourceKind
from runyard.domain.policy import QueuePolicy
from runyard.domain.secrets import BUILD_KEY

DEFAULT_PYTHON: Final = "3.11"
LOCAL: Final = "localhost/runyard/jobs"  # where nothing is pushed: a name that no registry has


@dataclass(frozen=True, slots=True)
class Builds:
    """What this agent builds, and by what: the name of its builder, empty if it has none."""

    settings: BuilderSettings = field(default_factory=BuilderSettings)
    by: str = ""

    @property
    def repository(self) -> str:
        return self.settings.destination or LOCAL

    @property
    def pushes(self) -> bool:
        return self.settings.destination is not None


@dataclass(frozen=True, slots=True)
class Wish:
    """An image to build, or to find. `plan` lacks what only registries know: digests.

    `images` are the patterns of base images that the item's queue allows.
    """

    plan: Plan
    rebuild: bool = False
    images: Sequence[str] = ()


def options_of(spec: Mapping[str, Any], queues: Any) -> BuildOptions:
    """Return what the queue's `builder` block says, with the submission's laid over it.

    Raises:
        Rejected: one of them is not valid.
    """
    laid = (spec.get("laid_over") or {}).get(KEY)
    try:
        options = parse_options(queues or {}, of_queue=True)
        if image := spec["source"].get("base_image"):
            options = replace(options, base_image=image)
        for own in (laid, spec.get(KEY)):
            if own:
                options = parse_options(own, of_queue=False).over(options)
    except Invalid as error:
        raise Rejected(
            f"{error.message}: {'; '.join(map(str, error.violations))}",
            violations=error.violations,
        ) from error
    return options


def is_built(source: Source, options: BuildOptions, builds: Builds, *, host_bound: bool) -> bool:
    """Whether the item's image is built; images of one host are of use to its own jobs only."""
    return (
        source.kind in (SourceKind.CODE, SourceKind.GIT)
        and options.builds
        and bool(builds.by)
        and (builds.pushes or host_bound)
    )


def dockerfile_of(spec: Mapping[str, Any], source: Source) -> str:
    """Return the Dockerfile that the submission, else the job, names; empty if neither does."""
    return str(spec["overrides"].get("dockerfile") or source.dockerfile)


def mounted_image(
    spec: Mapping[str, Any], source: Source, options: BuildOptions, settings: BuilderSettings
) -> tuple[str, bool]:
    """Return the image to run as it is, and whether it is a bare one that lacks the packages.

    Raises:
        NeedsBuilder: the job has a Dockerfile.
    """
    if source.kind is SourceKind.IMAGE:
        return source.image, False
    if dockerfile := dockerfile_of(spec, source):
        raise explain(f"the job names a Dockerfile ({dockerfile})")
    if given := options.base_image:
        return given, False
    return settings.base_image or _python(source), True


def wish_for(
    spec: Mapping[str, Any],
    source: Source,
    options: BuildOptions,
    builds: Builds,
    *,
    entry_point: tuple[str, ...],
    gpus: bool,
    images: Sequence[str],
) -> Wish:
    """Return what is to be built for an item.

    Raises:
        Rejected: its base image is not on the queue's list.
    """
    settings, over = builds.settings, spec["overrides"]
    dockerfile = dockerfile_of(spec, source)
    base, accelerator = _base(source, options, settings, gpus=gpus)
    if not dockerfile:
        check_image(base, images)
    start = PurePosixPath(over.get("working_dir") or source.build_context)
    plan = Plan(
        team=str(spec["entity"]),
        source=_content(source),
        base=BaseImage("" if dockerfile else base),
        entry_point=entry_point,
        notebooks=tuple(str(start / word) for word in entry_point if word.endswith(".ipynb")),
        build_context=source.build_context,
        dockerfile=dockerfile,
        accelerator=accelerator and not dockerfile,
        python=source.runtime,
        platform=options.platform or settings.platform or "",
        uid=settings.user_id,
        packages=options.packages or Packages(settings.packages),
        secrets=tuple(sorted({*settings.secrets, *(spec.get(BUILD_KEY) or {})})),
    )
    return Wish(plan, bool(spec.get("rebuild")), tuple(images))


def check_image(image: str, patterns: Sequence[str]) -> None:
    """Pass if the queue's policy allows an image to be run, or built upon.

    Raises:
        Rejected: it does not.
    """
    if not QueuePolicy(images=tuple(patterns)).allows_image(image):
        raise Rejected(
            f"image {image!r} is not on the queue's list: {', '.join(patterns)}",
            hint="choose another image, or ask an admin to add it to the policy's `images`",
        )


def _base(
    source: Source, options: BuildOptions, settings: BuilderSettings, *, gpus: bool
) -> tuple[str, bool]:
    """Return the base image, and whether it is one for accelerators, which has no Python."""
    if options.accelerator:
        return options.accelerator, True
    if given := options.base_image:
        return given, False
    if gpus and settings.accelerator.base_image:
        return settings.accelerator.base_image, True
    return settings.base_image or _python(source), False


def _python(source: Source) -> str:
    return f"python:{source.runtime or DEFAULT_PYTHON}-slim"


def _content(source: Source) -> str:
    """Name the job's files by what decides them."""
    if source.kind is SourceKind.CODE:
        return source.archive
    parts = [source.remote, source.commit, "submodules" if source.submodules else "", source.patch]
    return " ".join(part for part in parts if part)
