"""
A partial Job of the operator's, laid over the one that we made.

    mappings are merged, lists of named things by name, other lists replaced
    the one container that it may have is laid over the one that builds
    args are `--key=value`: one replaces ours of the same key; of those that may be given several
    times (`--opt`, `--label`, …) it is added

What the agent has to know to find the image and the log again is not the operator's to change, and
no container is privileged: whoever submits a Dockerfile would have the node.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

from runyard.builders.cluster_base import BUILD, Manifest
from runyard.domain.errors import Gathered, Invalid, Violation

_TOP: Final = ("apiVersion", "kind", "metadata", "spec")
_METADATA: Final = ("labels", "annotations")
_POD: Final = ("spec", "template", "spec")
_REPEATED: Final = frozenset(
    {"--opt", "--secret", "--label", "--build-arg", "--insecure-registry", "--import-cache"}
)
_OURS: Final = frozenset(
    {"--context", "--dockerfile", "--destination", "--output", "--tag", "--file", "--local"}
)
_OURS_OF_THE_CONTAINER: Final = ("name", "command", "workingDir")
_FORBIDDEN: Final = ("privileged", "hostPID", "hostIPC", "hostPath")


def check_config(config: Any, *, path: str = "config") -> None:
    """Verify that a partial Job is one.

    Raises:
        Invalid: with a violation per fault.
    """
    if not isinstance(config, Mapping):
        raise _fault(path, "is a partial Job, such as {spec: {template: {spec: {…}}}}")
    faults = Gathered()
    for check in (_outside, _inside, _forbidden):
        with faults:
            check(config, path)
    faults.raise_if_any()


def laid_over(made: Manifest, config: Mapping[str, Any]) -> Manifest:
    """Return a Job with the operator's part laid over it.

    Raises:
        Invalid: as `check_config`.
    """
    check_config(config)
    partial: Any = copy.deepcopy(dict(config))
    pod = partial.get("spec", {}).get("template", {}).get("spec", {})
    containers = pod.pop("containers", [])
    merged: Manifest = _merged(made, partial)
    if containers:
        _build_container(merged, containers[0])
    return merged


def _build_container(made: Manifest, partial: Mapping[str, Any]) -> None:
    pod = made["spec"]["template"]["spec"]
    for group in ("initContainers", "containers"):
        for number, each in enumerate(pod.get(group, [])):
            if each["name"] == BUILD:
                rest = {key: value for key, value in partial.items() if key != "args"}
                args = _args(each.get("args", []), partial.get("args", []))
                pod[group][number] = {**_merged(each, rest), "args": args}


def _args(own: Sequence[str], given: Sequence[str]) -> list[str]:
    replaced = {_key(arg) for arg in given} - _REPEATED
    return [arg for arg in own if _key(arg) not in replaced] + list(given)


def _key(arg: str) -> str:
    return arg.partition("=")[0]


def _merged(own: Any, given: Any, name: str = "") -> Any:
    if isinstance(own, Mapping) and isinstance(given, Mapping):
        return {
            **own,
            **{key: _merged(own.get(key), value, key) for key, value in given.items()},
        }
    if isinstance(own, list) and isinstance(given, list):
        key = "mountPath" if name == "volumeMounts" else "name"
        if all(isinstance(each, Mapping) and key in each for each in (*own, *given)):
            by_name = {each[key]: each for each in own}
            for each in given:
                by_name[each[key]] = _merged(by_name.get(each[key]), each)
            return list(by_name.values())
    return given


def _outside(config: Mapping[str, Any], path: str) -> None:
    """Check the parts around the container."""
    wrong = [Violation(f"{path}.{key}", "is no part of a Job") for key in config if key not in _TOP]
    for key, must in (("apiVersion", "batch/v1"), ("kind", "Job")):
        if config.get(key, must) != must:
            wrong.append(Violation(f"{path}.{key}", f"is {must}"))
    metadata = config.get("metadata", {})
    if not isinstance(metadata, Mapping):
        wrong.append(Violation(f"{path}.metadata", "is a mapping"))
    else:
        told = "is not to be set here; labels and annotations are"
        wrong += [
            Violation(f"{path}.metadata.{key}", told) for key in metadata if key not in _METADATA
        ]
    if wrong:
        raise Invalid("the partial Job is not valid", violations=wrong)


def _inside(config: Mapping[str, Any], path: str) -> None:
    """Check the pod and its one container."""
    pod: Any = config
    for depth, key in enumerate(_POD):
        pod = pod.get(key, {}) if isinstance(pod, Mapping) else None
        if not isinstance(pod, Mapping):
            raise _fault(".".join((path, *_POD[: depth + 1])), "is a mapping")
    where = ".".join((path, *_POD))
    if "initContainers" in pod:
        raise _fault(f"{where}.initContainers", "cannot be added to: they bring the context")
    containers = pod.get("containers", [])
    if not isinstance(containers, list) or len(containers) > 1:
        raise _fault(f"{where}.containers", "has one container at most: the one that builds")
    for container in containers:
        _container(container, f"{where}.containers.0")


def _container(container: Any, path: str) -> None:
    if not isinstance(container, Mapping):
        raise _fault(path, "is a mapping")
    wrong = [
        Violation(f"{path}.{key}", "is the agent's to say")
        for key in _OURS_OF_THE_CONTAINER
        if key in container and not (key == "name" and container[key] == BUILD)
    ]
    args = container.get("args", [])
    if not isinstance(args, list):
        raise _fault(f"{path}.args", 'is a list of texts like "--key=value"')
    for number, arg in enumerate(args):
        if not isinstance(arg, str) or not arg.startswith("--") or "=" not in arg:
            wrong.append(Violation(f"{path}.args.{number}", f'{arg!r} is not "--key=value"'))
        elif _key(arg) in _OURS:
            wrong.append(Violation(f"{path}.args.{number}", f"{_key(arg)} is the agent's to say"))
    if wrong:
        raise Invalid("the partial Job is not valid", violations=wrong)


def _forbidden(given: Any, path: str) -> None:
    """Refuse what would hand the node to whoever submits a Dockerfile."""
    found = list(_found(given, path))
    if found:
        raise Invalid("the partial Job is not valid", violations=found)


def _found(given: Any, path: str) -> list[Violation]:
    told = "is refused: a job's Dockerfile would have the node"
    if isinstance(given, Mapping):
        own = [Violation(f"{path}.{key}", told) for key in _FORBIDDEN if given.get(key)]
        return own + [v for key, value in given.items() for v in _found(value, f"{path}.{key}")]
    if isinstance(given, list):
        return [v for number, each in enumerate(given) for v in _found(each, f"{path}.{number}")]
    return []


def _fault(path: str, message: str) -> Invalid:
    return Invalid("the partial Job is not valid", violations=[Violation(path, message)])
