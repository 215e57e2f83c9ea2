"""
The launch spec: what a submission asks for, read strictly, and merged with its queue.

The keys are the peer's, so that a file written for it can be used here. A misspelt key is an
error with the nearest name, never silence. `resolve` makes the spec that the item carries:
everything decided, nothing left to look up but the agent's own macros.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from runyard.domain import building
from runyard.domain.building import BuildOptions
from runyard.domain.errors import Invalid, Violation
from runyard.domain.jobs import JobVersion, Source, SourceKind
from runyard.domain.queues import Queue, Resource
from runyard.domain.templates import chosen, fill, parse_variables

KEYS: Final = (
    "entity", "project", "job", "docker", "name", "run_id", "author", "resource",
    "resource_args", "overrides", "git", "builder", "queue", "queue_entity", "priority",
    "additional_services", "python_version", "sweep_id", "template_variables", "policy", "hold",
    "uri", "rebuild",
)  # fmt: skip
OVERRIDES: Final = (
    "args", "run_config", "entry_point", "entrypoint", "artifacts", "files", "dockerfile",
    "working_dir",
)  # fmt: skip
MAX_SPEC_BYTES: Final = 1 << 20
SCHEDULER_URI: Final = "placeholder-uri-scheduler"  # the item drives a sweep; it may have no job
_SCHEDULER: Final = ("wandb", "scheduler")  # all that such an item may run then


@dataclass(frozen=True, slots=True)
class Overrides:
    """What a submission changes of its job. `entry_point` None keeps the job's own."""

    args: tuple[str, ...] = ()
    run_config: Mapping[str, Any] = field(default_factory=dict)
    entry_point: tuple[str, ...] | None = None
    artifacts: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Any] = field(default_factory=dict)
    dockerfile: str = ""
    working_dir: str = ""


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """A submission as read; exactly one of `job` and `image` is set, or none by a `scheduler`."""

    entity: str | None = None
    project: str | None = None
    job: str | None = None
    image: str | None = None
    name: str | None = None
    run_id: str | None = None
    resource: Resource | None = None
    resource_args: Mapping[str, Any] = field(default_factory=dict)
    overrides: Overrides = field(default_factory=Overrides)
    template_variables: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    priority: str | int | None = None
    author: str | None = None
    sweep_id: str | None = None
    hold: bool = False
    scheduler: bool = False
    builder: BuildOptions = field(default_factory=BuildOptions)
    rebuild: bool = False

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> LaunchSpec:
        """Read a spec, all mistakes at once.

        Raises:
            Invalid: with a violation per mistake.
        """
        wrong = _unknown(data, KEYS, "")
        for key in ("entity", "project", "job", "name", "run_id", "resource", "sweep_id", "author"):
            if not isinstance(data.get(key), str | None):
                wrong.append(Violation(key, "is a string"))
        docker = data.get("docker") or {}
        image = docker.get("docker_image") if isinstance(docker, Mapping) else None
        scheduler = data.get("uri") == SCHEDULER_URI
        if data.get("uri") and not scheduler:
            wrong.append(Violation("uri", "is for schedulers of sweeps; name a job or an image"))
        alone = scheduler and not data.get("job") and not image
        if bool(data.get("job")) == bool(image) and not alone:
            wrong.append(Violation("job", "give exactly one of `job` and `docker.docker_image`"))
        for key in _NOT_YET:
            if data.get(key):
                wrong.append(Violation(key, _NOT_YET[key]))
        args = data.get("resource_args") or {}
        if not isinstance(args, Mapping) or not all(isinstance(v, Mapping) for v in args.values()):
            wrong.append(
                Violation(
                    "resource_args", 'maps a resource to its settings: {"local-container": {…}}'
                )
            )
            args = {}
        for key in ("template_variables", "policy"):
            if not isinstance(data.get(key), Mapping | None):
                wrong.append(Violation(key, "is a mapping"))
        for key in ("hold", "rebuild"):
            if not isinstance(data.get(key), bool | None):
                wrong.append(Violation(key, "is true or false"))
        builder = BuildOptions()
        try:
            builder = building.parse_options(data.get("builder") or {}, of_queue=False)
        except Invalid as error:
            wrong += error.violations
        overrides = _overrides(data.get("overrides") or {}, wrong)
        if alone and (overrides.entry_point or ())[:2] != _SCHEDULER:
            told = f"begins with {' '.join(_SCHEDULER)!r} where there is no job"
            wrong.append(Violation("overrides.entry_point", told))
        if wrong:
            raise Invalid("the launch spec is not valid", violations=wrong)
        resource = data.get("resource")
        return cls(
            entity=data.get("entity"),
            project=data.get("project"),
            job=data.get("job"),
            image=image,
            name=data.get("name"),
            run_id=data.get("run_id"),
            resource=Resource.named(resource) if resource else None,
            resource_args=args,
            overrides=overrides,
            template_variables=data.get("template_variables") or {},
            policy=data.get("policy") or {},
            priority=data.get("priority"),
            author=data.get("author"),
            hold=bool(data.get("hold")),
            scheduler=scheduler,
            sweep_id=data.get("sweep_id"),
            builder=builder,
            rebuild=bool(data.get("rebuild")),
        )


