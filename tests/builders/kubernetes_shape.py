"""
The fields of Kubernetes' objects that builds use, with their types: a field that is spelled wrong,
or stands at the wrong place, is found. Written from the API's reference of 1.36.

A shape is a type, a tuple of allowed values, `[shape]` for a list, `{key: shape}` for an object
(`*` any key, `key!` one that must be there).
"""

from __future__ import annotations

from typing import Any

_LABELS = {"*": str}
_META = {"name!": str, "namespace!": str, "labels": _LABELS, "annotations": _LABELS}
_KEY = {"name!": str, "key!": str, "optional": bool}
_ITEMS = [{"key!": str, "path!": str, "mode": int}]
_PROFILE = {"type!": ("Unconfined", "RuntimeDefault", "Localhost")}
_CONTAINER = {
    "name!": str,
    "image!": str,
    "command": [str],
    "args": [str],
    "workingDir": str,
    "env": [{"name!": str, "value": str, "valueFrom": {"secretKeyRef": _KEY}}],
    "volumeMounts": [{"name!": str, "mountPath!": str, "subPath": str, "readOnly": bool}],
    "resources": {"requests": _LABELS, "limits": _LABELS},
    "securityContext": {
        "runAsUser": int,
        "runAsGroup": int,
        "runAsNonRoot": bool,
        "allowPrivilegeEscalation": bool,
        "capabilities": {"drop": [str], "add": [str]},
        "seccompProfile": _PROFILE,
        "appArmorProfile": _PROFILE,
    },
}
_VOLUME = {
    "name!": str,
    "emptyDir": {"sizeLimit": str},
    "configMap": {"name!": str, "items": _ITEMS, "defaultMode": int},
    "secret": {"secretName!": str, "items": _ITEMS, "defaultMode": int},
    "persistentVolumeClaim": {"claimName!": str, "readOnly": bool},
    "projected": {"defaultMode": int, "sources": [{"secret": {"name!": str, "items": _ITEMS}}]},
}
_POD = {
    "restartPolicy!": ("Never",),
    "automountServiceAccountToken": bool,
    "enableServiceLinks": bool,
    "serviceAccountName": str,
    "priorityClassName": str,
    "nodeSelector": _LABELS,
    "tolerations": [{"key": str, "operator": ("Exists", "Equal"), "value": str, "effect": str}],
    "securityContext": {"fsGroup": int},
    "initContainers": [_CONTAINER],
    "containers!": [_CONTAINER],
    "volumes": [_VOLUME],
}
_KINDS: dict[tuple[str, str], dict[str, Any]] = {
    ("batch/v1", "Job"): {
        "spec!": {
            "backoffLimit": int,
            "activeDeadlineSeconds": int,
            "ttlSecondsAfterFinished": int,
            "template!": {"metadata": {"labels": _LABELS, "annotations": _LABELS}, "spec!": _POD},
        }
    },
    ("v1", "Secret"): {
        "type!": ("Opaque", "kubernetes.io/dockerconfigjson"),
        "stringData!": _LABELS,
    },
    ("v1", "ConfigMap"): {"data!": _LABELS},
}


def faults_of(manifest: dict[str, Any]) -> list[str]:
    """Return what is wrong with an object, a line for each fault."""
    kind = _KINDS.get((manifest.get("apiVersion", ""), manifest.get("kind", "")))
    if kind is None:
        return ["is of no kind that builds use"]
    top = {"apiVersion!": str, "kind!": str, "metadata!": _META, **kind}
    found = _faults(manifest, top, manifest["kind"])
    return found + (_references(manifest) if manifest["kind"] == "Job" else [])


def _faults(value: Any, shape: Any, path: str) -> list[str]:
    if isinstance(shape, tuple):
        return [] if value in shape else [f"{path}: {value!r} is none of {shape}"]
    if isinstance(shape, type):
        return [] if type(value) is shape else [f"{path}: {value!r} is no {shape.__name__}"]
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{path}: is no list"]
        return [f for n, each in enumerate(value) for f in _faults(each, shape[0], f"{path}.{n}")]
    if not isinstance(value, dict):
        return [f"{path}: is no object"]
    known = {key.removesuffix("!"): below for key, below in shape.items()}
    missing = [key[:-1] for key in shape if key.endswith("!") and key[:-1] not in value]
    found = [f"{path}.{key}: is missing" for key in missing]
    for key, each in value.items():
        below = known.get(key, known.get("*"))
        where = f"{path}.{key}"
        found += [f"{where}: unknown"] if below is None else _faults(each, below, where)
    return found


def _references(job: dict[str, Any]) -> list[str]:
    """Return mounts without a volume, volumes without a mount, and names that are used twice."""
    pod = job["spec"]["template"]["spec"]
    containers = [*pod.get("initContainers", []), *pod["containers"]]
    named = [volume["name"] for volume in pod["volumes"]]
    mounted = {m["name"] for c in containers for m in c.get("volumeMounts", [])}
    found = [f"volume {name}: not both made and mounted" for name in mounted ^ set(named)]
    for names in (named, [container["name"] for container in containers]):
        found += [f"{name}: twice" for name in set(names) if names.count(name) > 1]
    for volume in pod["volumes"]:
        if len(volume) != 2:
            found.append(f"volume {volume['name']}: has one source")
    return found
