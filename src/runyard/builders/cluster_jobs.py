"""
All manifests of one build in a cluster, by the name of its builder.

Who runs them (the Kubernetes driver) does this, in this order:

    1. put the context, a gzipped tar, into the bucket or the claim
    2. create the Job, and make it the owner of the objects beside it, so that they go with it; its
       pod waits for them. Ask for strict validation of fields: a typo of the operator's is told
    3. follow the log of the container `build` (of buildah, the init container; then `push`)
    4. watch the Job: complete, failed, or past its deadline (a failure that says so)
    5. ask the registry for the digest of the tag: no builder is trusted to name it
    6. delete the Job in the background, and the context; the same if it is cancelled

A Job of that name that is there already is this attempt's own, of an agent that was restarted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from runyard.builders import cluster_buildah, cluster_buildkit, cluster_kaniko
from runyard.builders.base import Secret
from runyard.builders.cluster_base import ClusterBuildSettings, ClusterOrder, Manifest
from runyard.builders.cluster_objects import beside
from runyard.domain.images import Login


@dataclass(frozen=True, slots=True)
class _Kind:
    manifest: Callable[[ClusterOrder, ClusterBuildSettings], Manifest]
    files: Callable[[ClusterOrder], Mapping[str, str]]
    downloads: bool = True


BUILDERS: Final[Mapping[str, _Kind]] = {
    "buildkit": _Kind(cluster_buildkit.manifest, cluster_buildkit.files),
    "buildah": _Kind(cluster_buildah.manifest, cluster_buildah.files),
    "kaniko": _Kind(cluster_kaniko.manifest, lambda _order: {}, downloads=False),
}


def manifests(
    builder: str,
    order: ClusterOrder,
    settings: ClusterBuildSettings,
    *,
    secrets: Sequence[Secret] = (),
    logins: Sequence[Login] = (),
) -> list[Manifest]:
    """Return the Job, and after it the objects that it names.

    Raises:
        Invalid: something of the order or of the settings cannot be.
        Rejected: the order asks for what this builder cannot do.
    """
    kind = BUILDERS[builder]
    others = beside(
        order,
        settings,
        secrets=secrets,
        logins=logins,
        files=kind.files(order),
        downloads=kind.downloads,
    )
    return [kind.manifest(order, settings), *others]
