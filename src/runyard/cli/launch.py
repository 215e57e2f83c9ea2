"""`runyard launch`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand

from runyard.cli.options import Json
from runyard.cli.tree import examples, leaf

app = leaf()
_ARGS: Final = "runyard.args"


class Priority(StrEnum):
    """How urgent, where the queue has priorities."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class LaunchCommand(TyperCommand):
    """Knows `-q` without a value, and leaves what follows `--` to the job."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[_ARGS] = args[end + 1 :]
        given: list[str] = []
        for n, word in enumerate(args[:end]):
            given.append(word)
            following = args[n + 1] if n + 1 < end else "-"
            if word in ("-q", "--queue") and following.startswith("-"):
                given.append("default")
        return super().parse_args(ctx, given)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- ARGS...]"]


def _text(*names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, show_default=False, **more)


@app.command(
    cls=LaunchCommand,
    **examples(
        'runyard launch -u . -E "python train.py" -q default --follow',
        'runyard launch -u . -E "python train.py" -q default -- --lr 0.1',
        "runyard launch -j digits:latest -q gpu -c config.yaml -P high --set-var gpus=2",
        "runyard launch -d python:3.11-slim -E \"python -c 'print(42)'\" -q docker --follow",
        "runyard launch -u https://github.com/you/code.git -g v1.2 -E 'python main.py' -q",
        "runyard launch -j digits -q gpu --dockerfile docker/Dockerfile.gpu --rebuild --follow",
        'runyard launch -u . -E "python train.py"          (here and now, without a queue)',
    ),
)
def launch(
    ctx: typer.Context,
    uri: Annotated[
        str | None,
        _text(
            "--uri",
            "-u",
            metavar="PATH",
            help="A directory or git address; a job is made of it first.",
        ),
    ] = None,
    job: Annotated[
        str | None,
        _text("--job", "-j", metavar="JOB", help="A saved job: [ENTITY/][PROJECT/]NAME[:ALIAS]."),
    ] = None,
    image: Annotated[
        str | None,
        _text(
            "--docker-image",
            "-d",
            metavar="IMAGE",
            help="An image that exists already, and that the agent can pull; it is not uploaded.",
        ),
    ] = None,
    entry_point: Annotated[
        str | None,
        _text("--entry-point", "-E", metavar="COMMAND", help="The command to run; needed with -u."),
    ] = None,
    args: Annotated[
        list[str] | None,
        _text(
            "--arg",
            "-a",
            metavar="ARG",
            help="An argument after the command. Repeatable; or all after `--`.",
        ),
    ] = None,
    queue: Annotated[
        str | None,
        _text(
            "--queue",
            "-q",
            metavar="[QUEUE]",
            help="NAME or ENTITY/NAME; alone, the queue `default`. Without this flag the job "
            "runs here and now.",
        ),
    ] = None,
    config: Annotated[
        str | None,
        _text(
            "--config",
            "-c",
            metavar="SPEC",
            help="A launch spec: a YAML or JSON file, inline JSON, or -. Flags are laid over it.",
        ),
    ] = None,
    resource_args: Annotated[
        str | None,
        _text(
            "--resource-args",
            "-R",
            metavar="SETTINGS",
            help="""Over the queue's settings: a file or JSON: '{"local-container": {…}}'.""",
        ),
    ] = None,
    resource: Annotated[
        str | None,
        _text("--resource", "-r", metavar="RESOURCE", help="Kind of compute; a queue has its own."),
    ] = None,
    name: Annotated[
        str | None,
        _text("--name", metavar="NAME", envvar="RUNYARD_NAME", help="The run's name, for people."),
    ] = None,
    entity: Annotated[
        str | None,
        _text(
            "--entity",
            "-e",
            metavar="ENTITY",
            envvar="RUNYARD_ENTITY",
            help="Whose run it is; default: yours.",
        ),
    ] = None,
    project: Annotated[
        str | None,
        _text(
            "--project",
            "-p",
            metavar="PROJECT",
            envvar="RUNYARD_PROJECT",
            help="The run's project: `default`.",
        ),
    ] = None,
    priority: Annotated[
        Priority | None, _text("--priority", "-P", help="Where the queue has priorities.")
    ] = None,
    dockerfile: Annotated[
        str | None,
        _text(
            "--dockerfile",
            "-D",
            metavar="PATH",
            help="A Dockerfile of the job's, by its path there, to build the image with.",
        ),
    ] = None,
    base_image: Annotated[
        str | None,
        _text(
            "--base-image",
            "-B",
            metavar="IMAGE",
            help="Build the job's image upon this one; if nothing is built, the code runs in it.",
        ),
    ] = None,
    accelerator_image: Annotated[
        str | None,
        _text(
            "--accelerator-image",
            metavar="IMAGE",
            help="As --base-image, but Python is installed in it first: "
            "nvidia/cuda:12.8.1-runtime-ubuntu24.04.",
        ),
    ] = None,
    rebuild: Annotated[
        bool,
        _text("--rebuild", help="Build the image even if there is one of the same content."),
    ] = False,
    build_context: Annotated[
        str | None,
        _text("--build-context", metavar="PATH", help="Directory within the code; with -u only."),
    ] = None,
    git_version: Annotated[
        str | None,
        _text(
            "--git-version",
            "-g",
            metavar="REF",
            help="Branch, tag or commit; with a git address only.",
        ),
    ] = None,
    job_name: Annotated[
        str | None,
        _text("--job-name", "-J", metavar="NAME", help="Name of the job that is made of -u."),
    ] = None,
    follow: Annotated[
        bool, _text("--follow", "-f", help="Print the live log; leave with the job's exit code.")
    ] = False,
    raw: Annotated[
        bool, _text("--raw", help="With --follow: bytes as they are, control characters too.")
    ] = False,
    no_wait: Annotated[
        bool, _text("--async", help="Without a queue: do not wait for the end.")
    ] = False,
    dry_run: Annotated[
        bool, _text("--dry-run", help="Print what would run, everything resolved; store nothing.")
    ] = False,
    as_json: Json = False,
    set_var: Annotated[
        list[str] | None,
        _text(
            "--set-var",
            "-v",
            metavar="KEY=VALUE",
            help="A value for the queue's template, within its bounds. Repeatable.",
        ),
    ] = None,
    policy: Annotated[
        str | None,
        _text(
            "--policy",
            metavar="RULES",
            help="""Narrow the queue's rules for this item: '{"run_timeout": 3600}'.""",
        ),
    ] = None,
    hold: Annotated[
        bool, _text("--hold", help="Do not start it before somebody releases it.")
    ] = False,
    build: Annotated[bool, _text("--build", "-b", hidden=True, help="")] = False,
    repository: Annotated[str | None, _text("--repository", "-rg", hidden=True, help="")] = None,
    project_queue: Annotated[
        str | None, _text("--project-queue", "-pq", hidden=True, help="")
    ] = None,
) -> None:
    """Submit a job to a queue, or run it here and now.

    What to run is exactly one of -u, -j, -d, or the job or image of -c. With --follow the exit
    code is the job's own; 130 if it was stopped, 1 if it ended without one.
    """
    from runyard.cli.launch_flags import Flags
    from runyard.cli.launching import run

    flags = Flags(
        uri=uri,
        job=job,
        image=image,
        entry_point=entry_point,
        args=[*(args or []), *ctx.meta.get(_ARGS, [])],
        queue=queue,
        config=config,
        resource_args=resource_args,
        resource=resource,
        name=name,
        entity=entity,
        project=project,
        priority=priority.value if priority else None,
        dockerfile=dockerfile,
        base_image=base_image,
        accelerator_image=accelerator_image,
        rebuild=rebuild,
        build_context=build_context,
        git_version=git_version,
        job_name=job_name,
        follow=follow,
        raw=raw,
        no_wait=no_wait,
        dry_run=dry_run,
        as_json=as_json,
        set_var=set_var or [],
        policy=policy,
        hold=hold,
        build=build or bool(repository),
        project_queue=project_queue,
    )
    raise typer.Exit(run(flags))
