"""
What `runyard launch` does: check the flags, make the job, submit, follow.

Nothing is sent before the flags are known to fit together.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from runyard.cli.documents import mapping
from runyard.cli.edge import WrongUsage
from runyard.cli.output import print_json, print_model, say
from runyard.domain.queues import DEFAULT_QUEUE

if TYPE_CHECKING:
    from runyard.client.api import Api
    from runyard.client.making import Draft, Recipe
    from runyard.wire.rest import SubmittedItem


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
    build_context: str | None
    git_version: str | None
    job_name: str | None
    follow: bool
    raw: bool
    no_wait: bool
    dry_run: bool
    as_json: bool
    set_var: list[str]
    build: bool
    project_queue: str | None


def run(flags: Flags) -> int:
    """Launch, and return the exit code of the command.

    Raises:
        WrongUsage: the flags do not fit together. RunyardError: what the server says.
    """
    check(flags)
    spec = spec_of(flags)
    if flags.project_queue:
        say("note: --project-queue does nothing: queues belong to a user or team")
    if flags.queue is None:
        from runyard.cli import direct

        return direct.run_here(flags, spec)
    from runyard.cli.session import connect, split_queue

    with connect() as api:
        entity, queue = split_queue(api, flags.queue, spec.get("queue_entity") or flags.entity)
        if flags.uri and flags.dry_run:
            return planned(flags, spec)
        if flags.uri:
            if queue != DEFAULT_QUEUE:  # which is made by the first submission
                api.queue(entity, queue)  # before anything is uploaded for it
            spec["job"] = make_job(api, flags, spec, entity)
        answer = api.submit(entity, queue, [spec], dry_run=flags.dry_run)
        item = answer.items[0]
        if flags.dry_run:
            print_json(item.spec)
            return 0
        return after(api, item, flags, where=f"{entity}/{queue}")


def after(api: Api, item: SubmittedItem, flags: Flags, *, where: str) -> int:
    """Tell what was submitted, and stay with it if that is wanted."""
    run = item.run
    path = f"{run.entity}/{run.project}/{run.run_id}"
    if not flags.follow:
        if flags.as_json:
            print_model(item)
        else:
            say(f"Queued {item.id} in {where} as run {path}")
            say(f"Follow it: runyard logs -f {path}")
        return 0
    from runyard.cli.following import follow

    say(f"Queued {item.id} in {where} as run {path}")
    return follow(api, run, raw=flags.raw, as_json=flags.as_json)


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


_OF_URI: Final = ("build_context", "job_name", "git_version", "base_image")
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
        lambda f: bool(f.set_var),
        "--set-var: queue templates are not in this version",
        """values for the run itself: -c '{"overrides": {"run_config": {"lr": 0.1}}}'""",
    ),
    (
        lambda f: f.build,
        "--build and --repository: images are not built here",
        "build and push the image yourself, then: runyard launch -d IMAGE",
    ),
    (
        lambda f: bool(f.base_image and f.image),
        "--base-image does not go with --docker-image, which is run as it is",
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


def make_job(api: Api, flags: Flags, spec: dict[str, Any], owner: str) -> str:
    """Make a version of what --uri names; return its path with the version's number.

    It goes where the run goes: the entity of the spec, else `owner`.
    """
    from runyard.cli.progress import Bar
    from runyard.client import making

    entity = spec.get("entity") or owner
    project = spec.get("project") or "default"
    with Bar() as bar, making.drafted(_recipe(flags), environ=os.environ, progress=bar) as draft:
        _notes(draft)
        version = making.save(api, entity, project, draft, bar)
    say(f"{'Saved' if version.created else 'Unchanged'} job {version.path}")
    return version.path


def _recipe(flags: Flags) -> Recipe:
    from runyard.client import making

    assert flags.uri is not None
    return making.Recipe(
        kind=making.kind_of(flags.uri),
        path=flags.uri,
        name=flags.job_name,
        entry_point=words(flags.entry_point),
        ref=flags.git_version,
        build_context=flags.build_context,
        base_image=flags.base_image,
    )


def planned(flags: Flags, spec: dict[str, Any]) -> int:
    """Show what would be made and sent; the server is not asked, since it lacks the job."""
    from runyard.client import making

    with making.drafted(_recipe(flags), environ=os.environ) as draft:
        _notes(draft)
        job = {
            "name": draft.name,
            "source": draft.source.to_json(),
            "upload_bytes": sum(upload.size for upload in draft.uploads),
        }
    print_json({"job": job, "spec": spec})
    say("note: the queue's part is filled in when the job is saved; nothing was sent")
    return 0


def _notes(draft: Draft) -> None:
    for note in draft.notes:
        say(f"note: {note}")
