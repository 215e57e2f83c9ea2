"""The operator's partial Job, laid over ours."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from runyard.builders import cluster_buildah, cluster_buildkit, cluster_kaniko
from runyard.builders.cluster_config import check_config
from runyard.domain.errors import Invalid

from .test_cluster import KANIKO, ORDER, PLAIN, with_args


def pod(**fields: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": fields}}}


def container(**fields: Any) -> dict[str, Any]:
    return pod(containers=[fields])


def faults(config: Any) -> list[str]:
    with pytest.raises(Invalid) as caught:
        check_config(config, path="builder.cluster.config")
    return [str(violation) for violation in caught.value.violations]


def test_nothing_is_laid_over_by_nothing() -> None:
    own = cluster_buildkit.manifest(ORDER, PLAIN)
    assert cluster_buildkit.manifest(ORDER, replace(PLAIN, config=pod(containers=[]))) == own


def test_an_argument_replaces_ours_of_the_same_key() -> None:
    config = with_args("--cache=false", "--snapshot-mode=full", "--skip-tls-verify=true")
    job = cluster_kaniko.manifest(ORDER, replace(KANIKO, config=config))
    args = job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert [a for a in args if a.startswith(("--cache=", "--snapshot-mode", "--skip"))] == [
        "--cache=false", "--snapshot-mode=full", "--skip-tls-verify=true",
    ]  # fmt: skip


def test_an_argument_that_may_be_given_often_is_added() -> None:
    config = with_args("--opt=build-arg:A=1", "--opt=network=host")
    job = cluster_buildkit.manifest(ORDER, replace(PLAIN, config=config))
    args = job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert [a for a in args if a.startswith("--opt=")] == [
        "--opt=filename=Dockerfile", "--opt=label:io.runyard.source=git",
        "--opt=build-arg:A=1", "--opt=network=host",
    ]  # fmt: skip


def test_the_container_is_laid_over_the_one_that_builds() -> None:
    config = container(env=[{"name": "STORAGE_DRIVER", "value": "overlay"}])
    job = cluster_buildah.manifest(ORDER, replace(PLAIN, config=config))
    spec = job["spec"]["template"]["spec"]
    build = spec["initContainers"][-1]
    assert {"name": "STORAGE_DRIVER", "value": "overlay"} in build["env"]
    assert [each["name"] for each in build["env"]].count("STORAGE_DRIVER") == 1
    assert [each["name"] for each in spec["containers"]] == ["push"]
    assert {"name": "STORAGE_DRIVER", "value": "vfs"} in spec["containers"][0]["env"]


def test_named_things_are_merged_and_the_rest_of_ours_stays() -> None:
    config = pod(
        volumes=[{"name": "state", "emptyDir": {"sizeLimit": "20Gi"}}],
        tolerations=[{"operator": "Exists"}],
        securityContext={"fsGroupChangePolicy": "OnRootMismatch"},
    )
    given = copy.deepcopy(config)
    job = cluster_buildkit.manifest(ORDER, replace(PLAIN, config=config))
    spec = job["spec"]["template"]["spec"]
    assert {"name": "state", "emptyDir": {"sizeLimit": "20Gi"}} in spec["volumes"]
    assert [v["name"] for v in spec["volumes"]].count("state") == 1
    assert len(spec["volumes"]) == len(cluster_volumes())
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["securityContext"] == {"fsGroup": 1000, "fsGroupChangePolicy": "OnRootMismatch"}
    assert config == given


def cluster_volumes() -> list[Any]:
    found = cluster_buildkit.manifest(ORDER, PLAIN)["spec"]["template"]["spec"]["volumes"]
    assert isinstance(found, list)
    return found


def test_every_fault_is_named_by_its_place() -> None:
    at = "builder.cluster.config"
    inner = f"{at}.spec.template.spec"
    assert faults("x") == [
        f"{at}: is a partial Job, such as {{spec: {{template: {{spec: {{…}}}}}}}}"
    ]
    assert faults({"spec": {"template": 3}}) == [f"{at}.spec.template: is a mapping"]
    assert faults(pod(containers=[{}, {}])) == [
        f"{inner}.containers: has one container at most: the one that builds"
    ]
    assert faults(pod(initContainers=[{}])) == [
        f"{inner}.initContainers: cannot be added to: they bring the context"
    ]
    assert faults(container(args=["--force", "context", 3, "--ok=1"])) == [
        f"{inner}.containers.0.args.0: '--force' is not \"--key=value\"",
        f"{inner}.containers.0.args.1: 'context' is not \"--key=value\"",
        f'{inner}.containers.0.args.2: 3 is not "--key=value"',
    ]
    assert faults({"metadata": {"name": "x", "labels": {}}, "sepc": {}, "kind": "Pod"}) == [
        f"{at}.sepc: is no part of a Job",
        f"{at}.kind: is Job",
        f"{at}.metadata.name: is not to be set here; labels and annotations are",
    ]


def test_faults_of_different_kinds_are_told_at_once() -> None:
    told = faults({"kind": "Pod", **pod(hostPID=True, containers=[{"name": "mine"}])})
    assert [line.rpartition(": ")[0] for line in told] == [
        "builder.cluster.config.kind",
        "builder.cluster.config.spec.template.spec.containers.0.name",
        "builder.cluster.config.spec.template.spec.hostPID: is refused",
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"args": ["--destination=other/repository:1"]},
        {"args": ["--output=type=local"]},
        {"command": ["sh"]},
        {"workingDir": "/"},
    ],
)
def test_what_the_agent_must_know_is_not_the_operators_to_change(fields: Any) -> None:
    (told,) = faults(container(**fields))
    assert told.endswith("is the agent's to say")


@pytest.mark.parametrize(
    "config",
    [
        container(securityContext={"privileged": True}),
        pod(hostPID=True),
        pod(hostIPC=True),
        pod(volumes=[{"name": "node", "hostPath": {"path": "/"}}]),
    ],
)
def test_T8_no_partial_job_gives_a_dockerfile_the_node(config: Any) -> None:
    (told,) = faults(config)
    assert told.endswith("a job's Dockerfile would have the node")
    with pytest.raises(Invalid):
        cluster_buildkit.manifest(ORDER, replace(PLAIN, config=config))


def test_the_name_of_the_container_may_be_said() -> None:
    check_config(container(name="build", securityContext={"privileged": False}))
