"""
An image built by a Kubernetes Job: what is asked for, and the Job that all such builders share.

Everything here is pure: an order and the operator's settings in, manifests out. No value of a
secret is in a Job; it names Secret objects, which `cluster_objects` makes apart. The pod runs
without privileges and without a token of the cluster's API: a service account that has an
identity at a cloud brings that by itself, through its own volume or the node's metadata.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

from runyard.domain.errors import Invalid
from runyard.domain.images import ImageRef

Manifest = dict[str, Any]

BUILD: Final = "build"  # the container that builds; its output is the build's log
CONTEXT: Final = "/context"  # where it finds the job's files
SECRETS: Final = "/run/runyard/secrets"
LOGIN: Final = "/run/runyard/login"
CONFIG: Final = "/etc/runyard"
_LONGEST_NAME: Final = 63  # a Job's name is a label of its pods
_KEY: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_PREFIX: Final = re.compile(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One entry of a Secret object that is in the cluster already."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class ClusterOrder:
    """What to build. `key` is that of the attempt which asked first.

    `context` is a gzipped tar, with no entry for the directory itself, which is not the pod's to
    change: an address (https, s3, gs), or a path within the claim of the settings. An https
    address is kept out of the Job, as it may be a signed one. `dockerfile` is a path within the
    context. `secrets` are the ids of those whose values come with the order, `borrowed` those that
    the cluster has. `login`: there are logins for the registries. Registries that are `insecure`
    are spoken to over plain http. `team` owns the caches. `fresh`: every step is run again.
    """

    key: str
    team: str
    context: str
    dockerfile: str
    target: ImageRef
    platform: str = ""
    secrets: tuple[str, ...] = ()
    borrowed: Mapping[str, SecretKey] = field(default_factory=dict)
    login: bool = False
    insecure: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class ClusterBuildSettings:
    """What the operator says of builds in the cluster; empty is the builder's own default.

    `credentials` is a Secret of the operator's, used in place of logins that the agent makes.
    `keep_s` is how long a Job stays that nobody deleted. `config` is a partial Job.
    """

    namespace: str
    job_name: str = "runyard-build"
    image: str = ""
    service_account: str = ""
    timeout_s: int = 3600
    keep_s: int = 600
    claim: str = ""
    fetch_image: str = ""
    unpack_image: str = ""
    credentials: SecretKey | None = None
    resources: Mapping[str, Any] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    cache: bool = True
    config: Mapping[str, Any] = field(default_factory=dict)


def check_job_name(text: str) -> str:
    """Return a name that Jobs may begin with.

    Raises:
        Invalid: it is none.
    """
    if not _PREFIX.fullmatch(text):
        raise Invalid(
            f"{text!r} cannot begin the name of a Job: 1 to 40 lower case letters, digits and '-', "
            "beginning with a letter"
        )
    return text


def job_name(order: ClusterOrder, settings: ClusterBuildSettings) -> str:
    """Return the Job's name, the same for the same attempt.

    Raises:
        Invalid: the key or the operator's part cannot be in one.
    """
    if not _KEY.fullmatch(order.key):
        raise Invalid(f"the key {order.key!r} cannot name a Job: [a-z0-9-], at most 63 characters")
    name = f"{check_job_name(settings.job_name)}-{order.key}"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{settings.job_name}-{hashlib.sha256(order.key.encode()).hexdigest()[:20]}"


def team_cache(order: ClusterOrder) -> str:
    """Return the name, as a tag or the end of a repository, under which a team's layers are kept.

    Nobody chooses it: a team that could would build upon the layers of another one (T21).
    """
    return f"cache-{hashlib.sha256(order.team.encode()).hexdigest()[:20]}"


def check_dockerfile(order: ClusterOrder) -> str:
    """Return the Dockerfile's path within the context, without ways around.

    Raises:
        Invalid: it leads out of the context.
    """
    path = PurePosixPath(order.dockerfile)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in order.dockerfile:
        raise Invalid(f"Dockerfile {order.dockerfile!r}: a path within the build context")
    return str(path)


def labels(order: ClusterOrder) -> dict[str, str]:
    """Return what all objects of a build are found by."""
    found = {
        "app.kubernetes.io/managed-by": "runyard",
        "app.kubernetes.io/component": "build",
        "io.runyard.key": order.key,
    }
    if _LABEL.fullmatch(order.team):
        found["io.runyard.team"] = order.team
    return found


def _notes(order: ClusterOrder) -> dict[str, str]:
    """Return what is told of a build beside its labels: names that may not fit into a label."""
    return {"io.runyard.team": order.team, "io.runyard.image": order.target.tagged}


def job(
    order: ClusterOrder,
    settings: ClusterBuildSettings,
    *,
    containers: Sequence[Manifest],
    volumes: Sequence[Manifest],
    init: Sequence[Manifest] = (),
    security: Manifest | None = None,
) -> Manifest:
    """Return the Job around a builder's containers. It is tried once; it ends when time is up."""
    pod: Manifest = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
    }
    if init:
        pod["initContainers"] = [_sized(each, settings) for each in init]
    pod["containers"] = [_sized(each, settings) for each in containers]
    pod["volumes"] = list(volumes)
    if security:
        pod["securityContext"] = security
    if settings.service_account:
        pod["serviceAccountName"] = settings.service_account
    if selector := {**_architecture(order.platform), **settings.node_selector}:
        pod["nodeSelector"] = selector
    if settings.tolerations:
        pod["tolerations"] = [dict(each) for each in settings.tolerations]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(order, settings),
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": settings.timeout_s,
            "ttlSecondsAfterFinished": settings.keep_s,
            "template": {
                "metadata": {"labels": labels(order), "annotations": _notes(order)},
                "spec": pod,
            },
        },
    }


def metadata(order: ClusterOrder, settings: ClusterBuildSettings, *, suffix: str = "") -> Manifest:
    """Return the metadata of an object of a build: the Job, or one beside it with a `suffix`."""
    return {
        "name": job_name(order, settings) + suffix,
        "namespace": settings.namespace,
        "labels": labels(order),
        "annotations": _notes(order),
    }


def mount(volume: str, path: str, *, sub_path: str = "", read_only: bool = True) -> Manifest:
    found: Manifest = {"name": volume, "mountPath": path}
    if sub_path:
        found["subPath"] = sub_path
    if read_only:
        found["readOnly"] = True
    return found


def env(**variables: str) -> list[Manifest]:
    return [{"name": name, "value": value} for name, value in variables.items() if value]


def literal(args: Sequence[str]) -> list[str]:
    """Return arguments as Kubernetes has to be told them, which else fills in every `$(VARIABLE)`.

    A path that a submitter chose must not bring a container's variables into its log.
    """
    return [arg.replace("$", "$$") for arg in args]


def _sized(container: Manifest, settings: ClusterBuildSettings) -> Manifest:
    """Give a container the resources. Each has all of them: they never run at the same time."""
    return {**container, "resources": dict(settings.resources)} if settings.resources else container


def _architecture(platform: str) -> dict[str, str]:
    """Choose nodes that can run the steps: nothing says that others could emulate them."""
    architecture = platform.split("/")[1] if platform else ""
    return {"kubernetes.io/arch": architecture} if architecture else {}
