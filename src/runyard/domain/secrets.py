"""
Secrets by reference: which variable of a job's program gets which secret, never with its value.

A queue's configuration has the reserved key `secrets`, a job's source a field of that name. Both
map variables to names in the server's store; a queue may also name a variable of the agent's
environment, or a key of a Kubernetes secret. An item carries the references, merged; what they
stand for is looked up when the item is claimed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from runyard.domain.errors import Invalid, Rejected, Violation

KEY: Final = "secrets"  # reserved in every queue's configuration
BUILD_KEY: Final = "build_secrets"  # of an item: what its queue lends to the build of its image
BUILD: Final = "build:"  # before the id of such a secret, where it stands beside variables
MAX_BYTES: Final = 64 << 10  # of one value
MAX_REFS: Final = 64  # in one configuration or job
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_MOUNT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KUBERNETES: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
# What Runyard itself says to a program, and what decides which program runs or how it is loaded.
_PREFIXES: Final = ("WANDB_", "RUNYARD_", "LD_", "DYLD_", "PYTHON")
_RESERVED: Final = frozenset({
    "PATH", "HOME", "SHELL", "IFS", "ENV", "BASH_ENV", "PWD", "CUDA_VISIBLE_DEVICES",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stored:
    """A secret of the server's store; `by_job` if a job asked for it, not its queue."""

    name: str
    entity: str = ""
    by_job: bool = False

    def to_json(self) -> dict[str, Any]:
        said: dict[str, Any] = {"entity": self.entity, "name": self.name}
        return {**said, "by_job": True} if self.by_job else said


@dataclass(frozen=True, slots=True)
class AgentEnv:
    """A variable of the agent's own environment, which its settings have to allow."""

    variable: str

    def to_json(self) -> dict[str, Any]:
        return {"agent_env": self.variable}


@dataclass(frozen=True, slots=True)
class KubernetesKey:
    """A key of a Kubernetes secret in the namespace that the job runs in."""

    name: str
    key: str

    def to_json(self) -> dict[str, Any]:
        return {"kubernetes": {"name": self.name, "key": self.key}}


Ref = Stored | AgentEnv | KubernetesKey
Refs = Mapping[str, Ref]


def check_name(name: str) -> str:
    """Return `name` if it can name a secret.

    Raises:
        Invalid: not 1 to 128 letters, digits, `-`, `_` or `.`, beginning with letter or digit.
    """
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"secret name {name!r}: 1 to 128 letters, digits, '-', '_' or '.', "
            "beginning with a letter or digit"
        )
    return name


def check_value(value: str) -> str:
    """Return `value` if it can be kept and handed to a program. It is never quoted.

    Raises:
        Invalid: it is empty, too long, or has a NUL.
    """
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise Invalid("value: is not text; encode it, with base64 for instance") from None
    if not 0 < size <= MAX_BYTES:
        raise Invalid(f"value: has {size:,} bytes; 1 to {MAX_BYTES:,} are allowed")
    if "\0" in value:
        raise Invalid("value: has a NUL, which no variable can hold; encode it, say with base64")
    return value


def parse_refs(given: Any, *, path: str = KEY, kubernetes: bool = False) -> Refs:
    """Read the references of a queue. `kubernetes`: whether its resource is that.

    Raises:
        Invalid: with a violation per mistake.
    """
    refs, wrong = _parsed(given, path, lambda value: _ref(value, kubernetes=kubernetes))
    if wrong:
        raise Invalid("the references to secrets are not valid", violations=wrong)
    return refs


def parse_build_refs(given: Any, *, path: str, kubernetes: bool = False) -> Refs:
    """Read the secrets of a queue's builds: the ids that a step mounts them by, with references.

    Raises:
        Invalid: with a violation per mistake.
    """
    refs, wrong = _parsed(
        given, path, lambda value: _ref(value, kubernetes=kubernetes), fault=_mount_fault
    )
    if wrong:
        raise Invalid("the references to secrets are not valid", violations=wrong)
    return refs


def job_ref_faults(given: Any, *, path: str = "source.secrets") -> list[Violation]:
    """Return what is wrong with a job's references: variables to names in the store."""
    return _parsed(given, path, _stored)[1]


def split(config: Mapping[str, Any], *, kubernetes: bool = False) -> tuple[Refs, dict[str, Any]]:
    """Return a queue's references, and its configuration without them.

    Raises:
        Invalid: as `parse_refs`.
    """
    rest = {key: value for key, value in config.items() if key != KEY}
    return parse_refs(config.get(KEY, {}), kubernetes=kubernetes), rest


def submission_faults(resource_args: Mapping[str, Any]) -> list[Violation]:
    """Return a violation for each place where a submission would change a queue's secrets (T14).

    Any spelling of the key counts, as with the options of a resource.
    """
    return [
        Violation(
            f"resource_args.{resource}.{key}",
            "only a queue's own configuration, or a job's `secrets`, can name secrets",
        )
        for resource, args in resource_args.items()
        if isinstance(args, Mapping)
        for key in args
        if isinstance(key, str) and key.strip().lstrip("-").lower().rstrip("_") == KEY
    ]


