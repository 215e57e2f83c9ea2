"""Builds as Kubernetes Jobs: the manifests of each builder, compared with golden files."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from runyard.builders.base import Secret
from runyard.builders.cluster_base import (
    ClusterBuildSettings,
    ClusterOrder,
    SecretKey,
    job_name,
    team_cache,
)
from runyard.builders.cluster_jobs import BUILDERS, manifests
from runyard.domain.errors import Invalid, Rejected
from runyard.domain.images import ImageRef, Login

from .kubernetes_shape import faults_of

GOLDEN = Path(__file__).parents[1] / "golden" / "builders"
PLAIN = ClusterBuildSettings("builds")
ORDER = ClusterOrder(
    key="ry-01jd0000000000000000000001-0",
    team="vision",
    context="s3://contexts/runyard/ry-1.tgz",
    dockerfile="Dockerfile",
    target=ImageRef("registry.example.com/ml/jobs", "0123456789abcdef0123"),
    labels={"io.runyard.source": "git"},
)
SECRETS = (Secret("netrc", "machine pypi password hunter2"),)
LOGINS = (Login("registry.example.com", "robot", "s3cr3t"), Login("docker.io", "me", "t0ken"))
FULL = replace(
    ORDER,
    context="https://store.example.com/ry-1.tgz?signature=tops3cret",
    dockerfile="deploy/Dockerfile.gpu",
    platform="linux/arm64",
    secrets=("netrc",),
    borrowed={"pip.conf": SecretKey("pip", "conf")},
    login=True,
    insecure=frozenset({"registry.internal:5000", "127.0.0.1:5000"}),
)
OPERATORS = ClusterBuildSettings(
    "builds",
    job_name="acme-build",
    image="mirror.example.com/builder:7",
    service_account="builder",
    timeout_s=1800,
    keep_s=60,
    unpack_image="mirror.example.com/alpine:3",
    fetch_image="mirror.example.com/curl:1",
    resources={"requests": {"cpu": "1"}, "limits": {"memory": "8Gi"}},
    node_selector={"pool": "builds"},
    tolerations=[{"key": "builds", "operator": "Exists"}],
    config={
        "metadata": {"labels": {"cost-center": "vision"}},
        "spec": {
            "ttlSecondsAfterFinished": 30,
            "template": {
                "spec": {
                    "priorityClassName": "low",
                    "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
                    "containers": [
                        {
                            "args": ["--progress=quiet", "--opt=label:owner=ops"],
                            "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
                            "volumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/certs"}],
                        }
                    ],
                }
            },
        },
    },
)
CLAIM = replace(PLAIN, claim="contexts")
KANIKO = replace(PLAIN, image="registry.example.com/tools/kaniko:1")
ECR = replace(ORDER, target=ImageRef("123456789012.dkr.ecr.eu-central-1.amazonaws.com/jobs", "t"))
GOOGLE = replace(
    ORDER, context="gs://contexts/1.tgz", target=ImageRef("europe-docker.pkg.dev/p/r/i", "t")
)
AZURE = replace(
    ORDER,
    context="https://acme.blob.core.windows.net/contexts/1.tgz",
    target=ImageRef("acme.azurecr.io/jobs", "t"),
)


def with_args(*args: str) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"args": list(args)}]}}}}


OWN = SecretKey("push", "credentials.json")
CASES: dict[str, tuple[str, ClusterOrder, ClusterBuildSettings]] = {
    "buildkit": ("buildkit", ORDER, PLAIN),
    "buildkit_full": ("buildkit", FULL, OPERATORS),
    "buildkit_claim": ("buildkit", replace(ORDER, context="a/1.tgz"), CLAIM),
    "buildkit_credentials": ("buildkit", GOOGLE, replace(PLAIN, credentials=OWN, cache=False)),
    "buildah": ("buildah", ORDER, PLAIN),
    "buildah_full": ("buildah", FULL, replace(OPERATORS, config=with_args("--layers=true"))),
    "kaniko": ("kaniko", ORDER, KANIKO),
    "kaniko_config": (
        "kaniko",
        ORDER,
        replace(KANIKO, config=with_args("--cache=false", "--verbosity=debug")),
    ),
    "kaniko_claim": ("kaniko", replace(ORDER, context="a/1.tgz"), replace(KANIKO, claim="c")),
    "kaniko_logins": (
        "kaniko",
        replace(ORDER, login=True, insecure=FULL.insecure, platform="linux/amd64"),
        replace(KANIKO, cache=False),
    ),
    "kaniko_ecr": ("kaniko", ECR, replace(KANIKO, credentials=OWN)),
    "kaniko_google": ("kaniko", GOOGLE, replace(KANIKO, credentials=OWN)),
    "kaniko_azure": ("kaniko", AZURE, replace(KANIKO, service_account="builder")),
}


def made(name: str) -> list[dict[str, Any]]:
    builder, order, settings = CASES[name]
    return manifests(
        builder,
        order,
        settings,
        secrets=SECRETS if order.secrets else (),
        logins=LOGINS if order.login else (),
    )


def as_text(found: list[dict[str, Any]]) -> str:
    apart = json.loads(json.dumps(found))  # else what is the same twice is a reference in YAML
    return yaml.safe_dump_all(apart, sort_keys=False, width=1000)


def everything(given: Any) -> Iterator[tuple[str, Any]]:
    """Yield each key of nested mappings with its value."""
    if isinstance(given, dict):
        yield from given.items()
    for below in given.values() if isinstance(given, dict) else given:
        if isinstance(below, dict | list):
            yield from everything(below)


def pod_of(found: list[dict[str, Any]]) -> dict[str, Any]:
    pod: dict[str, Any] = found[0]["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize("name", CASES)
def test_the_manifests_are_the_golden_ones(name: str) -> None:
    assert as_text(made(name)) == (GOLDEN / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", CASES)
def test_the_manifests_have_the_shape_that_kubernetes_knows(name: str) -> None:
    found = made(name)
    assert found[0]["kind"] == "Job"
    assert [fault for each in found for fault in faults_of(each)] == []


@pytest.mark.parametrize("name", CASES)
def test_T8_no_pod_has_a_privilege_or_a_token_of_the_cluster(name: str) -> None:
    found = made(name)
    pod = pod_of(found)
    assert pod["automountServiceAccountToken"] is False
    asked = dict(everything(found))
    assert not {"privileged", "hostPath", "hostPID", "hostNetwork"} & set(asked)
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        may = container["securityContext"]["allowPrivilegeEscalation"]
        assert may is (CASES[name][0] == "buildkit" and container["name"] == "build")


@pytest.mark.parametrize("name", CASES)
def test_T14_no_value_of_a_secret_is_in_anything_but_a_secret(name: str) -> None:
    told = json.dumps([each for each in made(name) if each["kind"] != "Secret"])
    for word in ("hunter2", "s3cr3t", "t0ken", "tops3cret"):
        assert word not in told


@pytest.mark.parametrize("builder", ["buildkit", "buildah"])
def test_secrets_logins_and_the_address_are_objects_that_the_job_names(builder: str) -> None:
    found = manifests(builder, FULL, PLAIN, secrets=SECRETS, logins=LOGINS)
    name = job_name(FULL, PLAIN)
    values = {
        each["metadata"]["name"]: each["stringData"] for each in found if each["kind"] == "Secret"
    }
    assert values[f"{name}-secrets"] == {"netrc": SECRETS[0].value}
    assert values[f"{name}-context"] == {"address": FULL.context}
    auths = json.loads(values[f"{name}-login"][".dockerconfigjson"])["auths"]
    assert {host: b64decode(each["auth"]).decode() for host, each in auths.items()} == {
        "registry.example.com": "robot:s3cr3t",
        "https://index.docker.io/v1/": "me:t0ken",
    }
    told = json.dumps(found[0])
    assert all(each["metadata"]["name"] in told for each in found[1:])


def test_objects_that_do_not_fit_the_order_are_refused() -> None:
    with pytest.raises(Invalid, match="other secrets"):
        manifests("buildkit", ORDER, PLAIN, secrets=SECRETS)
    with pytest.raises(Invalid, match="logins"):
        manifests("buildkit", ORDER, PLAIN, logins=LOGINS)
    with pytest.raises(Invalid, match="logins"):
        manifests("buildkit", replace(ORDER, login=True), PLAIN)


def test_credentials_of_the_operator_replace_logins_of_the_agent() -> None:
    settings = replace(PLAIN, credentials=OWN)
    found = manifests("buildkit", replace(ORDER, login=True), settings, logins=LOGINS)
    assert [each["kind"] for each in found] == ["Job"]
    (volume,) = [each for each in pod_of(found)["volumes"] if each["name"] == "login"]
    assert volume["secret"]["secretName"] == "push"


def test_T21_layers_are_kept_apart_by_team() -> None:
    assert team_cache(ORDER) != team_cache(replace(ORDER, team="audio"))
    (told,) = [a for a in pod_of(made("buildkit"))["containers"][0]["args"] if "export-cache" in a]
    assert f"{ORDER.target.repository}:{team_cache(ORDER)}," in told


@pytest.mark.parametrize(
    ("builder", "sign"),
    [("buildkit", "--no-cache"), ("buildah", "--layers=false"), ("kaniko", "--cache=false")],
)
def test_a_fresh_build_uses_no_layer_of_an_earlier_one(builder: str, sign: str) -> None:
    pod = pod_of(manifests(builder, replace(ORDER, fresh=True), KANIKO))
    both = [*pod.get("initContainers", []), *pod["containers"]]
    (build,) = [each for each in both if each["name"] == "build"]
    assert sign in build["args"]


def test_T21_of_a_claim_only_the_one_context_is_mounted() -> None:
    for name in ("buildkit_claim", "kaniko_claim"):
        pod = pod_of(made(name))
        (mount,) = [
            each
            for container in [*pod.get("initContainers", []), *pod["containers"]]
            for each in container["volumeMounts"]
            if each["name"] == "contexts"
        ]
        assert (mount["subPath"], mount["readOnly"]) == ("a/1.tgz", True)


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("path", ["/etc/passwd", "../Dockerfile", "a/../../b", "", "a\0"])
def test_a_dockerfile_lies_within_the_context(builder: str, path: str) -> None:
    with pytest.raises(Invalid, match="within the build context"):
        manifests(builder, replace(ORDER, dockerfile=path), KANIKO)


@pytest.mark.parametrize("builder", BUILDERS)
def test_T8_kubernetes_fills_in_no_variable_that_a_path_names(builder: str) -> None:
    order = replace(ORDER, dockerfile="$(HOME)$$(SECRET)/Dockerfile")
    pod = pod_of(manifests(builder, order, KANIKO))
    told = json.dumps(pod)
    assert "$$(HOME)$$$$(SECRET)/Dockerfile" in told


@pytest.mark.parametrize("context", ["ftp://a/b", "/a.tgz", "a.tgz", "https://", "file:///a"])
def test_a_context_is_at_an_address_that_a_pod_can_read(context: str) -> None:
    with pytest.raises(Invalid, match="an address such as"):
        manifests("buildkit", replace(ORDER, context=context), PLAIN)


@pytest.mark.parametrize("context", ["s3://a/b", "/a.tgz", "../a.tgz", ""])
def test_a_context_in_a_claim_is_a_path_within_it(context: str) -> None:
    with pytest.raises(Invalid, match="within the claim"):
        manifests("buildkit", replace(ORDER, context=context), CLAIM)


def test_a_job_is_named_for_its_attempt_however_long_the_name() -> None:
    assert job_name(ORDER, PLAIN) == f"runyard-build-{ORDER.key}"
    long = [replace(ORDER, key=f"{'k' * 62}{n}") for n in (0, 1)]
    names = {job_name(order, PLAIN) for order in (*long, long[0])}
    assert len(names) == 2
    assert all(len(name) <= 63 and name.startswith("runyard-build-") for name in names)


@pytest.mark.parametrize(
    ("key", "prefix"), [("Ry", "b"), ("ry-", "b"), ("", "b"), ("ry", "9b"), ("ry", "b" * 41)]
)
def test_what_cannot_name_a_job_is_refused(key: str, prefix: str) -> None:
    with pytest.raises(Invalid, match="Job"):
        job_name(replace(ORDER, key=key), replace(PLAIN, job_name=prefix))


def test_a_team_whose_name_is_no_label_is_an_annotation() -> None:
    job = manifests("buildkit", replace(ORDER, team="vision team"), PLAIN)[0]
    assert "io.runyard.team" not in job["metadata"]["labels"]
    assert job["metadata"]["annotations"]["io.runyard.team"] == "vision team"


def test_kaniko_says_what_it_cannot_do() -> None:
    with pytest.raises(Invalid, match="name yours"):
        manifests("kaniko", ORDER, PLAIN)
    with pytest.raises(Rejected, match="netrc") as caught:
        manifests("kaniko", replace(ORDER, secrets=("netrc",)), KANIKO, secrets=SECRETS)
    assert "buildkit" in caught.value.hint
    signed = AZURE.context + "?sig=x"
    for context in ("https://store.example.com/1.tgz", signed):
        with pytest.raises(Rejected, match="reads a context from"):
            manifests("kaniko", replace(AZURE, context=context), KANIKO)
