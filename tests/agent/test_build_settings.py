"""The agent's settings for building images: ours, the peer's, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from runyard.agent import reporting
from runyard.agent.config import AgentConfig
from runyard.agent.loading import load
from runyard.builders.cluster_base import SecretKey
from runyard.domain.errors import Invalid

STORE = "s3://contexts/runyard"
KANIKO = {
    "type": "kaniko",
    "destination": "registry.example.com/ml/jobs",
    "build-context-store": STORE,
    "kaniko-image": "registry.example.com/tools/kaniko:1",
}


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def read(**settings: Any) -> AgentConfig:
        path = tmp_path / "agent.yaml"
        path.write_text(yaml.safe_dump(settings))
        return load({}, file=path)

    return read


@pytest.fixture
def refused(read: Any) -> Any:
    def refused(**settings: Any) -> str:
        with pytest.raises(Invalid) as caught:
            read(**settings)
        return str(caught.value)

    return refused


def test_a_builder_without_a_type_is_found_by_the_agent(read: Any) -> None:
    assert read(builder={"destination": "a.b/c"}).builder.type == "auto"
    assert read().builder.type == "auto"


def test_the_peers_block_for_kaniko_is_understood(read: Any) -> None:
    partial = {"spec": {"template": {"spec": {"containers": [{"args": ["--cache=false"]}]}}}}
    config = read(
        builder={
            **KANIKO,
            "build-job-name": "wandb-launch-container-build",
            "kaniko-config": partial,
            "secret-name": "push",
            "secret-key": "config.json",
            "platform": "linux/arm64",
        }
    )
    assert config.builder.platform == "linux/arm64"
    told = config.builder.in_cluster("wandb")
    assert (told.namespace, told.job_name) == ("wandb", "wandb-launch-container-build")
    assert told.image == KANIKO["kaniko-image"]
    assert told.credentials == SecretKey("push", "config.json")
    assert told.config == partial
    assert config.builder.cluster.context_store == STORE


def test_builds_in_a_cluster_are_told_all_that_was_set(read: Any) -> None:
    cluster = {
        "namespace": "builds", "job_name": "b", "image": "i", "service_account": "s",
        "claim": "contexts", "claim_path": "/contexts", "fetch_image": "f", "unpack_image": "u",
        "resources": {"limits": {"cpu": 2, "memory": "8Gi"}}, "node_selector": {"pool": "b"},
        "tolerations": [{"operator": "Exists"}], "cache": False, "keep_s": 5,
    }  # fmt: skip
    settings = {"type": "buildkit", "destination": "a.b/c", "timeout_s": 60, "cluster": cluster}
    told = read(builder=settings).builder.in_cluster("elsewhere")
    assert told.namespace == "builds"
    assert told.resources == {"limits": {"cpu": "2", "memory": "8Gi"}}
    assert (told.timeout_s, told.keep_s, told.cache, told.claim) == (60, 5, False, "contexts")
    assert (told.fetch_image, told.unpack_image, told.service_account) == ("f", "u", "s")
    assert (told.node_selector, told.tolerations) == ({"pool": "b"}, [{"operator": "Exists"}])


@pytest.mark.parametrize(
    ("builder", "told"),
    [
        ({"type": "buildkit"}, "give `destination`"),
        ({"type": "buildkit", "destination": "a.b/c"}, "`cluster.context_store` or"),
        ({**KANIKO, "kaniko-image": None}, "archived in 2025"),
        ({**KANIKO, "secret-name": "push"}, "secret_key are given together"),
        ({**KANIKO, "cluster": {"image": "x"}}, "one of kaniko-image and cluster.image"),
        ({**KANIKO, "build-context-store": "/tmp/x"}, "s3://bucket/prefix"),
        ({**KANIKO, "build-job-name": "Big_Name"}, "cannot begin the name of a Job"),
        ({**KANIKO, "kaniko-config": {"sepc": {}}}, "config.sepc: is no part of a Job"),
        ({**KANIKO, "kaniko-imgae": "x"}, "builder.kaniko-imgae: unknown"),
        ({**KANIKO, "cluster": {"claim": "c", "claim_path": "/c"}}, "context_store and claim"),
        ({**KANIKO, "cluster": {"claim": "c"}}, "claim_path are given together"),
        ({**KANIKO, "cluster": {"claim": "c", "claim_path": "c"}}, "an absolute path"),
        ({**KANIKO, "cluster": {"privileged": True}}, "builder.cluster.privileged: unknown"),
        ({**KANIKO, "cluster": 3}, "builder.cluster"),
    ],
)
def test_a_fault_of_a_builder_is_told(refused: Any, builder: dict[str, Any], told: str) -> None:
    given = {key: value for key, value in builder.items() if value is not None}
    assert told in refused(builder=given)


def test_a_password_where_its_file_belongs_is_not_repeated(refused: Any) -> None:
    told = refused(builder={"secrets": {"netrc": "machine a.b password hunter2"}})
    assert told.endswith("field builder.secrets.netrc: should be a mapping of keys to values")


@pytest.mark.parametrize(
    ("registry", "destination"),
    [
        ({"type": "ecr", "uri": "1.dkr.ecr.eu.amazonaws.com/j"}, "1.dkr.ecr.eu.amazonaws.com/j"),
        ({"type": "acr", "uri": "https://acme.azurecr.io/jobs/"}, "acme.azurecr.io/jobs"),
        (
            {"type": "ecr", "account-id": "123", "region": "eu-central-1", "repo_name": "jobs"},
            "123.dkr.ecr.eu-central-1.amazonaws.com/jobs",
        ),
        (
            {"type": "gcr", "region": "eu", "project": "p", "repository": "r", "image-name": "i"},
            "eu-docker.pkg.dev/p/r/i",
        ),
    ],
)
def test_a_registry_of_the_peers_is_the_destination(
    read: Any, registry: dict[str, str], destination: str
) -> None:
    config = read(registry=registry)
    assert config.builder.destination == destination
    (told,) = config.warnings()
    assert "deprecated" in told
    assert destination in told
    assert read(registry=registry, builder={"type": "docker"}).builder.destination == destination


def test_a_destination_wins_over_a_registry(read: Any) -> None:
    config = read(registry={"type": "acr", "uri": "a.b/c"}, builder={"destination": "d.e/f"})
    assert config.builder.destination == "d.e/f"
    (told,) = config.warnings()
    assert "not used" in told


def test_a_local_registry_pushes_nothing(read: Any) -> None:
    config = read(registry={"type": "local"})
    assert config.builder.destination is None
    assert len(config.warnings()) == 1


def test_a_registry_does_for_a_builder_in_a_cluster(read: Any) -> None:
    builder = {key: value for key, value in KANIKO.items() if key != "destination"}
    config = read(builder=builder, registry={"type": "acr", "uri": "a.b/c"})
    assert config.builder.destination == "a.b/c"


@pytest.mark.parametrize(
    ("registry", "told"),
    [
        ({"type": "ecr"}, "uri or all of account_id, region, repo_name"),
        ({"type": "gcr", "region": "europe"}, "uri or all of region, project"),
        ({"type": "acr"}, "uri must be given"),
        ({"type": "quay", "uri": "quay.io/a"}, "registry.type"),
        ({"type": "acr", "uri": "a.b/c:tag"}, "without a tag"),
        ({"type": "ecr", "account_id": 123, "region": "r", "repo_name": "n"}, "in quotes"),
        ({"type": "acr", "uri": "a.b/c", "url": "x"}, "registry.url: unknown"),
        ("ecr", "registry"),
    ],
)
def test_a_fault_of_a_registry_is_told(refused: Any, registry: Any, told: str) -> None:
    message = refused(registry=registry)
    assert told in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    "environment",
    [
        {"type": "azure"},
        {"type": "azure", "region": None},
        {"type": "aws", "region": "eu-central-1"},
        {"type": "local"},
    ],
)
def test_an_environment_is_read(read: Any, environment: dict[str, Any]) -> None:
    config = read(environment=environment)
    assert config.environment.type == environment["type"]
    assert config.warnings() == []


def test_the_project_of_an_environment_is_accepted_and_not_used(read: Any, refused: Any) -> None:
    config = read(environment={"type": "gcp", "region": "europe", "project": "p"})
    assert config.warnings() == [
        "`environment.project` is not used: the project is of the credentials"
    ]
    assert "unknown" in refused(environment={"type": "gcp", "zone": "a"})


def test_all_of_it_can_come_from_variables() -> None:
    config = load({
        "XDG_CONFIG_HOME": "/no",
        "RUNYARD_AGENT_REGISTRY": "{type: acr, uri: a.b/c}",
        "RUNYARD_AGENT_BUILDER": "{type: buildkit, build-context-store: 'gs://b/c'}",
    })  # fmt: skip
    assert (config.builder.type, config.builder.destination) == ("buildkit", "a.b/c")


def test_what_builds_are_given_is_not_shown(read: Any) -> None:
    proxy = [{"name": "HTTPS_PROXY", "value": "http://me:hunter2@proxy"}]
    partial = {"spec": {"template": {"spec": {"containers": [{"env": proxy}]}}}}
    config = read(builder={**KANIKO, "kaniko-config": partial})
    assert "hunter2" not in json.dumps(config.shown())
    assert config.shown()["builder"]["destination"] == KANIKO["destination"]


def test_the_agents_log_says_at_its_start_what_has_had_its_day(
    read: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read(builder=KANIKO, registry={"type": "local"})
    monkeypatch.setattr(reporting, "logger", structlog.get_logger())  # the module's stays as it is
    before = structlog.get_config()
    try:
        reporting.configure(config)
    finally:
        structlog.configure(**before)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(config.warnings()) == 2
    assert "registry" in lines[0]
    assert "archived" in lines[1]
