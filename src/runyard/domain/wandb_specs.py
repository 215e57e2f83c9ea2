"""
Launch specs and queue configurations as the tracking client writes them, and as we do.

The client's spec is read leniently: it grew over years, and each version leaves keys in it that
mean nothing here. What is left is read strictly by `specs`, as everybody's. On the way back
(`told`), the spec of an item is written so that the client's own agent can run it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from runyard.domain import building
from runyard.domain.errors import Invalid, TooMuch, Violation
from runyard.domain.jobs import SourceKind
from runyard.domain.queues import Resource
from runyard.domain.run_configs import read_object
from runyard.domain.specs import KEYS, MAX_SPEC_BYTES, OVERRIDES, SCHEDULER_URI
from runyard.domain.templates import Variable

RUN_KEY: Final = "_wandb_api_key"  # the credential of the job itself, in place of its agent's
RESUMES: Final = "_resume_count"  # how often an item was given back after a preemption
PRIORITIES_ON: Final = "V0"
PRIORITIES_OFF: Final = "DISABLED"

_LONGEST: Final = 2 * MAX_SPEC_BYTES  # of a text, whatever is in it
# What the client means for itself: where it sends the spec, and what it says beside it.
_NOT_OURS: Final = frozenset({"queue", "queue_entity", "git", "python_version"})
_OURS: Final = tuple(key for key in KEYS if key not in _NOT_OURS)
_UNSAID: Final[tuple[Any, ...]] = (None, "", {}, [])
# Reserved in our configurations; not for the resource, and unknown to other agents.
_OUR_CONFIG: Final = ("secrets", building.KEY)
_OUR_BUILDER: Final = ("secrets", "type")


def read_json(text: str, what: str) -> dict[str, Any]:
    """Read a mapping that the client wrote into a string.

    Raises:
        Invalid: it is none, nested too deeply, or has numbers that are none. TooMuch: too long.
    """
    if len(text) > _LONGEST:
        raise TooMuch(f"{what} has over {_LONGEST >> 20} MiB")
    value = read_object(text, what)
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise Invalid(f"{what}: NaN and Infinity are no numbers of JSON") from None
    return value


@dataclass(frozen=True, slots=True)
class Pushed:
    """A spec in our words. `resumes` counts how often its run was preempted; 0 is a new one."""

    spec: dict[str, Any]
    resumes: int = 0


def read(
    data: Any, *, values: Mapping[str, Any] | None = None, priority: int | None = None
) -> Pushed:
    """Translate a spec that the client pushes. `values` are those of the queue's variables.

    Raises:
        Invalid: it is no mapping. What is wrong within is found when the result is parsed.
    """
    if not isinstance(data, Mapping):
        raise Invalid("runSpec: is not a JSON object")
    spec = {key: data[key] for key in _OURS if data.get(key) not in _UNSAID}
    if spec.get("uri") == SCHEDULER_URI:
        spec.pop("resource", None)  # the client's guess: it runs where its queue says
    else:
        spec.pop("uri", None)
    docker = spec.pop("docker", None)
    image = docker.get("docker_image") if isinstance(docker, Mapping) else None
    image = image or data.get("image_uri")
    if image:
        spec["docker"] = {"docker_image": image}
    if "overrides" in spec:
        spec["overrides"] = _overrides(spec["overrides"])
    if priority is not None:
        spec["priority"] = priority
    if values:
        given = spec.get("template_variables")
        spec["template_variables"] = {**(given if isinstance(given, Mapping) else {}), **values}
    resumes = data.get(RESUMES, 0)
    if not isinstance(resumes, int) or isinstance(resumes, bool) or resumes < 0:
        raise Invalid(f"runSpec.{RESUMES}: is a number, not {resumes!r}")
    return Pushed(spec, resumes)


def _overrides(data: Any) -> Any:
    if not isinstance(data, Mapping):
        return data  # for the strict reader to refuse
    read = {key: data[key] for key in OVERRIDES if data.get(key) is not None}
    for key in ("args", "entry_point", "entrypoint"):
        words = read.get(key)
        if isinstance(words, list):  # the client's runners write each as text
            read[key] = [_word(word) for word in words]
    return read


def _word(word: Any) -> Any:
    return str(word) if isinstance(word, int | float) else word


def told(spec: Mapping[str, Any], *, requeues: int = 0, run_key: str = "") -> dict[str, Any]:
    """Return an item's spec as the client's own agent reads it, and as pushing answers.

    It says how often the item was requeued, so that the program resumes its run.
    """
    over, resource = spec["overrides"], spec["resource"]
    settings = spec["resource_args"][resource]
    if spec["source"].get("kind") == SourceKind.COMMAND:  # the client's agent runs it by itself
        resource, settings = Resource.LOCAL_PROCESS.value, {}
    config = {key: value for key, value in settings.items() if key not in _OUR_CONFIG}
    if builder := _builder(settings.get(building.KEY) or {}, spec.get(building.KEY) or {}):
        config[building.KEY] = builder
    image = spec["source"].get("image") if spec["job"] is None else None
    found: dict[str, Any] = {
        "entity": spec["entity"],
        "project": spec["project"],
        "job": spec["job"],
        "docker": {"docker_image": image} if image else {},
        "git": {},
        "name": spec["name"],
        "run_id": spec["run_id"],
        "author": spec["author"],
        "queue_entity": spec["queue_entity"],
        "resource": resource,
        "resource_args": {resource: config},
        "overrides": {key: value for key, value in over.items() if value or key in _ALWAYS},
    }
    if spec.get("sweep_id"):
        found["sweep_id"] = spec["sweep_id"]
    for key in ("uri", "rebuild"):
        if spec.get(key):
            found[key] = spec[key]
    if requeues:
        found[RESUMES] = requeues
    if run_key:
        found[RUN_KEY] = run_key
    return found


def _builder(queues: Any, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return what both say of building, in the one place where the client's agent looks for it."""
    hidden = {*_OUR_BUILDER, *(building.BASES if any(key in own for key in building.BASES) else ())}
    kept = queues if isinstance(queues, Mapping) else {}
    return {**{key: value for key, value in kept.items() if key not in hidden}, **own}


