"""
From an item's resolved spec to a workload: pure, so that it can be checked before any claim.

`draft` is everything that the item and the agent's settings say. Where an image has to be built
or found, it is made once more when there is one. What only the attempt brings is laid over it by
`completed`: the fetched files, the Python environment, the secrets, the GPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Final

from runyard.agent.planning import (
    Builds,
    Wish,
    check_image,
    dockerfile_of,
    is_built,
    mounted_image,
    options_of,
    wish_for,
)
from runyard.domain import building
from runyard.domain.docker_options import Gpus, gpus_wanted
from runyard.domain.environment import program_environment
from runyard.domain.errors import Invalid, Rejected
from runyard.domain.images import HOME, Login
from runyard.domain.jobs import Source, SourceKind
from runyard.domain.locked import changes_of
from runyard.domain.macros import fill
from runyard.domain.secrets import BUILD, KEY, Refs, of_build, of_spec, resolved
from runyard.domain.specs import check_template_of
from runyard.domain.volumes import PRESETS, Shared, Volume, granted, taken_out
from runyard.domain.workloads import Mount, Workload
from runyard.drivers.base import Capabilities
from runyard.wire.agent import Held

Given = Mapping[str, str] | None  # what a claim brought; None before it
CODE: Final = "/mnt/wandb"  # where a container finds the job's files; the peer's place
# A fixed text; what the job says comes to it as arguments, and is never part of a script.
_INSTALL: Final = (
    'python -m pip install --disable-pip-version-check --no-cache-dir -r "$0" && exec "$@"'
)
_INSTALL_CACHED: Final = _INSTALL.replace(" --no-cache-dir", "")


@dataclass(frozen=True, slots=True)
class Grants:
    """What the agent's settings allow of its own environment, and what they add."""

    environment: Mapping[str, str]
    macros: Collection[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    passed: Mapping[str, Collection[str]] = field(default_factory=dict)  # by resource
    volumes: Mapping[str, Volume] = field(default_factory=dict)
    secure: bool = False  # jobs and queues as they are, nothing of a submission's own
    shared: Shared = field(default_factory=Shared)


@dataclass(frozen=True, slots=True)
class Image:
    """One that was built for the item, or found. `run` is what a resource is told to run.

    `home` is where it has the job's files, empty if its own Dockerfile decides that; with such a
    one, `entry_point` may be another way to say the job's.
    """

    run: str
    home: str = HOME
    entry_point: tuple[str, ...] | None = None
    login: Login | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Draft:
    """
    `installs`: whether the container's image was our choice, so that it lacks the packages.
    `wish` is set where the image is still to be had; the workload names its repository then.
    `find` gives the values of the item's secrets, from what the claim brings, `find_for_build`
    those that its queue lends to the build of its image, by their ids.
    """

    workload: Workload
    source: Source
    gpus: Gpus
    installs: bool = False
    wish: Wish | None = None
    find: Callable[[Given], dict[str, str]] = field(default=lambda _: {}, repr=False)
    find_for_build: Callable[[Given], dict[str, str]] = field(default=lambda _: {}, repr=False)


def draft(
    held: Held,
    capabilities: Capabilities,
    grants: Grants,
    *,
    base_url: str,
    builds: Builds | None = None,
    image: Image | None = None,
) -> Draft:
    """Return what can be known of a workload before its item is claimed.

    `image` is what became of the wish of an earlier draft of the item.

    Raises:
        Rejected: the spec makes no workload here; the message says what to mend.
    """
    spec, source, builds = held.spec, _source(held.spec), builds or Builds()
    _look_again(spec)
    if grants.secure:
        _check_unchanged(spec)
    config = dict(spec["resource_args"][spec["resource"]])
    options = options_of(spec, config.pop(building.KEY, None))
    config.pop(KEY, None)  # the item carries them apart, merged
    find = _finder(spec, grants, of_spec(spec))
    find(None)  # what this agent cannot provide, it should say before it claims the item
    name, installs, builds_it = _image_of(held, source, options, capabilities, builds, image)
    config = fill(config, _macros(spec, name), grants.environment, grants.macros)
    mounts: tuple[Mount, ...] = ()
    if capabilities.takes_volumes:
        container = capabilities.needs_image
        config, mounts = _volumes(config, grants, spec["queue"], container)
        mounts += grants.shared.mounts(spec["entity"], mounts, container=container)
    gpus = _gpus(config) if capabilities.takes_gpus else 0
    entry_point, wish = _entry_point(spec, source), None
    if builds_it and image is None:
        wish = wish_for(
            spec, source, options, builds,
            entry_point=entry_point, gpus=bool(gpus), images=held.images,
        )  # fmt: skip
    lent = _finder(spec, grants, of_build(spec))
    if wish is not None:
        lent(None)
    has_own = source.kind is SourceKind.IMAGE or (
        builds_it and (not image.home if image else bool(dockerfile_of(spec, source)))
    )
    if not entry_point and not has_own:
        raise Rejected(
            "the job names no entry point, so there is no command to run",
            hint='give one: runyard launch -E "python train.py" …',
        )
    if image is not None and image.entry_point is not None:
        entry_point = image.entry_point
    workload = Workload(
        key=held.key,
        entry_point=entry_point,
        args=tuple(spec["overrides"]["args"]),
        env=program_environment(
            spec,
            base_url=base_url,
            item_id=held.item_id,
            attempt=held.attempt,
            requeues=held.requeues,
            image=name,
            longest=capabilities.max_env_bytes,
        ),
        image=name,
        config=config,
        working_dir=_working_dir(spec, source, image if builds_it else None),
        labels={**grants.labels, "runyard.run-id": str(spec["run_id"])},
        mounts=mounts,
        login=image.login if image else None,
    )
    return Draft(
        workload, source, gpus, installs, wish, find,
        lambda given: {name.removeprefix(BUILD): value for name, value in lent(given).items()},
    )  # fmt: skip


def _image_of(
    held: Held,
    source: Source,
    options: building.BuildOptions,
    capabilities: Capabilities,
    builds: Builds,
    image: Image | None,
) -> tuple[str | None, bool, bool]:
    """Return the image's name, whether it lacks the packages, and whether it is built."""
    if not capabilities.needs_image:
        return None, False, False
    if is_built(source, options, builds, host_bound=capabilities.host_bound):
        return image.run if image else builds.repository, False, True
    name, installs = mounted_image(held.spec, source, options, builds.settings)
    check_image(name, held.images)
    return name, installs, False


def _macros(spec: Mapping[str, Any], image: str | None) -> dict[str, str]:
    return {
        "project_name": spec["project"],
        "entity_name": spec["entity"],
        "run_id": spec["run_id"],
        "run_name": spec.get("name") or spec["run_id"],
        "image_uri": image or "",
        "author": spec["author"],
    }


def _entry_point(spec: Mapping[str, Any], source: Source) -> tuple[str, ...]:
    given = spec["overrides"].get("entry_point")
    return tuple(source.entry_point if given is None else given)


def _working_dir(spec: Mapping[str, Any], source: Source, image: Image | None) -> str:
    """Return where the command starts: in the job's files, or from the root of its own image."""
    given = str(spec["overrides"].get("working_dir") or "")
    if image is None:
        return given or source.build_context
    if not image.home:
        return given
    return PurePosixPath(image.home.lstrip("/"), given or source.build_context).as_posix()


def _look_again(spec: Mapping[str, Any]) -> None:
    """Check what the server had checked: this agent's host trusts no one but its operator (T9)."""
    try:
        check_template_of(spec)
    except Invalid as error:
        raise Rejected(
            f"the agent does not run this: {error.message}",
            violations=error.violations,
            hint="submit it again; the queue may have changed in the meantime",
        ) from error


def _check_unchanged(spec: Mapping[str, Any]) -> None:
    if faults := changes_of(spec):
        raise Rejected(
            "this agent is in secure mode and runs jobs and queues as they are: "
            + "; ".join(map(str, faults)),
            violations=faults,
            hint="submit it without these, or ask an admin to make them the queue's own",
        )


def completed(
    drafted: Draft,
    *,
    directory: str | None = None,
    env: Mapping[str, str] | None = None,
    requirements: str | None = None,
    run_token: str | None = None,
    given: Given = None,
    gpus: tuple[str, ...] = (),
) -> Workload:
    """Return the workload as it is submitted.

    `env` is laid under the item's own variables. `requirements` is the path, within the job's
    directory, of what a chosen base image still has to install at its start. `given` are the
    secrets that came with the claim.

    Raises:
        Rejected: a secret that the item needs is not there.
    """
    workload = drafted.workload
    if drafted.installs and requirements:
        has_cache = any(PRESETS["pip"].env in mount.env for mount in workload.mounts)
        install = _INSTALL_CACHED if has_cache else _INSTALL
        script = ("/bin/sh", "-c", install, f"{CODE}/{requirements}")
        workload = replace(workload, entry_point=(*script, *workload.entry_point))
    return replace(
        workload,
        directory=directory,
        env={**(env or {}), **workload.env},
        secrets={
            **drafted.find(given or {}),
            **({"WANDB_API_KEY": run_token} if run_token else {}),
        },
        gpus=gpus,
    )


def _finder(
    spec: Mapping[str, Any], grants: Grants, refs: Refs
) -> Callable[[Given], dict[str, str]]:
    allowed = grants.passed.get(spec["resource"], ())
    return lambda given: resolved(refs, given, grants.environment, allowed)


def _volumes(
    config: Mapping[str, Any], grants: Grants, queue: str, container: bool
) -> tuple[dict[str, Any], tuple[Mount, ...]]:
    rest, wanted, faults = taken_out(config, container=container)
    if faults:
        raise Rejected("; ".join(map(str, faults)), violations=faults)
    return rest, granted(wanted, grants.volumes, queue, container=container)


def _source(spec: Mapping[str, Any]) -> Source:
    try:
        return Source.from_json(spec["source"])
    except Invalid as error:
        raise Rejected(
            f"{error.message}: {'; '.join(map(str, error.violations))}",
            hint="update this agent: the server knows kinds of jobs that it does not",
        ) from error


def _gpus(config: Mapping[str, Any]) -> Gpus:
    try:
        return gpus_wanted(config)
    except Invalid as error:
        raise Rejected(error.message, violations=error.violations) from error
