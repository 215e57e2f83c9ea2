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

from runyard.domain.errors import Invalid, Violation
from runyard.domain.jobs import JobVersion, Source, SourceKind
from runyard.domain.queues import Queue, Resource

KEYS: Final = (
    "entity", "project", "job", "docker", "name", "run_id", "author", "resource",
    "resource_args", "overrides", "git", "builder", "queue", "queue_entity", "priority",
    "additional_services", "python_version", "sweep_id", "template_variables",
)  # fmt: skip
OVERRIDES: Final = (
    "args", "run_config", "entry_point", "entrypoint", "artifacts", "files", "dockerfile",
    "working_dir",
)  # fmt: skip
MAX_SPEC_BYTES: Final = 1 << 20


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
    """A submission as read; exactly one of `job` and `image` is set."""

    entity: str | None = None
    project: str | None = None
    job: str | None = None
    image: str | None = None
    name: str | None = None
    run_id: str | None = None
    resource: Resource | None = None
    resource_args: Mapping[str, Any] = field(default_factory=dict)
    overrides: Overrides = field(default_factory=Overrides)
    priority: str | int | None = None
    sweep_id: str | None = None

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> LaunchSpec:
        """Read a spec, all mistakes at once.

        Raises:
            Invalid: with a violation per mistake.
        """
        wrong = _unknown(data, KEYS, "")
        for key in ("entity", "project", "job", "name", "run_id", "resource", "sweep_id"):
            if not isinstance(data.get(key), str | None):
                wrong.append(Violation(key, "is a string"))
        docker = data.get("docker") or {}
        image = docker.get("docker_image") if isinstance(docker, Mapping) else None
        if bool(data.get("job")) == bool(image):
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
        overrides = _overrides(data.get("overrides") or {}, wrong)
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
            priority=data.get("priority"),
            sweep_id=data.get("sweep_id"),
        )


_NOT_YET: Final = {
    "template_variables": "this server has no queue templates yet",
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
    foreign = [name for name in spec.resource_args if Resource.named(name) is not queue.resource]
    if foreign:
        raise Invalid(f"resource_args: {foreign[0]} does not apply to a {queue.resource} queue")
    source = job.source if job else Source(SourceKind.IMAGE, image=spec.image or "")
    if queue.resource is Resource.LOCAL_PROCESS and source.kind is SourceKind.IMAGE:
        raise Invalid(
            "a local-process queue runs code, not images",
            hint="choose a local-container queue, or submit code: runyard launch -u PATH",
        )
    given: Mapping[str, Any] = next(iter(spec.resource_args.values()), {})
    over = spec.overrides
    return {
        "entity": entity,
        "project": project,
        "run_id": run_name,
        "name": spec.name,
        "author": author,
        "queue": queue.name,
        "queue_entity": queue.entity,
        "resource": queue.resource.value,
        "resource_args": {queue.resource.value: merge(queue.config, given)},
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