_COMMAND: Final = Source(SourceKind.COMMAND)
_NOT_YET: Final = {
    "additional_services": "needs a kubernetes queue",
}


def resolve(
    spec: LaunchSpec,
    queue: Queue,
    job: JobVersion | None,
    *,
    entity: str,
    project: str,
    run_name: str,
    author: str,
    config: Settled,
) -> dict[str, Any]:
    """Return what the item carries: job pinned, queue and submission merged, defaults filled.

    Raises:
        Invalid: the parts do not fit together.
    """
    if spec.resource is not None and spec.resource is not queue.resource:
        raise Invalid(
            f"resource: {spec.resource} was asked for; queue {queue.name} runs {queue.resource}",
            hint=f"leave --resource out, or choose a {spec.resource} queue: runyard queue list",
        )
    bare = Source(SourceKind.IMAGE, image=spec.image) if spec.image else _COMMAND
    source = job.source if job else bare
    if queue.resource is Resource.LOCAL_PROCESS and source.kind is SourceKind.IMAGE:
        raise Invalid(
            "a local-process queue runs code, not images",
            hint="choose a local-container queue, or submit code: runyard launch -u PATH",
        )
    over = spec.overrides
    resolved: dict[str, Any] = {
        "entity": entity,
        "project": project,
        "run_id": run_name,
        "name": spec.name,
        "author": author,
        "queue": queue.name,
        "queue_entity": queue.entity,
        "resource": queue.resource.value,
        "resource_args": {queue.resource.value: config.filled},
        "job": job.path if job else None,
        "source": source.to_json(),
        "overrides": {
            "args": list(over.args),
            "run_config": dict(over.run_config),
            "entry_point": None if over.entry_point is None else list(over.entry_point),
            "artifacts": dict(over.artifacts),
            "files": dict(over.files),
            "dockerfile": over.dockerfile,
            "working_dir": over.working_dir,
        },
        "sweep_id": spec.sweep_id,
    }
    if spec.scheduler:
        resolved["uri"] = SCHEDULER_URI
    if config.builder:
        resolved["builder"] = dict(config.builder)
    if spec.rebuild:
        resolved["rebuild"] = True
    if config.template is not None:
        resolved["template"] = config.template
    if config.laid_over:
        resolved["laid_over"] = dict(config.laid_over)
    if config.changed:
        resolved["changed"] = list(config.changed)
    return resolved


@dataclass(frozen=True, slots=True)
class Settled:
    """
    The resource's configuration as it will be. With a template: what it was filled from, so that
    the agent can fill it again. What the submission laid over it, and which keys became other
    than the queue's. `builder` is what the submission says of building, apart from the queue's.
    """

    filled: dict[str, Any]
    template: dict[str, Any] | None = None
    laid_over: Mapping[str, Any] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    builder: Mapping[str, Any] = field(default_factory=dict)