_ALWAYS: Final = ("args", "run_config")


# -- queues --------------------------------------------------------------------------------


def config_of(data: Any, resource: Resource) -> dict[str, Any]:
    """Return the configuration in `{"resource_args": {"<resource>": {…}}}`.

    Raises:
        Invalid: it is written in another way, or for another resource.
    """
    shape = f'config: is {{"resource_args": {{"{resource}": {{…}}}}}}'
    if not isinstance(data, Mapping):
        raise Invalid(shape)
    args = data.get("resource_args")
    if args is None and not data:
        return {}
    if not isinstance(args, Mapping):
        raise Invalid(shape)
    for name in args:
        if Resource.named(name) is not resource:
            raise Invalid(f"config: is for {name}, and the queue runs {resource}")
    found = next(iter(args.values()), None) or {}
    if not isinstance(found, Mapping):
        raise Invalid(shape)
    return dict(found)


def config_told(resource: Resource, config: Mapping[str, Any]) -> dict[str, Any]:
    return {"resource_args": {resource.value: dict(config)}}


def variables_of(data: Any) -> dict[str, Any]:
    """Return the variables in `{"<name>": {"schema": {…}, "description": …}}`, for us to parse.

    Raises:
        Invalid: with a violation for each that is written in another way.
    """
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise Invalid("templateVariables: maps names to their schemas")
    wrong, found = [], {}
    for name, said in data.items():
        schema = said.get("schema") if isinstance(said, Mapping) else None
        if not isinstance(schema, Mapping):
            wrong.append(Violation(f"templateVariables.{name}", 'is {"schema": {"type": …}}'))
            continue
        found[name] = dict(schema)
        if said.get("description") and "description" not in schema:
            found[name]["description"] = said["description"]
    if wrong:
        raise Invalid("the queue's variables are not valid", violations=wrong)
    return found


def variables_told(variables: Mapping[str, Variable]) -> list[dict[str, Any]]:
    """Return the variables with their schemas as compact JSON texts."""
    return [
        {
            "name": name,
            "description": variable.description or None,
            "schema": json.dumps(variable.to_json(), separators=(",", ":")),
        }
        for name, variable in variables.items()
    ]


def links_of(data: Any) -> Any:
    """Return the links in `{"links": [{"label": …, "url": …}]}`, for us to parse."""
    if isinstance(data, Mapping) and set(data) <= {"links"}:
        return data.get("links") or []
    return data or []


def has_priorities(mode: str | None) -> bool:
    return mode == PRIORITIES_ON


def mode_told(*, priorities: bool) -> str:
    return PRIORITIES_ON if priorities else PRIORITIES_OFF
