"""The agent's settings for images that are built in a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Self

from pydantic import Field, field_validator, model_validator

from runyard.agent.sections import Section
from runyard.builders.cluster_base import ClusterBuildSettings, SecretKey, check_job_name
from runyard.builders.cluster_config import check_config
from runyard.domain.errors import Invalid

_STORES: Final = ("s3://", "gs://", "https://")


class ClusterSettings(Section):
    """How Jobs that build images look."""

    namespace: str | None = Field(
        default=None,
        description="The namespace of the Jobs; the agent's own if left out.",
        examples=["builds"],
    )
    job_name: str = Field(
        default="runyard-build",
        description="What the Jobs' names begin with. `build-job-name` is the peer's name of it.",
        examples=["team-a-build"],
    )
    image: str | None = Field(
        default=None,
        description="The builder's image, in place of the one that its project publishes. kaniko's "
        "project is archived, so with kaniko it must be given. Also `kaniko-image`.",
        examples=["docker.io/moby/buildkit:rootless"],
    )
    service_account: str | None = Field(
        default=None,
        description="The pods' service account. If it has an identity at a cloud, it should be "
        "good for reading contexts and for pushing images, and for nothing else: the steps of a "
        "build may come by it.",
        examples=["image-builder"],
    )
    context_store: str | None = Field(
        default=None,
        description="The bucket that a build's files wait in. Also `build-context-store`.",
        examples=["s3://my-bucket/contexts", "gs://my-bucket/contexts"],
    )
    claim: str | None = Field(
        default=None,
        description="A PersistentVolumeClaim that a build's files wait in, in place of a bucket.",
        examples=["build-contexts"],
    )
    claim_path: str | None = Field(
        default=None,
        description="Where the agent itself has that claim mounted.",
        examples=["/contexts"],
    )
    fetch_image: str | None = Field(
        default=None,
        description="An image with the program that downloads from the bucket: `aws`, `gcloud` or "
        "`wget`.",
        examples=["registry.example.com/tools/aws-cli:2"],
    )
    unpack_image: str | None = Field(
        default=None,
        description="An image with `tar` and gzip, to unpack the files with.",
        examples=["registry.example.com/tools/alpine:3"],
    )
    secret_name: str | None = Field(
        default=None,
        description="A Secret with credentials for the registry, in place of logins that the agent "
        "makes for each build: Docker's config.json; with kaniko and ECR a file of AWS "
        "credentials, with kaniko and Google's registries a key of a service account. Also "
        "`secret-name`.",
        examples=["registry-push"],
    )
    secret_key: str | None = Field(
        default=None,
        description="The entry of that Secret. Also `secret-key`.",
        examples=["config.json"],
    )
    resources: dict[str, dict[str, str | int | float]] = Field(
        default={},
        description="Requests and limits of the containers, as in a pod.",
        examples=[{"limits": {"memory": "8Gi", "ephemeral-storage": "40Gi"}}],
    )
    node_selector: dict[str, str] = Field(
        default={},
        description="Labels of the nodes to build on. A `platform` adds its architecture.",
        examples=[{"pool": "builds"}],
    )
    tolerations: list[dict[str, Any]] = Field(
        default=[],
        description="Tolerations of the pods.",
        examples=[[{"key": "builds", "operator": "Exists"}]],
    )
    cache: bool = Field(
        default=True,
        description="Whether layers are kept in the registry for the next builds of the same team; "
        "buildah keeps none. kaniko keeps them in a repository below the destination, which some "
        "registries want created first.",
        examples=[False],
    )
    keep_s: int = Field(
        default=600,
        ge=0,
        description="Seconds that a Job stays that no agent was there to delete.",
        examples=[3600],
    )
    config: dict[str, Any] = Field(
        default={},
        description="A partial Job, laid over ours. Its one container is laid over the one that "
        "builds; `args` are `--key=value` and replace ours of the same key. Also `kaniko-config`.",
        examples=[{"spec": {"template": {"spec": {"priorityClassName": "low"}}}}],
    )

    @field_validator("job_name")
    @classmethod
    def _begins_a_name(cls, text: str) -> str:
        try:
            return check_job_name(text)
        except Invalid as error:
            raise ValueError(error.message) from error

    @field_validator("context_store")
    @classmethod
    def _is_an_address(cls, text: str | None) -> str | None:
        if text is not None and (not text.startswith(_STORES) or not text.partition("://")[2]):
            raise ValueError("an address such as s3://bucket/prefix, gs:// or https://")
        return text

    @field_validator("claim_path")
    @classmethod
    def _is_absolute(cls, text: str | None) -> str | None:
        if text is not None and not Path(text).is_absolute():
            raise ValueError("an absolute path in the agent's own container")
        return text

    @field_validator("config", mode="before")
    @classmethod
    def _is_a_partial_job(cls, config: Any) -> Any:
        try:
            check_config(config)
        except Invalid as error:
            raise ValueError("; ".join(map(str, error.violations)) or error.message) from error
        return config

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.secret_name is None) != (self.secret_key is None):
            raise ValueError("secret_name and secret_key are given together")
        if (self.claim is None) != (self.claim_path is None):
            raise ValueError("claim and claim_path are given together")
        if self.claim is not None and self.context_store is not None:
            raise ValueError("give one of context_store and claim")
        return self

    def for_builds(self, *, namespace: str, timeout_s: int) -> ClusterBuildSettings:
        """Return what the manifests are made from. `namespace` is the agent's own."""
        secret = None
        if self.secret_name is not None and self.secret_key is not None:
            secret = SecretKey(self.secret_name, self.secret_key)
        return ClusterBuildSettings(
            namespace=self.namespace or namespace,
            job_name=self.job_name,
            image=self.image or "",
            service_account=self.service_account or "",
            timeout_s=timeout_s,
            keep_s=self.keep_s,
            claim=self.claim or "",
            fetch_image=self.fetch_image or "",
            unpack_image=self.unpack_image or "",
            credentials=secret,
            resources={
                kind: {name: str(value) for name, value in each.items()}
                for kind, each in self.resources.items()
            },
            node_selector=self.node_selector,
            tolerations=self.tolerations,
            cache=self.cache,
            config=self.config,
        )