def settle(spec: LaunchSpec, queue: Queue, *, may_change: bool) -> Settled:
    """Fill the queue's configuration and lay the submission's own settings over it.

    `may_change`: whether the submitter may change the settings of a locked queue.

    Raises:
        Invalid: with every violation: values out of bounds, settings that are not to be changed.
    """
    wrong: list[Violation] = []
    given: dict[str, Any] = {}
    if queue.is_locked and not may_change and spec.builder != BuildOptions():
        wrong.append(Violation(building.KEY, _locked(queue)))
    for name, settings in spec.resource_args.items():
        if not _is_resource(name, queue.resource):
            told = f"does not apply to a {queue.resource} queue"
            wrong.append(Violation(f"resource_args.{name}", told))
        elif queue.is_locked and not may_change:
            wrong += [Violation(f"resource_args.{name}.{key}", _locked(queue)) for key in settings]
        else:
            given = merge(given, settings)
    values: Mapping[str, Any] = {}
    if queue.variables or spec.template_variables:
        try:
            values = chosen(queue.variables, spec.template_variables)
        except Invalid as error:
            wrong += error.violations
    builder = spec.builder
    try:
        # The peer's place for it. Laid over the queue's option by option, not key by key.
        path = f"resource_args.{queue.resource}.{building.KEY}"
        beside = building.parse_options(
            given.pop(building.KEY, None) or {}, path=path, of_queue=False
        )
        builder = builder.over(beside)
    except Invalid as error:
        wrong += error.violations
    if wrong:
        raise Invalid("the submission does not fit its queue", violations=wrong)
    template = None
    own: Mapping[str, Any] = queue.config
    if queue.variables:
        template = {
            "config": queue.config,
            "variables": {name: variable.to_json() for name, variable in queue.variables.items()},
            "values": values,
        }
        own = fill(queue.config, values)
    merged = merge(own, given)
    changed = tuple(key for key in given if key not in own or merged[key] != own[key])
    return Settled(merged, template, given, changed, builder.to_json())


def check_template_of(spec: Mapping[str, Any]) -> None:
    """Pass if an item's configuration is what its template makes of its values (T9).

    What the server did at submission is done again, on the side that runs it.

    Raises:
        Invalid: a value out of bounds, or a configuration that came about in another way.
    """
    template = spec.get("template")
    if template is None:
        return
    values = chosen(parse_variables(template["variables"]), template["values"])
    expected = merge(fill(template["config"], values), spec.get("laid_over") or {})
    if expected != spec["resource_args"][spec["resource"]]:
        raise Invalid("the item's configuration is not what its queue's template makes")


def _is_resource(name: str, resource: Resource) -> bool:
    try:
        return Resource.named(name) is resource
    except Invalid:
        return False


def _locked(queue: Queue) -> str:
    if not queue.variables:
        return f"the settings of queue {queue.name} can be changed by its admins only"
    return f"queue {queue.name} lets you set {', '.join(queue.variables)}, by --set-var"


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `change` over `base`: mappings are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in change.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _overrides(data: Any, wrong: list[Violation]) -> Overrides:
    if not data:
        return Overrides()
    if not isinstance(data, Mapping):
        wrong.append(Violation("overrides", "is a mapping"))
        return Overrides()
    wrong += _unknown(data, OVERRIDES, "overrides.")
    # Both spellings are in the peer's documents; one of them its agent ignores.
    entry = data.get("entry_point", data.get("entrypoint"))
    for key, value in (("args", data.get("args", [])), ("entry_point", entry or [])):
        if not _is_words(value):
            wrong.append(Violation(f"overrides.{key}", f"is a list of strings, not {value!r}"))
            return Overrides()
    for key in ("run_config", "artifacts", "files"):
        if not isinstance(data.get(key, {}), Mapping):
            wrong.append(Violation(f"overrides.{key}", "is a mapping"))
            return Overrides()
    for key in ("dockerfile", "working_dir"):
        path = data.get(key, "")
        if not isinstance(path, str) or path.startswith("/") or ".." in path.split("/"):
            wrong.append(Violation(f"overrides.{key}", "is a path inside the job's directory"))
    return Overrides(
        args=tuple(data.get("args", ())),
        run_config=data.get("run_config", {}),
        entry_point=tuple(entry) if entry else None,
        artifacts=data.get("artifacts", {}),
        files=data.get("files", {}),
        dockerfile=data.get("dockerfile", ""),
        working_dir=data.get("working_dir", ""),
    )


def _is_words(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(word, str) and "\0" not in word for word in value)
    )


def _unknown(data: Mapping[str, Any], known: Sequence[str], prefix: str) -> list[Violation]:
    # A leading underscore marks what the peer's own agent writes: carried, never read.
    return [
        Violation(f"{prefix}{key}", "unknown key" + _nearest(key, known))
        for key in data
        if key not in known and not key.startswith("_")
    ]


def _nearest(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
