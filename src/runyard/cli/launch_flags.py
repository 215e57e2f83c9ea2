"""The flags of `runyard launch`: what they mean, and which of them do not fit together."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from runyard.cli.documents import mapping
from runyard.cli.edge import WrongUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """The flags of `runyard launch` as they were typed."""

    uri: str | None
    job: str | None
    image: str | None
    entry_point: str | None
    args: list[str]
    queue: str | None
    config: str | None
    resource_args: str | None
    resource: str | None
    name: str | None
    entity: str | None
    project: str | None
    priority: str | None
    dockerfile: str | None
    base_image: str | None
    accelerator_image: str | None
    rebuild: bool
    build_context: str | None
    git_version: str | None
    job_name: str | None
    follow: bool
    raw: bool
    no_wait: bool
    dry_run: bool
    as_json: bool
    set_var: list[str]
    policy: str | None
    hold: bool
    build: bool
    project_queue: str | None


def check(flags: Flags) -> None:
    """Raise WrongUsage for the first thing that does not fit together."""
    named = [flag for flag, v in _sources(flags) if v]
    if len(named) > 1:
        raise WrongUsage(f"{' and '.join(named)} were given", hint="leave all but one of them out")
    if not named and not flags.config:
        raise WrongUsage(
            "nothing to run was given",
            hint='give one of -u PATH, -j JOB, -d IMAGE: runyard launch -u . -E "python train.py"',
        )
    for wrong, message, hint in _MISFITS:
        if wrong(flags):
            raise WrongUsage(message, hint=hint)
    for field in _OF_URI:
        if getattr(flags, field) and not flags.uri:
            raise WrongUsage(
                f"--{field.replace('_', '-')} is for the job that is made of --uri",
                hint="a saved job has its own: runyard job create --help",
            )


def _sources(flags: Flags) -> list[tuple[str, str | None]]:
    return [("--uri", flags.uri), ("--job", flags.job), ("--docker-image", flags.image)]


_OF_URI: Final = ("build_context", "job_name", "git_version")
_MISFITS: Final[tuple[tuple[Callable[[Flags], bool], str, str], ...]] = (
    (
        lambda f: bool(f.uri) and not f.entry_point,
        "--uri needs --entry-point: the command that starts your code",
        'runyard launch -u PATH -E "python train.py"',
    ),
    (
        lambda f: f.no_wait and f.queue is not None,
        "--async is for running without a queue; --queue never waits",
        "leave --async out; to wait, add --follow",
    ),
    (
        lambda f: f.no_wait and f.follow,
        "--async and --follow contradict each other",
        "leave one of them out",
    ),
    (
        lambda f: f.priority is not None and f.queue is None,
        "--priority needs --queue: without a queue the job runs at once",
        "add -q QUEUE",
    ),
    (
        lambda f: bool(f.set_var or f.policy or f.hold) and f.queue is None and not f.config,
        "--set-var, --policy and --hold are for a queue",
        "add -q QUEUE",
    ),
    (
        lambda f: f.build,
        "--build and --repository: images are not built here, but by the agent that runs the job",
        "leave them out; where images go is in the agent's settings: builder.destination",
    ),
    (
        lambda f: bool(f.image and (f.base_image or f.accelerator_image or f.rebuild)),
        "--docker-image is run as it is: nothing is built upon it, or anew",
        "leave out --base-image, --accelerator-image and --rebuild",
    ),
    (
        lambda f: bool(f.base_image and f.accelerator_image),
        "--base-image and --accelerator-image: an image is built upon one of them",
        "leave one of them out",
    ),
)


def spec_of(flags: Flags) -> dict[str, Any]:
    """Return the launch spec of the flags; `job` is missing where --uri makes one.

    Raises:
        WrongUsage: an unreadable file, a spec that names nothing to run.
        Invalid: mistakes in the spec that do not need the server to be seen.
    """
    from runyard.client.submission import Wish
    from runyard.domain.specs import LaunchSpec

    wish = Wish(
        base=mapping(flags.config, "--config"),
        job=flags.job,
        image=flags.image,
        entity=flags.entity,
        project=flags.project,
        name=flags.name,
        resource=flags.resource,
        resource_args=mapping(flags.resource_args, "--resource-args"),
        priority=flags.priority,
        # With --uri the command is the job's own.
        entry_point=() if flags.uri else words(flags.entry_point),
        args=flags.args,
        dockerfile=flags.dockerfile,
        # With --uri the base image is the job's own, too.
        base_image=None if flags.uri else flags.base_image,
        accelerator_image=flags.accelerator_image,
        rebuild=flags.rebuild,
        policy=mapping(flags.policy, "--policy"),
        hold=flags.hold,
    )
    spec = wish.spec()
    if flags.uri:
        spec.pop("job", None)
        spec.pop("docker", None)
        LaunchSpec.parse({**spec, "job": "made-of-uri"})  # before anything is uploaded
    elif not spec.get("job") and not spec.get("docker"):
        raise WrongUsage(
            "--config names neither `job` nor `docker.docker_image`",
            hint="put one of them into it, or give -u, -j or -d",
        )
    return spec


def words(command: str | None) -> tuple[str, ...]:
    """Split a command as a shell would, without running one.

    Raises:
        WrongUsage: a quote is not closed.
    """
    try:
        return tuple(shlex.split(command or ""))
    except ValueError as error:
        raise WrongUsage(
            f"--entry-point {command!r}: {error}", hint='quote it as a whole: -E "python train.py"'
        ) from error


def chosen_values(words: list[str], schemas: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Read `key=value` of --set-var, in the types of the queue's variables.

    Raises:
        WrongUsage: no `=`. What the queue does not know is left to the server to explain.
    """
    from runyard.domain.templates import parse_variables

    variables = parse_variables(schemas)
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise WrongUsage(f"--set-var {word!r} is not KEY=VALUE", hint="--set-var gpus=2")
        values[name] = variables[name].read(text) if name in variables else text
    return values
