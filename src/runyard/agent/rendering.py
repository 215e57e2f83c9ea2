"""
From an item's resolved spec to a workload: pure, so that it can be checked before any claim.

`draft` is everything that the item and the agent's settings say. What only the attempt brings is
laid over it by `completed`: the fetched files, the Python environment, the secrets, the GPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from runyard.domain.docker_options import Gpus, gpus_wanted
from runyard.domain.environment import program_environment
from runyard.domain.errors import Invalid, Rejected
from runyard.domain.jobs import Source, SourceKind
from runyard.domain.macros import fill
from runyard.domain.secrets import KEY, of_spec, resolved
from runyard.domain.workloads import Workload
from runyard.drivers.base import Capabilities
from runyard.wire.agent import Held

Given = Mapping[str, str] | None  # what a claim brought; None before it
CODE: Final = "/mnt/wandb"  # where a container finds the job's files; the peer's place
DEFAULT_PYTHON: Final = "3.11"
# A fixed text; what the job says comes to it as arguments, and is never part of a script.
_INSTALL: Final = (
    'python -m pip install --disable-pip-version-check --no-cache-dir -r "$0" && exec "$@"'
)


@dataclass(frozen=True, slots=True)
class Grants:
    """What the agent's settings allow of its own environment, and what they add."""

    environment: Mapping[str, str]
    macros: Collection[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    passed: Mapping[str, Collection[str]] = field(default_factory=dict)  # by resource


@dataclass(frozen=True, slots=True)
class Draft:
    """
    `installs`: whether the container's image was our choice, so that it lacks the packages.
    `find` gives the values of the item's secrets, from what the claim brings.
    """

    workload: Workload
    source: Source
    gpus: Gpus
    installs: bool = False
    find: Callable[[Given], dict[str, str]] = field(default=lambda _: {}, repr=False)


def draft(held: Held, capabilities: Capabilities, grants: Grants, *, base_url: str) -> Draft:
    """Return what can be known of a workload before its item is claimed.

    Raises:
        Rejected: the spec makes no workload here; the message says what to mend.
    """
    spec, source = held.spec, _source(held.spec)
    config = dict(spec["resource_args"][spec["resource"]])
    builder = config.pop("builder", None) or {}
    config.pop(KEY, None)  # the item carries them apart, merged
    find = _finder(spec, grants)
    find(None)  # what this agent cannot provide, it should say before it claims the item
    image, installs = None, False
    if capabilities.needs_image:
        image, installs = _image(spec, source, builder)
    macros = {
        "project_name": spec["project"],
        "entity_name": spec["entity"],
        "run_id": spec["run_id"],
        "run_name": spec.get("name") or spec["run_id"],
        "image_uri": image or "",
        "author": spec["author"],
    }
    config = fill(config, macros, grants.environment, grants.macros)
    over = spec["overrides"]
    entry_point = over.get("entry_point")
    entry_point = tuple(source.entry_point if entry_point is None else entry_point)
    if not entry_point and source.kind is not SourceKind.IMAGE:
        raise Rejected(
            "the job names no entry point, so there is no command to run",
            hint='give one: runyard launch -E "python train.py" …',
        )
    workload = Workload(
        key=held.key,
        entry_point=entry_point,
        args=tuple(over["args"]),
        env=program_environment(
            spec,
            base_url=base_url,
            item_id=held.item_id,
            attempt=held.attempt,
            requeues=held.requeues,
            image=image,
            longest=capabilities.max_env_bytes,
        ),
        image=image,
        config=config,
        working_dir=over.get("working_dir") or source.build_context,
        labels={**grants.labels, "runyard.run-id": str(spec["run_id"])},
    )
    gpus = _gpus(config) if capabilities.takes_gpus else 0
    return Draft(workload, source, gpus, installs, find)


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
        script = ("/bin/sh", "-c", _INSTALL, f"{CODE}/{requirements}")
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


def _finder(spec: Mapping[str, Any], grants: Grants) -> Callable[[Given], dict[str, str]]:
    refs, allowed = of_spec(spec), grants.passed.get(spec["resource"], ())
    return lambda given: resolved(refs, given, grants.environment, allowed)


def _source(spec: Mapping[str, Any]) -> Source:
    try:
        return Source.from_json(spec["source"])
    except Invalid as error:
        raise Rejected(
            f"{error.message}: {'; '.join(map(str, error.violations))}",
            hint="update this agent: the server knows kinds of jobs that it does not",
        ) from error


def _image(spec: Mapping[str, Any], source: Source, builder: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the image to run and whether it is a bare one that we chose."""
    if source.kind is SourceKind.IMAGE:
        return source.image, False
    dockerfile = spec["overrides"].get("dockerfile") or source.dockerfile
    if dockerfile:
        raise NeedsBuilder(
            f"the job names a Dockerfile ({dockerfile}), and this version builds no images",
            hint="build and push the image yourself, then: runyard launch -d IMAGE …; or leave "
            "the Dockerfile out, and the code runs in a base image",
        )
    given = source.base_image or builder.get("base_image")
    if given:
        return str(given), False
    return f"python:{source.runtime or DEFAULT_PYTHON}-slim", True


class NeedsBuilder(Rejected):
    """The item's image would have to be built."""


def _gpus(config: Mapping[str, Any]) -> Gpus:
    try:
        return gpus_wanted(config)
    except Invalid as error:
        raise Rejected(error.message, violations=error.violations) from error