def merged(
    queue: Refs, job: Mapping[str, str], *, queue_entity: str, run_entity: str
) -> dict[str, dict[str, Any]]:
    """Return what an item carries: each variable with its reference, ready for JSON.

    A queue's secrets are of the queue's owner, a job's of the entity that the run belongs to:
    there the submitter was found to be allowed to submit. The queue has the last word.
    """
    asked: dict[str, Ref] = {
        variable: Stored(name, run_entity, by_job=True) for variable, name in job.items()
    }
    for variable, ref in queue.items():
        asked[variable] = Stored(ref.name, queue_entity) if isinstance(ref, Stored) else ref
    return {variable: ref.to_json() for variable, ref in asked.items()}


def for_builds(queue: Refs, *, queue_entity: str) -> dict[str, dict[str, Any]]:
    """Return what an item carries of its queue's build secrets, by their ids, ready for JSON."""
    return {
        name: (Stored(ref.name, queue_entity) if isinstance(ref, Stored) else ref).to_json()
        for name, ref in queue.items()
    }


def of_spec(spec: Mapping[str, Any]) -> dict[str, Ref]:
    """Return the references that an item carries."""
    return {variable: _carried(ref) for variable, ref in (spec.get(KEY) or {}).items()}


def of_build(spec: Mapping[str, Any]) -> dict[str, Ref]:
    """Return the references of an item's build, by `build:<id>`: no variable is named so."""
    return {BUILD + name: _carried(ref) for name, ref in (spec.get(BUILD_KEY) or {}).items()}


def resolved(
    refs: Refs,
    given: Mapping[str, str] | None,
    environment: Mapping[str, str],
    allowed: Collection[str],
) -> dict[str, str]:
    """Return variables and values on an agent. `given` came with the claim, None before it.

    Raises:
        Rejected: the agent may not, or cannot, provide one of them.
    """
    values, wrong = {}, []
    for variable, ref in refs.items():
        path = f"{KEY}.{variable}"
        match ref:
            case AgentEnv(name) if name not in allowed:
                wrong.append(Violation(
                    path,
                    f"{name} may not be taken from the agent's environment; its settings allow: "
                    f"{', '.join(sorted(allowed)) or 'none'} (env_passthrough)",
                ))  # fmt: skip
            case AgentEnv(name) if name not in environment:
                wrong.append(Violation(path, f"the agent's environment has no {name}"))
            case AgentEnv(name):
                values[variable] = environment[name]
            case Stored(name) if given is not None and variable not in given:
                wrong.append(Violation(path, f"the server did not hand out the secret {name!r}"))
            case Stored() if given is not None:
                values[variable] = given[variable]
            case KubernetesKey():
                wrong.append(Violation(path, "a Kubernetes secret needs a kubernetes queue"))
    if wrong:
        raise Rejected("; ".join(map(str, wrong)), violations=wrong)
    return values


def _variable_fault(name: Any) -> str:
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        return "is no variable name: letters, digits and _ only, 128 at most"
    if name.upper() in _RESERVED or name.upper().startswith(_PREFIXES):
        return "may not be set by a secret: Runyard, or the program's loader, decides it"
    return ""


def _mount_fault(name: Any) -> str:
    if not isinstance(name, str) or not _MOUNT.fullmatch(name):
        return "is no id of a mount: letters, digits, '-', '_' and '.', 64 at most"
    return ""


def _parsed(
    given: Any,
    path: str,
    read: Callable[[Any], Ref],
    *,
    fault: Callable[[Any], str] = _variable_fault,
) -> tuple[dict[str, Ref], list[Violation]]:
    if not isinstance(given, Mapping):
        return {}, [Violation(path, 'maps variables to secrets: {"HF_TOKEN": "hf-token"}')]
    wrong: list[Violation] = []
    if len(given) > MAX_REFS:
        wrong.append(Violation(path, f"{len(given)} variables; {MAX_REFS} at most"))
    refs = {}
    for variable, value in given.items():
        if told := fault(variable):
            wrong.append(Violation(f"{path}.{variable}", told))
        try:
            refs[variable] = read(value)
        except ValueError as error:
            wrong.append(Violation(f"{path}.{variable}", str(error)))
    return refs, wrong


def _ref(value: Any, *, kubernetes: bool) -> Ref:
    if isinstance(value, Mapping) and set(value) == {"agent_env"}:
        name = value["agent_env"]
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            raise ValueError("agent_env names a variable of the agent's environment")
        return AgentEnv(name)
    if isinstance(value, Mapping) and set(value) == {"kubernetes"}:
        if not kubernetes:
            raise ValueError("a Kubernetes secret needs a kubernetes queue")
        return _kubernetes_key(value["kubernetes"])
    return _stored(value)


def _stored(value: Any) -> Stored:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("is the name of a secret; see them: runyard secret list")
    return Stored(value)


def _kubernetes_key(value: Any) -> KubernetesKey:
    if not isinstance(value, Mapping) or set(value) != {"name", "key"}:
        raise ValueError('is {"kubernetes": {"name": SECRET, "key": KEY}}')
    name, key = value["name"], value["key"]
    if not all(isinstance(word, str) and _KUBERNETES.fullmatch(word) for word in (name, key)):
        raise ValueError("name and key: letters, digits, '-', '_' and '.'")
    return KubernetesKey(name, key)


def _carried(ref: Mapping[str, Any]) -> Ref:
    if "agent_env" in ref:
        return AgentEnv(ref["agent_env"])
    if "kubernetes" in ref:
        return KubernetesKey(ref["kubernetes"]["name"], ref["kubernetes"]["key"])
    return Stored(ref["name"], ref["entity"], bool(ref.get("by_job")))
